//! The way to a session that is signed in, and what a failed sign-in means. It signs in only what this process owns.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::active::{Active, Pulse};
use super::failure::{Why, backoff, bar_cause, may_have_worked, meaning};
use super::{DOUBT_COOLING, Effect, Error, FAILURES_KEPT, Fresh, MAXTIME, Rules, Session, State, upstream};
use crate::cc::{Meaning, SignInForm};
use crate::session::accounts::Account;
use crate::session::journal::{BarCause, SessionEvent, SignOutCause};
use crate::session::store::{Cooling, Entry, Kind};

/// A sign-in that is in flight.
#[derive(Debug, Clone)]
pub(in crate::session) struct Attempt {
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

impl Session {
    pub(super) fn read_account(&mut self, effects: &mut Vec<Effect>) {
        self.state = State::Reading;
        effects.push(Effect::ReadAccount);
    }

    pub(super) fn account_read(
        &mut self,
        account: Result<Arc<Account>, Error>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.state, State::Reading) {
            return;
        }
        let account = match account {
            Ok(account) if !self.stopping => account,
            Ok(_) => return self.refuse(Error::ShuttingDown, now, effects),
            Err(error) => return self.refuse(error, now, effects),
        };
        if self.wants_desk_sign_in() {
            return self.go_on(now, effects);
        }
        match &self.bar {
            Some((cause, fingerprint)) if *fingerprint == account.fingerprint => {
                let error = Error::AccountRejected { cause: cause.clone() };
                let entry = Entry::Barred { cause: cause.clone(), fingerprint: *fingerprint };
                self.tell(entry);
                self.refuse(error, now, effects);
            }
            _ if !self.holds(now) => self.refuse(Error::tenure_ended(), now, effects),
            _ => self.sign_in(Attempt { account, form: self.rules.form }, effects),
        }
    }

    pub(super) fn sign_in_not_made(&mut self, error: Error, now: Instant, effects: &mut Vec<Effect>) {
        match self.state {
            State::SigningIn(_) => self.refuse(error, now, effects),
            State::DeskSigningIn { .. } => self.desk_sign_in_not_made(error, now, effects),
            _ => {}
        }
    }

    pub(super) fn sign_in(&mut self, attempt: Attempt, effects: &mut Vec<Effect>) {
        self.tell(Entry::SigningIn);
        let generation = self.claim.map_or(0, |claim| claim.generation);
        effects.push(Effect::SignIn { account: Arc::clone(&attempt.account), form: attempt.form, generation });
        self.state = State::SigningIn(attempt);
    }

    pub(super) fn sign_in_answered(
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
                return self.bar(cause, &attempt.account, now, effects);
            }
            _ => {}
        }
        if may_have_worked(&error) {
            self.begin_doubt(Duration::ZERO, now);
        }
        let in_doubt = self.doubt_until.is_some_and(|until| now < until);
        match meaning(&error) {
            Some(Meaning::AgentBusy) if attempt.may_force() && !in_doubt && !self.stopping && self.holds(now) => {
                // The record first: it throws somebody off the desk.
                effects.push(Effect::Record(SessionEvent::Forced { by: Kind::Own }));
                self.sign_in(Attempt { form: SignInForm::Force, ..attempt }, effects);
            }
            Some(Meaning::AgentBusy) => self.sign_in_failed(&error, Why::AgentBusy, now, effects),
            Some(Meaning::TryLater) if let Some(retcode) = error.retcode() => {
                self.sign_in_failed(&error, Why::Switching(retcode.clone()), now, effects);
            }
            _ => self.sign_in_failed(&error, Why::Upstream(Arc::clone(&error)), now, effects),
        }
    }

    pub(super) fn sign_in_failed(
        &mut self,
        error: &upstream::Error,
        why: Why,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let code = why.refusal(Duration::ZERO).code();
        // What was not tried has not failed.
        if !matches!(error, upstream::Error::Resting { .. }) {
            effects.push(Effect::Record(SessionEvent::SignInFailed { code, retcode: error.retcode().cloned() }));
        }
        self.cool(why, now, effects);
    }

    pub(super) fn signed_in(&mut self, fresh: Fresh, attempt: &Attempt, now: Instant, effects: &mut Vec<Effect>) {
        let form = attempt.form;
        let tag = self.rules.tag_key.tag(&fresh.guid);
        effects.push(Effect::Record(SessionEvent::SignedIn { form, guid: tag }));
        self.backoff = backoff(self.jitter.u64(..));
        let decides = std::mem::take(&mut self.decides);
        let guid = Arc::new(fresh.guid);
        if self.stopping {
            return self.leave(guid, SignOutCause::Shutdown, effects);
        }
        let Some(claim) = self.claim else {
            // The agent went to another process meanwhile, which does not know this session.
            self.decides = false;
            self.leave(guid, SignOutCause::Superseded, effects);
            if let State::Leaving { wanted, .. } = &mut self.state {
                *wanted = true;
            }
            return;
        };
        if fresh.must_change_password {
            self.bar(BarCause::MustChangePassword, &attempt.account, now, effects);
            return self.leave(guid, SignOutCause::MustChangePassword, effects);
        }
        self.bar = None;
        (self.doubt_until, self.answer_due) = (None, None);
        let failures = backoff(self.jitter.u64(..));
        let active = Active {
            decides,
            pulse: Pulse::Waiting { at: now + self.rules.gap(&mut self.jitter) },
            // Used when the store knows of it, so that whoever comes after a crash finds it.
            awaited: true,
            ..Active::fresh((guid, claim.next_version()), (form, Kind::Own), now, failures)
        };
        self.state = State::Active(Box::new(active));
    }

    pub(super) fn bar(&mut self, cause: BarCause, account: &Account, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::Record(SessionEvent::Barred { cause: cause.clone() }));
        self.bar = Some((cause.clone(), account.fingerprint));
        self.tell(Entry::Barred { cause: cause.clone(), fingerprint: account.fingerprint });
        self.refuse(Error::AccountRejected { cause }, now, effects);
    }

    pub(super) fn cool(&mut self, why: Why, now: Instant, effects: &mut Vec<Effect>) {
        let shortest = match &why {
            Why::Upstream(error) if may_have_worked(error) => DOUBT_COOLING,
            _ => Duration::ZERO,
        };
        let delay = match &why {
            // Nothing was asked, so nothing failed: as long as the gateway is left alone, and a little so that not all come
            // back at once.
            Why::Upstream(error) if let upstream::Error::Resting { retry_after, .. } = **error => {
                retry_after.mul_f64(1.0 + 0.2 * self.jitter.f64())
            }
            _ => self.backoff.next().unwrap_or(FAILURES_KEPT).max(shortest),
        };
        let doubt_lasts = self.doubt_lasts(now);
        if let Some(trouble) = why.trouble() {
            self.tell(Entry::Cooling(Cooling { trouble, lasts: delay, doubt_lasts }));
        }
        self.cool_for(delay, why, now, effects);
    }

    /// A sign-in got no answer so long ago.
    pub(super) fn begin_doubt(&mut self, ago: Duration, now: Instant) {
        self.doubt_for(MAXTIME.saturating_sub(ago), now);
        self.answer_due = Some(now + DOUBT_COOLING.saturating_sub(ago));
    }

    /// Nobody is thrown out for so long, or longer.
    pub(super) fn doubt_for(&mut self, lasts: Duration, now: Instant) {
        if !lasts.is_zero() {
            self.doubt_until = self.doubt_until.max(Some(now + lasts));
        }
    }

    pub(super) fn doubt_lasts(&self, now: Instant) -> Duration {
        self.doubt_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// For how long the gateway may still be at a sign-in that got no answer: another one is forbidden meanwhile.
    pub(super) fn in_doubt_for(&self, now: Instant) -> Option<Duration> {
        self.answer_due?.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    pub(super) fn cool_for(&mut self, left: Duration, why: Why, now: Instant, effects: &mut Vec<Effect>) {
        effects.push(Effect::Refuse(why.refusal(left)));
        self.decides = false;
        self.rest(now);
        self.state = State::Cooling { until: now + left, why };
    }
}
