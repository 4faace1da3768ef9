//! The one thread that writes: a batch, one write, one `fdatasync`, then the answers, then the tree. It has no clock and no
//! network.
//!
//! ```text
//!            write, sync or check failed; a panic
//! Healthy ---------------------------------------> Broken: opens are refused, the rest is kept (bounded by permits)
//!    ^                                               |
//!    +-- a new segment holds the gap record, kept ---+  tried at each tick; never a second sync on a failed file
//! ```

mod begin;
mod gather;
mod message;
mod upkeep;

use std::collections::{BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use gather::{Gather, Inbox, Next};
use message::{Batch, Queued};
pub(super) use message::{Erasing, Line, Message, Opening, Refused};

use super::entry::OpenEntry;
use super::fault::{Fault, Gap, GapRecord};
use super::line::{Draft, Ledger, Salts};
use super::log::Ended;
use super::notary::Notary;
use super::record::{Asked, Stopped};
use super::segment::Storage;
use super::status::Status;
use super::{Config, Why};
use crate::tlog::TILE_WIDTH;

/// Records made durable together, at most.
const BATCH_MAX: usize = 1_024;

/// Bytes written at once, at most, but for a single record: it bounds the one buffer.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The writer's state. Invariant: `durable < next_seq`, and no line with a number up to `durable` is written again.
#[derive(Debug)]
pub(super) struct Writer<S> {
    storage: S,
    notary: Notary,
    salts: Salts,
    /// The last batch.
    buffer: Vec<u8>,
    /// The number of its first line.
    buffer_first: u64,
    queue: VecDeque<Queued>,
    /// Orders to erase, which wait for what is queued. Their senders bound them.
    erasing: VecDeque<Box<Erasing>>,
    /// The numbers of orders that are not carried out. Their senders bound them.
    unfinished: BTreeSet<u64>,
    /// The number of the next line that is encoded. A line that failed keeps its number for ever.
    next_seq: u64,
    /// The last number that was acknowledged.
    durable: u64,
    segment_first: u64,
    segment_bytes: u64,
    segment_begun: Timestamp,
    /// A segment was begun, and what stands before it is not signed yet.
    rotated: bool,
    /// Bytes written since free space was looked at.
    written_since_looked: u64,
    /// When segments were last looked through for old ones.
    pruned_at: Timestamp,
    config: Config,
    health: Health,
    /// The latest time that a message brought.
    now: Timestamp,
    /// The numbers of the `authorized` of entries without an end.
    open: BTreeSet<u64>,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
enum Health {
    Healthy,
    Broken(Gap),
}

impl<S: Storage> Writer<S> {
    pub(super) fn new(storage: S, config: &Config, notary: Notary, next_seq: u64, ledger: Arc<Ledger>) -> Self {
        Self {
            storage,
            notary,
            salts: Salts::default(),
            buffer: Vec::new(),
            buffer_first: next_seq,
            queue: VecDeque::new(),
            erasing: VecDeque::new(),
            unfinished: BTreeSet::new(),
            next_seq,
            durable: next_seq.saturating_sub(1),
            segment_first: next_seq,
            segment_bytes: 0,
            segment_begun: Timestamp::UNIX_EPOCH,
            rotated: false,
            written_since_looked: 0,
            pruned_at: Timestamp::UNIX_EPOCH,
            config: config.clone(),
            health: Health::Healthy,
            now: Timestamp::UNIX_EPOCH,
            open: BTreeSet::new(),
            ledger,
        }
    }

    /// The last number that was acknowledged.
    pub(super) const fn durable(&self) -> u64 {
        self.durable
    }

    /// Runs until the stop message, or until nobody can send any more.
    pub(super) fn run(mut self, messages: UnboundedReceiver<Message>, status: &Status) {
        let mut inbox = Inbox::new(messages);
        let mut gather = Gather::default();
        let mut batch = Vec::with_capacity(BATCH_MAX);
        let mut wait = None;
        loop {
            let received = inbox.receive(&mut batch, BATCH_MAX, wait.take());
            if received == Some(0) {
                // No stop record: nobody asked for an orderly end.
                return self.guarded(status, |writer| writer.flush(status));
            }
            let (mut ticked, mut stop) = self.take(&mut batch);
            if !ticked && stop.is_none() {
                match self.next(&mut gather) {
                    Next::Keep(patience) if received.is_some() => {
                        wait = Some(patience);
                        continue;
                    }
                    Next::Join(company) => {
                        std::thread::sleep(company);
                        inbox.rest(&mut batch, BATCH_MAX);
                        (ticked, stop) = self.take(&mut batch);
                    }
                    Next::Keep(_) | Next::Write => {}
                }
            }
            let waited = self.waiting() > 0;
            self.guarded(status, |writer| writer.round(ticked, status));
            gather.written(waited, Instant::now());
            if let Some(reply) = stop {
                return self.stop(inbox.into_inner(), status, reply);
            }
        }
    }

    /// A log that is broken, or has something to tell or to erase, does not wait for company.
    fn next(&self, gather: &mut Gather) -> Next {
        if matches!(self.health, Health::Broken(_)) || !self.erasing.is_empty() || self.ledger.untold() > 0 {
            return Next::Write;
        }
        let waiting = self.waiting();
        let kept = self.queue.len().saturating_sub(waiting);
        gather.next(waiting, kept, self.open.len().saturating_add(waiting).saturating_sub(kept), Instant::now())
    }

    /// How many wait for what is queued.
    fn waiting(&self) -> usize {
        self.queue.iter().filter(|queued| queued.is_awaited()).count()
    }

    /// Queues a batch of messages. Returns whether a tick was among them, and who waits for the end.
    fn take(&mut self, batch: &mut Vec<Message>) -> (bool, Option<oneshot::Sender<Ended>>) {
        let (mut ticked, mut stop) = (false, None);
        for message in batch.drain(..) {
            match message {
                Message::Open(opening) => {
                    self.now = opening.draft.at();
                    self.queue.push_back(Queued::Open(opening));
                }
                Message::Line(line) => {
                    self.now = line.draft.at();
                    self.queue.push_back(Queued::Line(line));
                }
                Message::Erase(erasing) => {
                    self.now = erasing.draft.at();
                    self.erasing.push_back(erasing);
                }
                Message::Erased { order } => {
                    self.unfinished.remove(&order);
                }
                Message::Tick { at } => (self.now, ticked) = (at, true),
                Message::Stop { at, reply } => (self.now, stop) = (at, Some(reply)),
            }
        }
        (ticked, stop)
    }

    /// A panic in here breaks the log and not the thread; a new segment mends it. What was queued stays queued.
    fn guarded(&mut self, status: &Status, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            self.fail(&Fault::Panic, status);
        }
    }

    /// What is done for a batch of messages.
    pub(super) fn round(&mut self, ticked: bool, status: &Status) {
        if ticked {
            status.tick_seen();
            self.look_around(status);
        }
        match self.health {
            Health::Healthy => {
                self.flush(status);
                // Nothing but a gap record may follow a batch that failed just now: an order waits for the next round.
                while matches!(self.health, Health::Healthy)
                    && let Some(erasing) = self.erasing.pop_front()
                {
                    self.erase(*erasing, status);
                }
                // A segment that is whole is signed at once.
                if std::mem::take(&mut self.rotated) {
                    self.sign(status);
                }
                if ticked {
                    self.sign_if_due(status);
                }
                if ticked && matches!(self.health, Health::Healthy) {
                    self.prune_if_due(status);
                }
            }
            Health::Broken(_) => {
                self.refuse_erasing();
                self.refuse_opens();
                if ticked {
                    self.mend(status);
                }
            }
        }
    }

    /// Makes all that is queued durable, batch by batch, as long as that works.
    fn flush(&mut self, status: &Status) {
        while matches!(self.health, Health::Healthy) {
            let lost = self.ledger.untold();
            let told = GapRecord::dropped(lost);
            let head = (lost > 0).then(|| Draft::own("audit.gap", self.now, &told, &self.ledger)).flatten();
            if head.is_none() && self.queue.is_empty() {
                return;
            }
            self.write(head, lost, status);
        }
    }

    /// Tries a new segment.
    fn mend(&mut self, status: &Status) {
        let Health::Broken(gap) = &self.health else { return };
        if let Some(missing) = gap.missing {
            // The next start takes the leaves of records that are gone from the tiles, so they must be there first.
            let kept = self.notary.keep_leaves(&mut self.storage, missing.last);
            if let Err(error) = kept.and_then(|_kept| self.try_sign(status)) {
                return status.broken(Some(Fault::Rotate(error).to_string()));
            }
        }
        let Health::Broken(gap) = &self.health else { return };
        let lost = self.ledger.untold();
        let record = gap.record(lost, self.next_seq);
        let Some(head) = Draft::own("audit.gap", self.now, &record, &self.ledger) else { return };
        // That record alone: each try that fails uses up the numbers of its batch.
        if self.write_batch(Batch { lost, fresh: true, ..Batch::of(head) }, status) {
            status.broken(None);
            self.flush(status);
        }
    }

    /// One batch, with a record of the writer's own before it.
    fn write(&mut self, head: Option<Draft>, lost: u64, status: &Status) -> bool {
        let count = self.batch_len();
        self.write_batch(Batch { head, count, lost, fresh: false }, status)
    }

    fn write_batch(&mut self, batch: Batch, status: &Status) -> bool {
        let Batch { head, count, lost, fresh } = batch;
        match self.commit(head.as_ref(), count, fresh) {
            Ok(()) => {
                if let Some(head) = head {
                    head.written();
                    self.ledger.told(lost);
                }
                self.acknowledge(count);
                status.durable(self.durable);
                self.hash();
                self.look_for_space_if_much_was_written(status);
                true
            }
            Err(fault) => {
                self.fail(&fault, status);
                false
            }
        }
    }

    /// Makes a batch durable. The order is the promise; each comment says what a crash at the line below it leaves.
    fn commit(&mut self, head: Option<&Draft>, count: usize, fresh: bool) -> Result<(), Fault> {
        // A panic can have kept the last batch out of the tree.
        self.hash();
        let (begun, first) = (Instant::now(), self.next_seq);
        if fresh || self.rotates() {
            // Nothing of this batch. The old segment is whole; a new one may be there, empty.
            self.storage.rotate(first).map_err(Fault::Rotate)?;
            (self.segment_first, self.segment_bytes, self.segment_begun) = (first, 0, self.now);
            self.rotated = true;
        }
        if let Err(fault) = self.encode(head, count) {
            // Nothing is written, so no number is used up.
            self.next_seq = first;
            return Err(fault);
        }
        // Any part of the batch, perhaps a torn line. No opener has been told yes, so nothing was fetched; the next start
        // moves the torn line aside and gives each whole `authorized` its `unknown`.
        self.storage.append(&self.buffer).map_err(Fault::Append)?;
        // The same, or all of it.
        self.storage.sync().map_err(Fault::Sync)?;
        // All of it, unless the file was taken away: then it is durable, but nobody will find it, so it does not count.
        self.storage.check().map_err(Fault::Damage)?;
        // All of it. From here on the numbers count. Both lines before anything that could fail: a gap that outlived them
        // would declare these records void.
        self.durable = self.next_seq.saturating_sub(1);
        self.health = Health::Healthy;
        self.segment_bytes = self.segment_bytes.saturating_add(self.buffer.len() as u64);
        self.ledger.metrics.wrote(begun.elapsed());
        Ok(())
    }

    fn encode(&mut self, head: Option<&Draft>, count: usize) -> Result<(), Fault> {
        self.buffer.clear();
        self.buffer.shrink_to(BATCH_BYTES_MAX);
        self.buffer_first = self.next_seq;
        for draft in head.into_iter().chain(self.queue.iter().take(count).map(Queued::draft)) {
            let salt = self.salts.next().map_err(|_unspecified| Fault::Random)?;
            draft.write(self.next_seq, salt, &mut self.buffer).map_err(Fault::Append)?;
            self.next_seq = self.next_seq.saturating_add(1);
        }
        Ok(())
    }

    /// Takes the last durable batch into the tree. After the acknowledgement: nobody waits for it.
    fn hash(&mut self) {
        if self.notary.size() < self.durable {
            self.notary.extend(self.buffer_first, &self.buffer);
        }
    }

    /// How many of the queued records make the next batch.
    fn batch_len(&self) -> usize {
        let mut bytes = 0_usize;
        let fits = |queued: &&Queued| {
            let before = bytes;
            bytes = bytes.saturating_add(queued.draft().len());
            before == 0 || bytes <= BATCH_BYTES_MAX
        };
        // A segment that is to have a successor ends with a tile.
        let room = if self.outgrown() { self.to_tile_end().max(1) } else { BATCH_MAX };
        self.queue.iter().take(BATCH_MAX.min(room)).take_while(fits).count()
    }

    /// Records that are missing to the end of a tile; 0: the next one begins a tile.
    fn to_tile_end(&self) -> usize {
        let width = u64::from(TILE_WIDTH);
        let place = self.next_seq.saturating_sub(1) % width;
        usize::try_from(width.saturating_sub(place) % width).unwrap_or_default()
    }

    fn outgrown(&self) -> bool {
        self.segment_bytes >= self.config.segment_bytes_max || self.segment_age() >= self.config.segment_age_max
    }

    /// Whether the next record begins a segment: where it begins a tile, or where that takes too long.
    fn rotates(&self) -> bool {
        let overdue = self.segment_age() / 2 >= self.config.segment_age_max;
        self.segment_bytes > 0 && self.outgrown() && (self.to_tile_end() == 0 || overdue)
    }

    fn segment_age(&self) -> Duration {
        let age = self.now.duration_since(self.segment_begun);
        if age.is_negative() { Duration::ZERO } else { age.unsigned_abs() }
    }

    fn acknowledge(&mut self, count: usize) {
        let count = count.min(self.queue.len());
        let first = self.next_seq.saturating_sub(count as u64);
        for (seq, queued) in (first..).zip(self.queue.drain(..count)) {
            match queued {
                Queued::Open(opening) => {
                    let Opening { draft, facts, live, reply } = *opening;
                    self.open.insert(seq);
                    draft.written();
                    // An opener that is gone hands the entry back, and its drop queues the end.
                    drop(reply.send(Ok(OpenEntry::new(facts, seq, live))));
                }
                Queued::Line(line) => {
                    if let Some(authorized) = line.ends {
                        self.open.remove(&authorized);
                    }
                    line.draft.written();
                    drop(line.permit);
                    if let Some(durable) = line.durable {
                        let _ = durable.send(seq);
                    }
                }
            }
        }
        self.ledger.metrics.open_entries.set(i64::try_from(self.open.len()).unwrap_or(i64::MAX));
    }

    fn fail(&mut self, fault: &Fault, status: &Status) {
        status.broken(Some(fault.to_string()));
        if matches!(self.health, Health::Healthy) {
            self.health = Health::Broken(Gap::new(fault, self.segment_first, self.durable));
        }
        self.refuse_opens();
    }

    /// Says no to the openers and keeps the rest. The place that an opener had holds the record of its refusal.
    fn refuse_opens(&mut self) {
        for queued in std::mem::take(&mut self.queue) {
            match queued {
                Queued::Open(opening) => {
                    let Opening { draft, facts, live, reply } = *opening;
                    let refusal = Asked::unavailable(&facts.authorized, facts.pseudonyms.as_ref());
                    if let Some(denied) = Draft::or_lost("denied", draft.at(), &refusal, &self.ledger) {
                        let permit = Some(live.slot);
                        let line = Line { draft: denied, permit, ends: None, durable: None };
                        self.queue.push_back(Queued::Line(line));
                    }
                    draft.refused();
                    drop(reply.send(Err(Why::Broken)));
                }
                Queued::Line(line) => self.queue.push_back(Queued::Line(Line { durable: None, ..line })),
            }
        }
    }

    /// Ends in order: everything that was sent, then the stop record, then the directory is free, then the answer.
    fn stop(mut self, mut messages: UnboundedReceiver<Message>, status: &Status, reply: oneshot::Sender<Ended>) {
        self.drain(&mut messages, status);
        // From here on nobody can send. What came in between is written, too.
        messages.close();
        self.drain(&mut messages, status);
        let open = self.open.len() as u64;
        let before = self.durable;
        self.guarded(status, |writer| {
            if matches!(writer.health, Health::Broken(_)) {
                writer.mend(status);
            }
            writer.push_own("stopped", &Stopped { entries_open: open });
            writer.flush(status);
        });
        // One more try where that failed, whatever way.
        self.guarded(status, |writer| {
            if matches!(writer.health, Health::Broken(_)) {
                writer.mend(status);
            }
        });
        self.guarded(status, |writer| {
            writer.sign(status);
        });
        let complete = self.queue.is_empty() && self.durable > before;
        // What could not be written counts itself as lost, and the lock is given back before anybody is told.
        drop(self);
        let _ = reply.send(Ended { entries_without_end: open, complete });
    }

    fn drain(&mut self, messages: &mut UnboundedReceiver<Message>, status: &Status) {
        let mut batch = Vec::new();
        while let Ok(message) = messages.try_recv() {
            batch.push(message);
            let (ticked, _second_stop) = self.take(&mut batch);
            if messages.is_empty() || self.queue.len() >= BATCH_MAX {
                self.guarded(status, |writer| writer.round(ticked, status));
            }
        }
    }

    /// Queues a record of the writer's own. There are few of them, so they need no place.
    pub(super) fn push_own(&mut self, event: &'static str, fields: &impl Serialize) {
        if let Some(draft) = Draft::or_lost(event, self.now, fields, &self.ledger) {
            self.queue.push_back(Queued::Line(Line { draft, permit: None, ends: None, durable: None }));
        }
    }
}
