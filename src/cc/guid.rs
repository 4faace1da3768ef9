//! The bearer secret of a signed-in agent. Whoever has it is the agent, so it can be sent but never printed.

use std::borrow::Borrow;
use std::fmt;

use aws_lc_rs::hmac;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

/// A session's Guid, as the `Set-GUID` response header gives it and the `Guid` request header carries it.
///
/// Two shapes are seen in the wild, a UUID and 48 hex digits, both with a dot and the node's name behind.
/// `Debug` is redacted; there is no `Display` and no `Serialize`.
#[derive(Clone)]
pub struct Guid(SecretString);

/// The value is no Guid. It does not say what the value was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Set-GUID header holds no Guid of a known form")]
pub struct GuidError;

impl Guid {
    /// Longest Guid that is taken: 48 hex digits, a dot and a node's name of up to 79 characters.
    pub const CHARS_MAX: usize = 128;
    /// Shortest Guid that is taken. A shorter one could be guessed.
    pub const CHARS_MIN: usize = 16;

    /// Reads the value of a `Set-GUID` header: `JSESSIONID=<guid>`, where attributes behind a `;` are left out.
    pub fn from_set_guid(value: &HeaderValue) -> Result<Self, GuidError> {
        let text = value.to_str().map_err(|_| GuidError)?;
        let guid = text.trim().strip_prefix("JSESSIONID=").ok_or(GuidError)?;
        let guid = guid.split_once(';').map_or(guid, |(guid, _attributes)| guid);
        Self::from_text(guid)
    }

    /// Takes a Guid that was kept elsewhere.
    pub fn from_text(text: &str) -> Result<Self, GuidError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if (Self::CHARS_MIN..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(known) {
            Ok(Self(SecretString::from(text)))
        } else {
            Err(GuidError)
        }
    }

    /// The value of the `Guid` request header, marked sensitive.
    pub fn header_value(&self) -> HeaderValue {
        // The constructor lets only visible ASCII through, so this cannot fail; an empty value would be refused upstream.
        let mut value = HeaderValue::from_str(self.0.expose_secret()).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// The name of the node that the session lives on, as it stands behind the first dot; it is no secret. `None`: there is
    /// no dot.
    pub fn node(&self) -> Option<&str> {
        self.0.expose_secret().split_once('.').map(|(_secret, node)| node)
    }

    /// The text itself, still as a secret: only for sealing it.
    pub(crate) const fn as_secret(&self) -> &SecretString {
        &self.0
    }

    /// Whether a JSON text holds this Guid, whatever stands beside it: the node's name left off, in another case of
    /// letters, or with its characters escaped.
    pub fn is_in(&self, json: &[u8]) -> bool {
        let guid = self.0.expose_secret();
        let secret = guid.split_once('.').map_or(guid, |(secret, _node)| secret);
        // Where the name is all that is long enough to be a secret, the whole is what counts.
        let secret = if secret.len() < Self::CHARS_MIN { guid } else { secret };
        holds(&unescaped(json), secret.as_bytes())
    }

    /// Whether a JSON text holds what looks like the header that brings a Guid, though it is not known which one.
    pub fn is_any_in(json: &[u8]) -> bool {
        holds(&unescaped(json), b"JSESSIONID")
    }

    /// Whether both are the same secret.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

/// The name of a node, as it stands behind the dot of a [`Guid`] (`AgentGateway0`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(String);

/// The text is no name of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a node's name is 1 to {} letters, digits, `-` and `_`, as in AgentGateway0", NodeName::CHARS_MAX)]
pub struct NodeNameError;

impl NodeName {
    /// Longest name that is taken; the longest behind 48 hex digits of a [`Guid`].
    pub const CHARS_MAX: usize = 79;

    /// Reads a name. Case counts, as it does for the load balancer.
    pub fn parse(text: &str) -> Result<Self, NodeNameError> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = (1..=Self::CHARS_MAX).contains(&text.len()) && text.bytes().all(known);
        if fits { Ok(Self(text.to_owned())) } else { Err(NodeNameError) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

fn holds(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word))
}

/// A JSON text with `\u00xx` written out (RFC 8259 section 7): no other escape stands for a character of a Guid.
fn unescaped(json: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(json.len());
    let mut rest = json;
    while let Some((first, after)) = rest.split_first() {
        let escaped = rest.strip_prefix(b"\\u00").and_then(|hex| hex.split_at_checked(2));
        let byte = escaped.and_then(|(hex, after)| {
            let hex = std::str::from_utf8(hex).ok()?;
            Some((u8::from_str_radix(hex, 16).ok()?, after))
        });
        let (byte, after) = byte.unwrap_or((*first, after));
        text.push(byte);
        rest = after;
    }
    text
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guid(REDACTED)")
    }
}

/// A keyed fingerprint of a Guid: correlates records of one session without revealing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuidTag([u8; 8]);

impl fmt::Display for GuidTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for GuidTag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The key of the fingerprints: random for each process, so that a fingerprint can't be searched for offline.
pub struct GuidTagKey(hmac::Key);

impl GuidTagKey {
    /// Makes a fresh key.
    pub fn random() -> Self {
        let mut key = [0_u8; 32];
        // A failing system generator leaves zeros: fingerprints then correlate over processes, which reveals no Guid,
        // as a Guid has at least 122 random bits.
        let _ = aws_lc_rs::rand::fill(&mut key);
        Self(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    /// The fingerprint of a Guid: the first 64 bits of HMAC-SHA-256.
    pub fn tag(&self, guid: &Guid) -> GuidTag {
        let mut tag = [0_u8; 8];
        let full = hmac::sign(&self.0, guid.0.expose_secret().as_bytes());
        tag.iter_mut().zip(full.as_ref()).for_each(|(to, from)| *to = *from);
        GuidTag(tag)
    }
}

impl fmt::Debug for GuidTagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuidTagKey(REDACTED)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef.AgentGateway1";

    fn read(value: &'static str) -> Result<Guid, GuidError> {
        Guid::from_set_guid(&HeaderValue::from_static(value))
    }

    #[test]
    fn both_shapes_are_read_and_sent_as_they_came() {
        for guid in [UUID, HEX] {
            let value = HeaderValue::from_str(&format!("JSESSIONID={guid}")).expect("ascii");
            let read = Guid::from_set_guid(&value).expect("a Guid");
            assert_eq!(read.header_value(), guid);
            assert!(read.header_value().is_sensitive());
        }
        assert!(read("JSESSIONID=279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0; Path=/; HttpOnly").is_ok());
    }

    #[test]
    fn a_guid_of_either_shape_tells_its_node() {
        for (guid, node) in [
            (UUID, Some("AgentGateway0")),
            (HEX, Some("AgentGateway1")),
            ("0123456789abcdef", None),
            ("0123456789abcdef.", Some("")),
        ] {
            assert_eq!(Guid::from_text(guid).expect("a Guid").node(), node, "{guid}");
        }
        for good in ["AgentGateway0", "a", "node_1-b", &"n".repeat(79)] {
            assert_eq!(NodeName::parse(good).expect(good).as_str(), good);
        }
        for bad in ["", ".AgentGateway0", "Agent Gateway", "a.b", "a/b", "ä", &"n".repeat(80)] {
            assert!(NodeName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "JSESSIONID=",
            "JSESSIONID=short",
            "279fe21d-2caa-4437-84c3-ab9e9dae20f5",
            "JSESSIONID=279fe21d 2caa-4437-84c3",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
        let long = format!("JSESSIONID={}", "a".repeat(Guid::CHARS_MAX + 1));
        assert!(Guid::from_set_guid(&HeaderValue::from_str(&long).expect("ascii")).is_err());
    }

    #[test]
    fn r17_a_guid_cannot_be_printed() {
        let guid = Guid::from_text(UUID).expect("a Guid");
        let key = GuidTagKey::random();
        let printed = format!("{guid:?} {:?} {key:?} {} {:?}", guid.header_value(), key.tag(&guid), key.tag(&guid));
        assert!(!printed.contains("279fe21d"), "{printed}");
    }

    #[test]
    fn r17_a_guid_is_found_in_an_answer_however_it_is_written() {
        let guid = Guid::from_text(UUID).expect("a Guid");
        let secret = UUID.split_once('.').expect("a node").0;
        let escaped: String = secret.bytes().fold(String::new(), |text, byte| text + &format!("\\u00{byte:02X}"));
        for text in [
            UUID.to_owned(),
            secret.to_owned(),
            secret.to_uppercase(),
            secret.replace('-', "\\u002d"),
            escaped,
            format!("https://x/?g={secret}&b=1"),
        ] {
            let json = format!(r#"{{"retcode":"0","result":{{"a":["{text}"]}}}}"#);
            assert!(guid.is_in(json.as_bytes()), "{json}");
        }
        for text in ["", "279fe21d", "\\u00", "\\u00zz", "0123456789abcdef0123456789abcdef.AgentGateway0"] {
            assert!(!guid.is_in(text.as_bytes()), "{text}");
        }
        assert!(Guid::is_any_in(br#"{"cookie":"jsession\u0049d=x"}"#) && !Guid::is_any_in(br#"{"retcode":"0"}"#));
        let short = Guid::from_text("abc.a-long-node-name").expect("a Guid");
        assert!(short.is_in(b"abc.a-long-node-name") && !short.is_in(b"abc"));
    }

    #[test]
    fn a_tag_follows_the_guid_and_the_key() {
        let (one, two) = (Guid::from_text(UUID).expect("a Guid"), Guid::from_text(HEX).expect("a Guid"));
        let key = GuidTagKey::random();
        assert_eq!(key.tag(&one), key.tag(&one.clone()));
        assert_ne!(key.tag(&one), key.tag(&two));
        assert_ne!(key.tag(&one), GuidTagKey::random().tag(&one));
        assert!(one.same_as(&one.clone()) && !one.same_as(&two));
    }
}
