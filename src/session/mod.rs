//! Signed-in agents, one session each, shared by all requests. It never sees a caller and never downloads anything.
//!
//! Each agent that is asked for has an actor (`actor`), which runs a pure state machine (`state`) and makes the calls
//! (`calls`). Handles to the actors stand in a plain map of bounded size, from which an actor takes itself out when it
//! has nothing left to remember. A cache that evicts would be wrong here: evicting the handle of a living session would
//! let a second sign-in for the same agent begin.
//!
//! After a crash, and after a sign-in whose answer did not come, the agent can be signed in upstream without anybody
//! knowing the Guid. The next sign-in meets that ghost (`100-002`) and is told [`Error::AgentBusy`], with back-off, until
//! the gateway has forgotten it after `MAXTIME` (120 s).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cc::{AgentId, Guid, GuidTag, GuidTagKey, SignInForm};
use crate::clock::Clock;
use crate::upstream;

pub mod accounts;
mod actor;
mod calls;
mod desk;
mod error;
mod journal;
mod lease;
mod metrics;
mod pace;
mod shown;
mod state;
pub mod store;

pub use calls::Calls;
pub use error::Error;
pub use journal::{BarCause, Journal, LossCause, SessionEvent, SignOutCause};
pub use lease::{Hold, Lease};
pub use metrics::Metrics;
pub use shown::Shown;

use actor::{Actor, Command};
use pace::{Gate, Pacer};
use state::{Rejected, Version};
use store::{Store, Watcher};

/// How sessions are made and kept.
#[derive(Clone)]
pub struct Config {
    /// Which gateway is asked, by a name of its own. A Guid is another gateway's under another name.
    pub upstream: String,
    /// The folder of the account files.
    pub accounts_dir: PathBuf,
    /// The way of signing in.
    pub sign_in: SignIn,
    /// The way of keeping a session alive.
    pub keep_alive: KeepAlive,
    /// Where the gateway pushes events to; with [`KeepAlive::Heartbeat`] only.
    pub callback: Option<upstream::Callback>,
    /// Time between heartbeats; the gateway recommends 30 s and forgets after 120 s.
    pub keep_alive_interval: Duration,
    /// After this long without a lease or hold the agent is signed out.
    pub idle_sign_out: Duration,
    /// How long a request waits for a session.
    pub lease_timeout: Duration,
    /// How many requests can wait for a session of one agent.
    pub waiters_max: usize,
    /// How many agents can have a session, be signing in, cool down or be barred.
    pub agents_max: usize,
    /// How many sign-ins this process makes at once. How many a second all replicas make is the store's to count.
    pub sign_ins_at_once: usize,
}

impl Config {
    /// Default of `lease_timeout`: as long as one call to the upstream may take.
    pub const LEASE_TIMEOUT: Duration = Duration::from_secs(30);
    /// Default of `waiters_max`: as many as downloads can be open by default.
    pub const WAITERS_MAX: usize = 1_024;
    /// Default of `agents_max`: ten times a large site; an actor takes some KiB.
    pub const AGENTS_MAX: usize = 10_000;
    /// Default of `sign_ins_at_once`.
    pub const SIGN_INS_AT_ONCE: usize = 16;
}

/// The way of signing in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIn {
    /// To the platform only (`loginex`): takes no licence.
    Platform,
    /// With media servers and licences; needs a phone number.
    Full,
}

impl SignIn {
    const fn form(self) -> SignInForm {
        match self {
            Self::Platform => SignInForm::Platform,
            Self::Full => SignInForm::Full,
        }
    }
}

/// The way of keeping a session alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// By long polls that follow each other.
    Poll,
    /// By heartbeats, in the gateway's push mode.
    Heartbeat,
}

/// How many sign-outs run at once at shutdown: quick for thousands, and no flood for the gateway.
const SIGN_OUTS_AT_ONCE: usize = 64;
/// Room in an actor's queue beside those who wait: new Guids and the stop.
const COMMANDS_BESIDE_WAITERS: usize = 64;

/// All sessions of a process. Clones share them. [`Sessions::shut_down`] must be called at the end: it signs out.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

struct Shared {
    terms: ArcSwap<Terms>,
    journal: Arc<dyn Journal>,
    clock: Clock,
    metrics: Metrics,
    store: Arc<dyn Store>,
    gate: Gate,
    pacer: Arc<Pacer>,
    tag_key: Arc<GuidTagKey>,
    tasks: TaskTracker,
    /// Ends the store's task, after the last actor.
    store_stop: CancellationToken,
    /// Ends the actors that a shutdown could not end in time.
    cut: CancellationToken,
    actors: Mutex<Actors>,
}

/// What a change of the configuration replaces: by which rules, and whom to ask.
struct Terms {
    config: Arc<Config>,
    calls: Arc<dyn Calls>,
}

/// Locked for a look-up and a send, never across a wait.
#[derive(Default)]
struct Actors {
    handles: HashMap<AgentId, Handle>,
    closing: bool,
}

#[derive(Clone)]
struct Handle {
    commands: mpsc::Sender<Command>,
    waiting: Arc<AtomicUsize>,
}

/// Counts one who waits, for as long as it lives.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What the store tells goes to the actors. It keeps no sessions alive: the store's task may outlive them.
struct Watch(Weak<Shared>);

impl Watch {
    /// A queue that is full loses the command: the machine asks the store by itself before long.
    fn to(&self, agent: AgentId, command: Command) {
        let Some(shared) = self.0.upgrade() else { return };
        if let Some(handle) = Sessions(shared).actors().handles.get(&agent) {
            let _ = handle.commands.try_send(command);
        }
    }

    fn to_all(&self, command: impl Fn() -> Command) {
        let Some(shared) = self.0.upgrade() else { return };
        for handle in Sessions(shared).actors().handles.values() {
            let _ = handle.commands.try_send(command());
        }
    }
}

impl Watcher for Watch {
    fn changed(&self, agent: AgentId) {
        self.to(agent, Command::Changed);
    }

    fn lost_sight(&self) {
        self.to_all(|| Command::LostSight);
    }

    fn reconfirm(&self) {
        self.to_all(|| Command::Reconfirm);
    }

    fn rejected(&self, agent: AgentId, version: Version, cause: LossCause) {
        let Some(shared) = self.0.upgrade() else { return };
        // Where no actor stands one is started: what nobody here knows of any more is to be let go. Of a queue that is full
        // the borrower tells once more.
        let _ = Sessions(shared).enqueue(agent, Command::BorrowerRefused { version, cause });
    }
}

impl Sessions {
    /// No sessions yet. Nothing is signed in before somebody asks.
    #[allow(clippy::too_many_arguments, reason = "the parts that sessions are made of, each once")]
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        calls: impl Calls,
        journal: Arc<dyn Journal>,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let sessions = Self(Arc::new(Shared {
            journal,
            clock,
            metrics,
            gate: Gate::new(config.sign_ins_at_once, Arc::clone(&store)),
            terms: ArcSwap::from_pointee(Terms { config: Arc::new(config), calls: Arc::new(calls) }),
            store,
            pacer: Arc::default(),
            tag_key: Arc::new(GuidTagKey::random()),
            tasks: TaskTracker::new(),
            store_stop: CancellationToken::new(),
            cut: CancellationToken::new(),
            actors: Mutex::default(),
        }));
        let (store, watcher) = (Arc::clone(&sessions.0.store), Arc::new(Watch(Arc::downgrade(&sessions.0))));
        sessions.0.tasks.spawn(store.run(watcher, sessions.0.store_stop.clone()));
        sessions
    }

    /// From now on by these rules and over this client: for calls that begin from now on. Nobody is signed out, and nobody
    /// who waits is refused; an agent's file is read by the new rules when it is read next.
    ///
    /// [`Config::waiters_max`] holds in full for agents that are asked for from now on.
    pub fn reconfigure(&self, config: Config, calls: impl Calls) {
        self.0.gate.resize(config.sign_ins_at_once);
        self.0.terms.store(Arc::new(Terms { config: Arc::new(config), calls: Arc::new(calls) }));
        for handle in self.actors().handles.values() {
            // A full queue is a busy actor, which looks at the rules at its next event.
            let _ = handle.commands.try_send(Command::Reconfigured);
        }
    }

    /// A session of the agent: the one there is, else one that is signed in now, once for all who ask.
    ///
    /// Waits at most `lease_timeout`.
    ///
    /// # Cancel safety
    ///
    /// The sign-in runs in the agent's actor: a dropped call neither stops nor repeats it.
    pub async fn lease(&self, agent: AgentId) -> Result<Lease, Error> {
        self.ask(agent, None).await
    }

    /// Signs out every session that this process owns, 64 at a time, and ends all actors. What is
    /// not answered by the deadline is dropped; the gateway forgets it after its `MAXTIME`. Nothing signs in any more.
    pub async fn shut_down(&self, deadline: Duration) {
        let handles: Vec<Handle> = {
            let mut actors = self.actors();
            actors.closing = true;
            actors.handles.values().cloned().collect()
        };
        self.0.tasks.close();
        let stop = futures_util::stream::iter(handles).for_each_concurrent(SIGN_OUTS_AT_ONCE, |handle| async move {
            // Fails where the actor has ended by itself, which is the aim.
            if handle.commands.send(Command::Stop).await.is_ok() {
                handle.commands.closed().await;
            }
        });
        if tokio::time::timeout(deadline, stop).await.is_err() {
            tracing::warn!("not every session was signed out in time; the gateway forgets the rest after two minutes");
        }
        self.0.cut.cancel();
        self.0.store_stop.cancel();
        // Every actor ends at once now: `cut` is the first thing that each looks at. The store ends its tenure.
        self.0.tasks.wait().await;
    }

    async fn ask(&self, agent: AgentId, rejected: Option<Rejected>) -> Result<Lease, Error> {
        let (reply, answer) = oneshot::channel();
        let _waiting = self.enqueue(agent, Command::Ask { rejected, reply })?;
        self.answered(answer, self.config().lease_timeout).await
    }

    /// Waits for an actor's answer.
    async fn answered<T>(&self, answer: oneshot::Receiver<Result<T, Error>>, patience: Duration) -> Result<T, Error> {
        match tokio::time::timeout(patience, answer).await {
            Ok(Ok(answer)) => answer,
            // The actor ended without an answer: a shutdown cut it off, or it panicked.
            Ok(Err(_ended)) if self.actors().closing => Err(Error::ShuttingDown),
            Ok(Err(_ended)) => Err(Error::Interrupted),
            Err(_elapsed) => Err(Error::Timeout),
        }
    }

    /// Tells the agent's actor, which is started where there is none.
    fn enqueue(&self, agent: AgentId, command: Command) -> Result<Waiting, Error> {
        let config = self.config();
        let mut actors = self.actors();
        if actors.closing {
            return Err(Error::ShuttingDown);
        }
        let handle = match actors.handles.get(&agent) {
            Some(handle) => handle.clone(),
            None if actors.handles.len() >= config.agents_max => return Err(Error::TooManyAgents),
            None => {
                let handle = self.start(agent);
                actors.handles.insert(agent, handle.clone());
                handle
            }
        };
        let before = handle.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(handle.waiting);
        if before >= config.waiters_max {
            return Err(Error::TooManyWaiters);
        }
        // Sent under the lock: an actor that leaves looks at its queue under the same lock.
        match handle.commands.try_send(command) {
            Ok(()) => Ok(waiting),
            Err(_full) => Err(Error::TooManyWaiters),
        }
    }

    fn start(&self, agent: AgentId) -> Handle {
        let (commands, receiver) = mpsc::channel(self.waiters_max().saturating_add(COMMANDS_BESIDE_WAITERS));
        let actor = Actor::new(agent, self.clone(), receiver);
        self.0.tasks.spawn(actor.run(self.0.cut.clone()));
        Handle { commands, waiting: Arc::default() }
    }

    fn learned(&self, agent: AgentId, version: Version, guid: Guid) {
        if let Some(handle) = self.actors().handles.get(&agent) {
            // A full queue loses the Guid; the session then ends early and the next request makes a fresh one.
            let _ = handle.commands.try_send(Command::Learned { version, guid });
        }
    }

    /// Takes an actor out that has nothing left to remember; `false` if somebody has sent to it meanwhile.
    fn leave(&self, agent: AgentId, commands: &mpsc::Receiver<Command>) -> bool {
        let mut actors = self.actors();
        if !commands.is_empty() {
            return false;
        }
        actors.handles.remove(&agent);
        // Under the lock: the agent's next actor must not find its own expiry taken away.
        self.0.metrics.password_expires(agent, None);
        true
    }

    /// Takes out the handle of an actor that has ended, unless another one stands there by now.
    fn forget(&self, agent: AgentId) {
        let mut actors = self.actors();
        if actors.handles.get(&agent).is_some_and(|handle| handle.commands.is_closed()) {
            actors.handles.remove(&agent);
            self.0.metrics.password_expires(agent, None);
        }
    }

    fn actors(&self) -> MutexGuard<'_, Actors> {
        // A panic while the lock is held leaves the map whole: each change is one insert or remove.
        self.0.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rules(&self) -> state::Rules {
        let config = self.config();
        state::Rules {
            form: config.sign_in.form(),
            keep_alive: config.keep_alive,
            keep_alive_interval: config.keep_alive_interval,
            idle_sign_out: config.idle_sign_out,
            lease: self.0.store.lease(),
            pacer: Arc::clone(&self.0.pacer),
            tag_key: Arc::clone(&self.0.tag_key),
        }
    }

    fn tag(&self, guid: &Guid) -> GuidTag {
        self.0.tag_key.tag(guid)
    }

    fn password_days_left(&self, agent: AgentId, days_left: Option<u16>) {
        if let Some(days) = days_left.filter(|days| actor::expires_soon(*days)) {
            tracing::warn!(%agent, days, "the account's password expires soon");
        }
        let expiry = days_left.and_then(|days| {
            let left = jiff::SignedDuration::from_hours(i64::from(days) * 24);
            self.0.clock.now().checked_add(left).ok()
        });
        self.0.metrics.password_expires(agent, expiry);
    }

    fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    fn waiters_max(&self) -> usize {
        self.0.terms.load().config.waiters_max
    }

    fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.terms.load().config)
    }

    fn store(&self) -> &dyn Store {
        &*self.0.store
    }

    fn gate(&self) -> &Gate {
        &self.0.gate
    }

    fn calls(&self) -> Arc<dyn Calls> {
        Arc::clone(&self.0.terms.load().calls)
    }

    fn journal(&self) -> &dyn Journal {
        &*self.0.journal
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }
}
