//! One task per agent: runs what the state machine asks for and answers those who wait. It decides nothing.
//!
//! Calls run inside the actor, in slots: one for sign-in, sign-out and what goes before them, one for the keep-alive, one
//! for a seek and one for what the store is told. So a caller that hangs up stops nothing, and two calls that exclude
//! each other have no place to run at once.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::accounts::{self, Account};
use super::desk::{DeskCommand, Seat};
use super::lease::{Lease, Usage};
use super::metrics::{Outcome, Phase};
use super::state::{Effect, Event, Fresh, Granted, Out, Rejected, Session, State, Version};
use super::store::Retire;
use super::{Error, KeepAlive, LossCause, Sessions, Shown, upstream};
use crate::cc::{AgentId, Guid, Meaning, SignInForm};

mod chain;
mod story;
#[cfg(test)]
mod tests;

pub(super) use chain::Chain;

/// A password that expires within this many days is warned of at each sign-in.
const PASSWORD_DAYS_WARN: u16 = 7;

/// What others tell an actor.
pub(super) enum Command {
    /// Somebody wants a session, maybe because the Guid of `rejected` was refused.
    Ask { rejected: Option<Rejected>, reply: Reply },
    /// An answer brought a new Guid.
    Learned { version: Version, guid: Guid },
    /// Another process changed what the store knows of the agent.
    Changed,
    /// Changes may have been missed.
    LostSight,
    /// What is owned is to be written again.
    Reconfirm,
    /// A borrower was refused with a Guid of ours.
    BorrowerRefused { version: Version, cause: LossCause },
    /// The rules have changed.
    Reconfigured,
    /// The operator looks at the session.
    Show { reply: oneshot::Sender<Shown> },
    /// The operator wants the session signed out; told whether there is one to sign out here.
    SignOut { reply: oneshot::Sender<Result<(), Error>> },
    /// The agent's own app asks for something.
    Desk(DeskCommand),
    /// The process ends.
    Stop,
}

pub(super) type Reply = oneshot::Sender<Result<Lease, Error>>;

pub(super) struct Actor {
    pub(super) agent: AgentId,
    pub(super) sessions: Sessions,
    commands: mpsc::Receiver<Command>,
    pub(super) session: Session,
    /// At most `waiters_max`: `Sessions` counts whoever waits, and who has gone is taken out before it gets longer.
    waiters: Vec<Reply>,
    pub(super) seat: Seat,
    usage: Arc<Usage>,
    pub(super) call: Option<BoxFuture<'static, Event>>,
    pulse: Option<BoxFuture<'static, Event>>,
    seek: Option<BoxFuture<'static, Event>>,
    telling: Option<BoxFuture<'static, Event>>,
    /// The last keep-alive failed: only the first of a row is warned of, or an outage would flood the log.
    pulse_failing: bool,
    /// Operators who wait for a sign-out: at most one, as the next finds no session that lives.
    sign_outs: Vec<oneshot::Sender<Result<(), Error>>>,
    phase: Phase,
    /// When the phase began.
    since: Timestamp,
}

impl Actor {
    pub(super) fn new(agent: AgentId, sessions: Sessions, commands: mpsc::Receiver<Command>) -> Self {
        let phase = Phase::Absent;
        sessions.metrics().sessions(phase).inc();
        let session = Session::new(sessions.rules(), fastrand::u64(..));
        let since = sessions.now();
        Self {
            agent,
            sessions,
            commands,
            session,
            waiters: Vec::new(),
            seat: Seat::default(),
            usage: Arc::default(),
            call: None,
            pulse: None,
            seek: None,
            telling: None,
            pulse_failing: false,
            sign_outs: Vec::new(),
            phase,
            since,
        }
    }

    /// Runs until nothing is left to remember, or until `cut`, which drops the calls that are in flight.
    pub(super) async fn run(mut self, cut: CancellationToken) {
        loop {
            let event = tokio::select! {
                // Answers before new wishes, so that a wish meets the newest state; cut before all.
                biased;
                () = cut.cancelled() => return,
                // The slots keep what was not finished, so losing the race loses nothing; nor do the others.
                event = finished(&mut self.call) => event,
                event = finished(&mut self.telling) => event,
                event = finished(&mut self.seek) => event,
                event = finished(&mut self.pulse) => event,
                command = self.commands.recv() => match command {
                    Some(command) => match self.command(command) {
                        Some(event) => event,
                        None => continue,
                    },
                    None => return,
                },
                () = self.usage.released() => {
                    if !self.usage.is_idle() {
                        continue;
                    }
                    Event::Released
                }
                () = sleep_until(self.session.wake_at()) => {
                    self.look_for_waiters();
                    Event::Tick
                }
            };
            self.take(event);
            // Nobody can send between the look at the queue and the leaving: both happen under one lock.
            if self.session.is_done() && self.sessions.leave(self.agent, &self.commands) {
                return;
            }
        }
    }

    /// What is sought again and again is so for those who wait.
    fn look_for_waiters(&mut self) {
        if matches!(self.session.state(), State::Seeking { .. }) {
            self.waiters.retain(|waiter| !waiter.is_closed());
            if self.waiters.is_empty() {
                self.take(Event::Unwanted);
            }
        }
    }

    fn command(&mut self, command: Command) -> Option<Event> {
        Some(match command {
            Command::Ask { rejected, reply } => {
                if self.waiters.len() >= self.sessions.waiters_max() {
                    self.waiters.retain(|waiter| !waiter.is_closed());
                }
                self.waiters.push(reply);
                Event::Want { rejected }
            }
            Command::Learned { version, guid } => Event::Learned { version, guid },
            Command::Changed => Event::Changed,
            Command::LostSight => Event::LostSight,
            Command::Reconfirm => Event::Reconfirm,
            Command::BorrowerRefused { version, cause } => Event::BorrowerRefused { version, cause },
            Command::Reconfigured => {
                // No event: when to wake up is all that changes by it.
                self.session.go_by(self.sessions.rules());
                return None;
            }
            Command::Show { reply } => {
                // Whoever has gone needs no answer.
                let _ = reply.send(self.shown());
                return None;
            }
            Command::SignOut { reply } => {
                if !matches!(self.session.state(), State::Active(_)) {
                    let _ = reply.send(Err(Error::NotOwned));
                    return None;
                }
                self.sign_outs.push(reply);
                Event::SignOutAsked
            }
            Command::Desk(command) => return self.desk_command(command),
            Command::Stop => Event::Stop,
        })
    }

    fn shown(&self) -> Shown {
        let kind = match self.session.state() {
            State::Active(active) => Some(active.kind()),
            State::Borrowed(borrowed) => Some(borrowed.kind()),
            _ => None,
        };
        Shown {
            agent: self.agent,
            state: self.phase.label(),
            since: self.since,
            password_expires: self.sessions.metrics().password_expiry_of(self.agent),
            kind,
            owned: matches!(self.phase, Phase::Active | Phase::Leaving),
            rotations: self.session.version().map(|version| version.rotation),
            in_use: self.usage.holds(),
            waiting: self.waiters.len(),
        }
    }

    fn take(&mut self, event: Event) {
        self.count(&event);
        // Not made where the session may be another process's by now.
        let not_made = matches!(event, Event::SignOutAsked);
        let failed = matches!(&event, Event::SignOutAnswered(Err(error))
            if !error.retcode().is_some_and(|retcode| retcode.meaning() == Meaning::SessionLost));
        let before = (self.fence(), self.session.version());
        let tenure = self.sessions.store().tenure();
        self.session.go_by(self.sessions.rules());
        let effects = self.session.step(event, Instant::now(), tenure);
        if self.session.version() != before.1 {
            self.usage.replaced();
        }
        for effect in effects {
            self.perform(effect);
        }
        if self.fence() != before.0 {
            // The keep-alive of a session that is gone: dropping it ends its connection.
            self.pulse = None;
        }
        if !matches!(self.session.state(), State::Leaving { .. }) {
            for reply in self.sign_outs.drain(..) {
                // Whoever has gone needs no answer.
                let _ = reply.send(match (not_made, failed) {
                    (true, _) => Err(Error::NotOwned),
                    (_, true) => Err(Error::NotSignedOut),
                    _ => Ok(()),
                });
            }
        }
        self.tell_untold();
        self.show_phase();
    }

    /// Which session lives, if one does.
    fn fence(&self) -> Option<u64> {
        match self.session.state() {
            State::Active(active) | State::Retiring { active, .. } | State::DeskLeaving { active, .. } => {
                Some(active.version().fence)
            }
            _ => None,
        }
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Seek { floor } => self.seek = Some(self.seek(floor)),
            Effect::Take { fence } => self.seek = Some(self.take_over(fence)),
            Effect::ReadAccount => self.call = Some(self.read_account()),
            Effect::SignIn { account, form, generation } => {
                self.call = Some(self.sign_in(account, form, generation));
            }
            Effect::Retire { fence, why } => self.call = Some(self.retire(fence, why)),
            Effect::SignOut { guid } => {
                self.pulse = None;
                self.call = Some(self.sign_out(guid));
            }
            Effect::KeepAlive { guid, version } => self.pulse = Some(self.keep_alive(guid, version)),
            Effect::DropKeepAlive => self.pulse = None,
            Effect::Store(out) => self.telling = Some(self.tell(out)),
            Effect::Grant(granted) => {
                let waiters = std::mem::take(&mut self.waiters);
                self.lend(waiters, &granted);
            }
            Effect::Desk(effect) => self.perform_desk(effect),
            Effect::Refuse(error) => {
                for waiter in self.waiters.drain(..) {
                    // Whoever has gone needs no answer.
                    let _ = waiter.send(Err(error.clone()));
                }
            }
            Effect::Record(event) => self.record(event),
        }
    }

    pub(super) fn lend(&self, waiters: Vec<Reply>, granted: &Granted) {
        // Held until all have theirs: its own end tells the machine if nobody took one.
        let hold = self.usage.hold();
        let config = self.sessions.config();
        for waiter in waiters {
            let lease = Lease {
                sessions: self.sessions.clone(),
                agent: self.agent,
                granted: granted.clone(),
                config: Arc::clone(&config),
                serial: self.usage.serial(),
                hold: hold.clone(),
            };
            // Whoever has gone gives the lease back by dropping it.
            let _ = waiter.send(Ok(lease));
        }
    }

    fn read_account(&self) -> BoxFuture<'static, Event> {
        let (agent, config) = (self.agent, self.sessions.config());
        Box::pin(async move {
            let path = accounts::path_of(&config.accounts_dir, agent);
            let read = tokio::task::spawn_blocking(move || accounts::read(&config.accounts_dir, agent, config.sign_in));
            let account = read.await.unwrap_or_else(|ended| {
                Err(accounts::Error::Unreadable { path, source: std::io::Error::other(ended) })
            });
            Event::AccountRead(match account {
                Ok(account) => Ok(Arc::new(account)),
                Err(accounts::Error::Missing(_)) => Err(Error::AccountMissing),
                Err(error) => Err(Error::AccountUnusable(Arc::new(error))),
            })
        })
    }

    fn seek(&self, floor: u64) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move { Event::Sought(sessions.store().seek(agent, floor).await) })
    }

    fn retire(&self, fence: u64, why: Retire) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move { Event::Retired(sessions.store().retire(agent, fence, why).await) })
    }

    fn tell(&self, out: Out) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move {
            let store = sessions.store();
            Event::Stored(match out {
                Out::Write { fence, entry } => store.write(agent, fence, entry).await,
                Out::Release { fence } => store.release(agent, fence).await,
                Out::Tell { version, cause } => store.reject(agent, version, cause).await,
            })
        })
    }

    fn sign_in(&self, account: Arc<Account>, form: SignInForm, generation: u64) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move {
            let config = sessions.config();
            let permit = sessions.gate().admit(Instant::now() + config.lease_timeout).await;
            let _permit = match permit {
                Ok(permit) => permit,
                Err(error) => return Event::SignInNotMade(error.into()),
            };
            if !sessions.store().tenure().holds(generation, Instant::now()) {
                return Event::SignInNotMade(Error::tenure_ended());
            }
            let request = upstream::SignInRequest {
                form,
                password: &account.password,
                phone_number: account.phone_number.as_deref(),
                callback: config.callback.as_ref(),
            };
            let answer = sessions.calls().sign_in(agent, &request).await;
            Event::SignInAnswered(match answer {
                Ok(signed_in) => {
                    sessions.password_days_left(agent, signed_in.password_days_left);
                    Ok(Fresh { guid: signed_in.guid, must_change_password: signed_in.must_change_password })
                }
                Err(error) => Err(Arc::new(error)),
            })
        })
    }

    fn sign_out(&self, guid: Arc<Guid>) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move {
            let answer = sessions.calls().sign_out(agent, &guid).await;
            Event::SignOutAnswered(answer.map_err(Arc::new))
        })
    }

    fn keep_alive(&self, guid: Arc<Guid>, version: Version) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move {
            let result = match sessions.config().keep_alive {
                KeepAlive::Poll => sessions.calls().poll(agent, &guid).await,
                KeepAlive::Heartbeat => sessions.calls().heartbeat(agent, &guid).await,
            };
            Event::KeepAliveAnswered { version, result: result.map_err(Arc::new) }
        })
    }

    /// Counts how calls ended and tells the log what failed.
    fn count(&mut self, event: &Event) {
        let (agent, metrics) = (self.agent, self.sessions.metrics());
        match event {
            Event::SignInAnswered(Ok(_)) => metrics.signed_in(Outcome::Ok),
            Event::SignInAnswered(Err(error)) if matches!(**error, upstream::Error::Resting { .. }) => {
                metrics.signed_in(Outcome::Resting);
            }
            Event::SignInAnswered(Err(error)) => {
                tracing::warn!(%agent, error = %Chain(error), message = message(error), "sign-in failed");
                metrics.signed_in(Outcome::of(error));
            }
            Event::Desk(event) => self.count_desk(event),
            Event::KeepAliveAnswered { result: Ok(_), .. } => {
                metrics.kept_alive(Outcome::Ok);
                self.pulse_failing = false;
            }
            Event::KeepAliveAnswered { result: Err(error), .. } => {
                metrics.kept_alive(Outcome::of(error));
                if !std::mem::replace(&mut self.pulse_failing, true) {
                    tracing::warn!(%agent, error = %Chain(error), message = message(error), "keep-alives fail");
                }
            }
            Event::SignOutAnswered(Err(error)) => {
                tracing::warn!(%agent, error = %Chain(error), message = message(error), "sign-out failed");
            }
            Event::SignInNotMade(error) => tracing::warn!(%agent, error = %Chain(error), "sign-in not made"),
            Event::AccountRead(Err(Error::AccountMissing)) => {
                metrics.password_expires(agent, None);
                tracing::warn!(%agent, "there is no account for the agent");
            }
            Event::AccountRead(Err(error)) => {
                tracing::error!(%agent, error = %Chain(error), "the account cannot be used");
            }
            _ => {}
        }
    }

    fn show_phase(&mut self) {
        let phase = match self.session.state() {
            State::Absent => Phase::Absent,
            State::Seeking { .. } | State::Reading | State::SigningIn(_) | State::DeskSigningIn { .. } => {
                Phase::SigningIn
            }
            State::Active(_) => Phase::Active,
            State::Borrowed(_) => Phase::Borrowed,
            State::Retiring { .. } | State::Leaving { .. } | State::DeskLeaving { .. } => Phase::Leaving,
            State::Cooling { .. } => Phase::Cooling,
            State::Barred => Phase::Barred,
        };
        if phase != self.phase {
            self.sessions.metrics().sessions(self.phase).dec();
            self.sessions.metrics().sessions(phase).inc();
            self.phase = phase;
            self.since = self.sessions.now();
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.sessions.metrics().sessions(self.phase).dec();
        // After a panic or a cut the handle is still there; whoever asks next must not find a dead actor.
        self.commands.close();
        self.sessions.forget(self.agent);
    }
}

/// The days until a password expires are worth a warning.
pub(super) fn expires_soon(days_left: u16) -> bool {
    days_left <= PASSWORD_DAYS_WARN
}

/// What the gateway said beside its code: free text, for the log only, and escaped there.
fn message(error: &upstream::Error) -> Option<tracing::field::DebugValue<&str>> {
    match error {
        upstream::Error::Refused { message, .. } => Some(tracing::field::debug(message.as_str())),
        _ => None,
    }
}

async fn finished(slot: &mut Option<BoxFuture<'static, Event>>) -> Event {
    match slot {
        Some(call) => {
            let event = call.await;
            *slot = None;
            event
        }
        None => std::future::pending().await,
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
