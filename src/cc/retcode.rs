//! The vendor's result codes and what each one means for us. The text beside a code is never looked at.

use std::fmt;

use serde::{Serialize, Serializer};

/// A result code of CC-Gateway (`"0"`, `"000-003"`, …) as it came, at most 16 characters of letters, digits and dashes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Retcode(String);

/// What a result code means for a gateway in front (cc-gateway manual, "Result codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// `0`.
    Success,
    /// `100-006`, `100-008`: the session is gone.
    SessionLost,
    /// `000-003`: the session may be gone, or the right is really missing; one fresh session decides.
    SessionOrRight,
    /// `100-002`: somebody is signed in as this agent.
    AgentBusy,
    /// `100-004`: repeated tries lock the account, so there must be none.
    WrongPassword,
    /// `000-004`, `100-003`: switching over, or a resource is missing for now.
    TryLater,
    /// `104-002`: no right to play recordings.
    Forbidden,
    /// `104-005`: the recording does not exist.
    NotFound,
    /// `000-002`, `000-005`, `000-006`: the parameters are at fault.
    BadRequest,
    /// `000-001`: events are fetched in the wrong mode, push instead of polling or the other way round.
    WrongKeepAlive,
    /// `100-001`, `100-011` to `100-013`: the sign-in parameters are wrong.
    WrongAccount,
    /// Any other code; it is passed on.
    Other,
}

impl Retcode {
    const CHARS_MAX: usize = 16;

    /// Takes a code as it came; `None` for a text that is no code.
    pub fn parse(text: &str) -> Option<Self> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let fits = !text.is_empty() && text.len() <= Self::CHARS_MAX && text.bytes().all(known);
        fits.then(|| Self(text.to_owned()))
    }

    /// The code as it came.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it means.
    pub fn meaning(&self) -> Meaning {
        match self.0.as_str() {
            "0" => Meaning::Success,
            "100-006" | "100-008" => Meaning::SessionLost,
            "000-003" => Meaning::SessionOrRight,
            "100-002" => Meaning::AgentBusy,
            "100-004" => Meaning::WrongPassword,
            "000-004" | "100-003" => Meaning::TryLater,
            "104-002" => Meaning::Forbidden,
            "104-005" => Meaning::NotFound,
            "000-002" | "000-005" | "000-006" => Meaning::BadRequest,
            "000-001" => Meaning::WrongKeepAlive,
            "100-001" | "100-011" | "100-012" | "100-013" => Meaning::WrongAccount,
            _ => Meaning::Other,
        }
    }
}

impl fmt::Display for Retcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Retcode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_manual_has_its_meaning() {
        let table = [
            ("0", Meaning::Success),
            ("000-000", Meaning::Other),
            ("000-001", Meaning::WrongKeepAlive),
            ("000-002", Meaning::BadRequest),
            ("000-003", Meaning::SessionOrRight),
            ("000-004", Meaning::TryLater),
            ("000-005", Meaning::BadRequest),
            ("000-006", Meaning::BadRequest),
            ("000-007", Meaning::Other),
            ("100-001", Meaning::WrongAccount),
            ("100-002", Meaning::AgentBusy),
            ("100-003", Meaning::TryLater),
            ("100-004", Meaning::WrongPassword),
            ("100-006", Meaning::SessionLost),
            ("100-008", Meaning::SessionLost),
            ("100-012", Meaning::WrongAccount),
            ("104-001", Meaning::Other),
            ("104-002", Meaning::Forbidden),
            ("104-005", Meaning::NotFound),
            ("108-001", Meaning::Other),
        ];
        for (code, meaning) in table {
            assert_eq!(Retcode::parse(code).expect("a code").meaning(), meaning, "{code}");
        }
    }

    #[test]
    fn a_text_that_is_no_code_is_none() {
        for bad in ["", "0\n", "000 003", "00000000000000000", "é"] {
            assert_eq!(Retcode::parse(bad), None, "{bad:?}");
        }
    }
}
