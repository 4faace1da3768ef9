//! The state of all agents by the vendor's rules: sessions, Guids, passwords. Pure: time is an argument, nothing waits here.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use super::{
    config::{AgentSource, Config, GuidMode, SignInForm, SignedInAs},
    guid::Guid,
    rules::{Rule, Rules},
    sign_in::SignIn,
};

/// Dead Guids remembered for each agent.
const REMEMBERED_DEAD: usize = 32;
/// How long several clients of one session may take to tell each other of a Guid whose forerunner none of them used.
const SPREADING: Duration = Duration::from_secs(1);
/// How long a request may have been on its way when the answer was written that brought a third Guid: whoever sent it could
/// not know.
const ON_THE_WAY: Duration = Duration::from_millis(250);
/// The least pause between the answer of a poll and the next poll.
const POLL_PAUSE: Duration = Duration::from_millis(200);

/// A result code that refuses a call.
pub(super) type Retcode = String;

/// All agents that were ever asked for.
pub(super) struct Agents {
    config: Arc<Config>,
    rules: Arc<Rules>,
    states: HashMap<u32, State>,
    serial: u64,
}

/// What the gateway knows of one agent.
#[derive(Default)]
struct State {
    session: Option<Session>,
    /// Somebody else is signed in as this agent.
    elsewhere: bool,
    /// Guids of the past, the newest last.
    dead: VecDeque<Dead>,
    /// The password, where it was changed after the start.
    password: Option<String>,
    wrong_passwords: u32,
    /// A wrong password was told and nobody allowed another try.
    retry_forbidden: bool,
    signing_in: u32,
    signing_out: u32,
}

struct Session {
    serial: u64,
    opened_as: SignedInAs,
    guid: Guid,
    issued: Duration,
    /// Whether a request has carried the current Guid: somebody holds it.
    used: bool,
    /// The Guid before, and when it was replaced.
    previous: Option<(Guid, Duration)>,
    last_request: Duration,
    polling: bool,
    last_poll_answer: Option<Duration>,
}

/// How a Guid ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    SignedOut,
    TimedOut,
    Replaced,
    /// Replaced twice, and nobody ever used what was between: its answer may have gone down with its client, so that
    /// whoever shares the session could not know of it before the second answer.
    Overtaken,
    ForcedByClient,
    ThrownOut,
    Forgotten,
}

impl Death {
    /// Whether the client can know of it after so long.
    fn is_known(self, age: Duration) -> bool {
        match self {
            Self::SignedOut | Self::TimedOut | Self::ForcedByClient => true,
            Self::Replaced => age >= ON_THE_WAY,
            Self::Overtaken => age >= SPREADING,
            Self::ThrownOut | Self::Forgotten => false,
        }
    }
}

/// A Guid of the past.
struct Dead {
    guid: Guid,
    death: Death,
    at: Duration,
}

/// What an unanswered call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Running {
    SignIn,
    SignOut,
}

/// A poll that waits, in the session it began in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Poll {
    pub(super) agent: u32,
    serial: u64,
}

/// A live session, for the control port.
#[derive(Debug, serde::Serialize)]
pub(super) struct Live {
    pub(super) agent: u32,
    #[serde(flatten)]
    pub(super) signed_in: SignedInAs,
}

impl Agents {
    pub(super) fn new(config: Arc<Config>, rules: Arc<Rules>) -> Self {
        Self { config, rules, states: HashMap::new(), serial: 0 }
    }

    /// Marks a sign-in or sign-out as unanswered until [`Agents::end`].
    pub(super) fn begin(&mut self, agent: u32, call: Running) -> Result<(), Retcode> {
        let state = self.states.entry(agent).or_default();
        let broken = match call {
            Running::SignIn if state.signing_in > 0 => Some(Rule::SignInRepeated),
            Running::SignIn if state.signing_out > 0 => Some(Rule::SignInDuringSignOut),
            Running::SignOut if state.signing_in > 0 => Some(Rule::SignOutDuringSignIn),
            Running::SignOut if state.signing_out > 0 => Some(Rule::SignOutRepeated),
            _ => None,
        };
        if let Some(rule) = broken {
            self.rules.broke(rule, Some(agent), "the other call is unanswered");
            return Err("000-007".to_owned());
        }
        *state.running(call) += 1;
        Ok(())
    }

    /// The call is answered, or nobody waits for its answer any more.
    pub(super) fn end(&mut self, agent: u32, call: Running) {
        let running = self.states.entry(agent).or_default().running(call);
        *running = running.saturating_sub(1);
    }

    /// Signs an agent in; the new Guid.
    pub(super) fn sign_in(
        &mut self,
        now: Duration,
        agent: u32,
        form: SignInForm,
        asked: SignIn,
    ) -> Result<Guid, Retcode> {
        self.expire(now, agent);
        self.hold_against_rules(agent, form, &asked);
        self.check_password(agent, &asked.password)?;
        let state = self.states.entry(agent).or_default();
        if form == SignInForm::Forced {
            state.elsewhere = false;
            state.die(Death::ForcedByClient, now);
        } else if state.session.is_some() {
            self.rules.broke(Rule::SecondSignIn, Some(agent), "the session of an earlier sign-in lives");
            return Err("100-002".to_owned());
        } else if state.elsewhere {
            return Err("100-002".to_owned());
        }
        self.serial += 1;
        let guid = Guid::new(self.config.guid_shape, &self.config.node);
        state.session = Some(Session {
            serial: self.serial,
            opened_as: SignedInAs {
                form,
                status: asked.status,
                auto_enter_idle: asked.auto_enter_idle,
                check_in_webm: asked.check_in_webm,
                check_in_mailm: asked.check_in_mailm,
                callback_uri: asked.callback_uri,
                phone_number: asked.phone_number,
            },
            guid: guid.clone(),
            issued: now,
            used: false,
            previous: None,
            last_request: now,
            polling: false,
            last_poll_answer: None,
        });
        Ok(guid)
    }

    fn hold_against_rules(&self, agent: u32, form: SignInForm, asked: &SignIn) {
        let broke = |rule, detail: String| self.rules.broke(rule, Some(agent), detail);
        if self.config.forbid_idle {
            if asked.status == 4 {
                broke(Rule::SignedInIdle, "status 4".to_owned());
            }
            if asked.auto_enter_idle {
                broke(Rule::AutoEnterIdle, "autoenteridle true".to_owned());
            }
            if asked.check_in_webm {
                broke(Rule::CheckInWebm, "checkInWebm true".to_owned());
            }
        }
        if form == SignInForm::Forced && self.config.forbid_force {
            broke(Rule::Forced, "forcelogin".to_owned());
        }
        if asked.callback_uri.is_some() != self.config.push_mode {
            broke(Rule::CallbackMode, format!("push mode {}", self.config.push_mode));
        }
        for field in &asked.unknown {
            broke(Rule::UnknownSignInField, field.chars().take(64).collect());
        }
    }

    fn check_password(&mut self, agent: u32, password: &str) -> Result<(), Retcode> {
        let known = match &self.config.agents {
            AgentSource::Any { password } => Some(password),
            AgentSource::List(agents) => agents.iter().find(|known| known.id == agent).map(|known| &known.password),
        };
        let lockout_after = self.config.lockout_after;
        let state = self.states.entry(agent).or_default();
        if state.retry_forbidden {
            self.rules.broke(Rule::PasswordRetried, Some(agent), "a sign-in after 100-004");
        }
        let right = known.is_some_and(|known| state.password.as_ref().unwrap_or(known) == password);
        if right && state.wrong_passwords < lockout_after {
            state.wrong_passwords = 0;
            state.retry_forbidden = false;
            return Ok(());
        }
        if !right {
            state.wrong_passwords = state.wrong_passwords.saturating_add(1);
        }
        state.retry_forbidden = true;
        Err("100-004".to_owned())
    }

    /// Whether `guid` is alive and the agent's own; the request then counts against the time-out.
    pub(super) fn check(&mut self, now: Duration, agent: u32, guid: &str) -> Result<SignedInAs, Retcode> {
        self.session(now, agent, guid).map(|session| session.opened_as.clone())
    }

    fn session(&mut self, now: Duration, agent: u32, guid: &str) -> Result<&mut Session, Retcode> {
        self.expire(now, agent);
        if !self.states.get(&agent).is_some_and(|state| state.takes(guid)) {
            self.tell_why_dead(now, agent, guid);
            return Err(self.config.dead_guid_retcode.clone());
        }
        let session = self.states.get_mut(&agent).and_then(|state| state.session.as_mut());
        let session = session.ok_or_else(|| self.config.dead_guid_retcode.clone())?;
        session.last_request = now;
        session.used |= session.guid.is(guid);
        Ok(session)
    }

    fn tell_why_dead(&self, now: Duration, agent: u32, guid: &str) {
        let broke = |rule, detail: String| self.rules.broke(rule, Some(agent), detail);
        let death = |state: &State| {
            let dead = state.dead.iter().rev().find(|dead| dead.guid.is(guid))?;
            Some((dead.death, now.saturating_sub(dead.at)))
        };
        match self.states.get(&agent).and_then(death) {
            Some((death, age)) if death.is_known(age) => {
                broke(Rule::DeadGuid, format!("{death:?} {} ms ago", age.as_millis()));
            }
            Some(_) => {}
            None => match self.states.iter().find(|(_, state)| state.takes(guid) || death(state).is_some()) {
                Some((owner, _)) => broke(Rule::ForeignGuid, format!("it is of agent {owner}")),
                None => broke(Rule::UnknownGuid, format!("{} characters", guid.len())),
            },
        }
    }

    /// Lets what is over end: replaced Guids, sessions without requests.
    fn expire(&mut self, now: Duration, agent: u32) {
        let Some(state) = self.states.get_mut(&agent) else {
            return;
        };
        let Some(session) = &mut state.session else {
            return;
        };
        if !session.polling && now.saturating_sub(session.last_request) >= self.config.max_time {
            state.die(Death::TimedOut, now);
            return;
        }
        if let GuidMode::Dynamic { timeout, .. } = self.config.guid_mode
            && let Some((old, _)) = session.previous.take_if(|(_, replaced)| now.saturating_sub(*replaced) >= timeout)
        {
            state.bury(old, Death::Replaced, now);
        }
    }

    /// Signs an agent out.
    pub(super) fn sign_out(&mut self, now: Duration, agent: u32, guid: &str) -> Result<(), Retcode> {
        self.session(now, agent, guid)?;
        self.states.entry(agent).or_default().die(Death::SignedOut, now);
        Ok(())
    }

    /// Begins a poll, which must come to [`Agents::end_poll`] or [`Agents::drop_poll`].
    pub(super) fn begin_poll(&mut self, now: Duration, agent: u32, guid: &str) -> Result<Poll, Retcode> {
        let push_mode = self.config.push_mode;
        let rules = Arc::clone(&self.rules);
        let session = self.session(now, agent, guid)?;
        if push_mode || session.opened_as.callback_uri.is_some() {
            rules.broke(Rule::WrongEventMode, Some(agent), "a poll in push mode");
            return Err("000-001".to_owned());
        }
        if session.polling {
            rules.broke(Rule::PollsOverlap, Some(agent), "the other poll is unanswered");
            return Err("000-007".to_owned());
        }
        if let Some(pause) = session.last_poll_answer.map(|last| now.saturating_sub(last))
            && pause < POLL_PAUSE
        {
            rules.broke(Rule::PollTooFast, Some(agent), format!("after {} ms", pause.as_millis()));
        }
        session.polling = true;
        Ok(Poll { agent, serial: session.serial })
    }

    /// Whether the poll's session is still the agent's.
    pub(super) fn is_polling(&self, poll: Poll) -> bool {
        let session = self.states.get(&poll.agent).and_then(|state| state.session.as_ref());
        session.is_some_and(|session| session.serial == poll.serial)
    }

    /// Ends a poll with an answer: the new Guid where it was replaced.
    pub(super) fn end_poll(&mut self, now: Duration, poll: Poll) -> Result<Option<Guid>, Retcode> {
        if !self.is_polling(poll) {
            return Err(self.config.dead_guid_retcode.clone());
        }
        self.drop_poll(now, poll);
        if let Some(session) = self.states.get_mut(&poll.agent).and_then(|state| state.session.as_mut()) {
            session.last_poll_answer = Some(now);
        }
        Ok(self.rotate_when_due(now, poll.agent))
    }

    /// Ends a poll whose client is gone.
    pub(super) fn drop_poll(&mut self, now: Duration, poll: Poll) {
        if let Some(session) = self.states.get_mut(&poll.agent).and_then(|state| state.session.as_mut())
            && session.serial == poll.serial
        {
            session.polling = false;
            session.last_request = now;
        }
    }

    /// A heartbeat: the new Guid where it was replaced.
    pub(super) fn heartbeat(&mut self, now: Duration, agent: u32, guid: &str) -> Result<Option<Guid>, Retcode> {
        let push_mode = self.config.push_mode;
        let rules = Arc::clone(&self.rules);
        let session = self.session(now, agent, guid)?;
        if !push_mode || session.opened_as.callback_uri.is_none() {
            rules.broke(Rule::WrongEventMode, Some(agent), "a heartbeat in polling mode");
            return Err("000-001".to_owned());
        }
        Ok(self.rotate_when_due(now, agent))
    }

    /// `updateGuid`: only with the current Guid. In static mode the Guid stays.
    pub(super) fn update_guid(&mut self, now: Duration, agent: u32, guid: &str) -> Result<Guid, Retcode> {
        let dead = self.config.dead_guid_retcode.clone();
        let session = self.session(now, agent, guid)?;
        if !session.guid.is(guid) {
            return Err(dead);
        }
        if self.config.guid_mode == GuidMode::Static {
            return self.states.get(&agent).and_then(State::guid).ok_or(dead);
        }
        self.rotate(now, agent).ok_or(dead)
    }

    fn rotate_when_due(&mut self, now: Duration, agent: u32) -> Option<Guid> {
        let GuidMode::Dynamic { interval, .. } = self.config.guid_mode else {
            return None;
        };
        let session = self.states.get(&agent)?.session.as_ref()?;
        if now.saturating_sub(session.issued) < interval {
            return None;
        }
        self.rotate(now, agent)
    }

    fn rotate(&mut self, now: Duration, agent: u32) -> Option<Guid> {
        let fresh = Guid::new(self.config.guid_shape, &self.config.node);
        let state = self.states.get_mut(&agent)?;
        let session = state.session.as_mut()?;
        let old = std::mem::replace(&mut session.guid, fresh.clone());
        session.issued = now;
        let death = if std::mem::take(&mut session.used) { Death::Replaced } else { Death::Overtaken };
        if let Some((older, _)) = session.previous.replace((old, now)) {
            state.bury(older, death, now);
        }
        Some(fresh)
    }

    /// Somebody else forces in: the session's Guid dies. `stays`: they hold the agent from now on.
    pub(super) fn throw_out(&mut self, now: Duration, agent: u32, stays: bool) {
        let state = self.states.entry(agent).or_default();
        state.die(Death::ThrownOut, now);
        state.elsewhere = stays;
    }

    /// Whoever else held the agent signs out.
    pub(super) fn release(&mut self, agent: u32) {
        self.states.entry(agent).or_default().elsewhere = false;
    }

    /// The gateway forgets all sessions.
    pub(super) fn restart(&mut self, now: Duration) {
        for state in self.states.values_mut() {
            state.die(Death::Forgotten, now);
            state.elsewhere = false;
        }
    }

    pub(super) fn allow_password_retry(&mut self, agent: u32) {
        self.states.entry(agent).or_default().retry_forbidden = false;
    }

    pub(super) fn unlock(&mut self, agent: u32) {
        self.states.entry(agent).or_default().wrong_passwords = 0;
    }

    pub(super) fn set_password(&mut self, agent: u32, password: String) {
        self.states.entry(agent).or_default().password = Some(password);
    }

    pub(super) fn guid_of(&mut self, now: Duration, agent: u32) -> Option<String> {
        self.expire(now, agent);
        self.states.get(&agent)?.guid().map(|guid| guid.reveal())
    }

    pub(super) fn signed_in(&mut self, now: Duration, agent: u32) -> Option<SignedInAs> {
        self.expire(now, agent);
        Some(self.states.get(&agent)?.session.as_ref()?.opened_as.clone())
    }

    /// All live sessions, by agent.
    pub(super) fn live(&mut self, now: Duration) -> Vec<Live> {
        let mut ids: Vec<u32> = self.states.keys().copied().collect();
        ids.sort_unstable();
        ids.into_iter().filter_map(|agent| Some(Live { agent, signed_in: self.signed_in(now, agent)? })).collect()
    }
}

impl State {
    const fn running(&mut self, call: Running) -> &mut u32 {
        match call {
            Running::SignIn => &mut self.signing_in,
            Running::SignOut => &mut self.signing_out,
        }
    }

    fn guid(&self) -> Option<Guid> {
        self.session.as_ref().map(|session| session.guid.clone())
    }

    fn takes(&self, guid: &str) -> bool {
        self.session.as_ref().is_some_and(|session| {
            session.guid.is(guid) || session.previous.as_ref().is_some_and(|(previous, _)| previous.is(guid))
        })
    }

    fn die(&mut self, death: Death, now: Duration) {
        if let Some(session) = self.session.take() {
            if let Some((previous, _)) = session.previous {
                self.bury(previous, death, now);
            }
            self.bury(session.guid, death, now);
        }
    }

    fn bury(&mut self, guid: Guid, death: Death, at: Duration) {
        if self.dead.len() == REMEMBERED_DEAD {
            self.dead.pop_front();
        }
        self.dead.push_back(Dead { guid, death, at });
    }
}

#[cfg(test)]
mod tests;
