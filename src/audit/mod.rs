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
//! - Invariant: every record fits into a line. Texts that somebody else chose are cut, and the record names its cut fields.
//! - Invariant: no record is dropped without `ccgate_audit_records_lost_total` (a draft that is dropped counts itself).

mod budgets;
mod cut;
mod deeds;
mod end;
mod entry;
mod event;
mod fault;
#[cfg(test)]
mod faulty;
mod flood;
mod keys;
mod line;
mod log;
mod metrics;
mod notary;
mod pseudonym;
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

pub use deeds::{ERASED_AT_ONCE_MAX, EraseError, Erasure, Loss, OrderFile, accept_loss};
pub use end::{By, Class, Delivery, End, FailReason, Outcome, UpstreamAnswer};
pub use entry::{EntryId, OpenEntry, SessionUse};
pub use event::{AdminDeed, ConfigChange, Event, Person, Refusal, SessionChange};
pub use log::{Ended, Log, NotePlace};
pub use metrics::Metrics;
pub use pseudonym::{PseudonymError, Pseudonyms};
pub use segment::{Damage, Disk, Storage, is_held, was_held};
pub use start_error::StartError;
pub use status::{Progress, Signed};

/// Where and how the log is kept.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory of the segments. It must exist, and no other process may write there.
    pub dir: PathBuf,
    /// The key that signs the log: Ed25519, PKCS#8 PEM.
    pub signing_key_file: PathBuf,
    /// Verifier keys that signed before, one a line. A checkpoint by any other key stops the start.
    pub verifier_keys_file: Option<PathBuf>,
    /// The log's name, and its key's; `None`: the directory's, a random one where it is new.
    pub origin: Option<String>,
    /// Between two checkpoints, at least; 250 ms is what the writer can keep.
    pub checkpoint_interval: Duration,
    /// How long an opener waits for its record to be durable before it is refused.
    pub write_timeout: Duration,
    /// Entries open at once, at least 1. Each holds its place from `authorized` until its end is durable.
    pub entries_max: usize,
    /// The digest of the bytes handed to the client; the relay computes it.
    pub digest: Digest,
    /// A segment that is as long as this, in bytes, gets a successor. One batch can exceed it.
    pub segment_bytes_max: u64,
    /// A segment that is as old as this gets a successor, at the next number that begins a tile; twice as old, at once.
    pub segment_age_max: Duration,
    /// Segments whose last record is older are removed; `None`: never.
    pub retention: Option<Duration>,
    /// Below this much free space, in bytes, no entry is opened; ends are still written.
    pub free_bytes_min: u64,
    /// Turns subjects and recordings into pseudonyms; `None`: records name them.
    pub pseudonyms: Option<Pseudonyms>,
    /// When an entry is open.
    pub durability: Durability,
    /// Whether somebody ships the log and tells by [`Log::shipped`]: nothing is removed before.
    pub ships: bool,
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
    /// So many records could not be signed that no more may come.
    Unsigned,
    /// Free space is below the configured minimum.
    DiskLow,
    /// The record was not shipped in time, or nothing can be shipped now. A durable one gets its end without the opener.
    NotShipped,
    /// As many entries as are allowed at once stayed open for the whole wait, or as many other records waited.
    Full,
    /// The log was shut down.
    Stopped,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "the record was not durable in time",
            Self::Broken => "it cannot be written",
            Self::Stalled => "the disk does not answer",
            Self::Unsigned => "it cannot be signed",
            Self::DiskLow => "the disk is nearly full",
            Self::NotShipped => "the record was not shipped in time",
            Self::Full => "too many entries are open, or too many records wait",
            Self::Stopped => "it was shut down",
        })
    }
}

/// A new key, as `openssl genpkey -algorithm ed25519` makes one.
#[cfg(test)]
pub(crate) fn new_key_pem() -> String {
    use base64::Engine as _;
    let random = aws_lc_rs::rand::SystemRandom::new();
    let der = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
    let base64 = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n")
}

/// A log as tests want it, with the key that all of them share.
#[cfg(test)]
pub(crate) fn test_config(dir: &std::path::Path) -> Config {
    static KEY: std::sync::LazyLock<tempfile::NamedTempFile> = std::sync::LazyLock::new(|| {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), new_key_pem()).expect("written");
        file
    });
    Config {
        dir: dir.to_path_buf(),
        signing_key_file: KEY.path().to_path_buf(),
        verifier_keys_file: None,
        origin: Some("ccgate.example/audit".to_owned()),
        checkpoint_interval: Duration::from_millis(250),
        write_timeout: Duration::from_secs(2),
        entries_max: 1_024,
        digest: Digest::Sha256,
        segment_bytes_max: 1 << 20,
        segment_age_max: Duration::from_hours(24),
        retention: None,
        free_bytes_min: 0,
        pseudonyms: None,
        durability: Durability::Local,
        ships: false,
    }
}
