//! What a person does to the log: reads it, has records erased, accepts a loss. Each is a record of its own, durable before
//! it is done.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::cut::{Cuts, WORDS_CHARS_MAX};
use super::keys::Keys;
use super::line::{Draft, Ledger};
use super::log::Log;
use super::notary::Notary;
use super::record::By;
use super::recover::recover;
use super::segment::{Disk, sync_dir};
use super::writer::{Erasing, Refused, Writer};
use super::{Config, Metrics, Person, StartError, Why};
use crate::clock::Clock;
use crate::trail::{ErasedLine, Head, Lines, Piece, Range, Segment, leaf_of, segments};

/// Records that one order can erase: with their leaves they fit into its line.
pub const ERASED_AT_ONCE_MAX: usize = 500;

/// Ranges that a record of a loss names at most.
const RANGES_MAX: usize = 1_000;

/// How the name of an order begins and ends; a UUID is between.
const ORDER_PREFIX: &str = "order-";
const ORDER_SUFFIX: &str = ".json";

/// Longest order, in bytes.
const ORDER_BYTES_MAX: u64 = 64 * 1_024;

/// Where a segment is written anew. One process does so at a time, and in it one thread.
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

/// An order as it is put into a file of the log's directory, for the process that has the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderFile {
    /// The records' sequence numbers.
    pub records: BTreeSet<u64>,
    /// Why.
    pub reason: String,
    /// The name that whoever orders it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl OrderFile {
    /// Puts it into the directory under a name of its own, which it gives.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn put(&self, dir: &Path) -> io::Result<String> {
        let name = format!("{ORDER_PREFIX}{}{ORDER_SUFFIX}", uuid::Uuid::new_v4());
        // The process that has the log may be another user's; nothing in it is secret.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(dir.join(&name))?;
        file.write_all(&serde_json::to_vec(self)?)?;
        Ok(name)
    }
}

/// Why records are not erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There is no such order.
    #[error("there is no order {name} in the log's directory")]
    NoOrder {
        /// The file's name.
        name: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// There are none, or too many of them.
    #[error("an order erases 1 to {ERASED_AT_ONCE_MAX} records")]
    Count,
    /// There is no such record.
    #[error("there is no record {0} in the log")]
    Unknown(u64),
    /// It tells of the log itself.
    #[error("record {0} tells of the log itself: without it the log could not be verified")]
    Kept(u64),
    /// It is the end of a download whose beginning would stay.
    #[error("record {0} is the end of an entry whose beginning would stay: erase the whole entry")]
    End(u64),
    /// The order could not be recorded, so nothing was erased.
    #[error("the order was not recorded, so nothing is erased: {0}")]
    NotRecorded(Why),
    /// The order stands, and could not be signed, so nothing was erased yet.
    #[error("record {order} orders it, and could not be signed yet, so nothing is erased: order it again")]
    NotSigned {
        /// The order's number.
        order: u64,
    },
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
    /// As [`Log::erase`], by an order that was put into the directory. It is taken away, whatever comes of it. Who put it
    /// there is known by the file's owner.
    ///
    /// # Errors
    /// See [`EraseError`].
    ///
    /// # Cancel safety
    /// As [`Log::erase`].
    pub async fn erase_by(&self, name: &str, by: Person) -> Result<u64, EraseError> {
        let (order, uid) = take_order(self.dir(), name)
            .map_err(|source| EraseError::NoOrder { name: name.chars().take(64).collect(), source })?;
        let OrderFile { records, reason, name } = order;
        let by = Person { name: name.or(by.name), uid: Some(uid), ..by };
        self.erase(Erasure { records, reason, by }).await
    }

    /// Erases records: first an order is recorded and signed, then a line that says no more than the record's number and
    /// hash takes the place of each. Tiles and checkpoints stay, so everything else still verifies.
    ///
    /// # Errors
    /// See [`EraseError`]; what was ordered and not carried out can be ordered again.
    ///
    /// # Cancel safety
    /// What has begun goes on in a thread of its own, whoever waits for it.
    pub async fn erase(&self, erasure: Erasure) -> Result<u64, EraseError> {
        let log = self.clone();
        let done = tokio::task::spawn_blocking(move || log.erase_now(&erasure)).await;
        done.map_err(|error| EraseError::Unreadable(io::Error::other(error)))?
    }

    fn erase_now(&self, erasure: &Erasure) -> Result<u64, EraseError> {
        let Erasure { records, reason, by } = erasure;
        if records.is_empty() || records.len() > ERASED_AT_ONCE_MAX {
            return Err(EraseError::Count);
        }
        // One at a time, and none while retention removes segments.
        let _rewriting = self.rewrite();
        let found = find(self.dir(), records)?;
        let told = Ordered { erased: &found, why: Grounds::new(reason, by) };
        let draft = self.own_draft("audit.erased", &told).ok_or(EraseError::Count)?;
        let (signed, order) = oneshot::channel();
        self.send_erasing(Erasing { draft, signed });
        // An error means that the log has stopped.
        let order = match order.blocking_recv() {
            Ok(Ok(order)) => order,
            Ok(Err(Refused::NotRecorded(why))) => return Err(EraseError::NotRecorded(why)),
            Ok(Err(Refused::NotSigned { order })) => return Err(EraseError::NotSigned { order }),
            Err(_stopped) => return Err(EraseError::NotRecorded(Why::Stopped)),
        };
        carry_out(self.dir(), &found).map_err(|source| EraseError::Unfinished { order, source })?;
        self.send_erased(order);
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
    let checkpoints_missing = beginning.signed.is_none() && recovered.next_seq > 1;
    let mut losses = std::mem::take(&mut recovered.losses);
    losses.fit(RANGES_MAX);
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

/// Reads an order and takes it away.
fn take_order(dir: &Path, name: &str) -> io::Result<(OrderFile, u32)> {
    let id = name.strip_prefix(ORDER_PREFIX).and_then(|rest| rest.strip_suffix(ORDER_SUFFIX));
    if id.is_none_or(|id| id.parse::<uuid::Uuid>().is_err()) {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    let path = dir.join(name);
    // A link could lead to somebody else's file.
    let found = fs::symlink_metadata(&path)?;
    if !found.is_file() || found.len() > ORDER_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bytes = fs::read(&path);
    fs::remove_file(&path)?;
    Ok((serde_json::from_slice(&bytes?)?, found.uid()))
}

/// Carries out what was ordered. What is carried out already is left alone.
pub(super) fn carry_out(dir: &Path, lines: &[ErasedLine]) -> io::Result<()> {
    // What a crash left of another try.
    if let Err(error) = fs::remove_file(dir.join(DRAFT))
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut by_segment: BTreeMap<PathBuf, Vec<&ErasedLine>> = BTreeMap::new();
    let all = segments(dir)?;
    for line in lines {
        // One that retention removed needs no erasing.
        if let Some(segment) = segment_of(&all, line.seq) {
            by_segment.entry(segment.path.clone()).or_default().push(line);
        }
    }
    for (path, lines) in by_segment {
        // Most starts find that nothing is left to do.
        let mut left = false;
        each_line(&path, |line, head| left |= told_of(line, head, &lines).is_some())?;
        if left {
            replace(dir, &path, &lines)?;
        }
    }
    Ok(())
}

/// Writes a segment anew with other lines in the place of these.
fn replace(dir: &Path, path: &Path, erased: &[&ErasedLine]) -> io::Result<()> {
    let draft = dir.join(DRAFT);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&draft)?;
    let mut copy = BufWriter::with_capacity(1 << 18, file);
    let mut written = Ok(());
    let end = each_line(path, |line, head| {
        if written.is_ok() {
            written = match told_of(line, head, erased) {
                Some(ErasedLine { seq, leaf }) => writeln!(copy, r#"{{"seq":{seq},"erased":true,"leaf":"{leaf}"}}"#),
                None => copy.write_all(line).and_then(|()| copy.write_all(b"\n")),
            };
        }
    })?;
    written?;
    // Bytes without a line feed, of a line that was torn and does not count.
    let mut torn = File::open(path)?;
    torn.seek(SeekFrom::Start(end))?;
    io::copy(&mut torn, &mut copy)?;
    copy.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    // A crash before this line leaves the record, which the next start erases; after it, nobody finds it.
    fs::rename(&draft, path)?;
    sync_dir(dir)
}

/// The order's word on a line that is still there.
fn told_of<'a>(line: &[u8], head: Option<&Head<'_>>, erased: &[&'a ErasedLine]) -> Option<&'a ErasedLine> {
    let head = head.filter(|head| head.tombstone().is_none() && !is_own(head))?;
    erased.iter().find(|told| told.seq == head.seq && told.leaf == leaf_of(line, head)).copied()
}

/// Whether a record tells of the log itself: the log could not be verified without it.
fn is_own(head: &Head<'_>) -> bool {
    head.event.as_deref().is_some_and(|event| event.starts_with("audit."))
}

/// Goes through a segment's whole lines. Gives where they end.
fn each_line(path: &Path, mut on: impl FnMut(&[u8], Option<&Head<'_>>)) -> io::Result<u64> {
    let mut lines = Lines::new(File::open(path)?);
    loop {
        let end = lines.offset_of_next();
        match lines.next_piece()? {
            Piece::Line(line) => {
                let head: Option<Head<'_>> = serde_json::from_slice(line).ok();
                on(line, head.as_ref());
            }
            Piece::Torn | Piece::End => return Ok(end),
            Piece::TooLong => return Err(io::Error::other("a line is too long for a record")),
        }
    }
}

/// The leaves of records.
fn find(dir: &Path, records: &BTreeSet<u64>) -> Result<Vec<ErasedLine>, EraseError> {
    let all = segments(dir).map_err(EraseError::Unreadable)?;
    let (mut found, mut begun, mut ended) = (Vec::new(), BTreeSet::new(), Vec::new());
    let paths: BTreeSet<&Path> =
        records.iter().filter_map(|seq| segment_of(&all, *seq)).map(|segment| segment.path.as_path()).collect();
    let mut own = None;
    for path in paths {
        let read = each_line(path, |line, head| {
            let Some(head) = head.filter(|head| records.contains(&head.seq)) else { return };
            if is_own(head) {
                own = Some(head.seq);
            }
            match (head.event.as_deref(), head.entry.as_deref()) {
                (Some("authorized"), Some(entry)) => drop(begun.insert(entry.to_owned())),
                (Some(_), Some(entry)) => ended.push((head.seq, entry.to_owned())),
                _ => {}
            }
            found.push(ErasedLine { seq: head.seq, leaf: leaf_of(line, head) });
        });
        read.map_err(EraseError::Unreadable)?;
    }
    if let Some(seq) = own {
        return Err(EraseError::Kept(seq));
    }
    // A start would take the beginning for one that a crash left open, and give it an end.
    if let Some((seq, _)) = ended.iter().find(|(_, entry)| !begun.contains(entry)) {
        return Err(EraseError::End(*seq));
    }
    match records.iter().find(|seq| !found.iter().any(|line| line.seq == **seq)) {
        Some(seq) => Err(EraseError::Unknown(*seq)),
        None => Ok(found),
    }
}

/// The segment that holds a number: numbers from the next one's first on do not count in it.
fn segment_of(all: &[Segment], seq: u64) -> Option<&Segment> {
    all.partition_point(|segment| segment.first <= seq).checked_sub(1).and_then(|place| all.get(place))
}
