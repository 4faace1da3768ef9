//! `ccgate check`: all that is wrong with a configuration and the files that it names. It changes nothing.

use std::io::{self, Write};

use super::{CheckArgs, Exit};
use crate::config::{Problem, Severity};

/// Prints one line for each problem; exits with 2 where one of them is an error.
pub fn check(args: &CheckArgs, out: &mut dyn Write) -> io::Result<Exit> {
    let file = args.config.config.display();
    let loaded = match args.config.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            writeln!(out, "{errors}")?;
            return Ok(Exit::Usage);
        }
    };
    let mut problems = loaded.warnings.clone();
    if !args.without_files {
        problems.extend(loaded.check());
    }
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    let errors = count(&problems, Severity::Error);
    let warnings = count(&problems, Severity::Warning);
    match (errors, warnings) {
        (0, 0) => writeln!(out, "{file}: good")?,
        (0, _) => writeln!(out, "{file}: good, {}", plural(warnings, "warning"))?,
        _ => writeln!(out, "{file}: {}", plural(errors, "problem"))?,
    }
    for problem in &problems {
        writeln!(out, "  {problem}")?;
    }
    Ok(if errors == 0 { Exit::Ok } else { Exit::Usage })
}

fn count(problems: &[Problem], severity: Severity) -> usize {
    problems.iter().filter(|problem| problem.severity == severity).count()
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
