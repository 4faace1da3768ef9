//! How a session ends here: lost, signed out, retired or handed over. It never begins one.

use std::sync::Arc;

use tokio::time::Instant;

use super::active::Pulse;
use super::desk::Leave;
use super::failure::{Why, may_have_worked, meaning};
use super::{DOUBT_COOLING, Effect, Error, Ghost, MAXTIME, SILENT_DOUBT, Session, State, upstream};
use crate::cc::{Guid, Meaning};
use crate::session::journal::{LossCause, SessionEvent, SignOutCause};
use crate::session::store::{self, Entry, Kind, Retire, Retired};

impl Session {
    pub(super) fn leave(&mut self, guid: Arc<Guid>, why: SignOutCause, effects: &mut Vec<Effect>) {
        // So that whoever takes over while it is unanswered does not sign in meanwhile.
        self.tell(Entry::SigningIn);
        effects.push(Effect::SignOut { guid: Arc::clone(&guid) });
        self.state = State::Leaving { guid, why, wanted: false, ghost_until: None };
    }

    pub(super) fn sign_out_answered(
        &mut self,
        answer: Result<(), Arc<upstream::Error>>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if matches!(self.state, State::DeskLeaving { why: Leave::ForSignIn, .. }) {
            return self.gave_way(answer, now, effects);
        }
        let State::Leaving { guid, why, wanted, ghost_until } = &self.state else { return };
        let wanted = (*wanted || self.wants_desk_sign_in()) && !self.stopping;
        let (guid, why, ghost_until) = (Arc::clone(guid), *why, *ghost_until);
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
                // A ghost is forgotten no later for having been signed out in vain: else it would bar the agent for as long
                // as its node is gone and somebody asks.
                let until = ghost_until.unwrap_or(now + MAXTIME);
                self.ghost = Some(Ghost { guid, until });
                // The gateway may still be at it, and nobody signs it out once more before the sign-in.
                if may_have_worked(&error) && until < now + DOUBT_COOLING {
                    self.answer_due = self.answer_due.max(Some(now + DOUBT_COOLING));
                }
                if wanted { self.cool(Why::Upstream(error), now, effects) } else { self.rest(now) }
            }
            _ if wanted && self.claim.is_some() => self.go_on(now, effects),
            _ if wanted => self.seek(None, effects),
            _ => self.rest(now),
        }
    }

    /// The session is no longer ours to use. The downloads that run with its Guid are left alone. The agent stays ours: if
    /// it was let go before the ghost is signed out, another process would sign in, and meet it.
    pub(super) fn lose(&mut self, cause: LossCause, now: Instant, effects: &mut Vec<Effect>) {
        let State::Active(active) = &self.state else { return };
        // A session of the agent's own app is never signed out by us: whoever is signed in next is told that it lives.
        if cause != LossCause::Forgotten && active.kind == Kind::Own {
            self.ghost = Some(Ghost { guid: Arc::clone(&active.guid), until: now + MAXTIME });
        }
        let fell_silent = cause == LossCause::Silent && active.kind == Kind::Desk;
        self.lost = Some(Arc::clone(&active.guid));
        let guid = self.rules.tag_key.tag(&active.guid);
        effects.push(Effect::Record(SessionEvent::Lost { cause, guid }));
        if fell_silent {
            self.doubt_for(SILENT_DOUBT, now);
        }
        self.state = self.at_rest();
    }

    /// As [`Session::lose`], where nobody waits for a fresh session. The ghost is signed out before anybody wants one, or
    /// at once where that may be another process, which does not know it.
    pub(super) fn lose_unasked(&mut self, cause: LossCause, now: Instant, effects: &mut Vec<Effect>) {
        let awaited = matches!(&self.state, State::Active(active) if active.awaited);
        self.lose(cause, now, effects);
        if awaited && !self.stopping {
            self.seek(None, effects);
        } else if cause == LossCause::Refused && self.rules.lease.is_some() {
            self.seek(None, effects);
            self.unasked = true;
        } else {
            self.rest(now);
        }
    }

    pub(super) fn sign_out_asked(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        // Where the tenure has ended it may be another process's by now, which may be signing in.
        let ours = self.holds(now);
        if let State::Active(active) = &self.state
            && ours
        {
            let (guid, awaited) = (Arc::clone(&active.guid), active.awaited);
            self.leave(guid, SignOutCause::Operator, effects);
            if let State::Leaving { wanted, .. } = &mut self.state {
                *wanted = awaited;
            }
        }
    }

    pub(super) fn stop(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.stopping = true;
        effects.push(Effect::Refuse(Error::ShuttingDown));
        let ours = self.holds(now);
        match &self.state {
            // A call is in flight: its answer finds `stopping` set.
            State::Reading
            | State::SigningIn(_)
            | State::Retiring { .. }
            | State::Leaving { .. }
            | State::DeskSigningIn { .. }
            | State::DeskLeaving { .. } => {}
            // Nobody else knows of it, so nobody else can ever sign it out.
            State::Active(active) if active.is_untold() => {
                let guid = Arc::clone(&active.guid);
                self.leave(guid, SignOutCause::Shutdown, effects);
            }
            // Not ours to sign out, or not known to be.
            State::Active(active) if active.kind == Kind::Desk || !ours => self.hand_over_told(now, effects),
            State::Active(_) => self.retire(SignOutCause::Shutdown, Retire::Stop, effects),
            State::Absent | State::Cooling { .. } | State::Barred | State::Seeking { .. } | State::Borrowed(_) => {
                // Whether another process is signing in cannot be known where the agent is not ours.
                let alone = self.rules.lease.is_none();
                match self.ghost.take() {
                    Some(ghost) if ours || alone => self.leave(ghost.guid, SignOutCause::Shutdown, effects),
                    // Not released: whoever owns the agent next finds what was written of it, and signs it out.
                    Some(_) => {
                        self.claim = None;
                        self.state = self.at_rest();
                    }
                    None => self.rest(now),
                }
            }
        }
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
        self.state = self.at_rest();
        if awaited && !self.stopping {
            self.seek(None, effects);
        }
    }
}
