//! Three replicas, their store and their gateway under one virtual clock: a queue of what happens, ordered by time and
//! then by the seed. No real time passes and nothing runs beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::clients::Clients;
use super::faults::Fault;
use super::model_gateway::{ModelGateway, Token, micros};
use super::model_store::{Broken, Data, Id, ModelStore};
use super::replica::{Answer, Replica};
use super::watch::Watch;
use super::wires::{Asked, Op};
use super::*;

pub(super) const SECOND: u64 = 1_000_000;
pub(super) const MILLI: u64 = 1_000;
const REPLICAS: usize = 3;
/// A run that takes more steps than this turns in a circle.
const STEPS_MAX: usize = 40_000;

/// What a run is like.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kind {
    pub(super) store: Broken,
    /// The machine believes that its tenure lasts for ever.
    pub(super) ignores_tenure: bool,
    /// Nobody looks at the store's writes themselves, only at what comes of them.
    pub(super) blind: bool,
}

/// What is drawn once for a run.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) lease: Duration,
    /// Of one call to the store.
    pub(super) timeout: u64,
    pub(super) poll_takes: u64,
    pub(super) takeover: bool,
    pub(super) clock_steps: bool,
    pub(super) faults_until: u64,
    pub(super) rules: Rules,
}

/// What happens at a time.
#[derive(Debug)]
pub(super) enum What {
    /// To a replica; later where it is stopped, never where it is gone.
    To(Id, Inner),
    /// A call arrives at the store.
    Store {
        from: Id,
        token: Token,
        sent: u64,
        expected: i64,
        op: Op,
    },
    /// A call arrives at the gateway.
    Gateway {
        from: Id,
        token: Token,
        asked: Asked,
    },
    /// The gateway has worked on it.
    Worked {
        from: Id,
        token: Token,
        asked: Asked,
    },
    Request {
        slot: usize,
        client: u64,
    },
    Fault(Fault),
    /// Faults end.
    Calm,
    /// Somebody must have taken over by now.
    Takeover {
        of: Id,
        armed: u64,
        killed_at: u64,
    },
}

/// What happens at a replica.
#[derive(Debug)]
pub(super) enum Inner {
    Answer { token: Token, sent: u64, by_store: bool, answer: Answer },
    Beat { due: u64 },
    Tick { at: u64 },
    Changed,
    Inbox,
    LostSight,
    Subscribed { due: u64 },
    Arrives { client: u64 },
    Sends { client: u64 },
    Served { client: u64, result: Result<(), &'static str> },
    Ends { client: u64 },
    Released,
    SignOutAsked,
    Stop,
    Cut,
}

pub(super) struct World {
    pub(super) rng: fastrand::Rng,
    base: Instant,
    pub(super) now: u64,
    queue: BTreeMap<(u64, u32, u64), What>,
    last: u64,
    pub(super) kind: Kind,
    pub(super) plan: Plan,
    pub(super) store: ModelStore,
    pub(super) store_up: bool,
    /// What the store comes back with where it comes back with old data.
    pub(super) old: Data,
    pub(super) gateway: ModelGateway,
    pub(super) replicas: Vec<Replica>,
    pub(super) ids: Id,
    pub(super) clients: Clients,
    pub(super) watch: Watch,
    trace: Option<String>,
    pub(super) steps: usize,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) steps: usize,
    pub(super) watch: Watch,
    pub(super) served: u64,
    pub(super) trace: String,
}

/// Runs a seed to its end or to the first broken rule.
pub(super) fn run(seed: u64, kind: Kind, traced: bool) -> Run {
    let mut world = World::new(seed, kind, traced);
    world.begin();
    while world.watch.broken.is_none() && !world.is_over() {
        world.next();
    }
    world.check_tries();
    Run {
        steps: world.steps,
        served: world.clients.served(),
        watch: world.watch,
        trace: world.trace.unwrap_or_default(),
    }
}

impl World {
    fn new(seed: u64, kind: Kind, traced: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let lease = Duration::from_secs(if rng.bool() { 10 } else { 5 });
        let keep_alive = if rng.u8(0..4) == 0 { KeepAlive::Heartbeat } else { KeepAlive::Poll };
        let idle = Duration::from_secs(if rng.u8(0..4) == 0 { 20 } else { 900 });
        let rules = Rules { keep_alive, idle_sign_out: idle, lease: Some(lease), ..rules() };
        let interval = Duration::from_secs(if rng.bool() { 60 } else { 20 });
        let dead_guid = if rng.u8(0..4) == 0 { "000-003" } else { "100-006" };
        let plan = Plan {
            lease,
            timeout: SECOND,
            poll_takes: if rng.bool() { 10 * SECOND } else { 2 * SECOND },
            takeover: rng.u8(0..4) == 0,
            clock_steps: rng.u8(0..5) == 0,
            faults_until: rng.u64(40..120) * SECOND,
            rules,
        };
        Self {
            base: Instant::now() + Duration::from_hours(1),
            now: 0,
            queue: BTreeMap::new(),
            last: 0,
            kind,
            store: ModelStore::new(lease, kind.store),
            store_up: true,
            old: Data::default(),
            gateway: ModelGateway::new(interval, interval * 2, dead_guid),
            replicas: Vec::new(),
            ids: 0,
            clients: Clients::default(),
            watch: Watch::new(micros(lease)),
            trace: traced.then(String::new),
            steps: 0,
            rng,
            plan,
        }
    }

    fn begin(&mut self) {
        for slot in 0..REPLICAS {
            let id = self.fresh_id();
            self.replicas.push(Replica::new(id, self.instant(0)));
            self.start(slot);
        }
        self.plan_faults();
        self.plan_clients();
    }

    fn next(&mut self) {
        let Some(((at, ..), what)) = self.queue.pop_first() else { return self.broken("stuck", "nothing happens") };
        self.now = at;
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return self.broken("circle", "too many steps");
        }
        if self.trace.is_some() {
            self.say(&format!("- {what:?}"));
        }
        self.watch.excuse = None;
        let looks = !matches!(what, What::Request { .. } | What::To(_, Inner::Sends { .. } | Inner::Ends { .. }));
        match what {
            What::To(id, inner) => self.to_replica(id, inner),
            What::Store { from, token, sent, expected, op } => self.at_store(from, (token, sent), expected, op),
            What::Gateway { from, token, asked } => self.at_gateway(from, token, asked),
            What::Worked { from, token, asked } => self.worked(from, token, asked),
            What::Request { slot, client } => self.request(slot, client),
            What::Fault(fault) => self.fault(fault),
            What::Calm => self.calm(),
            What::Takeover { of, armed, killed_at } => self.check_takeover(of, armed, killed_at),
        }
        if looks {
            self.look();
        }
    }

    fn to_replica(&mut self, id: Id, inner: Inner) {
        let Some(slot) = self.slot(id) else {
            self.watch.excuse = Some("its replica has ended");
            return self.gone(&inner);
        };
        let replica = &self.replicas[slot];
        if self.now < replica.paused_until {
            if let Inner::Answer { answer: Answer::KeptAlive(_, Ok(Some(guid))), .. } = &inner {
                self.watch.missed.insert(guid.sign_in);
            }
            let at = self.replicas[slot].paused_until + self.rng.u64(0..20) * MILLI;
            return self.at(at, What::To(id, inner));
        }
        self.happens(slot, inner);
    }

    /// What was on its way to a replica that has ended.
    fn gone(&mut self, inner: &Inner) {
        if let Inner::Answer { token, .. } = inner {
            self.watch.arrived(*token);
        }
    }

    pub(super) fn at(&mut self, at: u64, what: What) {
        self.last += 1;
        let tie = self.rng.u32(..);
        self.queue.insert((at.max(self.now), tie, self.last), what);
    }

    pub(super) fn after(&mut self, micros: u64, what: What) {
        self.at(self.now + micros, what);
    }

    /// A random time between two, in microseconds.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        self.rng.u64(least..=most)
    }

    pub(super) fn one_in(&mut self, number: u32) -> bool {
        self.rng.u32(0..number) == 0
    }

    pub(super) fn token(&mut self) -> Token {
        self.last += 1;
        self.last
    }

    pub(super) fn fresh_id(&mut self) -> Id {
        self.ids += 1;
        self.ids
    }

    pub(super) fn instant(&self, at: u64) -> Instant {
        self.base + Duration::from_micros(at)
    }

    pub(super) fn moment(&self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.base))
    }

    pub(super) fn slot(&self, id: Id) -> Option<usize> {
        self.replicas.iter().position(|replica| replica.id == id && replica.runs)
    }

    pub(super) fn is_calm(&self) -> bool {
        self.now >= self.plan.faults_until
    }

    /// Everybody was served often enough after the faults.
    fn is_over(&self) -> bool {
        self.is_calm() && self.clients.all_served(&self.replicas)
    }

    pub(super) fn say(&mut self, text: &str) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{:>10.3} {text}", Duration::from_micros(now).as_secs_f64()).expect("a string");
        }
    }

    pub(super) fn tells(&self) -> bool {
        self.trace.is_some()
    }

    pub(super) fn broken(&mut self, rule: &'static str, detail: impl Into<String>) {
        let detail = detail.into();
        self.say(&format!("BROKEN {rule}: {detail}"));
        if self.watch.broken.is_none() {
            self.watch.broken = Some((rule, detail));
        }
    }
}
