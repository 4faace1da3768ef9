//! How a download ended, as the relay tells it. It decides nothing and writes nothing.

use std::time::Duration;

use crate::cc::Retcode;

use super::Digest;

/// The end of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// What the upstream answered; `None` where it was not reached.
    pub upstream: Option<UpstreamAnswer>,
    /// What was handed over.
    pub delivery: Delivery,
}

/// How a download ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every byte that the upstream sent was taken by the client's connection.
    Finished,
    /// Somebody on this side ended it.
    Aborted {
        /// Who.
        by: By,
    },
    /// It could not be completed.
    Failed {
        /// Why.
        reason: FailReason,
    },
}

/// Who ended a download before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The client left or stopped reading.
    Client,
    /// The drain's deadline passed.
    Shutdown,
}

/// Why a download failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailReason {
    /// The body broke off.
    UpstreamTruncated,
    /// The body fell silent.
    UpstreamIdle,
    /// The gateway answered with a result code.
    UpstreamRefused,
    /// No connection.
    UpstreamUnreachable,
    /// The gateway's certificate was not trusted.
    UpstreamUntrusted,
    /// No response head in time.
    UpstreamTimeout,
    /// The answer made no sense.
    UpstreamProtocol,
    /// The session was lost, and the fresh one did not help.
    SessionLost,
    /// The part that was asked for does not exist.
    RangeNotSatisfiable,
    /// A fresh session was needed and could not be had.
    SessionUnavailable,
    /// The opener had been refused when its record became durable; nothing was fetched.
    AuditUnavailable,
    /// The entry was dropped without an end: a defect of ours.
    Dropped,
    /// The task that held the entry panicked: a defect of ours.
    Panic,
}

/// What the upstream answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamAnswer {
    /// HTTP status.
    pub status: u16,
    /// The result code, where the answer had one.
    pub retcode: Option<Retcode>,
    /// The upstream's free text; the record keeps its first 200 characters, escaped. Empty: none.
    pub message: String,
}

/// What was handed over to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What kind of answer the client got.
    pub class: Class,
    /// Body bytes read from the upstream.
    pub upstream_bytes: u64,
    /// Body bytes handed to the client's connection.
    pub client_bytes: u64,
    /// The range that the client asked for.
    pub range: Option<String>,
    /// The range that the upstream sent.
    pub content_range: Option<String>,
    /// Whether the client's connection took all of the body.
    pub complete: bool,
    /// The digest of the bytes handed over. [`Digest::None`] is written as no digest.
    pub digest: Option<(Digest, [u8; 32])>,
    /// From the start of the entry to the first byte handed over.
    pub first_byte: Option<Duration>,
    /// From the start of the entry to its end.
    pub duration: Duration,
}

/// What kind of answer a client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A recording.
    Media,
    /// A problem.
    Error,
    /// No body at all.
    Empty,
}

impl Delivery {
    /// Nothing was handed over.
    pub const fn nothing(duration: Duration) -> Self {
        Self {
            class: Class::Empty,
            upstream_bytes: 0,
            client_bytes: 0,
            range: None,
            content_range: None,
            complete: false,
            digest: None,
            first_byte: None,
            duration,
        }
    }
}

impl Outcome {
    /// The outcome's name, which is the event of its record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Aborted { .. } => "aborted",
            Self::Failed { .. } => "failed",
        }
    }

    /// Its reason: who aborted it or why it failed.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Finished => None,
            Self::Aborted { by } => Some(by.as_str()),
            Self::Failed { reason } => Some(reason.as_str()),
        }
    }
}

impl By {
    /// The name in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Shutdown => "shutdown",
        }
    }
}

impl FailReason {
    /// The name in records and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UpstreamTruncated => "upstream_truncated",
            Self::UpstreamIdle => "upstream_idle",
            Self::UpstreamRefused => "upstream_refused",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::UpstreamUntrusted => "upstream_untrusted",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamProtocol => "upstream_protocol",
            Self::SessionLost => "session_lost",
            Self::RangeNotSatisfiable => "range_not_satisfiable",
            Self::SessionUnavailable => "session_unavailable",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Dropped => "dropped",
            Self::Panic => "panic",
        }
    }
}

impl Class {
    /// The name in records.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Media => "media",
            Self::Error => "error",
            Self::Empty => "empty",
        }
    }
}
