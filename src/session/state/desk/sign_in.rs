//! An app's sign-in: what makes room for it, the call, and what its answer means. It is never made without the claim, and
//! never while another call that signs in or out is in flight.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{ASK_AGAIN, DeskEffect, Leave, SignIn, answer_sign_in, no_answer};
use crate::cc::{Guid, Meaning, SignInForm};
use crate::session::journal::{SessionEvent, SignOutCause};
use crate::session::state::{Active, Effect, Error, Session, State, Why, backoff, may_have_worked, meaning, upstream};
use crate::session::store::{Cooling, Entry, Kind, Trouble};
use crate::upstream::DeskAnswer;

impl Session {
    /// The session that lives, ours or an older one of the app's, makes room for the app's sign-in.
    pub(super) fn give_way(&mut self, effects: &mut Vec<Effect>) {
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Active(active) if active.kind == Kind::Desk => {
                self.tell(Entry::SigningIn);
                effects.push(Effect::SignOut { guid: Arc::clone(&active.guid) });
                self.state = State::DeskLeaving { active, why: Leave::ForSignIn };
            }
            State::Active(active) => self.leave(active.guid, SignOutCause::Desk, effects),
            other => self.state = other,
        }
    }

    /// An older session of the app's was to make room.
    pub(in crate::session::state) fn gave_way(
        &mut self,
        answer: Result<(), Arc<upstream::Error>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let State::DeskLeaving { active, .. } = std::mem::replace(&mut self.state, State::Absent) else { return };
        let guid = self.rules.tag_key.tag(&active.guid);
        let error = match answer {
            Err(error) if meaning(&error) != Some(Meaning::SessionLost) => error,
            _ => {
                effects.push(Effect::Record(SessionEvent::SignedOut { why: SignOutCause::Desk, guid }));
                return self.after_desk(now, effects);
            }
        };
        effects.push(Effect::Record(SessionEvent::SignOutFailed { retcode: error.retcode().cloned(), guid }));
        if error.retcode().is_some() && self.holds(now) && self.desk.sign_in.is_some() {
            // The sign-in will be told what is the matter; where it is refused too the old session lives on.
            return self.desk_sign_in(Some(active), now, effects);
        }
        if self.desk.sign_in.take().is_some() {
            answer_sign_in(Err(no_answer(error, ASK_AGAIN)), effects);
        }
        self.lives_on(active, now, effects);
    }

    /// Nothing lives, and the agent is ours: the app's sign-in comes before one of our own.
    pub(in crate::session::state) fn go_on(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.desk.sign_in.is_some() { self.desk_sign_in(None, now, effects) } else { self.read_account(effects) }
    }

    fn desk_sign_in(&mut self, before: Option<Box<Active>>, now: Instant, effects: &mut Vec<Effect>) {
        if !self.holds(now) {
            return self.refuse(Error::tenure_ended(), now, effects);
        }
        let Some(SignIn { form, .. }) = self.desk.sign_in.take() else { return self.rest(now) };
        if let Some(left) = self.in_doubt_for(now) {
            let why = Why::Upstream(Arc::new(upstream::Error::Timeout));
            answer_sign_in(Err(why.refusal(left)), effects);
            if let Some(before) = before {
                return self.lives_on(before, now, effects);
            }
            let doubt_lasts = self.doubt_lasts(now);
            self.tell(Entry::Cooling(Cooling { trouble: Trouble::Timeout, lasts: left, doubt_lasts }));
            return self.cool_for(left, why, now, effects);
        }
        if form == SignInForm::Force {
            // The record first: it throws somebody off another desk.
            effects.push(Effect::Record(SessionEvent::Forced { by: Kind::Desk }));
        }
        self.tell(Entry::SigningIn);
        let generation = self.claim.map_or(0, |claim| claim.generation);
        effects.push(Effect::Desk(DeskEffect::SignIn { generation }));
        self.state = State::DeskSigningIn { form, before };
    }

    pub(super) fn desk_sign_in_answered(
        &mut self,
        answer: Result<DeskAnswer, Arc<upstream::Error>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let (form, before) = match std::mem::replace(&mut self.state, State::Absent) {
            State::DeskSigningIn { form, before } => (form, before),
            other => {
                self.state = other;
                return;
            }
        };
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.desk_sign_in_failed(&error, before, now, effects);
                let left = match &self.state {
                    State::Cooling { until, .. } => until.saturating_duration_since(now),
                    _ => ASK_AGAIN,
                };
                return answer_sign_in(Err(no_answer(error, left)), effects);
            }
        };
        if let Some(guid) = answer.guid.take() {
            return self.desk_signed_in((Arc::new(guid), form, answer), before.as_deref(), now, effects);
        }
        let error = match answer.retcode.meaning() {
            Meaning::Success => upstream::Error::Protocol("the answer to a sign-in brought no Guid"),
            _ => upstream::Error::Refused { retcode: answer.retcode.clone(), message: String::new() },
        };
        answer_sign_in(Ok(answer), effects);
        self.desk_sign_in_failed(&Arc::new(error), before, now, effects);
    }

    fn desk_signed_in(
        &mut self,
        (guid, form, answer): (Arc<Guid>, SignInForm, DeskAnswer),
        before: Option<&Active>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(before) = before {
            let guid = self.rules.tag_key.tag(&before.guid);
            effects.push(Effect::Record(SessionEvent::SignedOut { why: SignOutCause::Desk, guid }));
        }
        let tag = self.rules.tag_key.tag(&guid);
        effects.push(Effect::Record(SessionEvent::DeskSignedIn { form, guid: tag }));
        self.backoff = backoff(self.jitter.u64(..));
        (self.doubt_until, self.answer_due, self.ghost, self.decides) = (None, None, None, false);
        let Some(claim) = self.claim else {
            // The agent went to another process meanwhile, which does not know this session: it would stand in the way.
            answer_sign_in(Err(Error::tenure_ended()), effects);
            self.leave(guid, SignOutCause::Superseded, effects);
            if let State::Leaving { wanted, .. } = &mut self.state {
                *wanted = self.wanted;
            }
            return;
        };
        answer_sign_in(Ok(answer), effects);
        let failures = backoff(self.jitter.u64(..));
        self.state = State::Active(Box::new(Active {
            // No download makes a fresh session of it: a `000-003` is about the right.
            decides: true,
            // Downloads use it when the store knows of it, as one of ours.
            awaited: self.wanted,
            ..Active::fresh((guid, claim.next_version()), (form, Kind::Desk), now, failures)
        }));
        if self.stopping {
            self.hand_over_told(now, effects);
        }
    }

    /// The app is not signed in. Downloads that waited for it go on with a sign-in of our own, where that can work.
    fn desk_sign_in_failed(
        &mut self,
        error: &Arc<upstream::Error>,
        before: Option<Box<Active>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let why = match meaning(error) {
            Some(Meaning::AgentBusy) => Why::AgentBusy,
            Some(Meaning::TryLater) if let Some(retcode) = error.retcode() => Why::Switching(retcode.clone()),
            _ => Why::Upstream(Arc::clone(error)),
        };
        if !matches!(**error, upstream::Error::Resting { .. }) {
            let (code, retcode) = (why.refusal(Duration::ZERO).code(), error.retcode().cloned());
            effects.push(Effect::Record(SessionEvent::SignInFailed { code, retcode }));
        }
        let in_doubt = may_have_worked(error);
        if in_doubt {
            self.begin_doubt(Duration::ZERO, now);
        }
        if let Some(before) = before {
            return self.lives_on(before, now, effects);
        }
        let refused_app = matches!(&why, Why::Upstream(_)) && error.retcode().is_some();
        if self.wanted && refused_app {
            self.own_turn(now, effects);
        } else if in_doubt || self.wanted {
            self.cool(why, now, effects);
        } else {
            self.rest(now);
        }
    }

    /// [`Error::Timeout`]: the app has gone meanwhile.
    pub(in crate::session::state) fn desk_sign_in_not_made(
        &mut self,
        error: Error,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let State::DeskSigningIn { before, .. } = std::mem::replace(&mut self.state, State::Absent) else { return };
        answer_sign_in(Err(error.clone()), effects);
        match before {
            Some(before) => self.lives_on(before, now, effects),
            None if matches!(error, Error::Timeout) => self.own_turn(now, effects),
            None => self.refuse(error, now, effects),
        }
    }
}
