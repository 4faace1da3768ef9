//! Durations and sizes as a person writes them: `30s`, `64KiB`. A bare number is refused: its unit would be a guess.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time: a whole number and one of `ms`, `s`, `m`, `h`, `d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// An amount of bytes: a whole number and one of `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// The text is no duration or size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnitError(&'static str);

/// Units of time with their milliseconds, smallest first.
const TIMES: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
/// Units of size with their bytes, smallest first.
const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

const NO_DURATION: UnitError =
    UnitError("not a duration: a whole number and ms, s, m, h or d, as in 250ms, 30s, 5m, 24h, 90d");
const NO_SIZE: UnitError = UnitError("not a size: a whole number and B, KiB, MiB, GiB or TiB, as in 64KiB");

impl Duration {
    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(std::time::Duration::from_millis(millis))
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(std::time::Duration::from_secs(secs))
    }

    /// So many times as long; at most the longest.
    pub(super) const fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count))
    }

    /// The duration as the standard library has it.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }
}

impl Size {
    /// So many times 1024 bytes; at most the largest `u64`.
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1 << 10))
    }

    /// So many times 1024 x 1024 bytes; at most the largest `u64`.
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// The bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Digits and a known unit, without anything between, before or behind; `None` also past the largest `u64`.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &TIMES).map(Self::from_millis).ok_or(NO_DURATION)
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        parse(text, &SIZES).map(Self).ok_or(NO_SIZE)
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let whole = |unit: u64| millis.is_multiple_of(unit);
        let (unit, factor) = match millis {
            _ if !whole(1_000) => ("ms", 1),
            // Up to two minutes seconds read best, up to two hours minutes, up to two days hours.
            0..120_000 => ("s", 1_000),
            _ if !whole(60_000) => ("s", 1_000),
            120_000..7_200_000 => ("m", 60_000),
            _ if !whole(3_600_000) => ("m", 60_000),
            7_200_000..172_800_000 => ("h", 3_600_000),
            _ if !whole(86_400_000) => ("h", 3_600_000),
            _ => ("d", 86_400_000),
        };
        write!(f, "{}{unit}", millis / factor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, factor): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*factor);
        let (unit, factor) = SIZES.iter().rev().find(divides).copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Duration {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "x-kind": "duration" })
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$", "x-kind": "size" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_print_as_people_write_them() {
        for text in [
            "0s", "250ms", "1500ms", "30s", "60s", "90s", "5m", "15m", "60m", "24h", "121s", "7201s", "47h", "49h",
            "2d", "365d",
        ] {
            assert_eq!(text.parse::<Duration>().expect(text).to_string(), text);
        }
        assert_eq!("1000ms".parse::<Duration>().expect("a second").to_string(), "1s");
        assert_eq!("1440m".parse::<Duration>().expect("a day").to_string(), "24h");
        assert_eq!("48h".parse::<Duration>().expect("two days").to_string(), "2d");
    }

    #[test]
    fn sizes_print_as_people_write_them() {
        for text in ["0B", "1B", "1023B", "64KiB", "1MiB", "4GiB", "1TiB", "1025KiB"] {
            assert_eq!(text.parse::<Size>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn anything_without_exactly_a_number_and_a_unit_is_refused() {
        for text in
            ["", "s", "30", "30 s", " 30s", "30s ", "-1s", "+1s", "1.5s", "1m30s", "30S", "1D", "1w", "30sec", "٣s"]
        {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
        for text in
            ["", "64", "64K", "64KB", "64kib", "64 KiB", "-1B", "1.5MiB", "20000000TiB", "99999999999999999999B"]
        {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        assert!("18446744073709551615d".parse::<Duration>().is_err(), "past the largest number");
    }

    proptest! {
        #[test]
        fn durations_survive_printing(millis: u64) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
        }

        #[test]
        fn sizes_survive_printing(bytes: u64, shift in 0_u32..40) {
            let size = Size(bytes >> shift << shift);
            prop_assert_eq!(size.to_string().parse::<Size>(), Ok(size));
        }
    }
}
