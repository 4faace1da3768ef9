//! Where in a token's payload a claim stands: a JSON pointer (RFC 6901). It never means the whole payload.

use std::fmt;
use std::str::FromStr;

/// A JSON pointer below the top, as in `/realm_access/roles`; at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPointer(String);

/// The text is no JSON pointer below the top.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a JSON pointer such as `/roles`: it starts with `/`, `~` is `~0` and `/` in a name is `~1`")]
pub struct JsonPointerError;

impl JsonPointer {
    const BYTES_MAX: usize = 256;

    /// The pointer's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for JsonPointer {
    type Err = JsonPointerError;

    fn from_str(text: &str) -> Result<Self, JsonPointerError> {
        let escapes_fit = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
        let fits = text.starts_with('/') && text.len() <= Self::BYTES_MAX && escapes_fit;
        if fits { Ok(Self(text.to_owned())) } else { Err(JsonPointerError) }
    }
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_starts_below_the_top_and_has_whole_escapes() {
        for good in ["/roles", "/realm_access/roles", "/https:~1~1x/agent", "/a~0b", "/groups/0", "/"] {
            assert_eq!(good.parse::<JsonPointer>().expect("good").to_string(), good);
        }
        for bad in ["", "roles", "/a~", "/a~2", "/~~0", &format!("/{}", "a".repeat(256))] {
            assert_eq!(bad.parse::<JsonPointer>(), Err(JsonPointerError), "{bad:?}");
        }
    }
}
