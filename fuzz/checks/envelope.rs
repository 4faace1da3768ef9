//! What holds for any JSON answer of the gateway: its two readers agree, and what is kept is bounded.

use ccgate::cc::{ENVELOPE_BYTES_MAX, Envelope, Retcode};
use serde_json::Value;

/// The input is the body of an answer. Says whether it is an envelope.
pub fn check(data: &[u8]) -> bool {
    let code = Envelope::retcode_of(data);
    code.iter().for_each(check_code);
    let Some(envelope) = Envelope::parse(data) else { return false };
    assert!(data.len() <= ENVELOPE_BYTES_MAX);
    check_code(&envelope.retcode);
    assert!(envelope.message.chars().count() <= Envelope::MESSAGE_CHARS_MAX);
    match code {
        Some(code) => assert_eq!(code, envelope.retcode, "one answer, two codes"),
        // The reader of the code alone is the stricter one: it takes no code that is said twice.
        None => assert!(twice(data), "only one reader finds {}", envelope.retcode),
    }
    let whole: Value = serde_json::from_slice(data).expect("an envelope is JSON");
    let result = whole.get("result").or_else(|| whole.get("event")).cloned().unwrap_or(Value::Null);
    assert_eq!(envelope.result, result);
    true
}

/// The gateway's grammar of codes: nothing else of an answer may reach a caller.
fn check_code(code: &Retcode) {
    let text = code.as_str();
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    assert!((1..=16).contains(&text.len()) && text.bytes().all(known), "{text:?}");
    assert_eq!(Retcode::parse(text).as_ref(), Some(code));
    let _ = code.meaning();
}

/// Whether the name can stand there more than once; with an escape in it, it looks like anything.
fn twice(data: &[u8]) -> bool {
    let names = data.windows(9).filter(|part| *part == b"\"retcode\"").count();
    names > 1 || data.windows(2).any(|part| part == b"\\u")
}
