//! Holds what came against what a step promises. A step that only looks as if it had happened does not pass.

use std::fmt::Display;
use std::io;

use super::client;
use crate::trail::{KeysError, verify};

/// Why a step did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Something else came than was promised.
    #[error("{what}: expected {expected}, but it is {came}")]
    Unexpected {
        /// What was looked at.
        what: &'static str,
        /// What the step promises.
        expected: String,
        /// What came.
        came: String,
    },
    /// No answer came.
    #[error("no answer came")]
    Client(#[source] client::Error),
    /// The audit log cannot be read.
    #[error("the audit log cannot be read")]
    Records(#[source] io::Error),
    /// The audit log cannot be verified.
    #[error("the audit log cannot be verified")]
    Verify(#[source] verify::Error),
    /// There are no keys to verify it with.
    #[error("the keys of the audit log cannot be read")]
    Keys(#[source] KeysError),
    /// Nobody reads the story.
    #[error("cannot write to the output")]
    Output(#[from] io::Error),
}

/// Demands that `came` is what is `expected`.
pub(super) fn expect<T: PartialEq + Display>(what: &'static str, expected: T, came: T) -> Result<(), Broken> {
    if expected == came {
        return Ok(());
    }
    Err(Broken::Unexpected { what, expected: expected.to_string(), came: came.to_string() })
}

/// Demands that `came` is at least `least`.
pub(super) fn expect_least<T: PartialOrd + Display>(what: &'static str, least: T, came: T) -> Result<(), Broken> {
    if came >= least {
        return Ok(());
    }
    Err(Broken::Unexpected { what, expected: format!("{least} or more"), came: came.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_passes() {
        assert!(expect("status", 200, 200).is_ok());
        assert!(expect("event", "finished", "finished").is_ok());
        assert!(expect_least("rotations", 1, 1).is_ok() && expect_least("rotations", 1, 2).is_ok());
    }

    #[test]
    fn anything_else_is_a_broken_step_that_tells_both() {
        let told = |checked: Result<(), Broken>| checked.expect_err("broken").to_string();
        assert_eq!(told(expect("status", 200, 403)), "status: expected 200, but it is 403");
        assert_eq!(told(expect("whole", true, false)), "whole: expected true, but it is false");
        assert_eq!(told(expect_least("rotations", 1, 0)), "rotations: expected 1 or more, but it is 0");
        assert!(expect("event", "finished", "finished ").is_err() && expect_least("x", 0.5, f64::NAN).is_err());
    }
}
