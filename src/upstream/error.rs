//! Why a call gave nothing, in words that decide what to do next.

use std::fmt;
use std::time::Duration;

use http::{Extensions, StatusCode};

use crate::cc::Retcode;
use crate::net;

/// Why a call of the gateway gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made, so nothing was sent.
    #[error("the gateway cannot be reached")]
    Unreachable {
        /// What the network says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The gateway's certificate does not verify.
    #[error("the gateway is not trusted")]
    Untrusted {
        /// What the network says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No answer in time. Whether the gateway acted is unknown.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// The connection was closed before a whole head of an answer. Whether the gateway acted is unknown.
    #[error("the gateway closed the connection before an answer")]
    Closed {
        /// What the network says.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// The connection had been used before, and not a byte of an answer came: most likely it was closed for its age.
        stale: bool,
    },
    /// The body broke off before its first byte could be handed on.
    #[error("the gateway's answer broke off")]
    Truncated {
        /// What the network says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer is none that the gateway's manual knows.
    #[error("the gateway's answer is not understood: {0}")]
    Protocol(&'static str),
    /// The answer is an HTTP failure.
    #[error("the gateway answered with status {0}")]
    Status(StatusCode),
    /// The gateway says no, with HTTP 200 and a result code.
    #[error("the gateway refused with {retcode}")]
    Refused {
        /// The result code.
        retcode: Retcode,
        /// The gateway's free text: for the log and the audit record only.
        message: String,
    },
    /// Not asked: the gateway is left alone for a while. Nothing was sent, so nothing can have come of it.
    #[error("the gateway is left alone for a while: {why}")]
    Resting {
        /// What it did until then.
        why: Rest,
        /// When asking again makes sense; at most 30 s.
        retry_after: Duration,
    },
}

/// Why the gateway is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rest {
    /// Call after call got no answer.
    Unanswered,
    /// Sign-in after sign-in was answered with `000-004`.
    Switching,
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unanswered => "it does not answer",
            Self::Switching => "it is switching over",
        })
    }
}

impl Error {
    /// The result code, where the gateway gave one.
    pub const fn retcode(&self) -> Option<&Retcode> {
        match self {
            Self::Refused { retcode, .. } => Some(retcode),
            _ => None,
        }
    }

    /// Whether a download may be asked for once more: a connection that had been used before ended without a byte of an
    /// answer (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1). Over a fresh one it is the gateway that broke off.
    pub const fn may_retry(&self) -> bool {
        matches!(self, Self::Closed { stale: true, .. })
    }

    /// Gives the connection up that an answer came over, unless it is one that the gateway's manual knows.
    pub(super) fn give_up(&self, connection: &Extensions) {
        if !matches!(self, Self::Refused { .. }) {
            net::give_up(connection);
        }
    }

    /// Whether it is certain that nothing of the call was sent, so that another URL may be asked.
    pub fn is_unsent(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Resting { .. } => true,
            Self::Untrusted { source } => source.downcast_ref::<net::Error>().is_some_and(net::Error::is_unsent),
            _ => false,
        }
    }
}

impl From<net::Error> for Error {
    fn from(error: net::Error) -> Self {
        match error {
            net::Error::Unreachable(_) => Self::Unreachable { source: Box::new(error) },
            net::Error::Untrusted(_) => Self::Untrusted { source: Box::new(error) },
            net::Error::Timeout => Self::Timeout,
            net::Error::Closed { stale, .. } => Self::Closed { source: Box::new(error), stale },
            net::Error::Interim => Self::Protocol("there are too many interim answers before it"),
            net::Error::Framing => Self::Protocol("its length is given in more than one way"),
            net::Error::Protocol(_) => Self::Protocol("it is not HTTP"),
            net::Error::Status(status) => Self::Status(status),
            net::Error::TooLarge(_) => Self::Protocol("it is longer than an answer can be"),
        }
    }
}
