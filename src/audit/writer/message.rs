//! What reaches the writer and what waits in it. No logic.

use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::audit::Why;
use crate::audit::entry::{Facts, Live, OpenEntry};
use crate::audit::line::Draft;
use crate::audit::log::Ended;
use crate::room::Place;

/// What reaches the writer.
#[derive(Debug)]
pub(in crate::audit) enum Message {
    Open(Box<Opening>),
    Line(Line),
    Erase(Box<Erasing>),
    /// An order to erase is carried out.
    Erased {
        order: u64,
    },
    /// Look at the file and the disk, and mend what is broken.
    Tick {
        at: Timestamp,
    },
    /// Write what is queued and the stop record, then end.
    Stop {
        at: Timestamp,
        reply: oneshot::Sender<Ended>,
    },
}

/// An entry that is to be opened.
#[derive(Debug)]
pub(in crate::audit) struct Opening {
    pub(in crate::audit) draft: Draft,
    pub(in crate::audit) facts: Box<Facts>,
    pub(in crate::audit) live: Live,
    pub(in crate::audit) reply: oneshot::Sender<Result<OpenEntry, Why>>,
}

/// Any other record.
#[derive(Debug)]
pub(in crate::audit) struct Line {
    pub(in crate::audit) draft: Draft,
    /// Its place in the queue's bound, given back when it is durable or lost.
    pub(in crate::audit) permit: Option<Place>,
    /// The number of the `authorized` that it is the end of.
    pub(in crate::audit) ends: Option<u64>,
    /// Told its number when it is durable; dropped when that can take long.
    pub(in crate::audit) durable: Option<oneshot::Sender<u64>>,
}

/// Why an order to erase is not to be carried out.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit) enum Refused {
    /// It is not in the log.
    NotRecorded(Why),
    /// It is, and could not be signed yet.
    NotSigned { order: u64 },
}

/// An order to erase records.
#[derive(Debug)]
pub(in crate::audit) struct Erasing {
    pub(in crate::audit) draft: Draft,
    /// Told the order's number when it is signed. From then on the records' segments are not written any more.
    pub(in crate::audit) signed: oneshot::Sender<Result<u64, Refused>>,
}

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Queued {
    Open(Box<Opening>),
    Line(Line),
}

impl Queued {
    pub(super) const fn draft(&self) -> &Draft {
        match self {
            Self::Open(opening) => &opening.draft,
            Self::Line(line) => &line.draft,
        }
    }

    /// Whether somebody waits until it is durable.
    pub(super) const fn is_awaited(&self) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Line(line) => line.durable.is_some(),
        }
    }
}

/// What is written at once.
pub(super) struct Batch {
    /// A record of the writer's own, which comes first.
    pub(super) head: Option<Draft>,
    /// How many of the queued records.
    pub(super) count: usize,
    /// The lost records that the head tells of.
    pub(super) lost: u64,
    /// It begins a segment.
    pub(super) fresh: bool,
}

impl Batch {
    pub(super) const fn of(head: Draft) -> Self {
        Self { head: Some(head), count: 0, lost: 0, fresh: false }
    }
}
