//! The part of the machine that knows of agents' own apps, which sign in, poll, beat and sign out through here. It keeps no
//! session of theirs alive, and signs none out but for the app itself (or, elsewhere, for the operator).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Active, Effect, Error, Granted, Session, State, Version, Why, upstream};
use crate::cc::{Guid, Meaning, SignInForm};
use crate::session::journal::{LossCause, SessionEvent};
use crate::session::store::{Entry, Kind};
use crate::upstream::DeskAnswer;

mod sign_in;

/// When an app whose call got no answer may ask again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What an agent's own app wants and has not got yet.
#[derive(Debug, Default)]
pub(in crate::session) struct Wishes {
    /// To sign in. Whoever runs the machine holds the request.
    sign_in: Option<SignIn>,
    /// To call with the session that it has signed in.
    session: Option<Asked>,
    /// A cooling that was left for a seek on the app's behalf: it goes on where the seek finds nothing.
    cooling: Option<(Instant, Why)>,
}

#[derive(Debug)]
struct SignIn {
    form: SignInForm,
    asked: Asked,
}

/// Whether the store was asked since the wish came up.
type Asked = bool;

/// What an app does.
#[derive(Debug)]
pub(in crate::session) enum DeskEvent {
    /// It wants to sign in.
    SignInAsked(SignInForm),
    /// It wants to poll, to beat or to sign out with its session.
    Asked,
    /// It wants the session of this version signed out.
    SignOutAsked(Version),
    /// Its sign-in answered, with the Guid still in the answer.
    SignInAnswered(Result<DeskAnswer, Arc<upstream::Error>>),
    /// Its sign-out answered.
    SignOutAnswered(Result<DeskAnswer, Arc<upstream::Error>>),
    /// The gateway answered a call with this version: the session lives.
    Alive(Version),
    /// The gateway answered a call with this version that the session is gone.
    Lost(Version, LossCause),
}

/// What is to be done for an app.
#[derive(Debug)]
pub(in crate::session) enum DeskEffect {
    /// The sign-in that is held is to be made.
    SignIn {
        /// Of the tenure under which the agent is owned: not to be made once that has ended.
        generation: u64,
    },
    SignOut {
        guid: Arc<Guid>,
    },
    /// All who want the app's session get it.
    Grant(Granted),
    /// All who want the app's session get this error.
    Refuse(Error),
    /// Whoever signs in gets this.
    AnswerSignIn(Result<DeskAnswer, Error>),
    /// Whoever signs out gets this.
    AnswerSignOut(Result<DeskAnswer, Error>),
}

/// For what an app's session is being signed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum Leave {
    /// The app asked for it.
    ForGood,
    /// The app signs in anew, a page that was loaded again for one.
    ForSignIn,
}

impl Wishes {
    fn are_none(&self) -> bool {
        self.sign_in.is_none() && self.session.is_none()
    }

    /// Why downloads are not waited for though a seek is in flight: it is the app's, and they cool down as before.
    pub(super) fn cools(&self, now: Instant) -> Option<Error> {
        let (until, why) = self.cooling.as_ref().filter(|_| self.sign_in.is_none())?;
        until.checked_duration_since(now).filter(|left| !left.is_zero()).map(|left| why.refusal(left))
    }
}

fn answer_sign_in(answer: Result<DeskAnswer, Error>, effects: &mut Vec<Effect>) {
    effects.push(Effect::Desk(DeskEffect::AnswerSignIn(answer)));
}

fn no_answer(source: Arc<upstream::Error>, retry_after: Duration) -> Error {
    Error::Upstream { source, retry_after }
}

/// The last error that those who wait were told in this step.
fn refused(effects: &[Effect]) -> Option<Error> {
    effects.iter().rev().find_map(|effect| match effect {
        Effect::Refuse(error) => Some(error.clone()),
        _ => None,
    })
}

impl Session {
    pub(super) fn wants_desk(&self) -> bool {
        !self.desk.are_none()
    }

    pub(super) fn wants_desk_sign_in(&self) -> bool {
        self.desk.sign_in.is_some()
    }

    /// Nobody wants a session but an app its own.
    pub(super) fn wants_desk_only(&self) -> bool {
        self.desk.session.is_some() && self.desk.sign_in.is_none() && !self.wanted
    }

    pub(super) fn desk_event(&mut self, event: DeskEvent, now: Instant, effects: &mut Vec<Effect>) {
        match event {
            DeskEvent::SignInAsked(form) => self.desk.sign_in = Some(SignIn { form, asked: false }),
            DeskEvent::Asked => {
                self.desk.session.get_or_insert(false);
                // What a seek that is in flight finds may be older than the app's own sign-in.
                self.seek_again |= self.seeking.is_some();
            }
            DeskEvent::SignOutAsked(version) => self.desk_sign_out_asked(version, now, effects),
            DeskEvent::SignInAnswered(answer) => self.desk_sign_in_answered(answer, now, effects),
            DeskEvent::SignOutAnswered(answer) => self.desk_sign_out_answered(answer, now, effects),
            DeskEvent::Alive(version) => {
                if let Some(active) = self.living().filter(|active| active.version.fence == version.fence) {
                    active.answered(None, false, now);
                }
            }
            DeskEvent::Lost(version, cause) => {
                if let State::Active(active) = &self.state
                    && active.kind == Kind::Desk
                    && active.version == version
                {
                    self.wanted |= active.awaited;
                    self.lose(cause, now, effects);
                    self.own_turn(now, effects);
                }
            }
        }
    }

    /// The session that lives and is ours, also while its app signs it out.
    pub(super) fn living(&mut self) -> Option<&mut Active> {
        match &mut self.state {
            State::Active(active) | State::DeskLeaving { active, .. } => Some(active),
            _ => None,
        }
    }

    /// Goes on with what apps want, as far as the state lets it. At the end of every step.
    pub(super) fn serve_desk(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if !matches!(self.state, State::Seeking { .. }) {
            self.desk.cooling = None;
        }
        if self.desk.are_none() {
            return;
        }
        if self.stopping {
            return self.refuse_wishes(&Error::ShuttingDown, effects);
        }
        match &self.state {
            // What is awaited tells.
            State::DeskSigningIn { .. } | State::DeskLeaving { .. } => {}
            State::Seeking { .. } => {
                if let Some(error @ Error::Store { .. }) = refused(effects) {
                    self.refuse_wishes(&error, effects);
                }
            }
            // A session of ours comes or goes; an app that signs in waits for the answer.
            State::Reading | State::SigningIn(_) | State::Retiring { .. } | State::Leaving { .. } => {
                self.no_desk(effects);
            }
            State::Absent | State::Cooling { .. } | State::Barred => self.serve_at_rest(effects),
            State::Borrowed(_) => self.serve_borrowed(effects),
            State::Active(_) => self.serve_active(now, effects),
        }
    }

    pub(super) fn refuse_wishes(&mut self, error: &Error, effects: &mut Vec<Effect>) {
        if self.desk.sign_in.take().is_some() {
            answer_sign_in(Err(error.clone()), effects);
        }
        if self.desk.session.take().is_some() {
            effects.push(Effect::Desk(DeskEffect::Refuse(error.clone())));
        }
    }

    fn no_desk(&mut self, effects: &mut Vec<Effect>) {
        if self.desk.session.take().is_some() {
            effects.push(Effect::Desk(DeskEffect::Refuse(Error::NoDesk)));
        }
    }

    fn serve_at_rest(&mut self, effects: &mut Vec<Effect>) {
        if let Some(error) = refused(effects) {
            if self.desk.sign_in.take_if(|wish| wish.asked).is_some() {
                answer_sign_in(Err(error.clone()), effects);
            }
            if self.desk.session.take_if(|asked| *asked).is_some() {
                // Whatever keeps us from signing in, there is no session of the app's; but without the store nobody knows.
                let unknown = matches!(error, Error::Store { .. });
                let error = if unknown { error } else { Error::NoDesk };
                effects.push(Effect::Desk(DeskEffect::Refuse(error)));
            }
        }
        // Where there is no other process it is known why there is no session.
        if self.rules.lease.is_none() && !matches!(self.state, State::Absent) {
            self.no_desk(effects);
        }
        if self.desk.are_none() {
            return;
        }
        if let State::Cooling { until, why } = std::mem::replace(&mut self.state, State::Absent) {
            self.desk.cooling = Some((until, why));
        }
        self.note_asked();
        self.seek(None, effects);
    }

    fn note_asked(&mut self) {
        if let Some(wish) = &mut self.desk.sign_in {
            wish.asked = true;
        }
        if let Some(asked) = &mut self.desk.session {
            *asked = true;
        }
    }

    fn serve_borrowed(&mut self, effects: &mut Vec<Effect>) {
        let State::Borrowed(borrowed) = &self.state else { return };
        if self.seeking.is_some() {
            return;
        }
        if self.desk.sign_in.is_some() || borrowed.kind() == Kind::Desk {
            let fence = borrowed.version().fence;
            return self.take(fence, effects);
        }
        if self.desk.session == Some(true) {
            return self.no_desk(effects);
        }
        // The app may have signed in a moment ago through another process.
        self.note_asked();
        self.seek_now(effects);
    }

    /// The app comes through here now, so the session is to be ours.
    pub(super) fn take(&mut self, fence: u64, effects: &mut Vec<Effect>) {
        self.note_asked();
        self.state = State::Seeking { again_at: None, rejected: None };
        self.seeking = Some(self.tenure.generation);
        effects.push(Effect::Take { fence });
    }

    fn serve_active(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.holds(now);
        if self.desk.sign_in.is_some() && ours {
            self.no_desk(effects);
            return self.give_way(effects);
        }
        let State::Active(active) = &mut self.state else { return };
        match active.kind {
            Kind::Desk if ours => self.grant_desk(effects),
            Kind::Own if self.rules.lease.is_none() => self.no_desk(effects),
            _ => {}
        }
        if self.desk.are_none() {
            return;
        }
        // What is left needs the store's word: whether the session is ours still, and whether it is the newest.
        let asked = self.desk.sign_in.as_ref().is_none_or(|wish| wish.asked) && self.desk.session.unwrap_or(true);
        if asked {
            return self.answer_active(now, effects);
        }
        self.note_asked();
        if let State::Active(active) = &mut self.state {
            active.dirty = true;
            active.awaited = true;
        }
        self.outbox.retry_now();
    }

    /// What the store said, or that it says nothing, where a session lives.
    fn answer_active(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let error = match refused(effects) {
            Some(error @ Error::Store { .. }) => error,
            _ if self.is_written() || self.outbox.pauses() => Error::tenure_ended(),
            _ => return,
        };
        let State::Active(active) = &self.state else { return };
        match active.kind {
            Kind::Own if self.is_written() => self.no_desk(effects),
            // In hand, for as long as nobody can have replaced the Guid twice.
            Kind::Desk if !active.doubtful && now < active.usable_until() => self.grant_desk(effects),
            _ => {}
        }
        self.refuse_wishes(&error, effects);
    }

    fn grant_desk(&mut self, effects: &mut Vec<Effect>) {
        if let State::Active(active) = &self.state
            && self.desk.session.take().is_some()
        {
            effects.push(Effect::Desk(DeskEffect::Grant(active.granted(self.tenure))));
        }
    }

    /// Whether the store has answered to the newest of the session that lives.
    pub(in crate::session) fn is_written(&self) -> bool {
        !matches!(&self.state, State::Active(active) if active.dirty) && self.outbox.is_empty()
    }

    /// The session is as it was before.
    fn lives_on(&mut self, mut active: Box<Active>, now: Instant, effects: &mut Vec<Effect>) {
        active.dirty = true;
        active.awaited |= self.wanted && self.claim.is_none();
        self.state = State::Active(active);
        if self.stopping {
            self.hand_over_told(now, effects);
        } else if self.claim.is_none() {
            self.hand_over(effects);
        } else if self.wanted {
            self.want_active(None, now, effects);
        }
    }

    /// Hands over what is an app's, or not known to be ours, with what the store was not told yet.
    pub(super) fn hand_over_told(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let State::Active(active) = &self.state
            && active.dirty
        {
            let entry = active.entry(now);
            self.tell(entry);
        }
        self.hand_over(effects);
    }

    /// Nobody but an app wants a session, and none of its own lives. What is known stays known.
    pub(super) fn nothing_for_desk(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let cooling = self.desk.cooling.take();
        self.no_desk(effects);
        self.rest(now);
        if let Some((until, why)) = cooling {
            self.state = State::Cooling { until, why };
        }
    }

    fn own_turn(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.wanted && !self.stopping && self.holds(now) {
            self.go_on(now, effects);
        } else if self.wanted && !self.stopping {
            self.seek(None, effects);
        } else {
            self.rest(now);
        }
    }

    fn desk_sign_out_asked(&mut self, version: Version, now: Instant, effects: &mut Vec<Effect>) {
        let ours = self.holds(now);
        match std::mem::replace(&mut self.state, State::Absent) {
            State::Active(active)
                if ours && active.kind == Kind::Desk && active.version.fence == version.fence && !self.stopping =>
            {
                self.tell(Entry::SigningIn);
                effects.push(Effect::Desk(DeskEffect::SignOut { guid: Arc::clone(&active.guid) }));
                self.state = State::DeskLeaving { active, why: Leave::ForGood };
            }
            other => {
                let unknown = matches!(&other, State::Active(active) if active.kind == Kind::Desk);
                self.state = other;
                let error = if unknown { Error::tenure_ended() } else { Error::NoDesk };
                effects.push(Effect::Desk(DeskEffect::AnswerSignOut(Err(error))));
            }
        }
    }

    fn desk_sign_out_answered(
        &mut self,
        answer: Result<DeskAnswer, Arc<upstream::Error>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let active = match std::mem::replace(&mut self.state, State::Absent) {
            State::DeskLeaving { active, why: Leave::ForGood } => active,
            other => {
                self.state = other;
                return;
            }
        };
        let guid = self.rules.tag_key.tag(&active.guid);
        let gone = answer
            .as_ref()
            .is_ok_and(|answer| matches!(answer.retcode.meaning(), Meaning::Success | Meaning::SessionLost));
        let told = answer.map_err(|error| no_answer(error, ASK_AGAIN));
        if gone {
            effects.push(Effect::Record(SessionEvent::DeskSignedOut { guid }));
        }
        effects.push(Effect::Desk(DeskEffect::AnswerSignOut(told)));
        if !gone {
            return self.lives_on(active, now, effects);
        }
        self.after_desk(now, effects);
    }

    /// An app's session is signed out.
    fn after_desk(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.wants_desk_sign_in() && !self.stopping && self.holds(now) {
            self.go_on(now, effects);
        } else {
            self.own_turn(now, effects);
        }
    }
}
