//! The one thread that writes: a batch, one write, one `fdatasync`, then the answers. It has no clock and no network.
//!
//! ```text
//!            write, sync or check failed; a panic
//! Healthy ---------------------------------------> Broken: opens are refused, the rest is kept (bounded by permits)
//!    ^                                               |
//!    +-- a new segment holds the gap record, kept ---+  tried at each tick; never a second sync on a failed file
//! ```

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::entry::{Facts, Live, OpenEntry};
use super::fault::{Fault, Gap, GapRecord};
use super::line::{Draft, Ledger, Salts};
use super::log::Ended;
use super::record::{Asked, Stopped};
use super::recover::{Opened, Recovered, RepairRecord, UnknownEnd};
use super::segment::{self, Storage};
use super::status::Status;
use super::{Config, Why};

/// Records made durable together, at most.
const BATCH_MAX: usize = 1_024;

/// Bytes written at once, at most, but for a single record: it bounds the one buffer.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// What reaches the writer.
#[derive(Debug)]
pub(super) enum Message {
    Open(Box<Opening>),
    Line(Line),
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
pub(super) struct Opening {
    pub(super) draft: Draft,
    pub(super) facts: Box<Facts>,
    pub(super) live: Live,
    pub(super) reply: oneshot::Sender<Result<OpenEntry, Why>>,
}

/// Any other record.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) draft: Draft,
    /// Its place in the queue's bound, given back when it is durable or lost.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) ends_entry: bool,
    /// Told when it is durable; dropped when that can take long.
    pub(super) durable: Option<oneshot::Sender<()>>,
}

#[derive(Debug)]
enum Queued {
    Open(Box<Opening>),
    Line(Line),
}

/// The writer's state. Invariant: `durable < next_seq`, and no line with a number up to `durable` is written again.
#[derive(Debug)]
pub(super) struct Writer<S> {
    storage: S,
    salts: Salts,
    buffer: Vec<u8>,
    queue: VecDeque<Queued>,
    /// The number of the next line that is encoded. A line that failed keeps its number for ever.
    next_seq: u64,
    /// The last number that was acknowledged.
    durable: u64,
    segment_first: u64,
    segment_bytes: u64,
    segment_bytes_max: u64,
    free_bytes_min: u64,
    health: Health,
    /// The latest time that a message brought.
    now: Timestamp,
    entries_open: u64,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
enum Health {
    Healthy,
    Broken(Gap),
}

impl<S: Storage> Writer<S> {
    pub(super) fn new(storage: S, config: &Config, next_seq: u64, ledger: Arc<Ledger>) -> Self {
        Self {
            storage,
            salts: Salts::default(),
            buffer: Vec::new(),
            queue: VecDeque::new(),
            next_seq,
            durable: next_seq.saturating_sub(1),
            segment_first: next_seq,
            segment_bytes: 0,
            segment_bytes_max: config.segment_bytes_max,
            free_bytes_min: config.free_bytes_min,
            health: Health::Healthy,
            now: Timestamp::UNIX_EPOCH,
            entries_open: 0,
            ledger,
        }
    }

    /// Begins a segment and writes what the start has to say: that it began, what was repaired, and the ends that a crash
    /// left out. A crash in here leaves some ends unwritten; the next start finds those entries open again.
    pub(super) fn begin(&mut self, recovered: &Recovered, now: Timestamp) -> io::Result<()> {
        self.now = now;
        let segment = segment::name(self.next_seq);
        self.push_own("audit.opened", &Opened { segment: &segment });
        if let Some(repair) = RepairRecord::of(recovered) {
            self.push_own("audit.recovered", &repair);
        }
        for (entry, carried) in &recovered.open {
            self.push_own("unknown", &UnknownEnd::new(*entry, carried, now));
        }
        let mut fresh = true;
        while !self.queue.is_empty() {
            let count = self.batch_len();
            self.commit(None, count, fresh).map_err(Fault::into_io)?;
            self.acknowledge(count);
            fresh = false;
        }
        Ok(())
    }

    /// Runs until the stop message, or until nobody can send any more.
    pub(super) fn run(mut self, mut messages: UnboundedReceiver<Message>, status: &Status) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            if messages.blocking_recv_many(&mut batch, BATCH_MAX) == 0 {
                // No stop record: nobody asked for an orderly end.
                return self.guarded(status, |writer| writer.flush(status));
            }
            let (ticked, stop) = self.take(&mut batch);
            self.guarded(status, |writer| writer.round(ticked, status));
            if let Some(reply) = stop {
                return self.stop(messages, status, reply);
            }
        }
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

    fn round(&mut self, ticked: bool, status: &Status) {
        if ticked {
            status.tick_seen();
            self.look_around(status);
        }
        match self.health {
            Health::Healthy => self.flush(status),
            Health::Broken(_) => {
                self.refuse_opens();
                if ticked {
                    self.mend(status);
                }
            }
        }
    }

    /// Notices on an idle log, too, that the disk fills up or that the file is gone.
    pub(super) fn look_around(&mut self, status: &Status) {
        if let Ok(free) = self.storage.free_bytes() {
            self.ledger.metrics.disk_free.set(i64::try_from(free).unwrap_or(i64::MAX));
            let min = self.free_bytes_min;
            status.disk_low((free < min).then(|| format!("the audit volume has {free} bytes free, less than {min}")));
        }
        if matches!(self.health, Health::Healthy)
            && let Err(damage) = self.storage.check()
        {
            self.fail(&Fault::Damage(damage), status);
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
            self.write(head, lost, false, status);
        }
    }

    /// Tries a new segment.
    fn mend(&mut self, status: &Status) {
        let Health::Broken(gap) = &self.health else { return };
        let lost = self.ledger.untold();
        let record = gap.record(lost, self.next_seq);
        let Some(head) = Draft::own("audit.gap", self.now, &record, &self.ledger) else { return };
        if self.write(Some(head), lost, true, status) {
            status.broken(None);
            self.flush(status);
        }
    }

    /// One batch, with a record of the writer's own before it.
    fn write(&mut self, head: Option<Draft>, lost: u64, fresh: bool, status: &Status) -> bool {
        let count = self.batch_len();
        match self.commit(head.as_ref(), count, fresh) {
            Ok(()) => {
                if let Some(head) = head {
                    head.written();
                    self.ledger.told(lost);
                }
                self.acknowledge(count);
                status.durable(self.durable);
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
        let (begun, first) = (Instant::now(), self.next_seq);
        self.encode(head, count)?;
        let bytes = self.buffer.len() as u64;
        let full = self.segment_bytes > 0 && self.segment_bytes.saturating_add(bytes) > self.segment_bytes_max;
        if fresh || full {
            // Nothing of this batch. The old segment is whole; a new one may be there, empty.
            self.storage.rotate(first).map_err(Fault::Rotate)?;
            (self.segment_first, self.segment_bytes) = (first, 0);
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
        self.segment_bytes = self.segment_bytes.saturating_add(bytes);
        self.ledger.metrics.wrote(begun.elapsed());
        Ok(())
    }

    fn encode(&mut self, head: Option<&Draft>, count: usize) -> Result<(), Fault> {
        self.buffer.clear();
        self.buffer.shrink_to(BATCH_BYTES_MAX);
        for draft in head.into_iter().chain(self.queue.iter().take(count).map(Queued::draft)) {
            let salt = self.salts.next().map_err(|_unspecified| Fault::Random)?;
            draft.write(self.next_seq, salt, &mut self.buffer).map_err(Fault::Append)?;
            self.next_seq = self.next_seq.saturating_add(1);
        }
        Ok(())
    }

    /// How many of the queued records make the next batch.
    fn batch_len(&self) -> usize {
        let mut bytes = 0_usize;
        let fits = |queued: &&Queued| {
            let before = bytes;
            bytes = bytes.saturating_add(queued.draft().len());
            before == 0 || bytes <= BATCH_BYTES_MAX
        };
        self.queue.iter().take(BATCH_MAX).take_while(fits).count()
    }

    fn acknowledge(&mut self, count: usize) {
        let first = self.next_seq.saturating_sub(count as u64);
        for (seq, queued) in (first..).zip(self.queue.drain(..count.min(self.queue.len()))) {
            match queued {
                Queued::Open(opening) => {
                    let Opening { draft, mut facts, live, reply } = *opening;
                    facts.seq = seq;
                    self.entries_open = self.entries_open.saturating_add(1);
                    draft.written();
                    // An opener that is gone hands the entry back, and its drop queues the end.
                    drop(reply.send(Ok(OpenEntry::new(facts, live))));
                }
                Queued::Line(line) => {
                    self.entries_open = self.entries_open.saturating_sub(u64::from(line.ends_entry));
                    line.draft.written();
                    drop(line.permit);
                    if let Some(durable) = line.durable {
                        let _ = durable.send(());
                    }
                }
            }
        }
        self.ledger.metrics.open_entries.set(i64::try_from(self.entries_open).unwrap_or(i64::MAX));
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
                    let refusal = Asked::unavailable(&facts.authorized);
                    if let Some(denied) = Draft::or_lost("denied", draft.at(), &refusal, &self.ledger) {
                        let permit = Some(live.slot);
                        let line = Line { draft: denied, permit, ends_entry: false, durable: None };
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
        let open = self.entries_open;
        let before = self.durable;
        self.guarded(status, |writer| {
            if matches!(writer.health, Health::Broken(_)) {
                writer.mend(status);
            }
            writer.push_own("stopped", &Stopped { entries_open: open });
            writer.flush(status);
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
    fn push_own(&mut self, event: &'static str, fields: &impl Serialize) {
        if let Some(draft) = Draft::or_lost(event, self.now, fields, &self.ledger) {
            self.queue.push_back(Queued::Line(Line { draft, permit: None, ends_entry: false, durable: None }));
        }
    }
}

impl Queued {
    const fn draft(&self) -> &Draft {
        match self {
            Self::Open(opening) => &opening.draft,
            Self::Line(line) => &line.draft,
        }
    }
}
