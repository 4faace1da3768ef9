//! The record: who took which recording, durable before the upstream is asked. It never talks to a network and never
//! sees a Guid, a token or a password.
//!
//! ```text
//! Log::open --queued--> [one write, one fdatasync] --> OpenEntry --close(end) or drop--> [next batch] --> closed
//!    |                        | write failed, deadline      | process dies
//!    v                        v                             v
//!  refused (503)     refused (503); what reached the      next start writes `unknown`
//!                    disk late gets its end all the same
//! ```
//!
//! One JSON object a line in segment files `audit-<first seq, 20 digits>.jsonl`. One thread writes; a batch is what
//! queued up while the last `fdatasync` ran.
//!
//! - Invariant: exactly one end for each `authorized` that counts, whatever fails.
//! - Invariant: a sequence number is never used twice. Numbers whose lines failed are named `void` by the gap record
//!   that opens the next segment; such lines do not count, and the next start moves them aside.
//! - Invariant: no record is dropped without `ccgate_audit_records_lost_total` (a draft that is dropped counts itself).

mod end;
mod entry;
mod event;
mod fault;
#[cfg(test)]
mod faulty;
mod flood;
mod line;
mod log;
mod metrics;
mod record;
mod recover;
mod segment;
mod start_error;
mod status;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

pub use end::{By, Class, Delivery, End, FailReason, Outcome, UpstreamAnswer};
pub use entry::{EntryId, OpenEntry, SessionUse};
pub use event::{AdminDeed, ConfigChange, Event, Refusal, SessionChange};
pub use log::{Ended, Log};
pub use metrics::Metrics;
pub use segment::{Damage, Disk, Storage};
pub use start_error::StartError;
pub use status::{Progress, Signed};

/// Where and how the log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The directory of the segments. It must exist, and no other process may write there.
    pub dir: PathBuf,
    /// How long an opener waits for its record to be durable before it is refused.
    pub write_timeout: Duration,
    /// Entries open at once, at least 1. Each holds its place from `authorized` until its end is durable.
    pub entries_max: usize,
    /// The digest of the bytes handed to the client; the relay computes it.
    pub digest: Digest,
    /// A segment that is as long as this, in bytes, gets a successor. One batch can exceed it.
    pub segment_bytes_max: u64,
    /// Below this much free space, in bytes, no entry is opened; ends are still written.
    pub free_bytes_min: u64,
    /// When an entry is open.
    pub durability: Durability,
}

/// When an entry is open, so that the upstream may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Its record is durable here.
    Local,
    /// It is, and whoever ships the log has told that the record is kept elsewhere too ([`Log::shipped`]).
    Shipped,
}

/// A digest of the bytes handed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// BLAKE3.
    Blake3,
    /// No digest.
    None,
}

/// Why the log does not take an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The record cannot be made durable now. Nothing may be asked of the upstream.
    #[error("the audit log takes no entry now: {0}")]
    Unavailable(Why),
}

/// What keeps the log from taking an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The record was not durable in time. If it reaches the disk later it gets its end without the opener.
    TimedOut,
    /// Writing failed; a new segment is tried until one can be written.
    Broken,
    /// The writer has not answered for longer than the write timeout: the disk hangs.
    Stalled,
    /// Free space is below the configured minimum.
    DiskLow,
    /// The record was not shipped in time, or nothing can be shipped now. A durable one gets its end without the opener.
    NotShipped,
    /// As many entries as are allowed at once stayed open for the whole wait.
    Full,
    /// The record would be longer than a line may be (some 53,000 bytes).
    TooLong,
    /// The log was shut down.
    Stopped,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the record was not durable in time",
            Self::Broken => "it cannot be written",
            Self::Stalled => "the disk does not answer",
            Self::DiskLow => "the disk is nearly full",
            Self::NotShipped => "the record was not shipped in time",
            Self::Full => "too many entries are open",
            Self::TooLong => "the record is too long",
            Self::Stopped => "it was shut down",
        })
    }
}
