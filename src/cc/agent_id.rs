//! The number of a call-centre agent. Never trimmed, never normalised: anything but the exact form is refused.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// A call-centre agent ("work number" in the vendor's manual): decimal, 101 to 999999, no leading zero.
///
/// Older releases end at 59999; the wider range holds for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(u32);

/// The text is no agent id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an agent id: a decimal number from 101 to 999999 without a leading zero")]
pub struct AgentIdError;

impl AgentId {
    /// The smallest agent id.
    pub const MIN: u32 = 101;
    /// The largest agent id.
    pub const MAX: u32 = 999_999;

    /// The number itself.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for AgentId {
    type Error = AgentIdError;

    fn try_from(number: u32) -> Result<Self, AgentIdError> {
        if (Self::MIN..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(AgentIdError) }
    }
}

impl FromStr for AgentId {
    type Err = AgentIdError;

    fn from_str(text: &str) -> Result<Self, AgentIdError> {
        // `u32::from_str` takes a plus sign and leading zeros; an agent has one spelling only.
        if text.len() > 6 || !text.bytes().all(|byte| byte.is_ascii_digit()) || text.starts_with('0') {
            return Err(AgentIdError);
        }
        Self::try_from(text.parse::<u32>().map_err(|_| AgentIdError)?)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({})", self.0)
    }
}

impl Serialize for AgentId {
    /// As a string, as tokens and file names spell it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r24_an_agent_id_has_one_spelling() {
        for good in ["101", "4977", "59999", "999999"] {
            assert_eq!(good.parse::<AgentId>().expect("good").to_string(), good);
        }
        for bad in [
            "",
            "0",
            "100",
            "1000000",
            "0101",
            "+101",
            "-101",
            " 101",
            "101 ",
            "1e3",
            "101\0",
            "１０１",
            "101\n",
            "0x65",
        ] {
            assert_eq!(bad.parse::<AgentId>(), Err(AgentIdError), "{bad:?}");
        }
    }
}
