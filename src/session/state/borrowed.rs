//! Another process's session, used here: it is never signed in, kept alive or signed out.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::told;
use super::{Effect, Error, Granted, MAXTIME, Out, Rejected, Rules, Session, State, Version, WRITE_AGAIN, store};
use crate::cc::{Guid, SignInForm};
use crate::session::journal::{LossCause, SessionEvent};
use crate::session::store::{Entry, Kind, Left, Live};

/// How soon an agent is sought again whose owner is about to sign it in or out, if nothing is heard of it before.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long an owner may take to write a session anew that looks forgotten.
const OVERDUE_FOR: Duration = Duration::from_secs(3);
/// How often a session that is used here is looked for at the store.
const LOOK_EVERY: Duration = Duration::from_millis(900);
/// How long a session that nobody uses here is still followed.
const LINGER: Duration = Duration::from_secs(30);

/// Another process's session.
#[derive(Debug)]
pub(in crate::session) struct Borrowed {
    guid: Arc<Guid>,
    version: Version,
    form: SignInForm,
    kind: Kind,
    decides: bool,
    right_missing_told: bool,
    /// When the store was asked for it.
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

    /// The store did not answer: it is asked again after the usual time.
    pub(super) fn look_again(&mut self, now: Instant, rules: &Rules) {
        self.look_at = now + rules.look_every();
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

impl Session {
    /// The agent is another process's.
    pub(super) fn theirs(&mut self, fence: u64, entry: Option<Left>, now: Instant, effects: &mut Vec<Effect>) {
        let (rejected, before) = match std::mem::replace(&mut self.state, State::Absent) {
            State::Seeking { rejected, .. } => (rejected, None),
            State::Borrowed(borrowed) => (None, Some(borrowed)),
            other => {
                self.state = other;
                return;
            }
        };
        if self.stopping {
            return self.refuse(Error::ShuttingDown, now, effects);
        }
        let Some(left) = entry else { return self.wait_for_owner(rejected, now, effects) };
        match left.entry {
            Some(Entry::Live(live)) if live.kind == Kind::Own && live.alive_ago + left.age >= MAXTIME => {
                let version = Version { fence, rotation: live.rotation };
                self.overdue(version, (rejected, before.is_some()), now, effects);
            }
            Some(Entry::Live(live)) => self.borrow((fence, live), (rejected, before), now, effects),
            Some(Entry::Cooling(_) | Entry::Barred { .. }) if self.wants_desk_sign_in() => self.take(fence, effects),
            Some(Entry::Cooling(cooling)) => {
                let still = cooling.lasts.saturating_sub(left.age);
                self.refuse(told(&cooling.trouble, still), now, effects);
            }
            Some(Entry::Barred { cause, .. }) => self.refuse(Error::AccountRejected { cause }, now, effects),
            Some(Entry::SigningIn) => self.wait_for_owner(rejected, now, effects),
            None => {
                let why = "the agent's record was sealed with another key, or is damaged";
                let source = store::Error::Unavailable { why, source: None, retry_after: WRITE_AGAIN };
                self.refuse(Error::Store { source }, now, effects);
            }
        }
    }

    /// The gateway has forgotten a session of which its owner had no answer for so long, unless the owner has only not
    /// come to write it since the store is back. Whoever does not write it soon is told that it is gone.
    fn overdue(
        &mut self,
        version: Version,
        (rejected, idle): (Option<Rejected>, bool),
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if idle {
            return self.rest(now);
        }
        let since = match self.overdue {
            Some((fence, since)) if fence == version.fence && now < since + LINGER => since,
            _ => now,
        };
        self.overdue = Some((version.fence, since));
        if since + OVERDUE_FOR <= now {
            self.overdue = None;
            self.outbox.queue.push_back(Out::Tell { version, cause: LossCause::Forgotten });
        }
        self.wait_for_owner(rejected, now, effects);
    }

    /// The owner is about to do something. Whoever has gone meanwhile is not sought for.
    fn wait_for_owner(&mut self, rejected: Option<Rejected>, now: Instant, effects: &mut Vec<Effect>) {
        if self.unasked && !self.wants_desk() {
            return self.refuse(Error::Timeout, now, effects);
        }
        self.look_again(rejected, now);
    }

    pub(super) fn look_again(&mut self, rejected: Option<Rejected>, now: Instant) {
        self.state = State::Seeking { again_at: Some(now + LOOK_AGAIN), rejected };
    }

    pub(super) fn borrow(
        &mut self,
        (fence, live): (u64, Live),
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
            seen_at: self.sought_at.unwrap_or(now),
            look_at: now + self.rules.look_every(),
            idle_since: before.as_ref().map_or(Some(now), |before| before.idle_since),
        };
        let refused = rejected.filter(|rejected| rejected.guid.same_as(&borrowed.guid));
        match refused {
            Some(refused) if !(borrowed.decides && refused.cause == LossCause::Refused) => {
                self.outbox.queue.push_back(Out::Tell { version, cause: refused.cause });
                self.wait_for_owner(Some(refused), now, effects);
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
            return self.rest(now);
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

    pub(super) fn lost_sight(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &mut self.state {
            State::Borrowed(_) => self.rest(now),
            State::Seeking { again_at: Some(_), .. } => self.seek_now(effects),
            State::Active(active) => active.dirty |= active.kind == Kind::Desk,
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
    /// How often a borrower asks the store, in case it was not told: nobody tells it that an owner's tenure has ended. So it
    /// takes over at most so long after that.
    pub(super) fn look_every(&self) -> Duration {
        self.lease.map_or(MAXTIME, |lease| (lease / 3).min(LOOK_EVERY))
    }
}
