//! Everybody whose use is remembered, and the agents whose sessions are in use. Each person has a lock of its own.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::limits::Limit;
use super::metrics::Metrics;
use super::names::{RecordingId, SubjectId};
use super::recordings::Tally;
use super::usage::{Reached, Stopped, Usage};
use super::{Alert, Limits};
use crate::cc::AgentId;

/// Persons that are remembered: with a kilobyte or two each, some 100 MB.
const SUBJECTS_MAX: usize = 65_536;

/// All of them.
#[derive(Default)]
pub(super) struct Subjects {
    known: Mutex<HashMap<SubjectId, Arc<Person>>>,
    /// Downloads that run, by agent: no more than the server has room for.
    agents: Mutex<HashMap<AgentId, u32>>,
    /// Those that are looked at each second. A person is in it once.
    busy: Mutex<Vec<Arc<Person>>>,
    /// When it was last looked for somebody to forget, in minutes.
    swept: AtomicU32,
    tally: Tally,
}

/// A person.
pub(super) struct Person {
    pub(super) id: SubjectId,
    /// Bytes that were handed over and stand in no slot yet.
    unbooked: AtomicU64,
    busy: AtomicBool,
    state: Mutex<State>,
}

/// What is known of a person.
pub(super) struct State {
    pub(super) usage: Usage,
    /// While a download of theirs runs; `None` for one whom no limit holds.
    held: Option<Held>,
    /// In which of the person's own minutes all of this was last told and asked for.
    pub(super) whole: Option<u64>,
    /// When the other replicas were last heard, in minutes.
    pub(super) heard: Option<u32>,
    /// They were not heard when they were last asked.
    pub(super) missed: bool,
    /// Something has changed since the last exchange.
    pub(super) changed: bool,
    /// So many recordings are remembered, by the limits of the last download.
    pub(super) recordings_max: usize,
}

/// Somebody's limits while a download of theirs runs, and their name in the log, for alerts.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) limits: Arc<Limits>,
    pub(super) issuer: String,
    pub(super) subject: String,
}

impl Subjects {
    /// A person, a new one where it is not known.
    pub(super) fn find(&self, id: SubjectId, now: u32, metrics: &Metrics) -> Result<Arc<Person>, Stopped> {
        let mut known = lock(&self.known);
        if let Some(person) = known.get(&id) {
            return Ok(Arc::clone(person));
        }
        if known.len() >= SUBJECTS_MAX {
            self.forget_idle(&mut known, now);
        }
        if known.len() >= SUBJECTS_MAX {
            return Err(Stopped { limit: Limit::Memory, until: None });
        }
        let usage = Usage::new(self.tally.clone());
        let state =
            State { usage, held: None, whole: None, heard: None, missed: false, changed: false, recordings_max: 0 };
        let person = Person { id, unbooked: AtomicU64::new(0), busy: AtomicBool::new(false), state: Mutex::new(state) };
        let person = Arc::new(person);
        known.insert(id, Arc::clone(&person));
        metrics.subjects(known.len());
        Ok(person)
    }

    /// Forgets those who have taken nothing for a day, once a minute at most.
    pub(super) fn sweep(&self, now: u32, metrics: &Metrics) {
        let mut known = lock(&self.known);
        self.forget_idle(&mut known, now);
        metrics.subjects(known.len());
    }

    fn forget_idle(&self, known: &mut HashMap<SubjectId, Arc<Person>>, now: u32) {
        if self.swept.swap(now, Ordering::Relaxed) == now {
            return;
        }
        // One that somebody else holds is in use; the lock of all keeps others from finding it meanwhile.
        known.retain(|_, person| {
            if Arc::strong_count(person) > 1 {
                return true;
            }
            let mut state = person.state();
            state.usage.roll(now);
            !state.usage.is_idle()
        });
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.known).len()
    }

    /// One more download in an agent's session.
    pub(super) fn enter(&self, agent: AgentId, most: Option<u32>) -> Result<(), Stopped> {
        let mut agents = lock(&self.agents);
        let running = agents.get(&agent).copied().unwrap_or(0);
        if most.is_some_and(|most| running >= most) {
            return Err(Stopped { limit: Limit::AtOncePerAgent, until: None });
        }
        agents.insert(agent, running.saturating_add(1));
        Ok(())
    }

    pub(super) fn leave(&self, agent: AgentId) {
        let mut agents = lock(&self.agents);
        if let Some(running) = agents.get_mut(&agent) {
            *running = running.saturating_sub(1);
            if *running == 0 {
                agents.remove(&agent);
            }
        }
    }

    /// The person is looked at each second from now on, until [`Subjects::rest`].
    pub(super) fn keep_busy(&self, person: &Arc<Person>) {
        // Under the lock: what `rest` has looked at before is not what it decides by.
        let mut busy = lock(&self.busy);
        if !person.busy.swap(true, Ordering::Relaxed) {
            busy.push(Arc::clone(person));
        }
    }

    /// Those to be looked at.
    pub(super) fn busy(&self) -> Vec<Arc<Person>> {
        lock(&self.busy).clone()
    }

    /// Looks no longer at those for whom `done` says so.
    pub(super) fn rest(&self, done: impl Fn(&State) -> bool) {
        lock(&self.busy).retain(|person| {
            let done = done(&person.state());
            if done {
                person.busy.store(false, Ordering::Relaxed);
            }
            !done
        });
    }
}

impl Person {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Bytes were handed over. Cheap: it is called for each piece.
    pub(super) fn handed_over(&self, bytes: u64) {
        self.unbooked.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes the bytes that stand in no slot yet.
    pub(super) fn unbooked(&self) -> u64 {
        self.unbooked.swap(0, Ordering::Relaxed)
    }
}

impl State {
    /// Goes to a minute and books what was handed over.
    pub(super) fn catch_up(&mut self, unbooked: u64, now: u32) {
        self.usage.roll(now);
        self.usage.bytes.add(self.usage.now(), unbooked);
        self.changed |= unbooked > 0;
    }

    /// A download begins, for which there is room. `held`: by which limits; `None`: by none.
    pub(super) fn begin(&mut self, recording: RecordingId, held: Option<Held>, recordings_max: usize) -> Vec<Alert> {
        self.usage.recordings.begin(recording);
        self.usage.running = self.usage.running.saturating_add(1);
        self.usage.active = self.usage.now();
        // One that nothing holds does not silence the alerts of one that runs beside it.
        if held.is_some() || self.usage.running == 1 {
            self.held = held;
        }
        self.recordings_max = recordings_max;
        self.alerts()
    }

    /// A download ends. `taken`: a byte of it was handed over.
    pub(super) fn end(&mut self, recording: RecordingId, taken: bool) -> Vec<Alert> {
        let now = self.usage.now();
        self.usage.recordings.end(recording, taken, now, self.recordings_max);
        self.usage.running = self.usage.running.saturating_sub(1);
        self.usage.active = now;
        self.changed = true;
        let alerts = self.alerts();
        if self.usage.running == 0 {
            self.held = None;
        }
        alerts
    }

    /// What is to be told, while a download runs.
    pub(super) fn alerts(&mut self) -> Vec<Alert> {
        let Some(Held { limits, issuer, subject }) = &self.held else { return Vec::new() };
        let reached = self.usage.alerts(limits);
        let alert = |reached: Reached| Alert {
            issuer: issuer.clone(),
            subject: subject.clone(),
            budget: reached.budget,
            used: reached.used,
            limit: reached.limit,
        };
        reached.into_iter().map(alert).collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while a lock is held leaves counts that are whole, one of them perhaps short by one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
