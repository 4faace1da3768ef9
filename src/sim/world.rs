//! What all connections of one simulator share: agents, faults, rules, and the record of what came. Waits for nothing.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    agents::{Agents, Poll, Running},
    config::{AgentSource, Config},
    faults::Faults,
    http::Request,
    rules::Rules,
};

/// So many of the last requests are remembered.
const REMEMBERED: usize = 10_000;
/// So many events wait for an agent's poll; the oldest goes.
const EVENTS: usize = 100;

pub(super) struct World {
    pub(super) config: Arc<Config>,
    pub(super) rules: Arc<Rules>,
    pub(super) faults: Faults,
    pub(super) counters: Counters,
    /// Tell a waiting poll to look again.
    bells: Mutex<HashMap<u32, Arc<Notify>>>,
    pub(super) stop: CancellationToken,
    agents: Mutex<Agents>,
    catalog: Mutex<Catalog>,
    seen: Mutex<VecDeque<Seen>>,
    events: Mutex<HashMap<u32, VecDeque<serde_json::Value>>>,
    started: Instant,
}

#[derive(Default)]
struct Catalog {
    sizes: HashMap<String, u64>,
    missing: HashSet<String>,
}

/// One request as it reached the simulator.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target as it stood in the request line.
    pub target: String,
    /// Names and values in their order; the value of a `Guid` header is `<guid>`.
    pub headers: Vec<(String, String)>,
}

impl Seen {
    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What happened so far. All but the two `open_…` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Sign-ins that succeeded, forcible ones included.
    pub sign_ins: u64,
    /// Sign-ins that were called.
    pub sign_in_calls: u64,
    /// Forcible sign-ins that were called.
    pub forced: u64,
    /// Sign-outs that succeeded.
    pub sign_outs: u64,
    /// Polls that were called.
    pub polls: u64,
    /// Heartbeats that were called.
    pub heartbeats: u64,
    /// `updateGuid` calls that succeeded.
    pub guid_refreshes: u64,
    /// Downloads whose body was begun.
    pub downloads: u64,
    /// Downloads that were refused (faults included).
    pub download_refusals: u64,
    /// Guids replaced on a poll or heartbeat.
    pub rotations: u64,
    /// Connections open now.
    pub open_connections: u64,
    /// Download bodies being sent now.
    pub open_downloads: u64,
    /// Body bytes of downloads handed to the connections.
    pub bytes_sent: u64,
    /// Requests, malformed ones included.
    pub requests: u64,
}

/// [`Counts`] while they change.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) sign_ins: AtomicU64,
    pub(super) sign_in_calls: AtomicU64,
    pub(super) forced: AtomicU64,
    pub(super) sign_outs: AtomicU64,
    pub(super) polls: AtomicU64,
    pub(super) heartbeats: AtomicU64,
    pub(super) guid_refreshes: AtomicU64,
    pub(super) downloads: AtomicU64,
    pub(super) download_refusals: AtomicU64,
    pub(super) rotations: AtomicU64,
    pub(super) open_connections: AtomicU64,
    pub(super) open_downloads: AtomicU64,
    pub(super) bytes_sent: AtomicU64,
    pub(super) requests: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Counts one thing as open for as long as it lives.
pub(super) struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    pub(super) fn new(counter: &'a AtomicU64) -> Self {
        count(counter);
        Self(counter)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A sign-in or sign-out that nobody has answered yet; dropped just before the first byte of the answer.
pub(super) struct Unanswered {
    world: Arc<World>,
    agent: u32,
    call: Running,
}

impl Unanswered {
    pub(super) fn begin(world: &Arc<World>, agent: u32, call: Running) -> Result<Self, String> {
        world.agents().begin(agent, call)?;
        Ok(Self { world: Arc::clone(world), agent, call })
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.world.agents().end(self.agent, self.call);
    }
}

/// A poll that waits; ends as one whose client is gone unless it was answered.
pub(super) struct Waiting<'a> {
    pub(super) world: &'a World,
    pub(super) poll: Poll,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let now = self.world.now();
        self.world.agents().drop_poll(now, self.poll);
    }
}

impl World {
    pub(super) fn new(config: Config) -> Self {
        let config = Arc::new(config);
        let rules = Arc::new(Rules::default());
        Self {
            agents: Mutex::new(Agents::new(Arc::clone(&config), Arc::clone(&rules))),
            config,
            rules,
            faults: Faults::default(),
            counters: Counters::default(),
            bells: Mutex::default(),
            stop: CancellationToken::new(),
            catalog: Mutex::default(),
            seen: Mutex::default(),
            events: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn agents(&self) -> MutexGuard<'_, Agents> {
        lock(&self.agents)
    }

    /// What wakes the agent's waiting poll. One each: ten thousand polls must not wake for every sign-in.
    pub(super) fn bell(&self, agent: u32) -> Arc<Notify> {
        Arc::clone(lock(&self.bells).entry(agent).or_default())
    }

    /// Wakes the agent's waiting poll.
    pub(super) fn ring(&self, agent: u32) {
        self.bell(agent).notify_waiters();
    }

    /// Wakes all waiting polls.
    pub(super) fn ring_all(&self) {
        for bell in lock(&self.bells).values() {
            bell.notify_waiters();
        }
    }

    pub(super) fn is_inspector(&self, agent: u32) -> bool {
        let listed = match &self.config.agents {
            AgentSource::Any { .. } => false,
            AgentSource::List(agents) => agents.iter().any(|known| known.id == agent && known.inspector),
        };
        listed || self.config.inspectors.contains(&agent)
    }

    pub(super) fn add_file(&self, key: &str, size: u64) {
        lock(&self.catalog).sizes.insert(key.to_owned(), size);
    }

    pub(super) fn add_missing(&self, key: &str) {
        lock(&self.catalog).missing.insert(key.to_owned());
    }

    /// Size of a recording; None: there is no such recording.
    pub(super) fn size_of(&self, key: &str) -> Option<u64> {
        let catalog = lock(&self.catalog);
        if key.starts_with("missing") || catalog.missing.contains(key) {
            return None;
        }
        Some(catalog.sizes.get(key).copied().unwrap_or(self.config.default_size))
    }

    pub(super) fn see(&self, request: &Request) {
        let hide = |(name, value): &(String, String)| {
            let value = if name.eq_ignore_ascii_case("Guid") { "<guid>" } else { value };
            (name.clone(), value.to_owned())
        };
        let mut seen = lock(&self.seen);
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(Seen {
            method: request.method.clone(),
            target: request.target.clone(),
            headers: request.headers.iter().map(hide).collect(),
        });
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).iter().cloned().collect()
    }

    pub(super) fn push_event(&self, agent: u32, event: serde_json::Value) {
        let mut events = lock(&self.events);
        let waiting = events.entry(agent).or_default();
        if waiting.len() == EVENTS {
            waiting.pop_front();
        }
        waiting.push_back(event);
        drop(events);
        self.ring(agent);
    }

    pub(super) fn take_event(&self, agent: u32) -> Option<serde_json::Value> {
        lock(&self.events).get_mut(&agent)?.pop_front()
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let all = &self.counters;
        Counts {
            sign_ins: read(&all.sign_ins),
            sign_in_calls: read(&all.sign_in_calls),
            forced: read(&all.forced),
            sign_outs: read(&all.sign_outs),
            polls: read(&all.polls),
            heartbeats: read(&all.heartbeats),
            guid_refreshes: read(&all.guid_refreshes),
            downloads: read(&all.downloads),
            download_refusals: read(&all.download_refusals),
            rotations: read(&all.rotations),
            open_connections: read(&all.open_connections),
            open_downloads: read(&all.open_downloads),
            bytes_sent: read(&all.bytes_sent),
            requests: read(&all.requests),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
