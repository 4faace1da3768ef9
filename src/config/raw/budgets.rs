//! What a person writes about budgets; the rules of `raw` hold here too.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Size;

/// How much each person may take; without a limit, anything.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Budgets {
    /// Different recordings that one person may take in an hour; parts and repeats of one count once.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) recordings_per_hour: Option<u32>,
    /// Different recordings that one person may take in a day; parts and repeats of one count once.
    #[schemars(range(min = 1, max = 100_000))]
    pub(in crate::config) recordings_per_day: Option<u32>,
    /// Bytes that one person may take in an hour. Downloads that run are not cut off.
    #[schemars(extend("x-min" = "1KiB", "x-max" = "1024TiB"))]
    pub(in crate::config) bytes_per_hour: Option<Size>,
    /// Bytes that one person may take in a day. Downloads that run are not cut off.
    #[schemars(extend("x-min" = "1KiB", "x-max" = "1024TiB"))]
    pub(in crate::config) bytes_per_day: Option<Size>,
    /// At so much of a limit over time an alert is recorded, once for each person, limit and window; 1% to 100%.
    #[schemars(extend("pattern" = "^([1-9][0-9]?|100)%$"))]
    pub(in crate::config) alert_at: String,
    /// Downloads of one person at once, in each replica.
    #[schemars(range(min = 1, max = 65_536))]
    pub(in crate::config) downloads_at_once_per_subject: Option<u32>,
    /// Downloads in one agent's session at once, in each replica.
    #[schemars(range(min = 1, max = 65_536))]
    pub(in crate::config) downloads_at_once_per_agent: Option<u32>,
    /// Roles whose holders are counted and not limited; the limit on one agent's session holds for them, too.
    #[schemars(length(max = 64))]
    pub(in crate::config) exempt_roles: Vec<String>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            recordings_per_hour: None,
            recordings_per_day: None,
            bytes_per_hour: None,
            bytes_per_day: None,
            alert_at: "80%".to_owned(),
            downloads_at_once_per_subject: None,
            downloads_at_once_per_agent: None,
            exempt_roles: Vec::new(),
        }
    }
}
