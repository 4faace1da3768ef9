//! What holds for any `Set-GUID` header: what is taken can be sent, is never printed, and is found in a text that holds it.

use ccgate::cc::{Guid, GuidTagKey};
use http::HeaderValue;

/// The input is the header's value; on a second line, where a Guid is looked for and how it is hidden there. Says whether
/// it is a Guid.
pub fn check(data: &[u8]) -> bool {
    let (value, text) = match data.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (data, &b""[..]),
    };
    let _ = Guid::is_any_in(text);
    let Ok(value) = HeaderValue::from_bytes(value) else { return false };
    let Ok(guid) = Guid::from_set_guid(&value) else { return false };
    let sent = guid.header_value();
    assert!(sent.is_sensitive(), "it could be printed with the headers");
    let sent = sent.to_str().expect("visible ASCII");
    assert!((Guid::CHARS_MIN..=Guid::CHARS_MAX).contains(&sent.len()), "{} characters", sent.len());
    let came = value.to_str().expect("visible ASCII").trim();
    assert_eq!(came.strip_prefix("JSESSIONID=").map(|rest| rest.split(';').next()), Some(Some(sent)));
    assert!(Guid::from_text(sent).expect("it was kept").same_as(&guid));
    assert_eq!(format!("{guid:?}"), "Guid(REDACTED)");
    let key = GuidTagKey::random();
    assert_eq!(key.tag(&guid), key.tag(&guid));
    assert!(!key.tag(&guid).to_string().contains(sent));

    let _ = guid.is_in(text);
    let hidden = hidden(sent, text);
    assert!(guid.is_in(hidden.as_bytes()), "not found in {hidden}");
    assert!(Guid::is_any_in(format!("{{\"set-guid\":\"JSESSIONID={hidden}\"}}").as_bytes()));
    true
}

/// The Guid within a JSON text, its characters escaped and in another case as the bytes say.
fn hidden(guid: &str, how: &[u8]) -> String {
    let spell = |(at, c): (usize, char)| match how.get(at % how.len().max(1)).copied().unwrap_or(0) % 4 {
        0 => c.to_string(),
        1 => format!("\\u{:04x}", u32::from(c)),
        2 => format!("\\u{:04X}", u32::from(c.to_ascii_uppercase())),
        _ => c.to_ascii_uppercase().to_string(),
    };
    let spelt: String = guid.chars().enumerate().map(spell).collect();
    format!("{{\"a\":[\"\\\"{spelt}\"]}}")
}
