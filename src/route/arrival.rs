//! What is known of a request before anybody is asked: when, from where, under which id.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::trace::{random_uuid, simple};
use super::{ClientCertificate, TraceParent};

/// The circumstances of one request. They go into the decision and into every record of its entry.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// When its head had been read.
    pub at: Timestamp,
    /// From where it came.
    pub source: Source,
    /// The id by which the caller, the log and the records name it.
    pub request_id: RequestId,
    /// The trace that it belongs to: the caller's, where it sent a well-formed one, or one that began here.
    pub trace: Option<TraceParent>,
}

/// From where a request came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The other end of the connection; always the real one.
    pub peer: SocketAddr,
    /// The client's address as a trusted proxy reports it; `None` where the peer is no trusted proxy.
    pub forwarded: Option<IpAddr>,
    /// The certificate that the peer has shown and whose key it holds, verified in the connection's handshake; `None` where
    /// none is asked for. No header ever stands for it.
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Source {
    /// The address that decisions look at: the reported one from a trusted proxy, else the peer's.
    pub fn address(&self) -> IpAddr {
        self.forwarded.unwrap_or_else(|| self.peer.ip())
    }
}

/// A request's id; clones share its text: the caller's `X-Request-Id` when it is `[A-Za-z0-9._-]{1,64}`, else a new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// Takes over a caller's id; `None` when it is not well formed.
    pub fn from_caller(text: &str) -> Option<Self> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(known)).then(|| Self(text.into()))
    }

    /// A new random id.
    pub fn random() -> Self {
        Self(simple(random_uuid()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A printable text of at most 200 characters is expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to 200 printable characters")]
pub struct PurposeError;

macro_rules! printable {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// The text: printable, 1 to 200 characters.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = PurposeError;

            fn from_str(text: &str) -> Result<Self, PurposeError> {
                let count = text.chars().count();
                let printable = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
                let fits = (1..=200).contains(&count) && text.chars().all(printable) && text.trim() == text;
                if fits { Ok(Self(text.to_owned())) } else { Err(PurposeError) }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

printable! {
    /// Why a recording is taken, in the caller's words.
    Purpose
}
printable! {
    /// The case that a download belongs to.
    Ticket
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_taken_over_only_when_well_formed() {
        assert!(RequestId::from_caller("web-7.a_B").is_some());
        for bad in ["", " a", "a b", "a\n", "é", &"x".repeat(65)] {
            assert_eq!(RequestId::from_caller(bad), None, "{bad:?}");
        }
        assert_ne!(RequestId::random(), RequestId::random());
        assert!(RequestId::from_caller(RequestId::random().as_str()).is_some());
    }

    #[test]
    fn r16_a_purpose_is_one_printable_line() {
        assert!("Beschwerde 4711, geprüft".parse::<Purpose>().is_ok());
        for bad in ["", " ", "a\nb", "a\u{1b}[31m", "a\u{2028}b", " a", &"x".repeat(201)] {
            assert!(bad.parse::<Purpose>().is_err(), "{bad:?}");
            assert!(bad.parse::<Ticket>().is_err(), "{bad:?}");
        }
    }
}
