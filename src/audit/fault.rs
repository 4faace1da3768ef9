//! What can go wrong with the file, and the gap record that tells of it. It mends nothing.

use std::io;

use serde::Serialize;

use super::segment::Damage;
use crate::trail::{Range, segment_name};

/// What the gap record will say.
#[derive(Debug)]
pub(super) struct Gap {
    reason: &'static str,
    void_first: u64,
    pub(super) missing: Option<Range>,
    segment: String,
}

/// The record `audit.gap`.
#[derive(Serialize)]
pub(super) struct GapRecord<'a> {
    reason: &'static str,
    /// Records that are gone and that no earlier gap record told of.
    lost: u64,
    /// Numbers whose lines failed: they may stand at the end of the segment before, and do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    void: Option<Range>,
    /// Durable lines that somebody took away.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<&'a str>,
}

/// What went wrong in a batch.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no new audit segment can be begun: {0}")]
    Rotate(io::Error),
    #[error("the audit log cannot be written: {0}")]
    Append(io::Error),
    #[error("the audit log cannot be made durable: {0}")]
    Sync(io::Error),
    #[error("the audit log is not as it was left: {0}")]
    Damage(Damage),
    #[error("the system gives no random numbers for the audit log")]
    Random,
    #[error("the audit log's writer met a defect")]
    Panic,
}

impl Gap {
    /// A segment that begins with `segment_first` failed behind the record `durable`.
    pub(super) fn new(fault: &Fault, segment_first: u64, durable: u64) -> Self {
        let gone = matches!(fault, Fault::Damage(_)) && segment_first <= durable;
        Self {
            reason: fault.word(),
            void_first: durable.saturating_add(1),
            missing: gone.then_some(Range { first: segment_first, last: durable }),
            segment: segment_name(segment_first),
        }
    }

    /// The record with the number `seq`, which makes everything before it that failed void.
    pub(super) fn record(&self, lost: u64, seq: u64) -> GapRecord<'_> {
        let void = Range { first: self.void_first, last: seq.saturating_sub(1) };
        GapRecord {
            reason: self.reason,
            lost,
            void: (void.first <= void.last).then_some(void),
            missing: self.missing,
            segment: Some(&self.segment),
        }
    }
}

impl GapRecord<'_> {
    /// Records were dropped while the file was sound.
    pub(super) const fn dropped(lost: u64) -> Self {
        Self { reason: "records_dropped", lost, void: None, missing: None, segment: None }
    }
}

impl Fault {
    /// The reason in the gap record.
    fn word(&self) -> &'static str {
        match self {
            Self::Rotate(error) | Self::Append(error) | Self::Sync(error) => match (self, error.kind()) {
                (_, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => "disk_full",
                (_, io::ErrorKind::ReadOnlyFilesystem) => "read_only",
                (Self::Sync(_), _) => "sync_failed",
                (_, _) => "write_failed",
            },
            Self::Damage(Damage::Deleted) => "segment_deleted",
            Self::Damage(Damage::Replaced) => "segment_replaced",
            Self::Damage(Damage::Cut) => "segment_cut",
            Self::Damage(Damage::Io(_)) => "segment_unreadable",
            Self::Random => "no_random_numbers",
            Self::Panic => "writer_panic",
        }
    }

    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Rotate(error) | Self::Append(error) | Self::Sync(error) => error,
            Self::Damage(_) | Self::Random | Self::Panic => io::Error::other(self),
        }
    }
}
