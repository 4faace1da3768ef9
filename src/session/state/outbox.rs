//! What the store is told, one thing after the other, and what its answers mean. It never asks whose an agent is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

use super::{Effect, Error, Out, Session, State, store};
use crate::session::journal::SignOutCause;
use crate::session::store::{Cooling, Entry, Trouble};

/// How soon what the store did not take is tried again, at the most, and how soon the first time: as long as a new Guid is
/// not written, whoever takes over from a process that dies finds the one before, which dies with the next.
pub(super) const WRITE_AGAIN: Duration = Duration::from_secs(1);
const WRITE_AGAIN_FIRST: Duration = Duration::from_millis(50);

/// What the store is still to be told, one after the other. At most a write and a release for each of the few seeks that
/// can answer while one call to the store is in flight.
#[derive(Debug, Default)]
pub(in crate::session) struct Outbox {
    pub(super) queue: VecDeque<Out>,
    /// What is in flight, and the generation in which it was sent.
    sent: Option<(Out, u64)>,
    retry_at: Option<Instant>,
    /// Between the tries, since the store took something.
    pauses: Option<backon::ExponentialBackoff>,
}

impl Outbox {
    /// What was sent was not taken: not again before a while.
    fn not_taken(&mut self, now: Instant, seed: u64) {
        let pauses = self.pauses.get_or_insert_with(|| {
            let builder = ExponentialBuilder::default().with_min_delay(WRITE_AGAIN_FIRST).with_max_delay(WRITE_AGAIN);
            builder.with_factor(2.0).with_jitter().with_jitter_seed(seed).without_max_times().build()
        });
        self.retry_at = Some(now + pauses.next().unwrap_or(WRITE_AGAIN).min(WRITE_AGAIN));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.sent.is_none()
    }

    /// What waits or is on its way.
    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let sent = self.sent.iter().map(|(out, _)| out);
        self.queue.iter().chain(sent).filter_map(|out| match out {
            Out::Write { entry, .. } => Some(entry),
            _ => None,
        })
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.sent.is_none())
    }

    /// What was sent last was not taken, and is sent again after a while.
    pub(super) fn pauses(&self) -> bool {
        self.sent.is_none() && self.retry_at.is_some()
    }

    pub(super) fn retry_now(&mut self) {
        self.retry_at = None;
    }
}

impl Session {
    /// Lets others know, after what they are still to be told.
    pub(super) fn tell(&mut self, entry: Entry) {
        if let Some(claim) = &mut self.claim {
            claim.told_why = entry.stays();
            self.outbox.queue.push_back(Out::Write { fence: claim.fence, entry });
        }
    }

    /// The store may have forgotten what is owned. A session that lives is written by itself.
    pub(super) fn reconfirm(&mut self) {
        self.outbox.retry_now();
        if matches!(self.state, State::SigningIn(_) | State::DeskSigningIn { .. }) {
            self.tell(Entry::SigningIn);
        }
    }

    /// Ends the ownership. It took from the store what stood there, so a bar and a doubt are told on where nothing has
    /// come of it: whoever owns the agent next goes by them too.
    pub(super) fn let_go(&mut self, now: Instant) {
        if self.claim.is_some_and(|claim| !claim.told_why) {
            let (lasts, doubt_lasts) = (self.in_doubt_for(now).unwrap_or_default(), self.doubt_lasts(now));
            if let Some((cause, fingerprint)) = self.bar.clone() {
                self.tell(Entry::Barred { cause, fingerprint });
            } else if !doubt_lasts.is_zero() {
                self.tell(Entry::Cooling(Cooling { trouble: Trouble::Timeout, lasts, doubt_lasts }));
            }
        }
        if let Some(claim) = self.claim.take() {
            self.outbox.queue.push_back(Out::Release { fence: claim.fence });
        }
    }

    /// Sends the next thing to the store, if nothing is on its way.
    pub(super) fn send(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.outbox.sent.is_some() || self.outbox.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.outbox.retry_at = None;
        let next = self.outbox.queue.pop_front().or_else(|| self.dirty_entry(now));
        if let Some(out) = next {
            self.outbox.sent = Some((out.clone(), self.tenure.generation));
            effects.push(Effect::Store(out));
        }
    }

    pub(super) fn dirty_entry(&mut self, now: Instant) -> Option<Out> {
        let fence = self.claim?.fence;
        let State::Active(active) = &mut self.state else { return None };
        if !std::mem::take(&mut active.dirty) {
            return None;
        }
        if let Some(claim) = &mut self.claim {
            claim.told_why = false;
        }
        Some(Out::Write { fence, entry: active.entry(now) })
    }

    pub(super) fn stored(&mut self, result: Result<(), store::Error>, now: Instant, effects: &mut Vec<Effect>) {
        let Some((out, generation)) = self.outbox.sent.take() else { return };
        if !matches!(result, Err(store::Error::Unavailable { .. })) {
            self.outbox.pauses = None;
        }
        match (result, out) {
            (Ok(()), Out::Write { fence, entry: entry @ (Entry::Live(_) | Entry::SigningIn) }) => {
                let Some(claim) = self.claim.as_mut().filter(|claim| claim.fence == fence) else { return };
                claim.generation = generation;
                // That it is being signed in tells nobody of the session that came of it meanwhile.
                if matches!(entry, Entry::Live(_)) {
                    self.written(now, effects);
                }
                self.notice_tenure(now, effects);
            }
            (Err(store::Error::Superseded), Out::Write { fence, .. })
                if self.claim.is_some_and(|claim| claim.fence == fence) =>
            {
                self.superseded(effects);
            }
            // What lives is told in place of what it was told to become.
            (Err(error @ store::Error::Unavailable { .. }), Out::Write { fence, entry })
                if matches!(entry, Entry::Live(_))
                    || (matches!(entry, Entry::SigningIn) && matches!(self.state, State::Active(_))) =>
            {
                self.outbox.not_taken(now, self.jitter.u64(..));
                let State::Active(active) = &mut self.state else { return };
                if self.claim.is_some_and(|claim| claim.fence == fence) {
                    active.dirty = true;
                    if std::mem::take(&mut active.awaited) {
                        // The store is away: the session goes on for as long as nobody can have replaced the Guid twice.
                        let usable = !active.doubtful && now < active.usable_until();
                        effects.push(if usable {
                            active.grant(self.tenure)
                        } else {
                            Effect::Refuse(Error::Store { source: error })
                        });
                    }
                }
            }
            // Without the release others would wait for as long as this process lives. At the end of it, its tenure ends.
            (Err(store::Error::Unavailable { .. }), out) if !self.stopping => {
                self.outbox.not_taken(now, self.jitter.u64(..));
                self.outbox.queue.push_front(out);
            }
            _ => {}
        }
    }

    fn written(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.holds(now);
        let State::Active(active) = &mut self.state else { return };
        active.written_at = Some(now);
        active.doubtful = false;
        if ours {
            (active.unused, active.suspected) = (false, false);
        }
        if let Some(cause) = active.gone.take() {
            // It is ours still, so it was our own that is gone.
            return self.lose_unasked(cause, now, effects);
        }
        if active.awaited && (ours || now < active.usable_until()) {
            self.grant(effects);
        }
    }

    /// The store says that the agent is another process's.
    pub(super) fn superseded(&mut self, effects: &mut Vec<Effect>) {
        self.claim = None;
        // Nobody else knows of a session that was never written: it would stand in the new owner's way.
        match &self.state {
            State::Active(active) if active.is_untold() => {
                let (guid, awaited) = (Arc::clone(&active.guid), active.awaited);
                self.leave(guid, SignOutCause::Superseded, effects);
                if let State::Leaving { wanted, .. } = &mut self.state {
                    *wanted = awaited;
                }
            }
            State::Active(_) => self.hand_over(effects),
            _ => {}
        }
    }
}
