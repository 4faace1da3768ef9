//! Why a connection of a client ended: a closed set, for the metric and the log. It decides nothing.

use std::error::Error as StdError;
use std::io;

use super::refusal::Reason;
use super::stall::Cut;

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In order, by either side.
    Closed,
    /// No next request in time.
    Idle,
    /// A head was begun and not whole in time.
    HeadTimeout,
    /// The HTTP library refused a head.
    Refused(Reason),
    /// The client spoke HTTP/2.
    Http2,
    /// The client went away in the middle of something.
    ClientGone,
    /// The client took no byte for too long.
    ClientStall,
    /// The client took fewer bytes than it must.
    ClientSlow,
    /// The body of an answer broke off, and the connection with it.
    BrokenOff,
    /// The TLS handshake failed.
    TlsFailed,
    /// The TLS handshake was not done in time.
    TlsTimeout,
    /// Its peer has as many connections as one peer may.
    PeerLimit,
    /// It waited longest when all places were taken.
    MadeRoom,
    /// The gateway ends.
    Shutdown,
}

impl Ending {
    /// All of them, as the metric has them from the start.
    pub(super) const ALL: [Self; 16] = [
        Self::Closed,
        Self::Idle,
        Self::HeadTimeout,
        Self::Refused(Reason::BadHead),
        Self::Refused(Reason::HeadTooLarge),
        Self::Refused(Reason::TargetTooLong),
        Self::Http2,
        Self::ClientGone,
        Self::ClientStall,
        Self::ClientSlow,
        Self::BrokenOff,
        Self::TlsFailed,
        Self::TlsTimeout,
        Self::PeerLimit,
        Self::MadeRoom,
        Self::Shutdown,
    ];

    /// Its label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::HeadTimeout => "head_timeout",
            Self::Refused(Reason::BadHead) => "bad_head",
            Self::Refused(Reason::HeadTooLarge) => "head_too_large",
            Self::Refused(Reason::TargetTooLong) => "target_too_long",
            Self::Http2 => "http2",
            Self::ClientGone => "client_gone",
            Self::ClientStall => "client_stall",
            Self::ClientSlow => "client_slow",
            Self::BrokenOff => "broken_off",
            Self::TlsFailed => "tls_failed",
            Self::TlsTimeout => "tls_timeout",
            Self::PeerLimit => "peer_limit",
            Self::MadeRoom => "made_room",
            Self::Shutdown => "shutdown",
        }
    }

    /// Of a connection that the HTTP library ended with an error. `began`: the client had begun another head.
    pub(super) fn of(error: &hyper::Error, began: bool) -> Self {
        if error.is_parse_version_h2() {
            Self::Http2
        } else if error.is_parse_too_large() {
            Self::Refused(Reason::HeadTooLarge)
        } else if error.is_parse() {
            Self::Refused(Reason::BadHead)
        } else if let Some(cut) = cut(error) {
            match cut {
                Cut::Stall => Self::ClientStall,
                Cut::Slow => Self::ClientSlow,
            }
        } else if error.is_timeout() {
            if began { Self::HeadTimeout } else { Self::Idle }
        } else if error.is_user() {
            Self::BrokenOff
        } else {
            Self::ClientGone
        }
    }
}

/// Our own reason for an error of writing, wherever in the chain of causes it stands.
fn cut(error: &hyper::Error) -> Option<Cut> {
    let mut cause = error.source();
    while let Some(error) = cause {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(cut) = inner.and_then(|inner| inner.downcast_ref::<Cut>()) {
            return Some(*cut);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn r23_each_ending_has_a_label_of_its_own() {
        let labels: BTreeSet<_> = Ending::ALL.into_iter().map(Ending::as_str).collect();
        assert_eq!(labels.len(), Ending::ALL.len());
    }
}
