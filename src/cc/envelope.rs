//! The JSON answer of CC-Gateway: `{"retcode","message","result"}`. Tolerant in what it reads, bounded in how much.

use serde::Deserialize;
use serde_json::Value;

use super::Retcode;

/// Longest answer that is read as an envelope, in bytes. The vendor's longest, an event list, is a few KiB.
pub const ENVELOPE_BYTES_MAX: usize = 64 * 1024;

/// A JSON answer: some answers say `msg` for `message` or `event` for `result`, and either can be missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The result code.
    pub retcode: Retcode,
    /// Free text of the gateway, at most 200 characters: for the log and the audit record only, never for a caller.
    pub message: String,
    /// `result`, else `event`, else null.
    pub result: Value,
}

impl Envelope {
    /// Longest message that is kept, in characters.
    pub const MESSAGE_CHARS_MAX: usize = 200;

    /// The result code of an envelope of any length, whose rest is checked to be JSON and otherwise left alone; `None`
    /// where the bytes are none, or say it twice.
    pub fn retcode_of(bytes: &[u8]) -> Option<Retcode> {
        #[derive(Deserialize)]
        struct Code {
            retcode: Value,
        }
        // A list with the code in it is no envelope, though it could be read as one.
        bytes.trim_ascii_start().strip_prefix(b"{")?;
        let Code { retcode } = serde_json::from_slice(bytes).ok()?;
        code(&retcode)
    }

    /// Reads an envelope; `None` where the bytes are not one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return None;
        }
        let Value::Object(mut fields) = serde_json::from_slice(bytes).ok()? else { return None };
        let retcode = code(fields.get("retcode")?)?;
        let message = ["message", "msg"].iter().find_map(|name| fields.get(*name).and_then(Value::as_str));
        let message = message.unwrap_or_default().chars().take(Self::MESSAGE_CHARS_MAX).collect();
        let result = fields.remove("result").or_else(|| fields.remove("event")).unwrap_or(Value::Null);
        Some(Self { retcode, message, result })
    }
}

fn code(value: &Value) -> Option<Retcode> {
    match value {
        Value::String(text) => Retcode::parse(text),
        Value::Number(number) => Retcode::parse(&number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r16_a_message_is_kept_as_it_came_and_half_a_character_is_no_envelope() {
        let text = r#"{"retcode":"0","message":"a\r\n\u001b[2J\u0000\u0085\u2028\u202e\ufeff\ud83d\ude00"}"#;
        let message = "a\r\n\u{1b}[2J\0\u{85}\u{2028}\u{202e}\u{feff}😀";
        assert_eq!(Envelope::parse(text.as_bytes()).expect("an envelope").message, message);
        for bad in [r#"{"retcode":"0","message":"\ud800"}"#, r#"{"retcode":"0","message":"\ude00a"}"#] {
            assert_eq!(Envelope::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Envelope::parse(b"{\"retcode\":\"0\",\"message\":\"\xff\"}"), None);
    }

    #[test]
    fn the_documented_shapes_are_read() {
        let table: [(&str, &str, &str, Value); 5] = [
            (r#"{"retcode":"000-003","message":"no right","result":""}"#, "000-003", "no right", Value::from("")),
            (r#"{"retcode":"0","message":"","event":[1]}"#, "0", "", serde_json::json!([1])),
            (r#"{"retcode":"100-006","msg":"gone"}"#, "100-006", "gone", Value::Null),
            (r#"{"retcode":0,"message":null,"result":{"vdnid":1}}"#, "0", "", serde_json::json!({"vdnid": 1})),
            (r#" {"message":"x","retcode":"0"} "#, "0", "x", Value::Null),
        ];
        for (text, retcode, message, result) in table {
            let read = Envelope::parse(text.as_bytes()).expect(text);
            assert_eq!(
                (read.retcode.as_str(), read.message.as_str(), &read.result),
                (retcode, message, &result),
                "{text}"
            );
        }
    }

    #[test]
    fn anything_else_is_none() {
        let long = format!(r#"{{"retcode":"0","message":"{}"}}"#, "x".repeat(ENVELOPE_BYTES_MAX));
        for bad in ["", "{}", "[]", r#"{"retcode":{}}"#, r#"{"retcode":"a b"}"#, r#"{"retcode":"0""#, "RIFF", &long] {
            assert_eq!(Envelope::parse(bad.as_bytes()), None, "{bad:.40}");
        }
    }

    #[test]
    fn the_code_alone_is_read_of_an_answer_of_any_length() {
        let of = |text: &str| Envelope::retcode_of(text.as_bytes()).map(|code| code.as_str().to_owned());
        let long = format!(r#"{{"event":"{}","retcode":"0"}}"#, "x".repeat(ENVELOPE_BYTES_MAX));
        assert_eq!(of(&long).as_deref(), Some("0"));
        assert_eq!(of(r#"{"retcode":0,"event":{"retcode":"100-006"}}"#).as_deref(), Some("0"));
        for bad in [
            "",
            "{}",
            "[]",
            r#"["0"]"#,
            r#"{"retcode":"0","retcode":"0"}"#,
            r#"{"retcode":"0","event":}"#,
            r#"{"retcode":[]}"#,
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let text = format!(r#"{{"retcode":"0","message":"{}"}}"#, "é".repeat(300));
        assert_eq!(Envelope::parse(text.as_bytes()).expect("an envelope").message.chars().count(), 200);
    }
}
