//! The life of one agent's session as a pure state machine: what happened goes in, what is to be done comes out. It
//! does no IO, holds no waiter and asks no clock.
//!
//! ```text
//!              want                       account read              signed in
//!  Absent ------------> Reading ------------------------> SigningIn ----------> Active <--+ keep-alive, rotation
//!    ^  ^               ^  |                               |  |  ^ 100-002,       |  |  |--+
//!    |  |               |  | same file as when barred      |  |  | takeover:      |  |
//!    |  |    want after |  v                               |  |  | forced         |  | rejected by a request: a fresh
//!    |  |   its file    | Barred <----- 100-004, ----------+  |  +--+             |  | session at once
//!    |  |    changed    |              bad parameters         |                   |  v
//!    |  +---------- Cooling <--------- may pass --------------+                   | Leaving --> Reading
//!    |   (want after `until`: Reading)                                            |
//!    +----------------------------- Leaving <------------- idle, stop ------------+
//!    +----------------------------------------------------- lost, as a keep-alive saw
//! ```
//!
//! Invariant: in `Reading`, `SigningIn` and `Leaving` exactly one call is in flight, else none; so no two sign-ins or
//! sign-outs of an agent ever overlap, and whoever waits, waits for a call that will answer.
//!
//! Whoever may sign in is the agent's owner. There is one process, so it owns every agent; `Version::fence` is what an
//! owner will get from its lease where several processes share sessions.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accounts::{Account, Fingerprint};
use super::journal::{BarCause, LossCause, SessionEvent, SignOutCause};
use super::{Error, KeepAlive, upstream};
use crate::cc::{Guid, GuidTagKey, Meaning, SignInForm};

mod active;
mod event;
mod failure;
#[cfg(test)]
mod tests;

use active::{Active, Pulse};
pub(super) use event::{Effect, Event, Fresh, Version};
pub(super) use failure::Why;
use failure::{backoff, bar_cause, may_have_worked, meaning};

/// After this long without a request the gateway forgets a session (`MAXTIME`, 120 s in both modes).
pub(super) const MAXTIME: Duration = Duration::from_mins(2);

/// How long after a cooling the count of failures is remembered: as long as the longest cooling.
const FAILURES_KEPT: Duration = Duration::from_mins(1);

/// Shortest cooling after a sign-in that may have worked though its answer did not come: the gateway may still be at it,
/// and the manual forbids a second sign-in before the first has answered. As long as one call to the upstream may take.
const DOUBT_COOLING: Duration = Duration::from_secs(30);

/// What the machine goes by.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) form: SignInForm,
    pub(super) keep_alive: KeepAlive,
    pub(super) keep_alive_interval: Duration,
    pub(super) idle_sign_out: Duration,
    /// Makes the fingerprints that records carry.
    pub(super) tag_key: Arc<GuidTagKey>,
}

/// One agent's session.
#[derive(Debug)]
pub(super) struct Session {
    rules: Rules,
    state: State,
    /// What the gateway refused for good. Kept until a sign-in works, whatever happens in between.
    bar: Option<(BarCause, Fingerprint)>,
    /// A lost session that may still live upstream: signed out before the next sign-in, which would meet it (100-002).
    ghost: Option<Ghost>,
    /// Until then whoever is signed in as the agent may be we ourselves: a sign-in may have worked whose answer did not
    /// come. Nobody is thrown out on such a suspicion.
    doubt_until: Option<Instant>,
    /// The next session is the fresh one that decides what a `000-003` meant.
    decides: bool,
    stopping: bool,
    backoff: backon::ExponentialBackoff,
    jitter: fastrand::Rng,
}

#[derive(Debug)]
pub(super) enum State {
    Absent,
    Reading,
    SigningIn(Attempt),
    Active(Active),
    Leaving { guid: Arc<Guid>, why: SignOutCause, wanted: bool },
    Cooling { until: Instant, why: Why },
    Barred,
}

/// A sign-in that is in flight.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    account: Arc<Account>,
    form: SignInForm,
}

impl Attempt {
    /// A sign-in that met somebody may be forced once, where the account says so.
    fn may_force(&self) -> bool {
        self.account.takeover && self.form != SignInForm::Force
    }

    /// A forced sign-in needs what one to the platform does not, a phone number above all. Refused parameters say
    /// nothing then about the sign-in that works as soon as the agent is free.
    fn asks_for_more(&self, rules: &Rules) -> bool {
        self.form == SignInForm::Force && rules.form == SignInForm::Platform
    }
}

/// A lost session that may still live upstream.
#[derive(Debug)]
struct Ghost {
    guid: Arc<Guid>,
    until: Instant,
}

impl Session {
    /// A machine in its first state. `seed` makes its jitter; two agents must not beat in step.
    pub(super) fn new(rules: Rules, seed: u64) -> Self {
        Self {
            rules,
            state: State::Absent,
            bar: None,
            ghost: None,
            doubt_until: None,
            decides: false,
            stopping: false,
            backoff: backoff(seed),
            jitter: fastrand::Rng::with_seed(seed),
        }
    }

    /// The current state.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Whether nothing is left to remember, so that whoever runs the machine can drop it.
    pub(super) fn is_done(&self) -> bool {
        match self.state {
            State::Absent => {
                self.stopping || (self.ghost.is_none() && self.doubt_until.is_none() && self.bar.is_none())
            }
            State::Cooling { .. } | State::Barred => self.stopping,
            State::Reading | State::SigningIn(_) | State::Active(_) | State::Leaving { .. } => false,
        }
    }

    /// When a [`Event::Tick`] is due; none in states that end by an answer.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        match &self.state {
            State::Active(active) => Some(active.wake_at(self.rules.idle_sign_out)),
            State::Cooling { until, .. } => Some(*until + FAILURES_KEPT),
            State::Absent | State::Barred => {
                [self.ghost.as_ref().map(|ghost| ghost.until), self.doubt_until].into_iter().flatten().min()
            }
            State::Reading | State::SigningIn(_) | State::Leaving { .. } => None,
        }
    }

    /// Takes one event. An event that does not fit the state, such as the late answer to an old session's keep-alive,
    /// changes nothing.
    pub(super) fn step(&mut self, event: Event, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Want { rejected } => self.want(rejected, now, &mut effects),
            Event::AccountRead(account) => self.account_read(account, &mut effects),
            Event::SignInAnswered(answer) => self.sign_in_answered(answer, now, &mut effects),
            Event::SignOutAnswered(answer) => self.sign_out_answered(answer, now, &mut effects),
            Event::KeepAliveAnswered { version, result } => {
                self.keep_alive_answered(version, result, now, &mut effects);
            }
            Event::Learned { version, guid } => self.learned(version, guid, &mut effects),
            Event::Released => self.released(now),
            Event::Tick => self.tick(now, &mut effects),
            Event::Stop => self.stop(&mut effects),
        }
        effects
    }

    fn want(&mut self, rejected: Option<(Version, LossCause)>, now: Instant, effects: &mut Vec<Effect>) {
        if self.stopping {
            return effects.push(Effect::Refuse(Error::ShuttingDown));
        }
        match &mut self.state {
            State::Absent | State::Barred => self.begin(now, effects),
            State::Cooling { until, why } => match until.checked_duration_since(now) {
                Some(left) if !left.is_zero() => effects.push(Effect::Refuse(why.refusal(left))),
                _ => self.begin(now, effects),
            },
            State::Reading | State::SigningIn(_) => {}
            State::Leaving { wanted, .. } => *wanted = true,
            State::Active(active) => match rejected {
                // The very Guid that is current: lost. An older one: whoever rejects it has not seen its successor.
                Some((version, cause)) if version == active.version && !active.is_decided(cause) => {
                    self.decides = cause == LossCause::Refused;
                    self.lose(cause, now, effects);
                    self.begin(now, effects);
                }
                Some((version, _)) if version == active.version => active.right_is_missing(effects),
                _ => effects.push(active.grant()),
            },
        }
    }

    /// The way to a session: a ghost goes first, then the account is read.
    fn begin(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match self.ghost.take() {
            Some(ghost) if now < ghost.until => {
                self.leave(ghost.guid, SignOutCause::Lost, effects);
                if let State::Leaving { wanted, .. } = &mut self.state {
                    *wanted = true;
                }
            }
            _ => self.read_account(effects),
        }
    }

    fn read_account(&mut self, effects: &mut Vec<Effect>) {
        self.state = State::Reading;
        effects.push(Effect::ReadAccount);
    }

    fn account_read(&mut self, account: Result<Arc<Account>, Error>, effects: &mut Vec<Effect>) {
        if !matches!(self.state, State::Reading) {
            return;
        }
        let account = match account {
            Ok(account) if !self.stopping => account,
            Ok(_) => return self.refuse(Error::ShuttingDown, effects),
            Err(error) => return self.refuse(error, effects),
        };
        match &self.bar {
            Some((cause, fingerprint)) if *fingerprint == account.fingerprint => {
                let error = Error::AccountRejected { cause: cause.clone() };
                self.refuse(error, effects);
            }
            _ => self.sign_in(Attempt { account, form: self.rules.form }, effects),
        }
    }

    fn sign_in(&mut self, attempt: Attempt, effects: &mut Vec<Effect>) {
        effects.push(Effect::SignIn { account: Arc::clone(&attempt.account), form: attempt.form });
        self.state = State::SigningIn(attempt);
    }

    fn sign_in_answered(
        &mut self,
        answer: Result<Fresh, Arc<upstream::Error>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let State::SigningIn(attempt) = &self.state else { return };
        let attempt = attempt.clone();
        let error = match answer {
            Ok(fresh) => return self.signed_in(fresh, &attempt, now, effects),
            Err(error) => error,
        };
        match bar_cause(&error) {
            Some(cause) if !(attempt.asks_for_more(&self.rules) && matches!(cause, BarCause::BadParameters(_))) => {
                return self.bar(cause, &attempt.account, effects);
            }
            _ => {}
        }
        if may_have_worked(&error) {
            self.doubt_until = Some(now + MAXTIME);
        }
        let in_doubt = self.doubt_until.is_some_and(|until| now < until);
        match meaning(&error) {
            Some(Meaning::AgentBusy) if attempt.may_force() && !in_doubt && !self.stopping => {
                // The record first: it throws somebody off the desk.
                effects.push(Effect::Record(SessionEvent::Forced));
                self.sign_in(Attempt { form: SignInForm::Force, ..attempt }, effects);
            }
            Some(Meaning::AgentBusy) => self.sign_in_failed(&error, Why::AgentBusy, now, effects),
            Some(Meaning::TryLater) if let Some(retcode) = error.retcode() => {
                self.sign_in_failed(&error, Why::Switching(retcode.clone()), now, effects);
            }
            _ => self.sign_in_failed(&error, Why::Upstream(Arc::clone(&error)), now, effects),
        }
    }

    fn sign_in_failed(&mut self, error: &upstream::Error, why: Why, now: Instant, effects: &mut Vec<Effect>) {
        let code = why.refusal(Duration::ZERO).code();
        effects.push(Effect::Record(SessionEvent::SignInFailed { code, retcode: error.retcode().cloned() }));
        self.cool(why, now, effects);
    }

    fn signed_in(&mut self, fresh: Fresh, attempt: &Attempt, now: Instant, effects: &mut Vec<Effect>) {
        let form = attempt.form;
        let tag = self.rules.tag_key.tag(&fresh.guid);
        effects.push(Effect::Record(SessionEvent::SignedIn { form, guid: tag }));
        self.backoff = backoff(self.jitter.u64(..));
        let decides = std::mem::take(&mut self.decides);
        let guid = Arc::new(fresh.guid);
        if self.stopping {
            return self.leave(guid, SignOutCause::Shutdown, effects);
        }
        if fresh.must_change_password {
            self.bar(BarCause::MustChangePassword, &attempt.account, effects);
            return self.leave(guid, SignOutCause::MustChangePassword, effects);
        }
        self.bar = None;
        self.doubt_until = None;
        let active = Active {
            guid,
            form,
            version: Version { fence: fresh.fence, rotation: 0 },
            alive_at: now,
            // Whoever wanted it may have gone meanwhile; a grant that is taken stops this clock.
            idle_since: Some(now),
            right_missing_told: false,
            decides,
            pulse: Pulse::Waiting { at: now + self.rules.gap(&mut self.jitter) },
            failures: backoff(self.jitter.u64(..)),
        };
        self.state = State::Active(active);
        self.grant(effects);
    }

    fn grant(&mut self, effects: &mut Vec<Effect>) {
        if let State::Active(active) = &mut self.state {
            effects.push(active.grant());
        }
    }

    fn leave(&mut self, guid: Arc<Guid>, why: SignOutCause, effects: &mut Vec<Effect>) {
        effects.push(Effect::SignOut { guid: Arc::clone(&guid) });
        self.state = State::Leaving { guid, why, wanted: false };
    }

    fn sign_out_answered(&mut self, answer: Result<(), Arc<upstream::Error>>, now: Instant, effects: &mut Vec<Effect>) {
        let State::Leaving { guid, why, wanted } = &self.state else { return };
        let (guid, why, wanted) = (Arc::clone(guid), *why, *wanted && !self.stopping);
        let tag = self.rules.tag_key.tag(&guid);
        let gone = match &answer {
            Ok(()) => true,
            Err(error) => meaning(error) == Some(Meaning::SessionLost),
        };
        effects.push(Effect::Record(match &answer {
            Err(error) if !gone => SessionEvent::SignOutFailed { retcode: error.retcode().cloned(), guid: tag },
            _ => SessionEvent::SignedOut { why, guid: tag },
        }));
        match answer {
            // Refused is answered too: the sign-in will be told what is the matter.
            Err(error) if error.retcode().is_none() => {
                self.ghost = Some(Ghost { guid, until: now + MAXTIME });
                if wanted { self.cool(Why::Upstream(error), now, effects) } else { self.rest() }
            }
            _ if wanted => self.read_account(effects),
            _ => self.rest(),
        }
    }

    /// The session is no longer ours to use. The downloads that run with its Guid are left alone.
    fn lose(&mut self, cause: LossCause, now: Instant, effects: &mut Vec<Effect>) {
        let State::Active(active) = &self.state else { return };
        if cause != LossCause::Forgotten {
            self.ghost = Some(Ghost { guid: Arc::clone(&active.guid), until: now + MAXTIME });
        }
        let guid = self.rules.tag_key.tag(&active.guid);
        effects.push(Effect::Record(SessionEvent::Lost { cause, guid }));
        self.rest();
    }

    fn bar(&mut self, cause: BarCause, account: &Account, effects: &mut Vec<Effect>) {
        effects.push(Effect::Record(SessionEvent::Barred { cause: cause.clone() }));
        self.bar = Some((cause.clone(), account.fingerprint));
        self.refuse(Error::AccountRejected { cause }, effects);
    }

    fn cool(&mut self, why: Why, now: Instant, effects: &mut Vec<Effect>) {
        let shortest = match &why {
            Why::Upstream(error) if may_have_worked(error) => DOUBT_COOLING,
            _ => Duration::ZERO,
        };
        let delay = self.backoff.next().unwrap_or(FAILURES_KEPT).max(shortest);
        effects.push(Effect::Refuse(why.refusal(delay)));
        self.decides = false;
        self.state = State::Cooling { until: now + delay, why };
    }

    fn refuse(&mut self, error: Error, effects: &mut Vec<Effect>) {
        effects.push(Effect::Refuse(error));
        self.decides = false;
        self.rest();
    }

    fn rest(&mut self) {
        self.state = if self.bar.is_some() { State::Barred } else { State::Absent };
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.ghost.as_ref().is_some_and(|ghost| ghost.until <= now) {
            self.ghost = None;
        }
        self.doubt_until = self.doubt_until.filter(|until| now < *until);
        match &self.state {
            State::Active(_) => self.tick_active(now, effects),
            State::Cooling { until, .. } if *until + FAILURES_KEPT <= now => {
                self.backoff = backoff(self.jitter.u64(..));
                self.rest();
            }
            _ => {}
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        self.stopping = true;
        effects.push(Effect::Refuse(Error::ShuttingDown));
        let guid = match &self.state {
            // A call is in flight: its answer finds `stopping` set.
            State::Reading | State::SigningIn(_) | State::Leaving { .. } => return,
            State::Active(active) => Some(Arc::clone(&active.guid)),
            State::Absent | State::Cooling { .. } | State::Barred => self.ghost.take().map(|ghost| ghost.guid),
        };
        if let Some(guid) = guid {
            self.leave(guid, SignOutCause::Shutdown, effects);
        }
    }
}
