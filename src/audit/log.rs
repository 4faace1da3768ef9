//! The handle that the rest of the program has. It queues and waits; it does no IO itself.

mod place;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use crate::budget::{Budgeted, Reservation};
use crate::clock::Clock;
use crate::policy::{Authorized, Denied, NotYourSeat};
use crate::ready;
use crate::room::{Place, Room};

use super::deeds::carry_out;
use super::end::End;
use super::entry::{EntryId, Facts, Live, OpenEntry, SessionUse};
use super::event::{Event, Refusal};
use super::flood::Flood;
use super::keys::Keys;
use super::line::{Draft, Ledger};
use super::notary::Notary;
use super::pseudonym::Pseudonyms;
use super::record::{Asked, Ended as EndRecord, Noted};
use super::recover::recover;
use super::segment::{Disk, Storage};
use super::status::{Progress, Status};
use super::writer::{Erasing, Line, Message, Opening, Writer};
use super::{Config, Durability, Error, Metrics, StartError, Why};

pub use place::NotePlace;

/// Records other than those of entries that may be queued at once: 4,096 of usually less than a KiB are 4 MiB.
const NOTES_MAX: usize = 4_096;

/// How often the writer is woken without work: it then looks at its file and, where it is broken, tries a new one.
const TICK_INTERVAL: Duration = Duration::from_millis(250);

/// The audit log. Clones share one writer, which ends when the last of them and the last entry are gone.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

/// What the handles and the open entries share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Without a bound of its own: each message carries a permit of `slots` or `notes`, a tick is sent only when the last
    /// one was seen, and a stop once. So there are at most `2 * entries_max + NOTES_MAX + 2` messages.
    queue: UnboundedSender<Message>,
    slots: Room,
    notes: Room,
    status: Arc<Status>,
    ledger: Arc<Ledger>,
    flood: Flood,
    clock: Clock,
    dir: PathBuf,
    origin: String,
    write_timeout: Duration,
    pseudonyms: Option<Pseudonyms>,
    durability: Durability,
    /// Owns the ticker, which ends with it.
    _ticker: JoinSet<()>,
}

/// How the log was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Durable entries that got no durable end. The next start writes `unknown` for each.
    pub entries_without_end: u64,
    /// Whether the stop record is durable.
    pub complete: bool,
}

impl Log {
    /// Takes the directory, recovers what is in it, and starts the one writer. Must be called inside a runtime; it blocks
    /// for as long as reading all segments takes.
    pub fn start(
        config: &Config,
        clock: Clock,
        condition: ready::Condition,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        Self::start_with(Disk::open(&config.dir)?, config, clock, condition, metrics)
    }

    /// As [`Log::start`], over another storage for `config.dir`: for fault injection.
    pub fn start_with(
        storage: impl Storage,
        config: &Config,
        clock: Clock,
        condition: ready::Condition,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let runtime = Handle::try_current().map_err(|error| StartError::Thread(io::Error::other(error)))?;
        let keys = Keys::read(config)?;
        let mut recovered = recover(&config.dir, &keys, false)?;
        let ledger = Ledger::new(metrics);
        let notary = Notary::new(Arc::clone(&keys.signer), recovered.take_beginning());
        let mut writer = Writer::new(storage, config, notary, recovered.next_seq, Arc::clone(&ledger));
        writer.begin(&keys, &recovered, clock.now(), None).map_err(|source| StartError::io(&config.dir, source))?;
        // What a crash kept from being carried out.
        carry_out(&config.dir, &recovered.erased).map_err(|source| StartError::io(&config.dir, source))?;

        let (queue, messages) = unbounded_channel();
        let status = Arc::new(Status::new(condition));
        writer.look_around(&status);
        status.durable(writer.durable());
        let writer_status = Arc::clone(&status);
        let thread = std::thread::Builder::new().name("audit".to_owned());
        // Its owner is the channel: it ends at the stop message, or when all senders are gone.
        thread.spawn(move || writer.run(messages, &writer_status)).map_err(StartError::Thread)?;

        let mut ticker = JoinSet::new();
        let writable = ledger.metrics.writable.clone();
        let ticks = tick(queue.downgrade(), Arc::clone(&status), clock.clone(), config.write_timeout, writable);
        ticker.spawn_on(ticks, &runtime);
        let shared = Shared {
            queue,
            slots: Room::new(1),
            notes: Room::new(NOTES_MAX),
            status,
            ledger,
            flood: Flood::default(),
            clock,
            dir: config.dir.clone(),
            origin: keys.signer.verifier().name().to_owned(),
            write_timeout: config.write_timeout,
            pseudonyms: config.pseudonyms.clone(),
            durability: config.durability,
            _ticker: ticker,
        };
        let log = Self { shared: Arc::new(shared) };
        log.resize(config.entries_max);
        Ok(log)
    }

    /// Makes the entry's record durable. Only then may the upstream be asked.
    ///
    /// A refusal is recorded by the log itself, as `denied` with the code `audit_unavailable`, as soon as it can write.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], at the latest after the write timeout.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an entry whose opener has left is given the end `aborted` by `client`, one whose opener was refused
    /// for the deadline gets `failed` with `audit_unavailable`.
    pub async fn open(&self, budgeted: Budgeted, session: SessionUse) -> Result<OpenEntry, Error> {
        let (authorized, reservation) = budgeted.into_parts();
        let deadline = Instant::now() + self.shared.write_timeout;
        let live = match self.shared.place(deadline).await {
            Ok(live) => live,
            Err(why) => {
                self.shared.unavailable(&authorized);
                return Err(Error::Unavailable(why));
            }
        };
        self.shared.open((authorized, reservation), session, live, deadline).await.map_err(Error::Unavailable)
    }

    /// Records the policy's no. Waits until it is durable, but not longer than the write timeout, and not at all for a
    /// log that is broken: it is then written later.
    ///
    /// # Cancel safety
    ///
    /// A caller that leaves while the queue is full (4,096 records) loses the record, which is counted.
    pub async fn denied(&self, denied: &Denied) {
        self.shared.record(&Asked::denied(denied, self.shared.pseudonyms.as_ref())).await;
    }

    /// Records that somebody reached for another's seat. It waits as [`Log::denied`] does, and is not cancel safe as it.
    pub async fn not_your_seat(&self, refused: &NotYourSeat) {
        self.shared.record(&Asked::not_your_seat(refused, self.shared.pseudonyms.as_ref())).await;
    }

    /// Records any other refusal of a request whose token was seen. It waits as [`Log::denied`] does.
    ///
    /// Of requests whose token was not verified, 100 a second get a record of their own; the next record then says how
    /// many were left out, so that nobody without a token can fill the volume.
    pub async fn refused(&self, refusal: Refusal<'_>) {
        let mut asked = Asked::refused(refusal, self.shared.pseudonyms.as_ref());
        if refusal.caller.is_none() && refusal.authorized.is_none() {
            let Some(left_out) = self.shared.flood.admit(self.shared.clock.now()) else { return };
            asked.left_out = left_out;
        }
        self.shared.record(&asked).await;
    }

    /// Records what is no request. Never waits: what finds the queue full is counted as lost, and a gap record tells.
    #[allow(clippy::needless_pass_by_value, reason = "an event is told once")]
    pub fn note(&self, event: Event) {
        let draft = self.shared.draft(event.name(), &Noted::from(&event));
        if let Some(draft) = draft {
            self.shared.note(draft);
        }
    }

    /// As [`Log::note`], and waits until the record is durable. Gives its number.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`], at the latest after the write timeout. The record may become durable later all the same.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves the record in the queue.
    pub async fn tell(&self, event: Event) -> Result<u64, Error> {
        let shared = &self.shared;
        let refused = |why| Err(Error::Unavailable(why));
        if let Some(why) = shared.status.why_not() {
            return refused(why);
        }
        let deadline = Instant::now() + shared.write_timeout;
        let Some(draft) = shared.draft(event.name(), &Noted::from(&event)) else { return refused(Why::Broken) };
        let Ok(permit) = timeout_at(deadline, shared.notes.enter()).await else {
            return refused(Why::Full);
        };
        let (durable, wait) = oneshot::channel();
        shared.send(Line { draft, permit: Some(permit), ends: None, durable: Some(durable) });
        match timeout_at(deadline, wait).await {
            Ok(Ok(seq)) => Ok(seq),
            Ok(Err(_dropped)) => refused(Why::Broken),
            Err(_elapsed) => refused(Why::TimedOut),
        }
    }

    /// The log's name in its checkpoints.
    pub fn origin(&self) -> &str {
        &self.shared.origin
    }

    pub(super) fn pseudonyms(&self) -> Option<&Pseudonyms> {
        self.shared.pseudonyms.as_ref()
    }

    /// The log's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.shared.dir
    }

    pub(super) fn own_draft(&self, event: &'static str, fields: &impl serde::Serialize) -> Option<Draft> {
        Draft::own(event, self.shared.clock.now(), fields, &self.shared.ledger)
    }

    /// An order that cannot be sent is dropped, and whoever gave it is told so.
    pub(super) fn send_erasing(&self, erasing: Erasing) {
        let _ = self.shared.queue.send(Message::Erase(Box::new(erasing)));
    }

    /// Tells that an order to erase is carried out; a writer that has ended has no use for it.
    pub(super) fn send_erased(&self, order: u64) {
        let _ = self.shared.queue.send(Message::Erased { order });
    }

    /// Keeps others from removing or rewriting old segments. It waits.
    pub(super) fn rewrite(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared.status.rewrite()
    }

    /// From now on so many entries may be open at once. Those that are open stay so.
    pub fn resize(&self, entries_max: usize) {
        self.shared.slots.resize(entries_max);
        let shown = i64::try_from(self.shared.slots.places()).unwrap_or(i64::MAX);
        self.shared.ledger.metrics.entries_max.set(shown);
    }

    /// Whether an entry can be opened now, as far as is known.
    pub fn is_writable(&self) -> bool {
        self.shared.status.why_not().is_none()
    }

    /// How far the log has come: for shipping what is durable.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.status.progress()
    }

    /// Says that there is a checkpoint.
    #[cfg(test)]
    pub(crate) fn signed_for_test(&self, signed: super::Signed) {
        self.shared.status.signed_for_test(signed);
    }

    /// Whoever ships the log tells that all records up to `seq` are kept elsewhere, or will never be: with
    /// [`Durability::Shipped`] their entries are open now.
    pub fn shipped(&self, seq: u64) {
        self.shared.status.shipped(seq);
    }

    /// The last record that was shipped, for whoever may remove what was. Starts with 0.
    pub fn shipping(&self) -> watch::Receiver<u64> {
        self.shared.status.shipping()
    }

    /// Whoever ships the log tells why nothing can be shipped now; `None`: it can. With [`Durability::Shipped`] no entry is
    /// opened meanwhile, and the log is not ready; else it makes no difference.
    pub fn not_shipping(&self, reason: Option<String>) {
        if self.shared.durability == Durability::Shipped {
            self.shared.status.not_shipping(reason);
        }
    }

    /// Ends the log: takes no more entries, waits until all are closed or the deadline has passed, writes what is queued
    /// and the stop record, and gives the directory back. Takes at most `deadline` and once the write timeout.
    pub async fn shut_down(&self, deadline: Duration) -> Ended {
        let shared = &self.shared;
        shared.status.stop();
        // A slot is free when its entry's end is durable, so all slots are free when all entries have ended.
        let all = timeout_at(Instant::now() + deadline, shared.slots.empty()).await;
        drop(all);
        let unknown = Ended { entries_without_end: shared.entries_open(), complete: false };
        let (reply, ended) = oneshot::channel();
        if shared.queue.send(Message::Stop { at: shared.clock.now(), reply }).is_err() {
            return unknown;
        }
        match timeout_at(Instant::now() + shared.write_timeout, ended).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) | Err(_) => unknown,
        }
    }
}

impl Shared {
    /// A place in the queue for the entry's end, taken before there is an entry.
    async fn place(self: &Arc<Self>, deadline: Instant) -> Result<Live, Why> {
        if let Some(why) = self.status.why_not() {
            return Err(why);
        }
        match timeout_at(deadline, self.slots.enter()).await {
            Ok(slot) => Ok(Live { slot, log: Arc::clone(self) }),
            Err(_elapsed) => Err(Why::Full),
        }
    }

    async fn open(
        &self,
        (authorized, reservation): (Authorized, Reservation),
        session: SessionUse,
        live: Live,
        deadline: Instant,
    ) -> Result<OpenEntry, Why> {
        let begun = Instant::now();
        let at = self.clock.at(begun);
        let Ok(id) = EntryId::random(at) else {
            self.unavailable(&authorized);
            return Err(Why::Broken);
        };
        let timed_out = Arc::new(AtomicBool::new(false));
        let facts = Facts {
            id,
            seq: 0,
            authorized,
            reservation,
            session,
            attempts: 0,
            begun,
            taken: false,
            asking: None,
            timed_out: Arc::clone(&timed_out),
            pseudonyms: self.pseudonyms.clone(),
        };
        // Its texts are cut so that it fits: nothing but a defect of ours makes no draft of it.
        let Some(draft) = self.draft_at(at, "authorized", &Asked::authorized(&facts)) else {
            self.unavailable(&facts.authorized);
            return Err(Why::Broken);
        };
        let (reply, mut answer) = oneshot::channel();
        let opening = Opening { draft, facts: Box::new(facts), live, reply };
        if let Err(unsent) = self.queue.send(Message::Open(Box::new(opening))) {
            if let Message::Open(opening) = unsent.0 {
                opening.draft.refused();
                self.unavailable(&opening.facts.authorized);
            }
            return Err(Why::Stopped);
        }
        if let Ok(answer) = timeout_at(deadline, &mut answer).await {
            return self.shipped(answer.unwrap_or(Err(Why::Stopped))?, deadline).await.map(OpenEntry::taken);
        }
        // The order matters: were the channel closed first, the writer could find the opener gone and not yet timed out,
        // and would record that the client left.
        timed_out.store(true, Ordering::Release);
        answer.close();
        // The writer may have answered between the deadline and the close.
        self.shipped(answer.try_recv().unwrap_or(Err(Why::TimedOut))?, deadline).await.map(OpenEntry::taken)
    }

    /// Waits until the entry's record is shipped, where that is asked for. Cancel safe: an entry that is dropped in here
    /// gets the end of one whose opener has left.
    async fn shipped(&self, entry: OpenEntry, deadline: Instant) -> Result<OpenEntry, Why> {
        if self.durability == Durability::Shipped {
            let mut shipping = self.status.shipping();
            // No error but the deadline's: `self` has the sender.
            if timeout_at(deadline, shipping.wait_for(|shipped| *shipped >= entry.seq())).await.is_err() {
                entry.timed_out();
                return Err(Why::NotShipped);
            }
        }
        Ok(entry)
    }

    /// Records that an entry could not be opened. Never waits: the caller has waited already.
    fn unavailable(&self, authorized: &Authorized) {
        if let Some(draft) = self.draft("denied", &Asked::unavailable(authorized, self.pseudonyms.as_ref())) {
            self.note(draft);
        }
    }

    /// Queues an entry's end; called by [`OpenEntry`] only. A writer that has ended is told of by the draft's own count,
    /// and the next start gives the entry its `unknown`.
    pub(super) fn end(&self, facts: &Facts, end: &End, slot: Place) {
        if let Some(draft) = self.draft(end.outcome.as_str(), &EndRecord::new(facts, end)) {
            self.send(Line { draft, permit: Some(slot), ends: Some(facts.seq), durable: None });
        }
    }

    fn note(&self, draft: Draft) {
        if let Some(permit) = self.notes.try_enter() {
            self.send(Line { draft, permit: Some(permit), ends: None, durable: None });
        }
    }

    async fn record(&self, asked: &Asked<'_>) {
        let deadline = Instant::now() + self.write_timeout;
        let Some(draft) = self.draft("denied", asked) else { return };
        let Ok(permit) = timeout_at(deadline, self.notes.enter()).await else { return };
        let (durable, wait) = oneshot::channel();
        self.send(Line { draft, permit: Some(permit), ends: None, durable: Some(durable) });
        if matches!(self.status.why_not(), Some(Why::Broken | Why::Stalled)) {
            return;
        }
        // An error means that the writer does not know when: the record is kept, or counted as lost.
        let _ = timeout_at(deadline, wait).await;
    }

    fn draft(&self, event: &'static str, fields: &impl serde::Serialize) -> Option<Draft> {
        self.draft_at(self.clock.now(), event, fields)
    }

    fn draft_at(&self, at: jiff::Timestamp, event: &'static str, fields: &impl serde::Serialize) -> Option<Draft> {
        Draft::or_lost(event, at, fields, &self.ledger)
    }

    /// A line that cannot be sent is dropped with the error, and so counts itself as lost.
    fn send(&self, line: Line) {
        let _ = self.queue.send(Message::Line(line));
    }

    fn entries_open(&self) -> u64 {
        u64::try_from(self.ledger.metrics.open_entries.get()).unwrap_or(0)
    }
}

/// Wakes the writer, says so when it does not wake, and shows whether the log takes entries.
async fn tick(
    queue: WeakUnboundedSender<Message>,
    status: Arc<Status>,
    clock: Clock,
    patience: Duration,
    writable: IntGauge,
) {
    let mut interval = tokio::time::interval(TICK_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut sent = Instant::now();
    loop {
        interval.tick().await;
        writable.set(i64::from(status.why_not().is_none()));
        if status.tick_sent() {
            sent = Instant::now();
            let Some(queue) = queue.upgrade() else { return };
            if queue.send(Message::Tick { at: clock.now() }).is_err() {
                // The writer has ended, in order or not: nothing can be written any more.
                return status.stop();
            }
        } else if sent.elapsed() >= patience {
            status.stalled();
        }
    }
}
