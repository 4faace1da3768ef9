//! The part of the machine that knows of other processes: seeking, borrowing, taking over and handing over, and what the
//! store is told. Where there is no other process it passes through here all the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::told;
use super::{
    Active, DOUBT_COOLING, Effect, Error, Ghost, Granted, MAXTIME, Out, Pulse, Rejected, Rules, Session, State,
};
use super::{Version, Why, backoff, store};
use crate::cc::{Guid, SignInForm};
use crate::session::KeepAlive;
use crate::session::journal::{LossCause, SessionEvent, SignOutCause};
use crate::session::store::{Entry, Found, Kind, Left, Live, Retire, Retired};

/// How soon an agent is sought again whose owner is about to sign it in or out, if nothing is heard of it before.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long a session that nobody uses here is still followed.
const LINGER: Duration = Duration::from_secs(30);
/// How soon a write that the store did not take is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

/// This process owns the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) struct Claim {
    pub(super) fence: u64,
    /// Of the tenure under which the store last said so.
    pub(super) generation: u64,
    /// How many Guids it has had under this fence: where the next session's versions begin.
    pub(super) rotation: u64,
}

impl Claim {
    pub(super) fn next_version(&self) -> Version {
        Version { fence: self.fence, rotation: self.rotation }
    }
}

/// Another process's session.
#[derive(Debug)]
pub(in crate::session) struct Borrowed {
    guid: Arc<Guid>,
    version: Version,
    form: SignInForm,
    kind: Kind,
    decides: bool,
    right_missing_told: bool,
    /// When the store said so.
    seen_at: Instant,
    /// When it is asked next.
    look_at: Instant,
    /// Since when nobody uses it here; `None`: somebody does.
    idle_since: Option<Instant>,
}

impl Borrowed {
    /// The version that was borrowed.
    pub(in crate::session) fn version(&self) -> Version {
        self.version
    }

    pub(in crate::session) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn wake_at(&self, rules: &Rules) -> Instant {
        let idle = self.idle_since.map_or(self.look_at, |since| since + LINGER);
        idle.min(self.look_at).min(self.fresh_until(rules))
    }

    /// A process that was stopped, or that cannot reach the store, has missed what happened since.
    fn fresh_until(&self, rules: &Rules) -> Instant {
        self.seen_at + rules.lease.unwrap_or(MAXTIME)
    }

    pub(super) fn released(&mut self, now: Instant) {
        self.idle_since = Some(now);
    }

    fn grant(&mut self, rules: &Rules) -> Effect {
        self.idle_since = None;
        Effect::Grant(Granted {
            guid: Arc::clone(&self.guid),
            version: self.version,
            kind: self.kind,
            fresh_until: Some(self.fresh_until(rules)),
        })
    }
}

/// What the store is still to be told, one after the other. At most a write and a release for each of the few seeks that
/// can answer while one call to the store is in flight.
#[derive(Debug, Default)]
pub(in crate::session) struct Outbox {
    queue: VecDeque<Out>,
    /// What is in flight, and the generation in which it was sent.
    sent: Option<(Out, u64)>,
    retry_at: Option<Instant>,
}

impl Outbox {
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
                self.claim = Some(Claim { fence, generation, rotation: 0 });
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
                State::Borrowed(borrowed) => borrowed.look_at = now + self.rules.look_every(),
                _ => {}
            },
        }
    }

    /// The store does not say whose the agent is. Where a session of ours was lost that may live, it is asked again: nobody
    /// else can sign that out.
    fn not_sought(&mut self, error: store::Error, now: Instant, effects: &mut Vec<Effect>) {
        if self.claim.is_none() || self.ghost.as_ref().is_none_or(|ghost| ghost.until <= now) || self.stopping {
            return self.refuse(Error::Store { source: error }, effects);
        }
        effects.push(Effect::Refuse(Error::Store { source: error }));
        self.state = State::Seeking { again_at: Some(now + WRITE_AGAIN), rejected: None };
        self.unasked = true;
    }

    /// The agent is this process's from now on.
    fn owned(&mut self, left: Option<Left>, now: Instant, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Leaving { .. }) {
            // Let go when the sign-out has answered.
            return;
        }
        let wanted = matches!(self.state, State::Seeking { .. } | State::Borrowed(_));
        let lives = matches!(&left, Some(Left { entry: Some(Entry::Live(_)), .. }));
        if self.stopping || !(wanted || (lives && matches!(self.state, State::Absent))) {
            return self.give_back(left, effects);
        }
        let rejected = match std::mem::replace(&mut self.state, State::Absent) {
            State::Seeking { rejected, .. } => rejected,
            _ => None,
        };
        let Some(left) = left else { return self.fresh_start(now, effects) };
        match left.entry {
            None | Some(Entry::SigningIn) if left.age < MAXTIME => self.left_in_doubt(left.age, now, effects),
            Some(Entry::Live(live)) if live.alive_ago + left.age < MAXTIME => {
                self.resume(live, left.age, rejected.as_ref(), now, effects);
            }
            Some(Entry::Cooling(cooling)) => {
                let doubt = cooling.doubt_lasts.saturating_sub(left.age);
                if !doubt.is_zero() {
                    self.doubt_until = self.doubt_until.max(Some(now + doubt));
                }
                let still = cooling.lasts.saturating_sub(left.age);
                // An app's sign-in is with another password than ours, and by another's will.
                if still.is_zero() || self.wants_desk_sign_in() {
                    return self.fresh_start(now, effects);
                }
                self.tell(Entry::Cooling(store::Cooling {
                    trouble: cooling.trouble.clone(),
                    lasts: still,
                    doubt_lasts: doubt,
                }));
                self.cool_until(now + still, still, Why::Elsewhere(cooling.trouble), effects);
            }
            Some(Entry::Barred { cause, fingerprint }) => {
                self.bar = Some((cause, fingerprint));
                self.fresh_start(now, effects);
            }
            _ => self.fresh_start(now, effects),
        }
    }

    /// Whoever wanted it has gone. What was left is left again, to whoever seeks next.
    fn give_back(&mut self, left: Option<Left>, effects: &mut Vec<Effect>) {
        match left {
            Some(Left { entry: Some(Entry::Live(live)), age }) => {
                let (alive_ago, issued_ago) = (live.alive_ago + age, live.issued_ago + age);
                self.tell(Entry::Live(Live { alive_ago, issued_ago, ..live }));
                // Not released, which would forget it: it can be sought when this process has ended.
                self.claim = None;
            }
            Some(Left { entry: Some(entry), .. }) => self.tell(entry),
            _ => {}
        }
        self.let_go();
        if matches!(self.state, State::Seeking { .. }) {
            self.refuse(Error::ShuttingDown, effects);
        }
    }

    /// No session is known to live: a ghost of ours goes first, then the account is read.
    fn fresh_start(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.wants_desk_only() {
            return self.nothing_for_desk(now, effects);
        }
        match self.ghost.take() {
            Some(ghost) if now < ghost.until => {
                self.leave(ghost.guid, SignOutCause::Lost, effects);
                let unasked = std::mem::take(&mut self.unasked);
                if let State::Leaving { wanted, .. } = &mut self.state {
                    *wanted = !unasked;
                }
            }
            _ if std::mem::take(&mut self.unasked) && !self.wants_desk_sign_in() => self.rest(),
            _ => self.go_on(now, effects),
        }
    }

    /// The owner before may have been signing in when it ended: the gateway may still be at it.
    fn left_in_doubt(&mut self, age: Duration, now: Instant, effects: &mut Vec<Effect>) {
        self.doubt_until = Some(now + MAXTIME.saturating_sub(age));
        let still = DOUBT_COOLING.saturating_sub(age);
        if still.is_zero() {
            return self.fresh_start(now, effects);
        }
        let doubt_lasts = MAXTIME.saturating_sub(age);
        self.tell(Entry::Cooling(store::Cooling { trouble: store::Trouble::Timeout, lasts: still, doubt_lasts }));
        self.cool_until(now + still, still, Why::LeftInDoubt, effects);
    }

    /// A session that the owner before had, and that lives as far as it knew.
    fn resume(
        &mut self,
        live: Live,
        age: Duration,
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
        self.state = State::Active(Box::new(Active {
            guid,
            version: Version { fence, rotation: 0 },
            form: live.form,
            kind: live.kind,
            alive_at,
            issued_at: ago(live.issued_ago + age),
            rotates_every: live.rotates_every,
            poll_takes: live.poll_takes,
            idle_since: Some(now),
            decides: live.decides,
            right_missing_told: false,
            pulse,
            failures: backoff(self.jitter.u64(..)),
            spare_after: None,
            // The store keeps what it handed out until it is written again.
            written_at: Some(now),
            dirty: true,
            doubtful: false,
            awaited: false,
        }));
        self.grant(effects);
    }

    /// The first keep-alive of a session that was found: a poll not before the last one of the owner before is surely
    /// answered, and none at the same time as thousands of others, as there may be after a restart.
    fn first_keep_alive(&mut self, live: &Live, age: Duration, now: Instant) -> Duration {
        let first = match self.rules.keep_alive {
            KeepAlive::Poll => live.poll_takes + self.rules.gap(&mut self.jitter) + self.rules.pacer.next(now),
            KeepAlive::Heartbeat => self.rules.pacer.next(now),
        };
        first.min((MAXTIME * 3 / 4).saturating_sub(live.alive_ago + age))
    }

    /// The agent is another process's.
    fn theirs(&mut self, fence: u64, entry: Option<Left>, now: Instant, effects: &mut Vec<Effect>) {
        let (rejected, before) = match std::mem::replace(&mut self.state, State::Absent) {
            State::Seeking { rejected, .. } => (rejected, None),
            State::Borrowed(borrowed) => (None, Some(borrowed)),
            other => {
                self.state = other;
                return;
            }
        };
        if self.stopping {
            return self.refuse(Error::ShuttingDown, effects);
        }
        let Some(left) = entry else { return self.look_again(rejected, now) };
        match left.entry {
            Some(Entry::Live(live)) => self.borrow(fence, live, (rejected, before), now, effects),
            Some(Entry::Cooling(_) | Entry::Barred { .. }) if self.wants_desk_sign_in() => self.take(fence, effects),
            Some(Entry::Cooling(cooling)) => {
                let still = cooling.lasts.saturating_sub(left.age);
                self.refuse(told(&cooling.trouble, still), effects);
            }
            Some(Entry::Barred { cause, .. }) => self.refuse(Error::AccountRejected { cause }, effects),
            Some(Entry::SigningIn) => self.look_again(rejected, now),
            None => {
                let why = "the agent's record was sealed with another key, or is damaged";
                let source = store::Error::Unavailable { why, source: None, retry_after: WRITE_AGAIN };
                self.refuse(Error::Store { source }, effects);
            }
        }
    }

    fn look_again(&mut self, rejected: Option<Rejected>, now: Instant) {
        self.state = State::Seeking { again_at: Some(now + LOOK_AGAIN), rejected };
    }

    fn borrow(
        &mut self,
        fence: u64,
        live: Live,
        (rejected, before): (Option<Rejected>, Option<Borrowed>),
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let version = Version { fence, rotation: live.rotation };
        let before = before.filter(|before| before.version.fence == fence);
        let mut borrowed = Borrowed {
            guid: Arc::new(live.guid),
            version,
            form: live.form,
            kind: live.kind,
            decides: live.decides,
            right_missing_told: before.as_ref().is_some_and(|before| before.right_missing_told),
            seen_at: now,
            look_at: now + self.rules.look_every(),
            idle_since: before.as_ref().map_or(Some(now), |before| before.idle_since),
        };
        let refused = rejected.filter(|rejected| rejected.guid.same_as(&borrowed.guid));
        match refused {
            Some(refused) if !(borrowed.decides && refused.cause == LossCause::Refused) => {
                self.outbox.queue.push_back(Out::Tell { version, cause: refused.cause });
                self.look_again(Some(refused), now);
            }
            refused => {
                if refused.is_some() {
                    borrowed.right_is_missing(effects);
                }
                if before.is_none() {
                    effects.push(borrowed.grant(&self.rules));
                }
                self.state = State::Borrowed(borrowed);
            }
        }
    }

    pub(super) fn want_borrowed(&mut self, rejected: Option<Rejected>, now: Instant, effects: &mut Vec<Effect>) {
        let State::Borrowed(borrowed) = &mut self.state else { return };
        let refused = rejected.as_ref().filter(|rejected| rejected.guid.same_as(&borrowed.guid));
        match refused {
            Some(refused) if borrowed.decides && refused.cause == LossCause::Refused => {
                borrowed.right_is_missing(effects);
                effects.push(borrowed.grant(&self.rules));
            }
            None if now < borrowed.fresh_until(&self.rules) => effects.push(borrowed.grant(&self.rules)),
            _ => self.seek(rejected, effects),
        }
    }

    pub(super) fn tick_borrowed(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let State::Borrowed(borrowed) = &mut self.state else { return };
        let idle = borrowed.idle_since.is_some_and(|since| since + LINGER <= now);
        if idle || borrowed.fresh_until(&self.rules) <= now {
            return self.rest();
        }
        if borrowed.look_at <= now {
            borrowed.look_at = now + self.rules.look_every();
            self.seek_now(effects);
        }
    }

    pub(super) fn changed(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.state {
            // Both may have been taken for the owner while the store settled, or the session was taken for the agent's own
            // app: the store's answer to a write says who is the owner. It tells no process of what that wrote itself.
            State::Active(active) => active.dirty = true,
            State::Seeking { .. } | State::Borrowed(_) if self.seeking.is_some() => self.seek_again = true,
            State::Seeking { .. } | State::Borrowed(_) => self.seek_now(effects),
            _ => {}
        }
    }

    pub(super) fn lost_sight(&mut self, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Borrowed(_) => self.rest(),
            State::Seeking { again_at: Some(_), .. } => self.seek_now(effects),
            State::Active(active) => active.dirty |= active.kind == Kind::Desk,
            _ => {}
        }
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

    pub(super) fn retire(&mut self, why: SignOutCause, how: Retire, effects: &mut Vec<Effect>) {
        let Some(claim) = self.claim else { return };
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Active(mut active) => {
                if matches!(active.pulse, Pulse::InFlight { .. } | Pulse::Waiting { .. }) {
                    active.pulse = Pulse::Deferred;
                    effects.push(Effect::DropKeepAlive);
                }
                effects.push(Effect::Retire { fence: claim.fence, why: how });
                let wanted = active.awaited;
                self.state = State::Retiring { active, why, wanted };
            }
            other => self.state = other,
        }
    }

    pub(super) fn retired(&mut self, answer: Result<Retired, store::Error>, now: Instant, effects: &mut Vec<Effect>) {
        let (mut active, why, wanted) = match std::mem::replace(&mut self.state, State::Absent) {
            State::Retiring { active, why, wanted } => (active, why, wanted),
            other => {
                self.state = other;
                return;
            }
        };
        let stopping = self.stopping || why == SignOutCause::Shutdown;
        match answer {
            Ok(Retired::Unused) if !wanted || stopping => {
                let why = if stopping { SignOutCause::Shutdown } else { why };
                let guid = Arc::clone(&active.guid);
                return self.leave(guid, why, effects);
            }
            Err(store::Error::Superseded) => {
                self.state = State::Active(active);
                self.hand_over(effects);
                if wanted && !stopping {
                    self.seek(None, effects);
                }
                return;
            }
            // Whoever waits for it cannot know of it.
            Ok(Retired::InUse { .. }) | Err(_) if stopping && active.is_untold() => {
                let guid = Arc::clone(&active.guid);
                return self.leave(guid, SignOutCause::Shutdown, effects);
            }
            Ok(Retired::InUse { .. }) | Err(_) if stopping => {
                self.state = State::Active(active);
                return self.hand_over(effects);
            }
            Ok(Retired::Unused) => active.dirty = true,
            Ok(Retired::InUse { ago }) => active.idle_since = Some(now.checked_sub(ago).unwrap_or(now)),
            Err(_) => active.idle_since = Some(now),
        }
        active.pulse = if active.pulse == Pulse::Stopped { Pulse::Stopped } else { Pulse::Waiting { at: now } };
        if let Pulse::Waiting { at } = &mut active.pulse {
            *at = now + self.rules.gap(&mut self.jitter);
        }
        self.state = State::Active(active);
        if wanted {
            self.grant(effects);
        }
    }

    /// The session is another process's, or may be. It lives, so it is neither signed out nor forgotten upstream.
    pub(super) fn hand_over(&mut self, effects: &mut Vec<Effect>) {
        let State::Active(active) = &self.state else { return };
        let (guid, awaited) = (self.rules.tag_key.tag(&active.guid), active.awaited);
        effects.push(Effect::DropKeepAlive);
        effects.push(Effect::Record(SessionEvent::HandedOver { guid }));
        self.claim = None;
        self.rest();
        if awaited && !self.stopping {
            self.seek(None, effects);
        }
    }

    /// Lets others know, after what they are still to be told.
    pub(super) fn tell(&mut self, entry: Entry) {
        if let Some(claim) = self.claim {
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

    /// Ends the ownership.
    pub(super) fn let_go(&mut self) {
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

    fn dirty_entry(&mut self, now: Instant) -> Option<Out> {
        let fence = self.claim?.fence;
        let State::Active(active) = &mut self.state else { return None };
        std::mem::take(&mut active.dirty).then(|| Out::Write { fence, entry: active.entry(now) })
    }

    pub(super) fn stored(&mut self, result: Result<(), store::Error>, now: Instant, effects: &mut Vec<Effect>) {
        let Some((out, generation)) = self.outbox.sent.take() else { return };
        match (result, out) {
            (Ok(()), Out::Write { fence, entry: Entry::Live(_) | Entry::SigningIn }) => {
                self.written(fence, generation, now, effects);
            }
            (Err(store::Error::Superseded), Out::Write { fence, .. })
                if self.claim.is_some_and(|claim| claim.fence == fence) =>
            {
                self.superseded(effects);
            }
            (Err(error @ store::Error::Unavailable { .. }), Out::Write { fence, entry: Entry::Live(_) }) => {
                self.outbox.retry_at = Some(now + WRITE_AGAIN);
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
                self.outbox.retry_at = Some(now + WRITE_AGAIN);
                self.outbox.queue.push_front(out);
            }
            _ => {}
        }
    }

    fn written(&mut self, fence: u64, generation: u64, now: Instant, effects: &mut Vec<Effect>) {
        match &mut self.claim {
            Some(claim) if claim.fence == fence => claim.generation = generation,
            _ => return,
        }
        let ours = self.holds(now);
        let State::Active(active) = &mut self.state else { return };
        active.written_at = Some(now);
        active.doubtful = false;
        if active.awaited && (ours || now < active.usable_until()) {
            self.grant(effects);
        }
        self.notice_tenure(now, effects);
    }

    /// The store says that the agent is another process's.
    fn superseded(&mut self, effects: &mut Vec<Effect>) {
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

impl Borrowed {
    fn right_is_missing(&mut self, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.right_missing_told, true) {
            effects.push(Effect::Record(SessionEvent::RightMissing { form: self.form }));
        }
    }
}

impl Rules {
    /// How often a borrower asks the store, in case it was not told.
    fn look_every(&self) -> Duration {
        self.lease.map_or(MAXTIME, |lease| lease / 3)
    }
}
