//! Judges what the gateway noted against its manual: who was to blame, and what nobody could have avoided.

use super::model_gateway::{Note, Number, Token};
use super::model_store::Id;
use super::watch::SIGN_IN_BOUND;
use super::wires::Asked;
use super::world::{SECOND, World};

impl World {
    /// What the gateway noted while it dealt with a call.
    pub(super) fn judge(&mut self, from: Id, token: Token, asked: Asked) {
        for note in std::mem::take(&mut self.gateway.notes) {
            self.say(&format!("    gateway notes {note:?} of {from}"));
            self.judge_note((from, token), asked, note);
        }
    }

    fn judge_note(&mut self, (from, token): (Id, Token), asked: Asked, note: Note) {
        let unavoidable = self.watch.forgot_newest() || self.watch.clock_stepped_at.is_some();
        match note {
            Note::Overlap { unanswered } => self.judge_overlap(from, asked, (token, unanswered)),
            Note::SecondSignIn { lives } | Note::ThrownOut { lived: lives } => {
                match self.watch.orphans.get(&lives.sign_in) {
                    Some(_) => self.watch.allow("a sign-in while a session lives that nobody knows of"),
                    None if self.never_told(lives) => {
                        self.watch.allow("a second sign-in: the owner was stopped before it could tell the store");
                    }
                    None if self.watch.outdated.contains(&lives.sign_in) => {
                        self.watch.allow("a second sign-in: the owner was cut off while the Guid was replaced");
                    }
                    None if unavoidable || self.owner_was_away(lives) => {
                        self.watch.allow("a second sign-in: the store forgot, or its clock was set");
                    }
                    None => self.broken("second sign-in", format!("{from}: {lives:?} lives")),
                }
            }
            Note::PollsOverlap { unanswered } => {
                let (other, ..) = self.watch.calls[&unanswered];
                let waits = self.slot(other).is_some_and(|slot| {
                    let replica = &self.replicas[slot];
                    replica.pulse == Some(unanswered) && replica.paused_until <= self.now
                });
                let now = self.instant(self.now);
                let convinced = |id| {
                    let session = self.slot(id).and_then(|slot| self.replicas[slot].session.as_ref());
                    session.is_some_and(|session| session.holds(now))
                };
                if waits && !unavoidable && convinced(from) && convinced(other) {
                    self.broken("polls overlap", format!("{from} while {other} polls"));
                } else {
                    self.watch.allow("a poll while one of an owner that was stopped, killed or cut off is unanswered");
                }
            }
            Note::PollTooFast { after } if self.watch.calls[&after].0 == from => self.broken("poll too fast", ""),
            Note::PollTooFast { .. } => self.watch.allow("a poll just after one of another owner, which was cut off"),
            Note::Overtaken { current, .. } if !matches!(asked, Asked::Download { .. }) => {
                if self.watch.missed.contains(&current.sign_in) {
                    self.watch.outdated.insert(current.sign_in);
                }
            }
            Note::Overtaken { since, current } => {
                let late = self.now - since > self.watch.lease + SECOND;
                let unavoidable = unavoidable
                    || self.watch.old_data
                    || self.watch.orphans.contains_key(&current.sign_in)
                    || self.watch.outdated.contains(&current.sign_in);
                if late && !unavoidable {
                    self.broken("dead Guid", format!("{from}: {asked:?} {note:?}"));
                }
            }
            Note::AfterSignOut => self.watch.allow("a Guid of a session that was signed out"),
        }
    }

    /// Its owner was stopped or cut off before it could tell the store.
    fn never_told(&self, lives: Number) -> bool {
        !self.watch.told.contains(&lives.sign_in)
    }

    /// The store lost its data while the session's owner was away, which could not write them again in time.
    fn owner_was_away(&self, lives: Number) -> bool {
        let born = self.watch.born.get(&lives.sign_in).copied().unwrap_or_default();
        self.watch.data_lost_at.is_some_and(|lost| lost >= born)
    }

    pub(super) fn check_sign_out(&mut self, slot: usize, token: Token) {
        let now = self.instant(self.now);
        if self.replicas[slot].session.as_ref().is_some_and(|session| !session.holds(now)) {
            self.watch.superseded.insert(token);
        }
    }

    fn judge_overlap(&mut self, from: Id, asked: Asked, (token, unanswered): (Token, Token)) {
        let (other, sent, what) = self.watch.calls[&unanswered];
        let waited = self.watch.waited_for_turn.contains(&unanswered);
        let waits = self.slot(other).is_some_and(|slot| {
            self.replicas[slot].call == Some(unanswered) && self.replicas[slot].paused_until <= self.now
        });
        if self.watch.superseded.contains(&unanswered) || self.watch.superseded.contains(&token) {
            return self.watch.allow("calls overlap: a session is signed out that only its former owner knew");
        }
        let long = self.now >= sent + SIGN_IN_BOUND;
        let told = self.watch.data_lost_at.is_none_or(|lost| lost < sent);
        let clock = self.watch.clock_stepped_at.is_none();
        if !waits && long {
            return self.watch.allow("a call that its caller gave up half a minute ago is still unanswered");
        }
        if waited {
            return self.watch.allow("calls overlap: a sign-in had waited for its turn when its owner ended");
        }
        let now = self.instant(self.now);
        let owner = self.slot(other).and_then(|slot| self.replicas[slot].session.as_ref());
        if matches!(what, Asked::SignOut { .. }) && !owner.is_some_and(|session| session.holds(now)) {
            return self
                .watch
                .allow("calls overlap: an owner ended, or was cut off, while its sign-out was unanswered");
        }
        if !told || !clock {
            return self.watch.allow("calls overlap: the store forgot, or its clock was set");
        }
        self.broken("calls overlap", format!("{from}: {asked:?} while {unanswered} of {other} is unanswered"));
    }
}
