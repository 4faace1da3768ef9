//! Whose the agent is: seeking, and what becomes of what the owner before left. Where there is no other process the machine
//! passes through here all the same.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Active, DOUBT_COOLING, Effect, Error, Ghost, MAXTIME, Pulse, Rejected, SILENT_DOUBT, Session};
use super::{State, Version, WRITE_AGAIN, Why, backoff, store};
use crate::session::KeepAlive;
use crate::session::journal::{LossCause, SessionEvent, SignOutCause};
use crate::session::store::{Entry, Found, Kind, Left, Live};

/// This process owns the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct Claim {
    pub(super) fence: u64,
    /// Of the tenure under which the store last said so.
    pub(super) generation: u64,
    /// How many Guids it has had under this fence: where the next session's versions begin.
    pub(super) rotation: u64,
    /// The store was told last why there is no session, which stays there.
    pub(super) told_why: bool,
}

impl Claim {
    pub(super) fn next_version(&self) -> Version {
        Version { fence: self.fence, rotation: self.rotation }
    }
}

impl Session {
    /// Whether the agent is surely this process's now.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.claim.is_some_and(|claim| self.tenure.holds(claim.generation, now))
    }

    /// The way to a session: whose the agent is comes first.
    pub(super) fn seek(&mut self, rejected: Option<Rejected>, effects: &mut Vec<Effect>) {
        self.state = State::Seeking { again_at: None, rejected };
        self.unasked = false;
        self.seek_now(effects);
    }

    pub(super) fn seek_now(&mut self, effects: &mut Vec<Effect>) {
        if let State::Seeking { again_at, .. } = &mut self.state {
            *again_at = None;
        }
        if self.seeking.is_none() {
            self.seeking = Some(self.tenure.generation);
            effects.push(Effect::Seek { floor: self.floor });
        }
    }

    pub(super) fn sought(&mut self, found: Result<Found, store::Error>, now: Instant, effects: &mut Vec<Effect>) {
        let generation = self.seeking.take().unwrap_or(self.tenure.generation);
        let again = std::mem::take(&mut self.seek_again);
        match found {
            Ok(Found::Owned { fence, left }) => {
                self.floor = self.floor.max(fence);
                self.claim = Some(Claim { fence, generation, rotation: 0, told_why: false });
                self.owned(left, now, effects);
            }
            Ok(Found::Theirs { fence, entry }) => {
                self.floor = self.floor.max(fence);
                self.claim = None;
                self.theirs(fence, entry, now, effects);
                if again && matches!(self.state, State::Seeking { .. } | State::Borrowed(_)) {
                    self.seek_now(effects);
                }
            }
            Err(error) => match &mut self.state {
                State::Seeking { .. } => self.not_sought(error, now, effects),
                State::Borrowed(borrowed) => {
                    borrowed.look_again(now, &self.rules);
                    // Without the store nobody knows whether an app has a session.
                    self.refuse_wishes(&Error::Store { source: error }, effects);
                }
                _ => {}
            },
        }
    }

    /// The store does not say whose the agent is. It is asked again, though nobody waits any more: its answer may have been
    /// lost, and then the agent is ours and nobody else can have it.
    pub(super) fn not_sought(&mut self, error: store::Error, now: Instant, effects: &mut Vec<Effect>) {
        if self.rules.lease.is_none() || self.stopping {
            return self.refuse(Error::Store { source: error }, now, effects);
        }
        effects.push(Effect::Refuse(Error::Store { source: error }));
        self.state = State::Seeking { again_at: Some(now + WRITE_AGAIN), rejected: None };
        self.unasked = true;
    }

    /// The agent is this process's from now on.
    pub(super) fn owned(&mut self, left: Option<Left>, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Leaving { .. }) {
            // Let go when the sign-out has answered.
            return;
        }
        let wanted = matches!(self.state, State::Seeking { .. } | State::Borrowed(_));
        let lives = matches!(&left, Some(Left { entry: Some(Entry::Live(_)), .. }));
        if self.stopping || !(wanted || (lives && matches!(self.state, State::Absent))) {
            return self.give_back(left, now, effects);
        }
        let rejected = match std::mem::replace(&mut self.state, State::Absent) {
            State::Seeking { rejected, .. } => rejected,
            _ => None,
        };
        let Some(left) = left else { return self.fresh_start(now, effects) };
        match left.entry {
            None | Some(Entry::SigningIn) if left.age < MAXTIME => self.left_in_doubt(left.age, now, effects),
            Some(Entry::Live(live)) if live.alive_ago + left.age < MAXTIME => {
                self.resume((live, left.age), rejected.as_ref(), now, effects);
            }
            Some(Entry::Live(live)) if live.kind == Kind::Desk => {
                // Its app's calls may have reached the gateway, without an answer, until the owner before took it for
                // silent or ended sooner.
                let ago = live.alive_ago + left.age;
                self.doubt_for((MAXTIME + SILENT_DOUBT).saturating_sub(ago), now);
                self.fresh_start(now, effects);
            }
            Some(Entry::Cooling(cooling)) => {
                let doubt = cooling.doubt_lasts.saturating_sub(left.age);
                self.doubt_for(doubt, now);
                let still = cooling.lasts.saturating_sub(left.age);
                if cooling.trouble.is_no_answer() && !doubt.is_zero() {
                    let still = still.min(doubt.saturating_sub(MAXTIME.saturating_sub(DOUBT_COOLING)));
                    self.answer_due = self.answer_due.max(Some(now + still));
                }
                // An app's sign-in is with another password than ours, and by another's will.
                if still.is_zero() || self.wants_desk_sign_in() {
                    return self.fresh_start(now, effects);
                }
                self.tell(Entry::Cooling(store::Cooling {
                    trouble: cooling.trouble.clone(),
                    lasts: still,
                    doubt_lasts: doubt,
                }));
                self.cool_for(still, Why::Elsewhere(cooling.trouble), now, effects);
            }
            Some(Entry::Barred { cause, fingerprint }) => {
                self.bar = Some((cause, fingerprint));
                self.fresh_start(now, effects);
            }
            _ => self.fresh_start(now, effects),
        }
    }

    /// Whoever wanted it has gone. What was left is left again, to whoever seeks next.
    pub(super) fn give_back(&mut self, left: Option<Left>, now: Instant, effects: &mut Vec<Effect>) {
        match left {
            Some(Left { entry: Some(Entry::Live(live)), age }) => {
                let (alive_ago, issued_ago) = (live.alive_ago + age, live.issued_ago + age);
                self.tell(Entry::Live(Live { alive_ago, issued_ago, ..live }));
                // Not released, which would forget it: it can be sought when this process has ended.
                self.claim = None;
            }
            Some(Left { entry: None | Some(Entry::SigningIn), age }) if age < MAXTIME => self.begin_doubt(age, now),
            Some(Left { entry: Some(entry), .. }) => self.tell(entry),
            _ => {}
        }
        self.let_go(now);
        if matches!(self.state, State::Seeking { .. }) {
            self.refuse(Error::ShuttingDown, now, effects);
        }
    }

    /// No session is known to live: a ghost of ours goes first, then the account is read.
    pub(super) fn fresh_start(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.wants_desk_only() {
            return self.nothing_for_desk(now, effects);
        }
        match self.ghost.take() {
            Some(ghost) if now < ghost.until => {
                self.leave(ghost.guid, SignOutCause::Lost, effects);
                let unasked = std::mem::take(&mut self.unasked);
                if let State::Leaving { wanted, ghost_until, .. } = &mut self.state {
                    (*wanted, *ghost_until) = (!unasked, Some(ghost.until));
                }
            }
            _ if std::mem::take(&mut self.unasked) && !self.wants_desk_sign_in() => self.rest(now),
            _ => self.go_on(now, effects),
        }
    }

    /// The owner before may have been signing in when it ended: the gateway may still be at it.
    pub(super) fn left_in_doubt(&mut self, age: Duration, now: Instant, effects: &mut Vec<Effect>) {
        self.begin_doubt(age, now);
        let still = DOUBT_COOLING.saturating_sub(age);
        if still.is_zero() {
            return self.fresh_start(now, effects);
        }
        let doubt_lasts = self.doubt_lasts(now);
        self.tell(Entry::Cooling(store::Cooling { trouble: store::Trouble::Timeout, lasts: still, doubt_lasts }));
        self.cool_for(still, Why::LeftInDoubt, now, effects);
    }

    /// A session that the owner before had, and that lives as far as it knew.
    pub(super) fn resume(
        &mut self,
        (live, age): (Live, Duration),
        rejected: Option<&Rejected>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let ago = |time: Duration| now.checked_sub(time).unwrap_or(now);
        let (guid, fence) = (Arc::new(live.guid.clone()), self.claim.map_or(0, |claim| claim.fence));
        let tag = self.rules.tag_key.tag(&guid);
        if let Some(rejected) = rejected.filter(|rejected| rejected.guid.same_as(&guid)) {
            effects.push(Effect::Record(SessionEvent::Lost { cause: rejected.cause, guid: tag }));
            if rejected.cause != LossCause::Forgotten && live.kind == Kind::Own {
                self.decides = true;
                self.ghost = Some(Ghost { guid, until: now + MAXTIME });
            }
            return self.fresh_start(now, effects);
        }
        if self.lost.as_ref().is_some_and(|lost| lost.same_as(&guid)) {
            // Told once more: it was lost before the store was told anything else.
            return self.fresh_start(now, effects);
        }
        effects.push(Effect::Record(SessionEvent::Resumed { kind: live.kind, guid: tag }));
        self.ghost = None;
        let alive_at = ago(live.alive_ago + age);
        let pulse = match live.kind {
            Kind::Own => Pulse::Waiting { at: now + self.first_keep_alive(&live, age, now) },
            Kind::Desk => Pulse::Stopped,
        };
        let failures = backoff(self.jitter.u64(..));
        self.state = State::Active(Box::new(Active {
            alive_at,
            issued_at: ago(live.issued_ago + age),
            rotates_every: live.rotates_every,
            poll_takes: live.poll_takes,
            decides: live.decides,
            pulse,
            // The store keeps what it handed out until it is written again.
            written_at: Some(now),
            ..Active::fresh((guid, Version { fence, rotation: 0 }), (live.form, live.kind), now, failures)
        }));
        self.grant(effects);
    }

    /// The first keep-alive of a session that was found: a poll not before the last one of the owner before is surely
    /// answered, and none at the same time as thousands of others, as there may be after a restart.
    pub(super) fn first_keep_alive(&mut self, live: &Live, age: Duration, now: Instant) -> Duration {
        let first = match self.rules.keep_alive {
            KeepAlive::Poll => live.poll_takes + self.rules.gap(&mut self.jitter) + self.rules.pacer.next(now),
            KeepAlive::Heartbeat => self.rules.pacer.next(now),
        };
        first.min((MAXTIME * 3 / 4).saturating_sub(live.alive_ago + age))
    }

    /// A borrower cannot sign in: for it the session is lost here.
    pub(super) fn borrower_refused(
        &mut self,
        version: Version,
        cause: LossCause,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let ours = self.holds(now);
        if matches!(self.state, State::Absent | State::Barred) && self.claim.is_none() && !self.stopping {
            // Nothing of it is known here, and where the store says that it is ours others wait for it: it is let go.
            self.seek(None, effects);
            self.unasked = true;
            return;
        }
        let State::Active(active) = &mut self.state else { return };
        if version != active.version || active.is_decided(cause) || !ours {
            // It has not seen what was written since, or was not written yet.
            active.dirty = true;
            return;
        }
        let rejected = Rejected { version, guid: Arc::clone(&active.guid), cause };
        self.decides = cause == LossCause::Refused;
        self.wanted = true;
        self.lose(cause, now, effects);
        self.seek(Some(rejected), effects);
    }
}
