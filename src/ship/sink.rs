//! What takes records: the interface of the engines, and what can go wrong with one. It knows no engine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// Something that is shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record {
        /// Its sequence number.
        seq: u64,
        /// What it records; `erased` for a line that stands in for an erased record.
        event: String,
        /// When it was made. An erased one does not tell.
        ts: Option<Timestamp>,
        /// Its line, without the line feed: the very bytes that the log's tree is over.
        line: Bytes,
    },
    /// A signed checkpoint.
    Checkpoint {
        /// How many records it is over.
        size: u64,
        /// The signed note.
        note: Arc<str>,
    },
}

/// What a sink tells of an item that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// It is kept.
    Kept,
    /// It was kept before.
    Duplicate,
}

/// Waits until an item is kept. Whoever drops it does not know.
pub type Ack = BoxFuture<'static, Result<Receipt, Error>>;

/// Which engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// NATS JetStream.
    Nats,
    /// Standard output.
    Stdout,
}

/// Takes items. The shipper gives every wait its own deadline and drops what is not done by then; after an error, or such a
/// deadline, it calls [`Sink::connect`] and sends again all that was not acknowledged.
pub trait Sink: Send + 'static {
    /// Which engine it is.
    fn kind(&self) -> Kind;

    /// How long any one wait may take: connecting, handing over, an acknowledgement.
    fn patience(&self) -> Duration;

    /// Makes it ready; what was there before is given up.
    fn connect(&mut self) -> BoxFuture<'_, Result<(), Error>>;

    /// Ready when what [`Sink::connect`] made is gone, so that it is known before the next item; never for a sink that
    /// cannot tell.
    fn gone(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    /// Hands an item over; ready when it is on its way.
    fn publish(&mut self, item: &Item) -> BoxFuture<'_, Result<Ack, Error>>;
}

/// Why a sink does not take items. The text is shown to anyone: no address with a password, nothing of a record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The connection is gone.
    #[error("the connection is lost")]
    Lost,
    /// A file that it needs can't be used.
    #[error("it cannot be set up")]
    SetUp(#[source] super::SetUpError),
    /// No connection comes about.
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No stream takes the subject.
    #[error("no stream takes the subject {0}: create one")]
    NoStream(String),
    /// It refuses an item.
    #[error("a record is not taken")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Standard output can't be written.
    #[error("standard output cannot be written")]
    Write(#[source] std::io::Error),
    /// Whoever reads standard output has stopped.
    #[error("standard output is blocked: nobody reads it")]
    Blocked,
}

impl Item {
    /// Bytes of its content.
    pub fn len(&self) -> usize {
        match self {
            Self::Record { line, .. } => line.len(),
            Self::Checkpoint { note, .. } => note.len(),
        }
    }

    /// Whether there is nothing in it; no record is so.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it records.
    pub fn event(&self) -> &str {
        match self {
            Self::Record { event, .. } => event,
            Self::Checkpoint { .. } => "checkpoint",
        }
    }

    /// Its id, under which a stream knows it again.
    pub fn id(&self, origin: &str) -> String {
        match self {
            Self::Record { seq, .. } => format!("{origin}/{seq}"),
            Self::Checkpoint { size, .. } => format!("{origin}/checkpoint/{size}"),
        }
    }
}

impl Kind {
    /// The engine's name in metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nats => "nats",
            Self::Stdout => "stdout",
        }
    }
}

/// An error with its causes, on one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries print their cause as well as handing it out.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
