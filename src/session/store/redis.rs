//! The store that several processes share: Redis or Valkey. It keeps no Guid that is not sealed, and believes nothing that
//! it has not just asked for.
//!
//! A process is alive as long as its key `{prefix}:replica:<id>` is, which it renews every third of the lease. An agent's
//! record names its owner and its fence; an owner whose key is gone owns nothing. All changes are scripts, which Redis runs
//! one at a time. After a restart, a failover or a wipe nobody becomes an owner for one lease time, while those who were
//! write theirs again; so does a prefix that is used for the first time. A fence is the server's time in microseconds or
//! more, so it does not go backwards with the data.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ::redis::{Script, ScriptInvocation};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::metrics::{Metrics, Operation, Outcome};
use super::seal::{Keys, Sealer};
use super::{Cooling, Entry, Error, Found, Left, Retire, Retired, Store, Tenure, Version, Watcher};
use crate::cc::AgentId;
use crate::ready::Condition;
use crate::session::journal::LossCause;

mod budgets;
mod config;
mod events;
mod link;
mod probe;
mod scripts;
#[cfg(test)]
mod tests;

pub use budgets::SharedBudgets;
pub use config::{Config, ConnectError};
pub use link::Fault;
pub use probe::probe;

use link::Link;
use scripts::{Answer, Garbled, Scripts};

/// How long a start waits for a server that does not answer.
const CONNECT_BOUND: Duration = Duration::from_secs(10);
/// How long a process that ends tries to say so.
const LEAVE_BOUND: Duration = Duration::from_millis(900);
/// For a script that does no harm when it is run late: a tenure lasts longer, or has ended anyway. A beat must not be
/// refused after a small step of the server's clock, as it is what makes that known.
const WHENEVER: Duration = Duration::from_hours(24 * 366);
/// Longest that calls fail at once after several failures.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a living session's record is kept after its last write: longer than any outage, or its owner would find that
/// the store knows nothing of what it owns. Whether the session can still live is judged by its age.
const LIVE_KEPT: Duration = Duration::from_hours(24);
/// How long a record of a barred account is kept.
const BARRED_KEPT: Duration = Duration::from_hours(24);
/// Messages taken from the inbox with one beat.
const MESSAGES_AT_ONCE: u64 = 128;
/// Greatest fence: a script's numbers are exact up to there. Microseconds reach it in the year 2255.
const FENCE_MAX: u64 = (1 << 53) - 2;

/// The store that several processes share.
pub struct Redis {
    link: Link,
    scripts: Scripts,
    sealer: Sealer,
    /// With the braces that make it the hash tag of every key.
    prefix: String,
    context: String,
    /// Of this process, for as long as it runs.
    id: String,
    lease: Duration,
    sign_ins_per_second: u32,
    pulse: Mutex<Pulse>,
    /// Something stands in the inbox, or the tenure is to be renewed at once.
    wake: Notify,
    /// Holds from the first time on that agents can be owned.
    ready: Condition,
    settled: AtomicBool,
}

/// What the last beat told.
struct Pulse {
    tenure: Tenure,
    epoch: Option<String>,
    /// The server's clock, in milliseconds, and when that was. To see it jump.
    clock: Option<(u64, Instant)>,
}

/// What a beat brought.
struct Beaten {
    /// The generation has grown.
    forgotten: bool,
    /// For so long nobody becomes an owner.
    settles: Duration,
    messages: Vec<String>,
}

impl Redis {
    /// Connects, takes the first tenure and finds out whether the server can do what is needed, within 10 s.
    /// `context` is the upstream's authority. Reads files, which blocks for a moment.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may leave a tenure behind, which ends by itself.
    pub async fn connect(
        config: &Config,
        context: &str,
        metrics: Metrics,
        ready: Condition,
    ) -> Result<Arc<Self>, ConnectError> {
        Self::connect_within(CONNECT_BOUND, config, context, metrics, ready).await
    }

    async fn connect_within(
        bound: Duration,
        config: &Config,
        context: &str,
        metrics: Metrics,
        ready: Condition,
    ) -> Result<Arc<Self>, ConnectError> {
        let client = config.client()?;
        let keys = Keys::read(&config.key_file)?;
        let pause = (config.lease / 3).min(PAUSE_MAX);
        let link = Link::new(client, config.timeout, pause, metrics).map_err(ConnectError::Unavailable)?;
        let store = Arc::new(Self {
            link,
            scripts: Scripts::new(),
            sealer: Sealer::new(keys, context),
            prefix: format!("{{{}}}", config.prefix),
            context: context.to_owned(),
            id: uuid::Uuid::new_v4().simple().to_string(),
            lease: config.lease,
            sign_ins_per_second: config.sign_ins_per_second.max(1),
            pulse: Mutex::new(Pulse {
                tenure: Tenure { until: Some(Instant::now()), generation: 0 },
                epoch: None,
                clock: None,
            }),
            wake: Notify::new(),
            ready,
            settled: AtomicBool::new(false),
        });
        store.first_beat(bound).await?;
        Ok(store)
    }

    async fn first_beat(&self, bound: Duration) -> Result<(), ConnectError> {
        let end = Instant::now() + bound;
        loop {
            match self.beat_now().await {
                Ok(_) => return Ok(()),
                Err(Trouble::Foreign(theirs)) => {
                    return Err(foreign(&self.context, &theirs));
                }
                Err(Trouble::Fault(fault)) if Instant::now() >= end => return Err(ConnectError::Unavailable(fault)),
                Err(_) => tokio::time::sleep(self.link.pause().min(Duration::from_millis(250))).await,
            }
        }
    }

    fn channel(&self) -> String {
        format!("{}:events", self.prefix)
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        // A panic while the lock is held leaves each field whole, and a beat sets them all.
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A script with the arguments that all have. The first key of each has the hash tag that all keys have.
    fn script<'a>(&'a self, script: &'a Script, key: &str) -> ScriptInvocation<'a> {
        self.script_within(script, key, self.link.timeout())
    }

    /// One that is run, if at all, no later than `patience` from now.
    fn script_within<'a>(&'a self, script: &'a Script, key: &str, patience: Duration) -> ScriptInvocation<'a> {
        let expected = self.pulse().clock.map_or(0, |(millis, at)| millis.saturating_add(as_millis(at.elapsed())));
        let mut script = script.key(format!("{}:{key}", self.prefix));
        script
            .arg(&self.prefix)
            .arg(&self.context)
            .arg(as_millis(self.lease))
            .arg(&self.id)
            .arg(expected)
            .arg(as_millis(patience));
        script
    }

    /// A script about an agent.
    fn about<'a>(&'a self, script: &'a Script, agent: AgentId) -> ScriptInvocation<'a> {
        let mut script = self.script(script, &format!("agent:{agent}"));
        script.arg(agent.get());
        script
    }

    /// Runs a script and takes the answers apart that all have in common.
    async fn ask(&self, operation: Operation, script: &ScriptInvocation<'_>) -> Result<Answer, Trouble> {
        let mut answer = self.link.call(operation, script).await.map_err(Trouble::Fault)?;
        let (trouble, outcome) = match answer.word.as_str() {
            "superseded" => (Trouble::Superseded, Outcome::Superseded),
            "settling" => {
                let remains = Duration::from_millis(answer.number()?).clamp(Duration::from_millis(1), self.lease);
                (Trouble::Settling(remains), Outcome::Settling)
            }
            "lapsed" => (Trouble::Lapsed, Outcome::Settling),
            "late" => (Trouble::Late, Outcome::Timeout),
            "foreign" => (Trouble::Foreign(answer.text()?), Outcome::Refused),
            _ => {
                self.link.count(operation, Outcome::Ok);
                return Ok(answer);
            }
        };
        self.link.count(operation, outcome);
        Err(trouble)
    }

    async fn beat_now(&self) -> Result<Beaten, Trouble> {
        let sent = Instant::now();
        let mut script = self.script_within(&self.scripts.beat, "epoch", WHENEVER);
        script.arg(MESSAGES_AT_ONCE);
        let mut answer = self.ask(Operation::Beat, &script).await?;
        let existed = answer.text()? == "1";
        let epoch = answer.text()?;
        let millis = answer.number()?;
        let settles = Duration::from_millis(answer.number()?).min(self.lease);
        self.settle(settles);

        let mut pulse = self.pulse();
        let first = pulse.epoch.is_none();
        // Between the end that was counted here and the key's own, keep-alives were given up: they begin again.
        let ended = pulse.tenure.until.is_some_and(|until| until <= Instant::now());
        let forgotten = !first && (!existed || ended || pulse.epoch.as_deref() != Some(epoch.as_str()));
        let until = sent + self.lease.saturating_sub(self.lease / 10);
        let generation = pulse.tenure.generation + u64::from(forgotten);
        *pulse = Pulse {
            tenure: Tenure { until: Some(until), generation },
            epoch: Some(epoch),
            clock: Some((millis, Instant::now())),
        };
        Ok(Beaten { forgotten, settles, messages: answer.rest().collect() })
    }

    /// A process that starts together with a store that has just come back, or is new, is ready when that has settled.
    /// Later on sessions in hand go on meanwhile.
    fn settle(&self, settles: Duration) {
        if settles.is_zero() {
            self.ready.holds();
            self.settled.store(true, Ordering::Relaxed);
        } else if !self.settled.load(Ordering::Relaxed) {
            self.ready.wait_for("the session store is new, or came back a moment ago: owners write theirs first");
        }
    }

    /// Beats until it is dropped: every third of the lease, at once when it is woken, and sooner after a failure.
    async fn keep_beating(&self, watcher: &dyn Watcher) {
        let mut failing = false;
        loop {
            let wait = match self.beat_now().await {
                Ok(beaten) => {
                    let back = std::mem::take(&mut failing);
                    if back {
                        tracing::info!("the session store is there again");
                    }
                    // What it did not take meanwhile is written at once.
                    if back || beaten.forgotten {
                        watcher.reconfirm();
                    }
                    let more = beaten.messages.len() as u64 >= MESSAGES_AT_ONCE;
                    beaten.messages.iter().for_each(|message| deliver(watcher, message));
                    let settles = if beaten.settles.is_zero() { self.lease } else { beaten.settles };
                    if more { Duration::ZERO } else { settles.min(self.lease / 3) }
                }
                Err(trouble) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(why = %trouble, "the tenure of this process's sessions cannot be renewed");
                    }
                    (self.lease / 10).min(self.link.pause())
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wake.notified(), if !failing => {}
            }
        }
    }

    async fn leave(&self) {
        let script = self.script_within(&self.scripts.leave, "epoch", WHENEVER);
        // Where it does not work, the tenure ends by itself a little later.
        let _ = timeout(LEAVE_BOUND, self.ask(Operation::Leave, &script)).await;
        self.pulse().tenure.until = Some(Instant::now());
    }

    async fn seek_now(&self, agent: AgentId, floor: u64, take: Option<u64>) -> Result<Found, Trouble> {
        let script = if take.is_some() { &self.scripts.take } else { &self.scripts.seek };
        let mut script = self.about(script, agent);
        script.arg(floor.min(FENCE_MAX)).arg(take.unwrap_or_default());
        let answer = self.ask(Operation::Seek, &script).await;
        if matches!(answer, Err(Trouble::Lapsed | Trouble::Late)) {
            self.wake.notify_one();
        }
        let mut answer = answer?;
        if answer.word == "theirs" {
            let fence = answer.number()?;
            let entry = self.left(agent, fence, &mut answer)?;
            // Nothing written yet, or nothing that can be read, which was reported.
            return Ok(Found::Theirs { fence, entry: entry.1.then_some(entry.0) });
        }
        let fence = answer.number()?;
        let others = answer.text()? == "1";
        let before = answer.number()?;
        let (left, _written) = self.left(agent, before, &mut answer)?;
        Ok(Found::Owned { fence, left: others.then_some(left) })
    }

    /// What stands in a record, and whether anything does.
    fn left(&self, agent: AgentId, fence: u64, answer: &mut Answer) -> Result<(Left, bool), Garbled> {
        let age = Duration::from_millis(answer.number()?);
        let sealed = answer.text()?;
        let written = !sealed.is_empty();
        let entry = if written { self.sealer.open_or_report(agent, fence, &sealed) } else { None };
        Ok((Left { entry, age }, written))
    }

    async fn write_now(&self, agent: AgentId, fence: u64, entry: &Entry) -> Result<(), Trouble> {
        let sealed = self.sealer.seal(agent, fence, entry).map_err(|_| Trouble::Unsealed)?;
        let mut script = self.about(&self.scripts.write, agent);
        script.arg(fence).arg(sealed).arg(as_millis(kept_for(entry))).arg(u8::from(entry.stays()));
        self.ask(Operation::Write, &script).await.map(drop)
    }

    async fn retire_now(&self, agent: AgentId, fence: u64, why: Retire) -> Result<Retired, Trouble> {
        let (word, within) = match why {
            Retire::Idle { within } => ("idle", within),
            Retire::Stop => ("stop", self.lease),
        };
        let mut script = self.about(&self.scripts.retire, agent);
        script.arg(fence).arg(word).arg(as_millis(within));
        let mut answer = self.ask(Operation::Retire, &script).await?;
        if answer.word == "in_use" {
            return Ok(Retired::InUse { ago: Duration::from_millis(answer.number()?) });
        }
        Ok(Retired::Unused)
    }

    async fn release_now(&self, agent: AgentId, fence: u64) -> Result<(), Trouble> {
        let mut script = self.about(&self.scripts.release, agent);
        script.arg(fence);
        self.ask(Operation::Release, &script).await.map(drop)
    }

    async fn reject_now(&self, agent: AgentId, version: Version, cause: LossCause) -> Result<(), Trouble> {
        let mut script = self.about(&self.scripts.reject, agent);
        script.arg(version.fence).arg(version.rotation).arg(cause.as_str());
        self.ask(Operation::Reject, &script).await.map(drop)
    }

    async fn admit_now(&self) -> Result<Option<Duration>, Trouble> {
        let mut script = self.script(&self.scripts.admit, "epoch");
        script.arg(self.sign_ins_per_second);
        let wait = self.ask(Operation::AdmitSignIn, &script).await?.number()?;
        Ok((wait > 0).then_some(Duration::from_millis(wait)))
    }

    fn error(&self, trouble: Trouble) -> Error {
        let unavailable = |why, retry_after| Error::Unavailable { why, source: None, retry_after };
        match trouble {
            Trouble::Superseded => Error::Superseded,
            Trouble::Settling(remains) => {
                unavailable("it came back a moment ago, and owners write theirs first", remains)
            }
            Trouble::Lapsed => unavailable("this process's tenure has just ended", self.link.pause()),
            Trouble::Late => unavailable("it did not answer in time", self.link.pause()),
            Trouble::Foreign(_) => unavailable("another upstream uses its prefix", self.lease),
            Trouble::Unsealed => unavailable("the entry cannot be sealed", self.lease),
            Trouble::Fault(fault) => {
                Error::Unavailable { why: fault.why(), source: Some(Arc::new(fault)), retry_after: self.link.pause() }
            }
            Trouble::Garbled(garbled) => Error::Unavailable {
                why: "it answered with something else than was asked for",
                source: Some(Arc::new(garbled)),
                retry_after: self.link.pause(),
            },
        }
    }
}

/// Another deployment uses the prefix. What it wrote is cut to what an authority can be, and shown with escapes.
fn foreign(ours: &str, theirs: &str) -> ConnectError {
    ConnectError::Foreign { ours: ours.to_owned(), theirs: theirs.chars().take(260).collect() }
}

/// Why a script brought nothing.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Fault(Fault),
    #[error("{0}")]
    Garbled(#[from] Garbled),
    #[error("another upstream uses its prefix")]
    Foreign(String),
    #[error("it came back a moment ago")]
    Settling(Duration),
    #[error("the tenure has ended")]
    Lapsed,
    #[error("it was run too late, or the clock was set")]
    Late,
    #[error("the fence is not the newest")]
    Superseded,
    #[error("the entry cannot be sealed")]
    Unsealed,
}

impl Store for Redis {
    fn tenure(&self) -> Tenure {
        self.pulse().tenure
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn seek(&self, agent: AgentId, floor: u64) -> BoxFuture<'_, Result<Found, Error>> {
        async move { self.seek_now(agent, floor, None).await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn take(&self, agent: AgentId, fence: u64) -> BoxFuture<'_, Result<Found, Error>> {
        async move { self.seek_now(agent, fence, Some(fence)).await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn write(&self, agent: AgentId, fence: u64, entry: Entry) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.write_now(agent, fence, &entry).await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn retire(&self, agent: AgentId, fence: u64, why: Retire) -> BoxFuture<'_, Result<Retired, Error>> {
        async move { self.retire_now(agent, fence, why).await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn release(&self, agent: AgentId, fence: u64) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.release_now(agent, fence).await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn reject(&self, agent: AgentId, version: Version, cause: LossCause) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.reject_now(agent, version, cause).await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn admit_sign_in(&self) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        async move { self.admit_now().await.map_err(|trouble| self.error(trouble)) }.boxed()
    }

    fn run(self: Arc<Self>, watcher: Arc<dyn Watcher>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.keep_beating(&*watcher) => {}
                () = events::listen(&self, &*watcher) => {}
            }
            self.leave().await;
        }
        .boxed()
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("prefix", &self.prefix).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Tells the watcher of a message in the inbox: agent, fence, rotation and cause. What cannot be read is passed over.
fn deliver(watcher: &dyn Watcher, message: &str) {
    let mut words = message.split(' ');
    let (Some(agent), Some(fence), Some(rotation), Some(cause), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return;
    };
    let cause = [LossCause::Forgotten, LossCause::Refused, LossCause::Silent].into_iter().find(|c| c.as_str() == cause);
    if let (Ok(agent), Ok(fence), Ok(rotation), Some(cause)) = (agent.parse(), fence.parse(), rotation.parse(), cause) {
        watcher.rejected(agent, Version { fence, rotation }, cause);
    }
}

fn kept_for(entry: &Entry) -> Duration {
    match entry {
        Entry::Live(_) | Entry::SigningIn => LIVE_KEPT,
        Entry::Barred { .. } => BARRED_KEPT,
        Entry::Cooling(Cooling { lasts, doubt_lasts, .. }) => {
            (*lasts).max(*doubt_lasts).saturating_add(LIVE_KEPT).min(BARRED_KEPT)
        }
    }
}

fn as_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
