//! What a person does to the log: reads it, has records erased, accepts a loss. Each is a record of its own, durable before
//! it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::oneshot;

use super::cut::{Cuts, WORDS_CHARS_MAX};
use super::keys::Keys;
use super::line::{Draft, Ledger};
use super::log::Log;
use super::notary::Notary;
use super::record::By;
use super::recover::recover;
use super::segment::{Disk, sync_dir};
use super::writer::{Erasing, Writer};
use super::{Config, Metrics, Person, StartError, Why};
use crate::clock::Clock;
use crate::trail::{ErasedLine, Head, Lines, Piece, Range, Segment, leaf_of, segments};

/// Records that one order can erase: with their leaves they fit into its line.
pub const ERASED_AT_ONCE_MAX: usize = 500;

/// Where a segment is written anew.
const DRAFT: &str = "erase.tmp";

/// An order to erase records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Their sequence numbers, at most [`ERASED_AT_ONCE_MAX`].
    pub records: BTreeSet<u64>,
    /// Why; at most 200 characters are recorded.
    pub reason: String,
    /// Who orders it.
    pub by: Person,
}

/// Why records are not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There are none, or too many of them.
    #[error("an order erases 1 to {ERASED_AT_ONCE_MAX} records")]
    Count,
    /// There is no such record.
    #[error("there is no record {0} in the log")]
    Unknown(u64),
    /// It tells of the log itself.
    #[error("record {0} tells of the log itself: without it the log could not be verified")]
    Kept(u64),
    /// The order could not be recorded and signed, so nothing was erased.
    #[error("the order was not recorded, so nothing is erased: {0}")]
    NotRecorded(Why),
    /// The order stands, and could not be carried out in full.
    #[error("record {order} orders it, and it was not carried out in full: order it again")]
    Unfinished {
        /// The order's number.
        order: u64,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The log can't be read.
    #[error("the log cannot be read")]
    Unreadable(#[source] io::Error),
}

/// The record `audit.erased`.
#[derive(Serialize)]
struct Ordered<'a> {
    erased: &'a [ErasedLine],
    #[serde(flatten)]
    why: Grounds<'a>,
}

/// A loss that is accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Signed records that are gone from the log's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<Range>,
    /// Records before them that are gone, or not those that were signed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub altered: Vec<Range>,
    /// There was no checkpoint to compare with.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub checkpoints_missing: bool,
}

/// The record `audit.loss_accepted`.
#[derive(Serialize)]
struct Accepted<'a> {
    #[serde(flatten)]
    loss: &'a Loss,
    #[serde(flatten)]
    why: Grounds<'a>,
}

/// Why a person does it.
#[derive(Serialize)]
struct Grounds<'a> {
    reason: &'a str,
    by: By<'a>,
    #[serde(skip_serializing_if = "Cuts::is_empty")]
    cut: Cuts,
}

impl<'a> Grounds<'a> {
    fn new(reason: &'a str, by: &'a Person) -> Self {
        let mut cut = Cuts::default();
        let reason = cut.words("reason", reason, WORDS_CHARS_MAX);
        Self { reason, by: By::new(by, &mut cut), cut }
    }
}

impl Log {
    /// Erases records: first an order is recorded and signed, then a line that says no more than the record's number and
    /// hash takes the place of each. Tiles and checkpoints stay, so everything else still verifies.
    ///
    /// # Errors
    /// See [`EraseError`]; what was ordered and not carried out can be ordered again.
    ///
    /// # Cancel safety
    /// Dropped before the order is queued, nothing happens; later it may be left unfinished. The next start carries out what
    /// it finds ordered.
    pub async fn erase(&self, erasure: Erasure) -> Result<u64, EraseError> {
        let Erasure { records, reason, by } = erasure;
        if records.is_empty() || records.len() > ERASED_AT_ONCE_MAX {
            return Err(EraseError::Count);
        }
        let dir = self.dir().to_path_buf();
        let found = blocking(move || find(&dir, &records)).await?;
        let told = Ordered { erased: &found, why: Grounds::new(&reason, &by) };
        let draft = self.own_draft("audit.erased", &told).ok_or(EraseError::Count)?;
        let (signed, order) = oneshot::channel();
        self.send_erasing(Erasing { draft, signed });
        // An error means that the log has stopped.
        let order = order.await.unwrap_or(Err(Why::Stopped)).map_err(EraseError::NotRecorded)?;
        let dir = self.dir().to_path_buf();
        let unfinished = move |source| EraseError::Unfinished { order, source };
        blocking(move || carry_out(&dir, &found).map_err(unfinished)).await?;
        Ok(order)
    }
}

/// Goes on with a log that lost records, which [`Log::start`] refuses. Writes a record of what is lost and signs it; the
/// next start then finds nothing wrong. `None`: nothing is lost, and nothing was written.
///
/// # Errors
/// As [`Log::start`]; a log whose tiles are lost, too, can't go on.
pub fn accept_loss(
    config: &Config,
    clock: &Clock,
    metrics: Metrics,
    reason: &str,
    by: &Person,
) -> Result<Option<Loss>, StartError> {
    let storage = Disk::open(&config.dir)?;
    let keys = Keys::read(config)?;
    let mut recovered = recover(&config.dir, &keys, true)?;
    let beginning = recovered.take_beginning();
    let checkpoints_missing = beginning.signed.is_none() && keys.is_known_here();
    let losses = std::mem::take(&mut recovered.losses);
    if losses.is_none() && !checkpoints_missing {
        return Ok(None);
    }
    let loss = Loss { missing: losses.missing, altered: losses.altered, checkpoints_missing };
    let ledger = Ledger::new(metrics);
    let told = Accepted { loss: &loss, why: Grounds::new(reason, by) };
    let failed = |source| StartError::io(&config.dir, source);
    let head = Draft::own("audit.loss_accepted", clock.now(), &told, &ledger);
    let head = head.ok_or_else(|| failed(io::Error::other("the losses are too many for one record")))?;
    let notary = Notary::new(Arc::clone(&keys.signer), beginning);
    let mut writer = Writer::new(storage, config, notary, recovered.next_seq, ledger);
    writer.begin(&keys, &recovered, clock.now(), Some(&head)).map_err(failed)?;
    head.written();
    Ok(Some(loss))
}

/// Carries out what was ordered. What is carried out already is left alone.
pub(super) fn carry_out(dir: &Path, lines: &[ErasedLine]) -> io::Result<()> {
    let mut by_segment: BTreeMap<PathBuf, Vec<&ErasedLine>> = BTreeMap::new();
    let all = segments(dir)?;
    for line in lines {
        // One that retention removed needs no erasing.
        if let Some(segment) = segment_of(&all, line.seq) {
            by_segment.entry(segment.path.clone()).or_default().push(line);
        }
    }
    by_segment.iter().try_for_each(|(path, lines)| replace(dir, path, lines))
}

/// Writes a segment anew with other lines in the place of these.
fn replace(dir: &Path, path: &Path, erased: &[&ErasedLine]) -> io::Result<()> {
    let draft = dir.join(DRAFT);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
    let mut copy = BufWriter::with_capacity(1 << 18, file);
    let mut changed = false;
    let mut lines = Lines::new(File::open(path)?);
    while let Piece::Line(line) = lines.next_piece()? {
        let head: Option<Head<'_>> = serde_json::from_slice(line).ok();
        let head = head.filter(|head| head.tombstone().is_none());
        let told =
            head.and_then(|head| erased.iter().find(|told| told.seq == head.seq && told.leaf == leaf_of(line, &head)));
        match told {
            Some(ErasedLine { seq, leaf }) => {
                changed = true;
                writeln!(copy, r#"{{"seq":{seq},"erased":true,"leaf":"{leaf}"}}"#)?;
            }
            None => copy.write_all(line).and_then(|()| copy.write_all(b"\n"))?,
        }
    }
    copy.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    if changed {
        // A crash before this line leaves the record, which the next start erases; after it, nobody finds it.
        fs::rename(&draft, path)?;
        sync_dir(dir)
    } else {
        fs::remove_file(&draft)
    }
}

/// The leaves of records.
fn find(dir: &Path, records: &BTreeSet<u64>) -> Result<Vec<ErasedLine>, EraseError> {
    let all = segments(dir).map_err(EraseError::Unreadable)?;
    records.iter().map(|seq| find_one(&all, *seq)).collect()
}

fn find_one(all: &[Segment], seq: u64) -> Result<ErasedLine, EraseError> {
    let segment = segment_of(all, seq).ok_or(EraseError::Unknown(seq))?;
    let mut lines = Lines::new(File::open(&segment.path).map_err(EraseError::Unreadable)?);
    while let Piece::Line(line) = lines.next_piece().map_err(EraseError::Unreadable)? {
        let Ok(head) = serde_json::from_slice::<Head<'_>>(line) else { continue };
        if head.seq == seq {
            let own = head.event.as_deref().is_some_and(|event| event.starts_with("audit."));
            let leaf = leaf_of(line, &head);
            return if own { Err(EraseError::Kept(seq)) } else { Ok(ErasedLine { seq, leaf }) };
        }
    }
    Err(EraseError::Unknown(seq))
}

/// The segment that holds a number: numbers from the next one's first on do not count in it.
fn segment_of(all: &[Segment], seq: u64) -> Option<&Segment> {
    all.partition_point(|segment| segment.first <= seq).checked_sub(1).and_then(|place| all.get(place))
}

/// Reading and rewriting segments takes longer than a task may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EraseError> + Send + 'static,
) -> Result<T, EraseError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| EraseError::Unreadable(io::Error::other(error)))?
}
