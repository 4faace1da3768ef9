//! An opened entry: the proof that its record is durable, and the duty to give it an end.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::error::Unspecified;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::budget::Reservation;
use crate::cc::{AgentId, GuidTag};
use crate::policy::Authorized;
use crate::random;
use crate::room::Place;
use crate::route::Download;

use super::end::{By, Delivery, End, FailReason, Outcome};
use super::log::Shared;
use super::pseudonym::Pseudonyms;

/// The id of an entry, as its records and the `Ccgate-Audit-Id` header show it: 32 hex digits, which sort by time.
///
/// 48 bits are the time in milliseconds, 80 are random.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(u128);

/// In whose session a download is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionUse {
    /// The agent who is signed in.
    pub agent: AgentId,
    /// The fingerprint of the session's Guid.
    pub tag: GuidTag,
    /// Who signed it in: `own`, this gateway, or `desk`, the agent's own app.
    pub kind: &'static str,
}

/// An entry whose `authorized` record is durable. Only [`Log::open`](super::Log::open) makes one; it is closed exactly
/// once, by [`OpenEntry::close`] or by being dropped.
///
/// Not `Clone`: two holders could not agree on one end.
#[must_use = "an entry that is dropped at once is recorded as failed"]
#[derive(Debug)]
pub struct OpenEntry {
    facts: Box<Facts>,
    /// `None` once the end is on its way.
    live: Option<Live>,
}

/// What an entry's records repeat.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) id: EntryId,
    /// The number of its `authorized`; 0 until that is durable.
    pub(super) seq: u64,
    pub(super) authorized: Authorized,
    /// Given back with the entry.
    pub(super) reservation: Reservation,
    pub(super) session: SessionUse,
    /// Sessions that this entry was given to ask with: none before the opener has it, then one, then the replaced ones.
    pub(super) attempts: u32,
    pub(super) begun: Instant,
    /// The opener has it. Before that, a drop means that the opener left.
    pub(super) taken: bool,
    /// Set while the upstream is asked: a drop means that the client left, or that this stops.
    pub(super) asking: Option<CancellationToken>,
    /// The opener was told no because its deadline passed.
    pub(super) timed_out: Arc<AtomicBool>,
    pub(super) pseudonyms: Option<Pseudonyms>,
}

/// What closing needs: a place in the queue that was taken before the entry was opened, so that closing never waits and
/// never fails for want of room, even in `Drop`.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) slot: Place,
    pub(super) log: Arc<Shared>,
}

impl EntryId {
    pub(super) fn random(now: Timestamp) -> Result<Self, Unspecified> {
        let millis = u128::from(u64::try_from(now.as_millisecond()).unwrap_or(0));
        Ok(Self(millis << 80 | u128::from_be_bytes(random::bytes()?) >> 48))
    }

    /// Reads an id from a record.
    pub(super) fn parse(text: &str) -> Option<Self> {
        (text.len() == 32).then(|| u128::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As those of a UUID are printed: much faster than `{:032x}`.
        fmt::Display::fmt(&Uuid::from_u128(self.0).simple(), f)
    }
}

impl Serialize for EntryId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl OpenEntry {
    /// For the writer, when the record is durable.
    pub(super) fn new(mut facts: Box<Facts>, seq: u64, live: Live) -> Self {
        facts.seq = seq;
        Self { facts, live: Some(live) }
    }

    /// The number of its `authorized` record.
    pub(super) const fn seq(&self) -> u64 {
        self.facts.seq
    }

    /// The opener is told no for the deadline, though the record is durable: dropping this gives it its end.
    pub(super) fn timed_out(self) {
        self.facts.timed_out.store(true, Ordering::Release);
    }

    /// The opener has it now.
    pub(super) fn taken(mut self) -> Self {
        self.facts.taken = true;
        self.facts.attempts = 1;
        self
    }

    /// The entry's id.
    pub const fn id(&self) -> &EntryId {
        &self.facts.id
    }

    /// The permission that it records.
    pub const fn authorized(&self) -> &Authorized {
        &self.facts.authorized
    }

    /// What is downloaded.
    pub const fn download(&self) -> &Download {
        self.facts.authorized.download()
    }

    /// In whose session it is downloaded.
    pub const fn agent(&self) -> AgentId {
        self.facts.session.agent
    }

    /// The upstream is asked from now on, while the client can leave at any time: an entry that is dropped then ends as
    /// aborted, by the shutdown where `shutdown` is cancelled, else by the client.
    pub fn asking(&mut self, shutdown: CancellationToken) {
        self.facts.asking = Some(shutdown);
    }

    /// So many bytes of the recording were handed to the client.
    pub fn handed_over(&mut self, bytes: u64) {
        self.facts.reservation.handed_over(bytes);
    }

    /// The session was lost and another one is used: the end names the last one and counts them.
    pub fn session_replaced(&mut self, session: SessionUse) {
        self.facts.session = session;
        self.facts.attempts = self.facts.attempts.saturating_add(1);
    }

    /// Gives the entry its end. It is queued at once and durable with the next batch.
    #[allow(clippy::needless_pass_by_value, reason = "an entry has one end, and this is it")]
    pub fn close(mut self, end: End) {
        self.settle(&end);
    }

    fn settle(&mut self, end: &End) {
        if let Some(live) = self.live.take() {
            live.log.end(&self.facts, end, live.slot);
        }
    }
}

impl Drop for OpenEntry {
    fn drop(&mut self) {
        let outcome = if self.facts.taken {
            match &self.facts.asking {
                _ if std::thread::panicking() => Outcome::Failed { reason: FailReason::Panic },
                Some(shutdown) if shutdown.is_cancelled() => Outcome::Aborted { by: By::Shutdown },
                Some(_) => Outcome::Aborted { by: By::Client },
                None => Outcome::Failed { reason: FailReason::Dropped },
            }
        } else if self.facts.timed_out.load(Ordering::Acquire) {
            Outcome::Failed { reason: FailReason::AuditUnavailable }
        } else {
            Outcome::Aborted { by: By::Client }
        };
        if self.live.is_some() {
            let delivery = Delivery::nothing(self.facts.begun.elapsed());
            self.settle(&End { outcome, upstream: None, delivery });
        }
    }
}
