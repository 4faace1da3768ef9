//! What the writer does beside writing: it looks at the disk, signs, removes what is old, and makes room for an erasure. Nobody
//! waits for it but who asked for it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::message::{Batch, Refused};
use super::{Draft, Erasing, Health, Writer};
use crate::audit::Why;
use crate::audit::fault::Fault;
use crate::audit::notary::{TILES_WAITING_MAX, keep_notes};
use crate::audit::segment::Storage;
use crate::audit::status::Status;
use crate::tlog::VerifierKey;
use crate::trail::{Lines, Piece, Range, Segment, first_seq, segments};

/// How often segments are looked through for old ones, in seconds.
const PRUNE_INTERVAL: i64 = 3_600;

/// Free space is looked at whenever this part of the reserve was written.
const RESERVE_PARTS: u64 = 16;
/// But not for less than this, in bytes.
const LOOK_BYTES_MIN: u64 = 64 << 10;

/// The record `audit.pruned`: these records are removed, because they are old.
#[derive(Serialize)]
struct Pruned {
    #[serde(flatten)]
    range: Range,
    segments: usize,
}

/// The record `audit.key_changed`.
#[derive(Serialize)]
pub(super) struct KeyChanged {
    old: String,
    new: String,
}

impl KeyChanged {
    pub(super) fn new(old: &VerifierKey, new: &VerifierKey) -> Self {
        Self { old: old.to_string(), new: new.to_string() }
    }
}

impl<S: Storage> Writer<S> {
    /// Notices on an idle log, too, that the disk fills up or that the file is gone.
    pub(in crate::audit) fn look_around(&mut self, status: &Status) {
        self.look_for_space(status);
        if matches!(self.health, Health::Healthy)
            && let Err(damage) = self.storage.check()
        {
            self.fail(&Fault::Damage(damage), status);
        }
    }

    fn look_for_space(&mut self, status: &Status) {
        self.written_since_looked = 0;
        if let Ok(free) = self.storage.free_bytes() {
            self.ledger.metrics.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
            let min = self.config.free_bytes_min;
            status.disk_low((free < min).then(|| format!("the audit volume has {free} bytes free, less than {min}")));
        }
    }

    /// Looks before the next tick where much was written: between two ticks a busy log could use up all of the reserve.
    pub(super) fn look_for_space_if_much_was_written(&mut self, status: &Status) {
        self.written_since_looked = self.written_since_looked.saturating_add(self.buffer.len() as u64);
        if self.written_since_looked > (self.config.free_bytes_min / RESERVE_PARTS).max(LOOK_BYTES_MIN) {
            self.look_for_space(status);
        }
    }

    pub(super) fn sign_if_due(&mut self, status: &Status) {
        if self.notary.is_due(self.now, self.config.checkpoint_interval) {
            self.sign(status);
        }
    }

    /// Signs what there is. Returns whether all of it is signed now.
    pub(super) fn sign(&mut self, status: &Status) -> bool {
        self.try_sign(status).is_ok()
    }

    /// As [`Self::sign`], so that it is to be seen for ever.
    fn sign_order(&mut self, status: &Status) -> bool {
        self.sign(status) && keep_notes(&mut self.storage).is_ok()
    }

    /// As [`Self::sign`], with the reason.
    pub(super) fn try_sign(&mut self, status: &Status) -> io::Result<()> {
        // A start has to find entries without an end, and orders that are not carried out.
        let lowest_open = self.open.first().into_iter().chain(self.unfinished.first()).min().copied();
        let signed = self.notary.sign(&mut self.storage, self.now, lowest_open);
        let metrics = &self.ledger.metrics;
        match &signed {
            Ok(Some(signed)) => {
                // Whoever has the key could write another history into these files. What is printed is out of reach.
                tracing::info!(size = signed.size, note = %signed.note, "audit checkpoint");
                status.signed(signed.clone());
                metrics.checkpoint_time.set(self.now.as_second());
            }
            Ok(None) => metrics.checkpoint_time.set(self.now.as_second()),
            Err(error) => {
                tracing::warn!(%error, "the audit log cannot be signed now: it is tried again");
                metrics.checkpoint_failures.inc();
            }
        }
        metrics.unsigned.set(i64::try_from(self.notary.unsigned()).unwrap_or(i64::MAX));
        let full = || format!("the audit log cannot be signed: more than {TILES_WAITING_MAX} tiles wait");
        status.unsigned(self.notary.is_full().then(full));
        signed.map(drop)
    }

    /// Writes an order to erase as the first record of a segment, so that the records that it names are in others.
    pub(super) fn erase(&mut self, erasing: Erasing, status: &Status) {
        let Erasing { draft, signed } = erasing;
        if signed.is_closed() {
            // Whoever gave it will not carry it out.
            return;
        }
        if !self.write_batch(Batch { fresh: true, ..Batch::of(draft) }, status) {
            let _ = signed.send(Err(Refused::NotRecorded(Why::Broken)));
            return;
        }
        let order = self.durable;
        self.unfinished.insert(order);
        let done = if self.sign_order(status) { Ok(order) } else { Err(Refused::NotSigned { order }) };
        if signed.send(done).is_err() || done.is_err() {
            self.unfinished.remove(&order);
        }
    }

    pub(super) fn refuse_erasing(&mut self) {
        for erasing in std::mem::take(&mut self.erasing) {
            let _ = erasing.signed.send(Err(Refused::NotRecorded(Why::Broken)));
        }
    }

    pub(super) fn prune_if_due(&mut self, status: &Status) {
        let since = self.now.duration_since(self.pruned_at).as_secs();
        if self.config.retention.is_none() || (0..PRUNE_INTERVAL).contains(&since) {
            return;
        }
        self.pruned_at = self.now;
        if let Err(error) = self.prune(status) {
            tracing::warn!(%error, "old audit segments cannot be removed now: it is tried again in an hour");
        }
    }

    /// Removes the segments whose last record is older than may be. First that is recorded and signed: a verifier tells
    /// it from a theft by that record alone.
    fn prune(&mut self, status: &Status) -> io::Result<()> {
        let Some(_rewriting) = status.rewrite_now() else {
            // An erasure is under way; the next tick tries again.
            self.pruned_at = jiff::Timestamp::UNIX_EPOCH;
            return Ok(());
        };
        let shipped = self.config.ships.then(|| *status.shipping().borrow());
        let old = self.old_segments(shipped)?;
        let Some(end) = old.last() else { return Ok(()) };
        // From the first number on: this record stands for those before it, whose segments will be removed in their turn.
        let (range, segments) = (Range { first: 1, last: end.1.saturating_sub(1) }, old.len());
        let told = Pruned { range, segments };
        let Some(head) = Draft::own("audit.pruned", self.now, &told, &self.ledger) else { return Ok(()) };
        if !self.notary.keep_leaves(&mut self.storage, range.last)? {
            return Err(io::Error::other("tiles of them may not be durable, which the next start mends"));
        }
        // The first of its segment, where a start finds it.
        let told = self.write_batch(Batch { fresh: true, ..Batch::of(head) }, status) && self.sign_order(status);
        if !told {
            return Ok(());
        }
        // A crash from here on leaves segments that the next pruning removes.
        for path in torn_up_to(&self.config.dir, range.last)? {
            self.storage.remove(&path)?;
        }
        for name in old.iter().filter_map(|(segment, _)| segment.path.file_name()) {
            self.storage.remove(Path::new(name))?;
        }
        self.storage.sync_names()
    }

    /// The oldest segments, each with the first number of the next one. What is to be shipped and is not stays.
    fn old_segments(&self, shipped: Option<u64>) -> io::Result<Vec<(Segment, u64)>> {
        let Some(retention) = self.config.retention else { return Ok(Vec::new()) };
        let all = segments(&self.config.dir)?;
        let mut old = Vec::new();
        for pair in all.windows(2) {
            let [segment, next] = pair else { break };
            let in_use = next.first > self.segment_first || self.open.first().is_some_and(|open| *open < next.first);
            let unshipped = shipped.is_some_and(|shipped| next.first > shipped.saturating_add(1));
            let Some(ended) = first_time(&next.path)? else { break };
            let age = self.now.duration_since(ended);
            if in_use || unshipped || age.is_negative() || age.unsigned_abs() <= retention {
                break;
            }
            old.push((segment.clone(), next.first));
        }
        Ok(old)
    }
}

#[derive(Deserialize)]
struct Stamped {
    ts: jiff::Timestamp,
}

/// Lines of a segment that are looked at for a time: an erased one has none.
const STAMPED_WITHIN: usize = 64;

/// The time of a segment's first record that has one; `None`: it begins with too many that were erased.
fn first_time(path: &Path) -> io::Result<Option<jiff::Timestamp>> {
    let mut lines = Lines::new(File::open(path)?);
    for _ in 0..STAMPED_WITHIN {
        let Piece::Line(line) = lines.next_piece()? else { return Ok(None) };
        if let Ok(stamped) = serde_json::from_slice::<Stamped>(line) {
            return Ok(Some(stamped.ts));
        }
    }
    Ok(None)
}

/// The files that hold what was moved out of segments with no number beyond `last`.
fn torn_up_to(dir: &Path, last: u64) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let segment = name.to_str().and_then(|name| name.split_once(".torn-")).map(|(segment, _)| segment);
        if segment.and_then(first_seq).is_some_and(|first| first <= last) {
            names.push(PathBuf::from(name));
        }
    }
    Ok(names)
}
