//! The part of a recording that is asked for (RFC 9110 section 14), as players ask: one range of bytes.

use std::fmt;

/// One range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-`, to the end.
    From(u64),
    /// `first-last`, both included.
    Between(u64, u64),
    /// `-count`, the last bytes.
    Last(u64),
}

impl ByteRange {
    /// Reads a `Range` header. `None` for several ranges, other units and what is malformed: a server may ignore a
    /// range and send the whole (RFC 9110 section 14.2), and that is what happens then.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| {
            let digits = (1..=19).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok()).flatten()
        };
        match (first, last) {
            ("", last) => number(last).filter(|count| *count > 0).map(Self::Last),
            (first, "") => number(first).map(Self::From),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::Between(first, last) => write!(f, "bytes={first}-{last}"),
            Self::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_printed_as_it_came() {
        for text in ["bytes=0-", "bytes=0-99", "bytes=100-100", "bytes=-500"] {
            assert_eq!(ByteRange::parse(text).expect(text).to_string(), text);
        }
        for bad in [
            "",
            "bytes=",
            "bytes=-",
            "bytes=-0",
            "bytes=9-1",
            "bytes=0-1,5-6",
            "items=0-1",
            "bytes=a-",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
            "bytes = 0-1",
            "bytes=0-1 ",
        ] {
            assert_eq!(ByteRange::parse(bad), None, "{bad:?}");
        }
    }
}
