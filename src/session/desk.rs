//! Sessions that an agent's own app opens: what it asks for goes to the agent's actor, which answers it. It reads no request
//! and writes none, and never shows a Guid.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, Chain, Command, Reply};
use super::lease::Lease;
use super::metrics::Outcome;
use super::state::{DeskEffect, DeskEvent, Event, Version};
use super::{Error, LossCause, Sessions};
use crate::cc::{AgentId, Guid};
use crate::upstream::{DeskAnswer, DeskSignIn};

/// How long an answer that brought a new Guid waits until the store knows it. The app's next call may come through another
/// process.
const TOLD_WITHIN: Duration = Duration::from_secs(1);

type Answer = oneshot::Sender<Result<DeskAnswer, Error>>;

/// What an agent's own app asks of its actor.
pub(super) enum DeskCommand {
    /// To be signed in. `gone` is cancelled when the app has hung up.
    SignIn { sign_in: Box<DeskSignIn>, reply: Answer, gone: CancellationToken },
    /// The session that it has signed in.
    Ask { reply: Reply },
    /// To be signed out of the session of this version.
    SignOut { version: Version, reply: Answer },
    /// An answer brought a new Guid; told when the store knows it.
    Learned { version: Version, guid: Guid, reply: oneshot::Sender<()> },
    /// The gateway answered that the session lives.
    Alive { version: Version },
    /// The gateway answered that the session is gone.
    Lost { version: Version, cause: LossCause },
}

/// What the actor holds for an agent's own app.
#[derive(Default)]
pub(super) struct Seat {
    /// Who wait for the app's session: at most as many as may wait at all.
    waiters: Vec<Reply>,
    /// The sign-in that is to be made or is being made: one at a time.
    sign_in: Option<SignIn>,
    sign_out: Option<Answer>,
    /// Who wait until the store knows a Guid, each no longer than [`TOLD_WITHIN`].
    untold: Vec<oneshot::Sender<()>>,
}

struct SignIn {
    request: Box<DeskSignIn>,
    reply: Answer,
    /// The app has hung up. While the sign-in waits at the gate, nobody looks at `reply`.
    gone: CancellationToken,
    in_flight: bool,
}

impl Sessions {
    /// Makes the sign-in of the agent's own app, once the agent is this process's and no session of ours, nor an older one
    /// of the app's, is in the way. Gives the gateway's answer, without its Guid.
    ///
    /// Waits at most twice `lease_timeout`: for what is in the way, and for the sign-in itself.
    ///
    /// # Errors
    ///
    /// [`Error::DeskSigningIn`] while another is under way. A sign-in that the gateway refused is no error.
    ///
    /// # Cancel safety
    ///
    /// It runs in the agent's actor. Dropped before it is sent, it is not made; later on it goes on.
    pub async fn desk_sign_in(&self, agent: AgentId, sign_in: DeskSignIn) -> Result<DeskAnswer, Error> {
        let (reply, answer) = oneshot::channel();
        let gone = CancellationToken::new();
        let _hung_up = gone.clone().drop_guard();
        let command = DeskCommand::SignIn { sign_in: Box::new(sign_in), reply, gone };
        let _waiting = self.enqueue(agent, Command::Desk(command))?;
        self.answered(answer, 2 * self.config().lease_timeout).await
    }

    /// The session that the agent's own app has signed in, for its polls and beats. From then on this process owns it.
    ///
    /// Waits at most `lease_timeout`. Nothing is ever signed in for it.
    ///
    /// # Errors
    ///
    /// [`Error::NoDesk`] where no such session lives.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves nothing behind but the ownership.
    pub async fn desk(&self, agent: AgentId) -> Result<Lease, Error> {
        let (reply, answer) = oneshot::channel();
        let _waiting = self.enqueue(agent, Command::Desk(DeskCommand::Ask { reply }))?;
        self.answered(answer, self.config().lease_timeout).await
    }

    /// Signs the agent's own app out. Gives the gateway's answer; where that refuses, the session lives on.
    ///
    /// Waits at most three times `lease_timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::NoDesk`] where it has no session.
    ///
    /// # Cancel safety
    ///
    /// The sign-out runs in the agent's actor: a dropped call does not stop it.
    pub async fn desk_sign_out(&self, agent: AgentId) -> Result<DeskAnswer, Error> {
        let lease = self.desk(agent).await?;
        let (reply, answer) = oneshot::channel();
        let command = DeskCommand::SignOut { version: lease.granted.version, reply };
        let _waiting = self.enqueue(agent, Command::Desk(command))?;
        self.answered(answer, 2 * self.config().lease_timeout).await
    }

    /// Tells the agent's actor, if there is one. A full queue loses what its sender can do without.
    fn tell_desk(&self, agent: AgentId, command: DeskCommand) {
        if let Some(handle) = self.actors().handles.get(&agent) {
            let _ = handle.commands.try_send(Command::Desk(command));
        }
    }
}

impl Lease {
    /// The gateway answered a call of the agent's own app: its session lives.
    pub fn alive(&self) {
        self.sessions.tell_desk(self.agent, DeskCommand::Alive { version: self.granted.version });
    }

    /// The gateway answered a call of the agent's own app that its session is gone.
    ///
    /// It is left out where the session has a newer Guid by now.
    pub fn lost(&self, cause: LossCause) {
        self.sessions.tell_desk(self.agent, DeskCommand::Lost { version: self.granted.version, cause });
    }

    /// As [`Lease::learned`], and waits until other processes can know the Guid too, but no longer than a second.
    ///
    /// # Cancel safety
    ///
    /// A dropped call has told the session.
    pub async fn learned_by_all(&self, guid: Guid) {
        let (reply, told) = oneshot::channel();
        self.sessions.tell_desk(self.agent, DeskCommand::Learned { version: self.granted.version, guid, reply });
        // Whether it was told in time changes nothing for whoever waits.
        let _ = tokio::time::timeout(TOLD_WITHIN, told).await;
    }
}

impl Actor {
    pub(super) fn desk_command(&mut self, command: DeskCommand) -> Option<Event> {
        let event = match command {
            DeskCommand::SignIn { sign_in, reply, gone } => self.hold_sign_in(sign_in, reply, gone)?,
            DeskCommand::Ask { reply } => {
                if self.seat.waiters.len() >= self.sessions.waiters_max() {
                    self.seat.waiters.retain(|waiter| !waiter.is_closed());
                }
                self.seat.waiters.push(reply);
                DeskEvent::Asked
            }
            DeskCommand::SignOut { reply, .. } if self.seat.sign_out.is_some() => {
                // Whoever has gone needs no answer, here and below.
                let _ = reply.send(Err(Error::NoDesk));
                return None;
            }
            DeskCommand::SignOut { version, reply } => {
                self.seat.sign_out = Some(reply);
                DeskEvent::SignOutAsked(version)
            }
            DeskCommand::Learned { version, guid, reply } => {
                self.seat.untold.retain(|waiter| !waiter.is_closed());
                self.seat.untold.push(reply);
                return Some(Event::Learned { version, guid });
            }
            DeskCommand::Alive { version } => DeskEvent::Alive(version),
            DeskCommand::Lost { version, cause } => DeskEvent::Lost(version, cause),
        };
        Some(Event::Desk(event))
    }

    fn hold_sign_in(&mut self, request: Box<DeskSignIn>, reply: Answer, gone: CancellationToken) -> Option<DeskEvent> {
        // One whose app has gone before it was sent gives way to the next.
        if self.seat.sign_in.as_ref().is_some_and(|held| held.in_flight || !held.reply.is_closed()) {
            let _ = reply.send(Err(Error::DeskSigningIn));
            return None;
        }
        let form = request.form();
        self.seat.sign_in = Some(SignIn { request, reply, gone, in_flight: false });
        Some(DeskEvent::SignInAsked(form))
    }

    pub(super) fn perform_desk(&mut self, effect: DeskEffect) {
        match effect {
            DeskEffect::SignIn { generation } => self.call = Some(self.desk_sign_in(generation)),
            DeskEffect::SignOut { guid } => self.call = Some(self.desk_sign_out(guid)),
            DeskEffect::Grant(granted) => {
                let waiters = std::mem::take(&mut self.seat.waiters);
                self.lend(waiters, &granted);
            }
            DeskEffect::Refuse(error) => {
                for waiter in self.seat.waiters.drain(..) {
                    let _ = waiter.send(Err(error.clone()));
                }
            }
            DeskEffect::AnswerSignIn(answer) => {
                if let Some(held) = self.seat.sign_in.take() {
                    let _ = held.reply.send(answer);
                }
            }
            DeskEffect::AnswerSignOut(answer) => {
                if let Some(reply) = self.seat.sign_out.take() {
                    let _ = reply.send(answer);
                }
            }
        }
    }

    /// Answers those who wait until the store knows what they brought.
    pub(super) fn tell_untold(&mut self) {
        if !self.seat.untold.is_empty() && self.session.is_written() {
            for waiter in self.seat.untold.drain(..) {
                let _ = waiter.send(());
            }
        }
    }

    pub(super) fn take_over(&self, fence: u64) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move { Event::Sought(sessions.store().take(agent, fence).await) })
    }

    pub(super) fn count_desk(&self, event: &DeskEvent) {
        let (agent, metrics) = (self.agent, self.sessions.metrics());
        match event {
            DeskEvent::SignInAnswered(Ok(answer)) => metrics.signed_in(Outcome::of_retcode(&answer.retcode)),
            DeskEvent::SignInAnswered(Err(error)) => {
                tracing::warn!(%agent, error = %Chain(error), "the sign-in of the agent's own app failed");
                metrics.signed_in(Outcome::of(error));
            }
            DeskEvent::SignOutAnswered(Err(error)) => {
                tracing::warn!(%agent, error = %Chain(error), "the sign-out of the agent's own app failed");
            }
            _ => {}
        }
    }

    fn desk_sign_in(&mut self, generation: u64) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        let (request, gone) = match &mut self.seat.sign_in {
            Some(held) if !held.gone.is_cancelled() => {
                held.in_flight = true;
                (held.request.clone(), held.gone.clone())
            }
            // Nobody would ever use it.
            _ => return Box::pin(std::future::ready(Event::SignInNotMade(Error::Timeout))),
        };
        Box::pin(async move {
            let deadline = Instant::now() + sessions.config().lease_timeout;
            let _permit = tokio::select! {
                // Looked at first: with both at once nothing is sent for an app that has hung up.
                biased;
                () = gone.cancelled() => return Event::SignInNotMade(Error::Timeout),
                permit = sessions.gate().admit(deadline) => match permit {
                    Ok(permit) => permit,
                    Err(error) => return Event::SignInNotMade(error.into()),
                },
            };
            if !sessions.store().tenure().holds(generation, Instant::now()) {
                return Event::SignInNotMade(Error::tenure_ended());
            }
            let answer = sessions.calls().desk_sign_in(agent, &request).await;
            Event::Desk(DeskEvent::SignInAnswered(answer.map_err(Arc::new)))
        })
    }

    fn desk_sign_out(&self, guid: Arc<Guid>) -> BoxFuture<'static, Event> {
        let (agent, sessions) = (self.agent, self.sessions.clone());
        Box::pin(async move {
            let answer = sessions.calls().desk_sign_out(agent, &guid).await;
            Event::Desk(DeskEvent::SignOutAnswered(answer.map_err(Arc::new)))
        })
    }
}
