//! The store of one process, which owns every agent. What other processes do it never learns; with a state file it finds
//! what the process before it left.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::seal::{Keys, Sealer};
use super::{Entry, Error, Found, Kind, Left, Retire, Retired, Store, Tenure, Version, Watcher};
use crate::cc::AgentId;
use crate::clock::Clock;
use crate::session::journal::LossCause;

mod bucket;
mod file;
#[cfg(test)]
mod tests;

pub use file::Error as StateFileError;

use bucket::Bucket;
use file::{Line, Writer};

/// Longest age of a living session that is taken from a state file: the gateway's `MAXTIME`, after which it has forgotten
/// it.
pub const LIVE_AGE_MAX: Duration = Duration::from_mins(2);
/// As [`LIVE_AGE_MAX`], of a session that an agent's own app has signed in: its calls may have kept it long after the last
/// that is known to have been answered. Whoever sought it then knows whom not to throw out.
const DESK_AGE_MAX: Duration = Duration::from_mins(5);
/// Least time between two writes of the state file.
const WRITES_APART: Duration = Duration::from_secs(1);

/// Where the sessions of a single process are kept, so that it finds them after a crash.
#[derive(Debug)]
pub struct StateFile {
    /// The file; beside it a temporary one is made.
    pub path: PathBuf,
    /// Seal what stands there.
    pub keys: Keys,
}

/// The store of one process.
pub struct Memory {
    clock: Clock,
    agents: Mutex<Agents>,
    bucket: Mutex<Bucket>,
    file: Option<Kept>,
}

/// The state file and what is still to be written there.
struct Kept {
    sealer: Sealer,
    changed: Notify,
    /// Held while the file is written: by one at a time.
    writer: tokio::sync::Mutex<Arc<Mutex<Writer>>>,
}

#[derive(Default)]
struct Agents {
    slots: HashMap<AgentId, Slot>,
    /// The greatest fence given.
    fence: u64,
    /// Agents whose line in the file is not the newest. Empty without a file. Bounded by the agents there are.
    pending: HashMap<AgentId, Option<Line>>,
}

struct Slot {
    /// `None`: nobody owns it; left by the process before, or released with an entry that stays.
    fence: Option<u64>,
    left: Option<Left>,
    /// The last entry was of a session that lives.
    live: bool,
    /// Why there is no session, and since when: found again after a release. One for each account that was refused.
    stays: Option<(Entry, Instant)>,
}

impl Memory {
    /// A store that forgets everything with the process.
    pub fn new(clock: Clock, sign_ins_per_second: u32) -> Arc<Self> {
        Arc::new(Self::with(clock, sign_ins_per_second, Agents::default(), None))
    }

    /// A store that keeps a state file, and knows what the process before left there. `context` is the upstream's
    /// authority. Blocks on the file system.
    ///
    /// What cannot be read of an old file is reported and passed over. A file that can't be written is an error.
    pub fn with_file(
        clock: Clock,
        sign_ins_per_second: u32,
        state: StateFile,
        context: &str,
    ) -> Result<Arc<Self>, StateFileError> {
        let sealer = Sealer::new(state.keys, context);
        let now = clock.now().as_millisecond();
        let lines = file::read(&state.path, context);
        let mut agents = Agents::default();
        let mut kept = HashMap::new();
        for (agent, line) in lines {
            // Even of a line that is not used: its fence was given.
            agents.fence = agents.fence.max(line.fence);
            let Some(entry) = sealer.open_or_report(agent, line.fence, &line.sealed) else { continue };
            let age = Duration::from_millis(u64::try_from(now.saturating_sub(line.at)).unwrap_or(0));
            let age_max = match &entry {
                Entry::Live(live) if live.kind == Kind::Desk => Some(DESK_AGE_MAX),
                Entry::Live(_) | Entry::SigningIn => Some(LIVE_AGE_MAX),
                Entry::Cooling(_) | Entry::Barred { .. } => None,
            };
            if age_max.is_some_and(|age_max| age > age_max) {
                continue;
            }
            agents.slots.insert(
                agent,
                Slot { fence: None, left: Some(Left { entry: Some(entry), age }), live: false, stays: None },
            );
            kept.insert(agent, line);
        }
        if !kept.is_empty() {
            tracing::info!(agents = kept.len(), "sessions of the process before were found in the state file");
        }
        let writer = Writer::create(state.path, context, kept)?;
        let file =
            Kept { sealer, changed: Notify::new(), writer: tokio::sync::Mutex::new(Arc::new(Mutex::new(writer))) };
        Ok(Arc::new(Self::with(clock, sign_ins_per_second, agents, Some(file))))
    }

    fn with(clock: Clock, sign_ins_per_second: u32, agents: Agents, file: Option<Kept>) -> Self {
        let bucket = Mutex::new(Bucket::new(sign_ins_per_second, Instant::now()));
        Self { clock, agents: Mutex::new(agents), bucket, file }
    }

    /// Writes what has changed since the last write, now. Called at the end of the process; [`Store::run`] does it by
    /// itself, at its end too.
    ///
    /// # Cancel safety
    ///
    /// A dropped call may write or not; what it took up is written by the next in full.
    pub async fn flush(&self) {
        let Some(file) = &self.file else { return };
        let shared = file.writer.lock().await;
        let changes = std::mem::take(&mut self.agents().pending);
        if changes.is_empty() && !lock(&shared).is_behind() {
            return;
        }
        // Taken into the writer's own map before the first wait, so that a dropped call loses nothing.
        lock(&shared).take_up(changes);
        let writer = Arc::clone(&shared);
        // Blocks on the disk; the writer itself reports what fails.
        if tokio::task::spawn_blocking(move || lock(&writer).write()).await.is_err() {
            tracing::error!("writing the state file panicked");
        }
    }

    fn agents(&self) -> MutexGuard<'_, Agents> {
        lock(&self.agents)
    }

    fn seek_now(&self, agent: AgentId, floor: u64) -> Found {
        let now = u64::try_from(self.clock.now().as_microsecond()).unwrap_or(0);
        let mut agents = self.agents();
        // By the wall clock, so that they grow over restarts; never backwards, whatever that clock does.
        let fence = now.max(agents.fence.saturating_add(1)).max(floor.saturating_add(1));
        agents.fence = fence;
        let slot = agents.slots.entry(agent).or_insert(Slot { fence: None, left: None, live: false, stays: None });
        slot.fence = Some(fence);
        let stayed = slot.stays.take().map(|(entry, since)| Left { entry: Some(entry), age: since.elapsed() });
        Found::Owned { fence, left: slot.left.take().or(stayed) }
    }

    /// Tells whether a session begins with it.
    fn write_now(&self, agent: AgentId, fence: u64, entry: &Entry) -> Result<bool, Error> {
        let sealed = self.file.as_ref().map(|file| file.sealer.seal(agent, fence, entry));
        let line = match sealed {
            Some(Ok(sealed)) => Some(Line { fence, at: self.clock.now().as_millisecond(), sealed }),
            // The session itself is not hurt; without its line it is not found after a crash.
            Some(Err(error)) => {
                tracing::error!(%agent, %error, "a session is not kept in the state file");
                None
            }
            None => None,
        };
        let mut agents = self.change(agent, fence, line)?;
        let Some(slot) = agents.slots.get_mut(&agent) else { return Ok(false) };
        slot.stays = entry.stays().then(|| (entry.clone(), Instant::now()));
        let live = matches!(entry, Entry::Live(_));
        let begins = live && !slot.live;
        slot.live = live;
        Ok(begins)
    }

    fn release_now(&self, agent: AgentId, fence: u64) -> Result<(), Error> {
        let mut agents = self.owned(agent, fence)?;
        match agents.slots.get_mut(&agent) {
            Some(slot) if slot.stays.is_some() => slot.fence = None,
            _ => {
                agents.slots.remove(&agent);
                self.note(&mut agents, agent, None);
            }
        }
        Ok(())
    }

    /// Notes the agent's line for the file, unless the fence is not the newest.
    fn change(&self, agent: AgentId, fence: u64, line: Option<Line>) -> Result<MutexGuard<'_, Agents>, Error> {
        let mut agents = self.owned(agent, fence)?;
        self.note(&mut agents, agent, line);
        Ok(agents)
    }

    fn owned(&self, agent: AgentId, fence: u64) -> Result<MutexGuard<'_, Agents>, Error> {
        let agents = self.agents();
        match agents.slots.get(&agent).and_then(|slot| slot.fence) {
            Some(newest) if newest == fence => Ok(agents),
            _ => Err(Error::Superseded),
        }
    }

    fn note(&self, agents: &mut Agents, agent: AgentId, line: Option<Line>) {
        if let Some(file) = &self.file {
            agents.pending.insert(agent, line);
            file.changed.notify_one();
        }
    }

    async fn keep_writing(&self, stop: CancellationToken) {
        let Some(file) = &self.file else { return stop.cancelled().await };
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = file.changed.notified() => {}
            }
            self.flush().await;
            // What changes meanwhile is written together when the second is over.
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(WRITES_APART) => {}
            }
            if lock(&*file.writer.lock().await).is_behind() {
                file.changed.notify_one();
            }
        }
        self.flush().await;
    }
}

impl Store for Memory {
    fn tenure(&self) -> Tenure {
        Tenure::ALONE
    }

    fn lease(&self) -> Option<Duration> {
        None
    }

    fn seek(&self, agent: AgentId, floor: u64) -> BoxFuture<'_, Result<Found, Error>> {
        async move { Ok(self.seek_now(agent, floor)) }.boxed()
    }

    fn take(&self, agent: AgentId, fence: u64) -> BoxFuture<'_, Result<Found, Error>> {
        // There is no other process to take it from.
        self.seek(agent, fence)
    }

    fn write(&self, agent: AgentId, fence: u64, entry: Entry) -> BoxFuture<'_, Result<(), Error>> {
        async move {
            if self.write_now(agent, fence, &entry)? {
                // At once: a crash that came before would leave the agent busy.
                self.flush().await;
            }
            Ok(())
        }
        .boxed()
    }

    fn retire(&self, agent: AgentId, fence: u64, _why: Retire) -> BoxFuture<'_, Result<Retired, Error>> {
        async move { self.change(agent, fence, None).map(|_agents| Retired::Unused) }.boxed()
    }

    fn release(&self, agent: AgentId, fence: u64) -> BoxFuture<'_, Result<(), Error>> {
        async move { self.release_now(agent, fence) }.boxed()
    }

    fn reject(&self, _agent: AgentId, _version: Version, _cause: LossCause) -> BoxFuture<'_, Result<(), Error>> {
        // Nobody borrows here, so there is nobody to tell.
        async { Ok(()) }.boxed()
    }

    fn admit_sign_in(&self) -> BoxFuture<'_, Result<Option<Duration>, Error>> {
        async move { Ok(lock(&self.bucket).take(Instant::now())) }.boxed()
    }

    fn run(self: Arc<Self>, _watcher: Arc<dyn Watcher>, stop: CancellationToken) -> BoxFuture<'static, ()> {
        async move { self.keep_writing(stop).await }.boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each change under these locks leaves the value whole, should a panic come between two.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
