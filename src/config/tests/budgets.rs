//! The section `budgets`.

use super::*;

fn limits(section: &str) -> Result<crate::budget::Limits, String> {
    read(&format!("{SMALLEST}budgets: {section}\n")).map(|config| config.budgets)
}
