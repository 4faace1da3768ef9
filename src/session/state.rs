//! The life of one agent's session as a pure state machine: what happened goes in, what is to be done comes out. It
//! does no IO, holds no waiter and asks no clock.
//!
//! ```text
//!              want          another process's
//!  Absent ------------> Seeking ---------------> Borrowed ---- its owner ended, it was rejected, sight was lost --> Seeking
//!    ^  ^                 |  ours, and a session lives: resumed
//!    |  |                 |  +------------------------------------------> Active <--+ keep-alive, rotation
//!    |  |                 |  ours                                          ^  |  |--+
//!    |  |                 v       account read              signed in     |  |
//!    |  |               Reading ------------------> SigningIn ------------+  | rejected by a request: a fresh
//!    |  |                  | same file                | |  ^ 100-002,        | session at once: Seeking
//!    |  |    want after    v as when barred           | |  | takeover:       |
//!    |  +--- its file --- Barred <--- 100-004, -------+ |  | forced          |
//!    |       changed                  bad parameters    |  +--+              |
//!    |   (want after `until`: Seeking)                  |                    |
//!    +----------------- Cooling <------ may pass -------+                    |
//!    +------------------------ Leaving <-------- Retiring <-- idle, stop ----+
//!    +---------------------------------------- lost, as a keep-alive saw ----+
//! ```
//!
//! Invariant: in `Reading`, `SigningIn`, `Retiring` and `Leaving` exactly one call is in flight, and else at most a seek;
//! so no two sign-ins or sign-outs of an agent ever overlap here, and whoever waits, waits for something that will end.
//! That they do not overlap over all processes is the claim's part: only its holder signs in, keeps alive and signs out
//! (`shared`; `outbox` tells the others). What agents' own apps ask for goes a way beside this one (`desk`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::accounts::Fingerprint;
use super::journal::{BarCause, LossCause, SignOutCause};
use super::pace::Pacer;
use super::store::{self, Tenure};
use super::{Error, KeepAlive, upstream};
use crate::cc::{Guid, GuidTagKey, SignInForm};

mod active;
mod borrowed;
mod desk;
mod event;
mod failure;
mod leaving;
mod outbox;
mod shared;
mod sign_in;
#[cfg(test)]
mod tests;

use active::{Active, Pulse};
use borrowed::Borrowed;
use desk::{Leave, Wishes};
pub(super) use event::{DeskEffect, DeskEvent, Effect, Event, Fresh, Granted, Out, Rejected, Version};
pub(super) use failure::Why;
use failure::{backoff, may_have_worked, meaning};
use outbox::{Outbox, WRITE_AGAIN};
use shared::Claim;
use sign_in::Attempt;

/// After this long without a request the gateway forgets a session (`MAXTIME`, 120 s in both modes).
pub(super) const MAXTIME: Duration = Duration::from_mins(2);

/// How long after a cooling the count of failures is remembered: as long as the longest cooling.
const FAILURES_KEPT: Duration = Duration::from_mins(1);

/// Shortest cooling after a sign-in that may have worked though its answer did not come: the gateway may still be at it,
/// and the manual forbids a second sign-in before the first has answered. As long as one call to the upstream may take.
const DOUBT_COOLING: Duration = Duration::from_secs(30);

/// How long an app's session that has fallen silent may live on. Its calls may have reached the gateway all the time though
/// no answer came back, and each has counted there. From the loss on none is let through; one may be under way.
const SILENT_DOUBT: Duration = MAXTIME.saturating_add(DOUBT_COOLING);

/// What the machine goes by.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) form: SignInForm,
    pub(super) keep_alive: KeepAlive,
    pub(super) keep_alive_interval: Duration,
    pub(super) idle_sign_out: Duration,
    /// How long a tenure lasts after its renewal; `None`: there is no other process.
    pub(super) lease: Option<Duration>,
    /// Spreads the first keep-alives of sessions that were found alive.
    pub(super) pacer: Arc<Pacer>,
    /// Makes the fingerprints that records carry.
    pub(super) tag_key: Arc<GuidTagKey>,
}

/// One agent's session.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub(super) struct Session {
    rules: Rules,
    state: State,
    /// As it was at the last event.
    tenure: Tenure,
    /// This process owns the agent. Kept while there is something that only the owner may do.
    claim: Option<Claim>,
    /// The greatest fence that was seen.
    floor: u64,
    /// A seek is in flight: the generation of the tenure when it was made.
    seeking: Option<u64>,
    /// When the last seek was made. Its answer is as old as that: a process may have been stopped before it came to it.
    sought_at: Option<Instant>,
    /// Something changed while a seek was in flight.
    seek_again: bool,
    /// Nobody waits for what is sought: it is for signing out a ghost that nobody else knows, or who waited has gone.
    unasked: bool,
    /// Another's session that looks forgotten: its fence, and since when it does.
    overdue: Option<(u64, Instant)>,
    outbox: Outbox,
    /// Somebody waits for a session to download with.
    wanted: bool,
    desk: Wishes,
    /// What the gateway refused for good. Kept until a sign-in works, whatever happens in between.
    bar: Option<(BarCause, Fingerprint)>,
    /// A lost session that may still live upstream: signed out before the next sign-in, which would meet it (100-002).
    ghost: Option<Ghost>,
    /// The Guid of the last session that was lost here: the store may hand it out once more.
    lost: Option<Arc<Guid>>,
    /// Until then whoever is signed in as the agent may be we ourselves, as a sign-in may have worked whose answer did not
    /// come, or its own app, of which no answer came. Nobody is thrown out on such a suspicion.
    doubt_until: Option<Instant>,
    /// Until then the gateway may still be at a sign-in whose answer did not come.
    answer_due: Option<Instant>,
    /// The next session is the fresh one that decides what a `000-003` meant.
    decides: bool,
    stopping: bool,
    backoff: backon::ExponentialBackoff,
    jitter: fastrand::Rng,
}

#[derive(Debug)]
pub(super) enum State {
    Absent,
    /// A seek is in flight, or is made again at `again_at`: the owner is about to sign in or out.
    Seeking {
        again_at: Option<Instant>,
        rejected: Option<Rejected>,
    },
    Borrowed(Borrowed),
    Reading,
    SigningIn(Attempt),
    Active(Box<Active>),
    /// The store is asked whether it can be signed out.
    Retiring {
        active: Box<Active>,
        why: SignOutCause,
        wanted: bool,
    },
    Leaving {
        guid: Arc<Guid>,
        why: SignOutCause,
        wanted: bool,
        /// It is a ghost, which the gateway has forgotten by then.
        ghost_until: Option<Instant>,
    },
    /// The agent's own app is being signed in.
    DeskSigningIn {
        form: SignInForm,
        /// An older session of the app's that was not let go: it lives on where the sign-in is refused.
        before: Option<Box<Active>>,
    },
    /// The agent's own app is being signed out.
    DeskLeaving {
        active: Box<Active>,
        why: Leave,
    },
    Cooling {
        until: Instant,
        why: Why,
    },
    Barred,
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
            tenure: Tenure::ALONE,
            claim: None,
            floor: 0,
            seeking: None,
            sought_at: None,
            seek_again: false,
            unasked: false,
            overdue: None,
            outbox: Outbox::default(),
            wanted: false,
            desk: Wishes::default(),
            bar: None,
            ghost: None,
            lost: None,
            doubt_until: None,
            answer_due: None,
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

    /// Of the Guid that is handed out now.
    pub(super) fn version(&self) -> Option<Version> {
        match &self.state {
            State::Active(active) => Some(active.version()),
            State::Borrowed(borrowed) => Some(borrowed.version()),
            _ => None,
        }
    }

    /// Whether nothing is left to remember, so that whoever runs the machine can drop it.
    pub(super) fn is_done(&self) -> bool {
        let at_rest = match self.state {
            State::Absent => {
                self.stopping || (self.ghost.is_none() && self.doubt_until.is_none() && self.bar.is_none())
            }
            State::Cooling { .. } | State::Barred => self.stopping,
            _ => false,
        };
        at_rest && self.seeking.is_none() && self.outbox.is_empty() && !self.wants_desk()
    }

    /// By these rules from now on. What has been decided stays so.
    pub(super) fn go_by(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// When a [`Event::Tick`] is due; none in states that end by an answer.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let state = match &self.state {
            State::Active(active) => Some(active.wake_at(&self.rules, self.tenure)),
            State::Borrowed(borrowed) => Some(borrowed.wake_at(&self.rules)),
            State::Cooling { until, .. } => Some(*until + FAILURES_KEPT),
            State::Absent | State::Barred => {
                [self.ghost.as_ref().map(|ghost| ghost.until), self.doubt_until].into_iter().flatten().min()
            }
            State::Seeking { again_at, .. } => *again_at,
            State::Reading
            | State::SigningIn(_)
            | State::Retiring { .. }
            | State::Leaving { .. }
            | State::DeskSigningIn { .. }
            | State::DeskLeaving { .. } => None,
        };
        [state, self.outbox.retry_at()].into_iter().flatten().min()
    }

    /// Takes one event. An event that does not fit the state, such as the late answer to an old session's keep-alive,
    /// changes nothing.
    pub(super) fn step(&mut self, event: Event, now: Instant, tenure: Tenure) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.tenure = tenure;
        self.notice_tenure(now, &mut effects);
        self.note_version();
        match event {
            Event::Want { rejected } => self.want(rejected, now, &mut effects),
            Event::Sought(found) => self.sought(found, now, &mut effects),
            Event::AccountRead(account) => self.account_read(account, now, &mut effects),
            Event::SignInNotMade(error) => self.sign_in_not_made(error, now, &mut effects),
            Event::SignInAnswered(answer) => self.sign_in_answered(answer, now, &mut effects),
            Event::Retired(answer) => self.retired(answer, now, &mut effects),
            Event::SignOutAnswered(answer) => self.sign_out_answered(answer, now, &mut effects),
            Event::KeepAliveAnswered { version, result } => {
                self.keep_alive_answered(version, result, now, &mut effects);
            }
            Event::Learned { version, guid } => self.learned(version, guid, now, &mut effects),
            Event::Stored(result) => self.stored(result, now, &mut effects),
            Event::Changed => self.changed(&mut effects),
            Event::LostSight => self.lost_sight(now, &mut effects),
            Event::Reconfirm => self.reconfirm(),
            Event::BorrowerRefused { version, cause } => self.borrower_refused(version, cause, now, &mut effects),
            Event::Unwanted => self.unwanted(),
            Event::SignOutAsked => self.sign_out_asked(now, &mut effects),
            Event::Released => self.released(now),
            Event::Tick => self.tick(now, &mut effects),
            Event::Desk(event) => self.desk_event(event, now, &mut effects),
            Event::Stop => self.stop(now, &mut effects),
        }
        self.note_version();
        self.note_answered(&effects);
        self.serve_desk(now, &mut effects);
        self.note_answered(&effects);
        if effects.iter().any(|effect| matches!(effect, Effect::Seek { .. } | Effect::Take { .. })) {
            self.sought_at = Some(now);
        }
        self.send(now, &mut effects);
        effects
    }

    /// Late answers to a session must not meet the next one under the same fence.
    pub(super) fn note_version(&mut self) {
        let version = match &self.state {
            State::Active(active) | State::Retiring { active, .. } | State::DeskLeaving { active, .. } => {
                active.version
            }
            _ => return,
        };
        if let Some(claim) = self.claim.as_mut().filter(|claim| claim.fence == version.fence) {
            claim.rotation = version.rotation + 1;
        }
    }

    pub(super) fn note_answered(&mut self, effects: &[Effect]) {
        if effects.iter().any(|effect| matches!(effect, Effect::Grant(_) | Effect::Refuse(_))) {
            self.wanted = false;
        }
    }

    pub(super) fn want(&mut self, rejected: Option<Rejected>, now: Instant, effects: &mut Vec<Effect>) {
        if self.stopping {
            return effects.push(Effect::Refuse(Error::ShuttingDown));
        }
        self.wanted = true;
        match &mut self.state {
            State::Absent | State::Barred => self.seek(rejected, effects),
            State::Cooling { until, why } => match until.checked_duration_since(now) {
                Some(left) if !left.is_zero() => effects.push(Effect::Refuse(why.refusal(left))),
                _ => self.seek(rejected, effects),
            },
            State::Seeking { .. } if let Some(error) = self.desk.cools(now) => effects.push(Effect::Refuse(error)),
            State::Seeking { rejected: known, .. } => {
                self.unasked = false;
                if known.is_none() {
                    *known = rejected;
                }
            }
            State::Reading | State::SigningIn(_) | State::DeskSigningIn { .. } | State::DeskLeaving { .. } => {}
            State::Retiring { wanted, .. } | State::Leaving { wanted, .. } => *wanted = true,
            State::Borrowed(_) => self.want_borrowed(rejected, now, effects),
            State::Active(_) => self.want_active(rejected, now, effects),
        }
    }

    pub(super) fn want_active(&mut self, rejected: Option<Rejected>, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.holds(now);
        let State::Active(active) = &mut self.state else { return };
        let current = |rejected: &Rejected| rejected.version == active.version || rejected.guid.same_as(&active.guid);
        if !ours && !rejected.as_ref().is_some_and(current) {
            // Another process may have replaced the Guid, if this one was stopped for a while: whoever waits is answered
            // when the store has answered, or is known not to.
            active.awaited = true;
            active.dirty = true;
            return self.outbox.retry_now();
        }
        match rejected {
            // The very Guid that is current: lost. An older one: whoever rejects it has not seen its successor.
            Some(rejected) if current(&rejected) => {
                if active.is_decided(rejected.cause) {
                    return active.right_is_missing(self.tenure, effects);
                }
                self.decides = rejected.cause == LossCause::Refused;
                self.lose(rejected.cause, now, effects);
                self.seek(Some(rejected), effects);
            }
            _ => effects.push(active.grant(self.tenure)),
        }
    }

    pub(super) fn grant(&mut self, effects: &mut Vec<Effect>) {
        if let State::Active(active) = &mut self.state {
            effects.push(active.grant(self.tenure));
        }
    }

    pub(super) fn refuse(&mut self, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::Refuse(error));
        self.decides = false;
        self.rest(now);
    }

    pub(super) fn rest(&mut self, now: Instant) {
        self.state = self.at_rest();
        self.let_go(now);
    }

    pub(super) fn at_rest(&self) -> State {
        if self.bar.is_some() { State::Barred } else { State::Absent }
    }

    pub(super) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.ghost.as_ref().is_some_and(|ghost| ghost.until <= now) {
            self.ghost = None;
        }
        self.doubt_until = self.doubt_until.filter(|until| now < *until);
        match &self.state {
            State::Active(_) => self.tick_active(now, effects),
            State::Borrowed(_) => self.tick_borrowed(now, effects),
            State::Seeking { again_at: Some(at), .. } if *at <= now => self.seek_now(effects),
            State::Cooling { until, .. } if *until + FAILURES_KEPT <= now => {
                self.backoff = backoff(self.jitter.u64(..));
                self.rest(now);
            }
            _ => {}
        }
    }

    /// A last seek is under way or due: whether the agent is ours must be known.
    pub(super) fn unwanted(&mut self) {
        if matches!(self.state, State::Seeking { .. }) && !self.wants_desk() {
            (self.unasked, self.wanted) = (true, false);
        }
    }

    pub(super) fn released(&mut self, now: Instant) {
        match &mut self.state {
            State::Active(active) => active.idle_since = Some(now),
            State::Borrowed(borrowed) => borrowed.released(now),
            _ => {}
        }
    }
}
