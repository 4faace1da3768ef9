//! Reads one JSON value and refuses a repeated name at any level. It never lets the last duplicate win.

use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How deep arrays and objects may stand in each other.
const DEPTH_MAX: usize = 16;

/// Not one JSON value, a repeated name, or too deep. It says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotStrict;

/// Reads a whole text as one JSON object.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, NotStrict> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth_left: DEPTH_MAX }.deserialize(&mut reader).map_err(|_| NotStrict)?;
    reader.end().map_err(|_| NotStrict)?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(NotStrict),
    }
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value without repeated names")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            // Names are compared unescaped: `r\u006fles` is `roles`.
            if object.contains_key(&name) {
                return Err(A::Error::custom("a name stands twice"));
            }
            object.insert(name, entries.next_value_seed(inner)?);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r02_a_repeated_name_is_refused_at_any_level() {
        for bad in [
            r#"{"roles":["a"],"roles":["b"]}"#,
            r#"{"roles":["a"],"r\u006fles":["a"]}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"a":[{"b":1,"c":2,"b":1}]}"#,
            r#"{"exp":1,"exp":1}"#,
        ] {
            assert_eq!(object(bad.as_bytes()), Err(NotStrict), "{bad}");
        }
    }

    #[test]
    fn one_object_and_nothing_else() {
        for bad in
            ["", "[]", "1", "null", "{} {}", "{}x", "{", r#"{"a":1,}"#, r#"{"a":NaN}"#, "{\"a\":\"\n\"}", "{a:1}"]
        {
            assert_eq!(object(bad.as_bytes()), Err(NotStrict), "{bad:?}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), Err(NotStrict));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(object(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(object(nested(DEPTH_MAX + 1).as_bytes()), Err(NotStrict));
        assert_eq!(object(nested(100_000).as_bytes()), Err(NotStrict));
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_what_serde_json_reads(text in r#"\{("[abc]{1,2}":([1-9][0-9]{0,2}|"[a-z]?"|\[1,2\]|\{"x":-1[.]5\}|null),){0,3}"z":true\}"#) {
            let plain: Value = serde_json::from_str(&text).expect("the pattern makes JSON");
            match object(text.as_bytes()) {
                Ok(strict) => proptest::prop_assert_eq!(Value::Object(strict), plain),
                // Refused only because of a repeated name: then the plain reader has lost one.
                Err(NotStrict) => proptest::prop_assert!(
                    plain.as_object().expect("an object").len() < 1 + text.matches(",\"").count()
                ),
            }
        }
    }
}
