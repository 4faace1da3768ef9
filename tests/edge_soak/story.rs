//! The run: everything that goes on at once, and afterwards what must be true of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ccgate::sim::{BrokenRule, Counts};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::books::Book;
use crate::cast;
use crate::changes::{self, CHANGES};
use crate::client;
use crate::flat;
use crate::gate::Gate;
use crate::load::{self, Clients};
use crate::order::Orders;
use crate::plan::Plan;
use crate::program_log::LogCounts;
use crate::samples::{self, Sample};
use crate::site::Site;
use crate::trouble::{self, Troubles};

/// All that is known of a run when it is over.
pub struct Story {
    pub plan: Plan,
    pub clients: Clients,
    pub troubles: Troubles,
    pub samples: Vec<Sample>,
    pub books: [Book; 2],
    pub processes: [Lives; 2],
    pub counts: Counts,
    pub broken: Vec<BrokenRule>,
    /// Faults that no call has met, by scope and kind.
    pub faults_left: u64,
    /// What `ccgate audit verify` said, and its exit code.
    pub verified: (String, Option<i32>),
}

/// What became of a process over all its lives.
pub struct Lives {
    pub taken_up: u32,
    pub refused: u32,
    pub exits: Vec<Option<i32>>,
    pub log: LogCounts,
}

/// Everything by a plan.
pub async fn run(plan: Plan) -> Story {
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let site = Arc::new(Site::start(plan, &mut random).await);
    let mut aside = JoinSet::new();
    for gate in &site.gates {
        aside.spawn(Arc::clone(gate).watch());
    }
    let first_start = async |gate: &Gate| gate.start(&mut *gate.inside.lock().await).await;
    tokio::join!(first_start(&site.gates[0]), first_start(&site.gates[1]));
    let (begun, samples) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let end = begun + plan.length;
    aside.spawn(samples::take(site.gates.clone(), begun, Arc::clone(&samples)));
    let orders = Orders::new(random.fork(), Arc::clone(&site.world));
    let (clients, troubles, ..) = tokio::join!(
        load::send(Arc::clone(&site), orders, begun, end),
        trouble::make(&site, random.fork(), end),
        reloads(&site, &site.gates[0], random.fork(), end),
        reloads(&site, &site.gates[1], random.fork(), end),
        restarts(&site, begun, end),
    );
    for gate in &site.gates {
        gate.stop(&mut *gate.inside.lock().await).await;
    }
    aside.shutdown().await;
    let samples = std::mem::take(&mut *samples.lock().unwrap());
    tell(&site, clients, troubles, samples).await
}

/// Changes a process's configuration again and again, but while it is being restarted.
async fn reloads(site: &Site, gate: &Gate, mut random: fastrand::Rng, end: Instant) {
    let mut ticks = tokio::time::interval(site.plan.reload_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    ticks.tick().await;
    for change in CHANGES.into_iter().cycle() {
        ticks.tick().await;
        if Instant::now() >= end {
            return;
        }
        if let Ok(mut inside) = gate.inside.try_lock() {
            changes::make(gate, &mut inside, change, &mut random, &site.tls).await;
        }
    }
}

/// SIGTERM and another life, for one process after the other.
async fn restarts(site: &Site, begun: Instant, end: Instant) {
    for number in 1.. {
        let due = begun + site.plan.restart_every * number;
        if due >= end {
            return;
        }
        tokio::time::sleep_until(due).await;
        let gate = &site.gates[(number as usize + 1) % 2];
        let mut inside = gate.inside.lock().await;
        gate.stop(&mut inside).await;
        gate.start(&mut inside).await;
    }
}

async fn tell(site: &Site, clients: Clients, troubles: Troubles, samples: Vec<Sample>) -> Story {
    let sim = &site.world.sim;
    let control = sim.control_url().expect("a control port");
    let control = control.strip_prefix("http://").unwrap().trim_end_matches('/').parse().unwrap();
    let state = client::get(control, "/state", &[]).await.json();
    let waiting = state["faults"].as_array().unwrap().iter().map(|fault| fault["times"].as_u64().unwrap());
    let mut processes = Vec::new();
    for gate in &site.gates {
        let inside = gate.inside.lock().await;
        let (exits, log) = (inside.exits.clone(), inside.log.clone());
        processes.push(Lives { taken_up: inside.taken_up, refused: inside.refused, exits, log });
    }
    let audits = [site.gates[0].audit(), site.gates[1].audit()];
    let verify =
        tokio::process::Command::new(env!("CARGO_BIN_EXE_ccgate")).args(["audit", "verify"]).args(&audits).output();
    let verify = verify.await.unwrap();
    let told = [verify.stdout, verify.stderr].concat();
    Story {
        plan: site.plan,
        clients,
        troubles,
        samples,
        books: audits.map(|audit| Book::read(&audit)),
        processes: processes.try_into().unwrap_or_else(|_| unreachable!("two processes")),
        counts: sim.counts(),
        broken: sim.broken_rules(),
        faults_left: waiting.sum(),
        verified: (String::from_utf8(told).unwrap(), verify.status.code()),
    }
}

impl Story {
    /// Whatever must not have happened.
    pub fn check(&self) {
        let mut wrong = self.clients.complaints.clone();
        wrong.extend(self.wrong_records());
        wrong.extend(self.wrong_processes());
        wrong.extend(self.wrong_sessions());
        wrong.extend(self.too_little());
        let compared = if self.plan.is_judged { flat::compare(&self.samples, self.plan.length) } else { Vec::new() };
        wrong.extend(compared.iter().flat_map(flat::Compared::grown));
        assert!(!self.plan.is_judged || compared.len() == 4, "memory was not compared: {compared:?}");
        assert!(wrong.is_empty(), "SOAK_SEED={}: {} wrong:\n{}", self.plan.seed, wrong.len(), wrong.join("\n"));
    }

    /// SIGTERMs.
    pub fn stops(&self) -> usize {
        self.processes.iter().map(|lives| lives.exits.len()).sum()
    }

    /// An event of both logs for agents that these are.
    pub fn told(&self, event: &str, is_asked: impl Fn(u32) -> bool + Copy) -> u32 {
        self.books.iter().map(|book| book.count(event, is_asked)).sum()
    }

    fn wrong_records(&self) -> Vec<String> {
        let wrong = |answered: &load::Answered| {
            let wrong = self.books[answered.gate].wrong(answered)?;
            Some(format!("{wrong}: {answered:?}"))
        };
        let mut all: Vec<_> = self.clients.answered.iter().filter_map(wrong).take(20).collect();
        all.extend(self.books.iter().flat_map(Book::bad_ends).take(20));
        let (text, code) = &self.verified;
        if *code != Some(0) {
            all.push(format!("ccgate audit verify: {code:?}: {text}"));
        }
        all
    }

    fn wrong_processes(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (number, lives) in self.processes.iter().enumerate() {
            let mut wrong = |what: String| all.push(format!("process {number}: {what}"));
            if lives.exits.iter().any(|code| *code != Some(0)) {
                wrong(format!("exit codes {:?}", lives.exits));
            }
            lives.log.strange.iter().for_each(|line| wrong(format!("it logged {line}")));
            let book = &self.books[number];
            let told =
                (book.count("config.loaded", |_| true), book.count("config.refused", |_| true), lives.log.refused);
            if told != (lives.taken_up, lives.refused, lives.refused) {
                let (taken_up, refused) = (lives.taken_up, lives.refused);
                wrong(format!("{taken_up} taken up and {refused} refused; told are {told:?}"));
            }
            if lives.log.barred > 2 * self.troubles.barred {
                wrong(format!("{} accounts barred", lives.log.barred));
            }
        }
        all
    }

    fn wrong_sessions(&self) -> Vec<String> {
        let mut all: Vec<_> =
            self.broken.iter().filter(|broken| !trouble::explains(broken)).map(ToString::to_string).collect();
        if self.counts.forced > 0 || self.told("session.signed_in", |agent| agent == cast::HUMAN) > 0 {
            all.push(format!("a human was thrown off: {:?}", self.counts));
        }
        let stops = u32::try_from(self.stops()).unwrap();
        for agent in cast::everybody().into_iter().filter(|agent| cast::is_steady(*agent)) {
            let of = |event: &str| self.told(event, |one| one == agent);
            let (signed_in, out, lost) = (of("session.signed_in"), of("session.signed_out"), of("session.lost"));
            // Who is used through one process only when that is drained is signed out, and in again by the other.
            if lost > 0 || signed_in != out || signed_in > 1 + stops {
                all.push(format!("agent {agent}: signed in {signed_in} times, out {out} times, lost {lost} times"));
            }
        }
        // The human's: after each failure the pause doubles up to half a minute, and a process that starts begins anew.
        let minutes = u32::try_from(self.plan.length.as_secs() / 60).unwrap();
        let tried = self.told("session.refused", |agent| agent == cast::HUMAN);
        if tried > 6 * (1 + stops) + 2 * minutes {
            all.push(format!("{tried} sign-ins were tried where a human is signed in"));
        }
        let made = ["session.signed_in", "session.refused", "session.barred"].map(|event| self.told(event, |_| true));
        // One that was under way when its process ended may be told of by nobody.
        if self.counts.sign_in_calls > u64::from(made.iter().sum::<u32>() + stops) {
            all.push(format!("{} sign-ins were called, and {made:?} are told of", self.counts.sign_in_calls));
        }
        all
    }

    /// Nothing is shown by a run in which nothing happened.
    fn too_little(&self) -> Vec<String> {
        let mut all = Vec::new();
        let seconds = self.plan.length.as_secs();
        let wanted = seconds * u64::from(self.plan.per_second);
        let answered = self.clients.answered.len() as u64;
        let mut at_least = |what: &str, is: u64, least: u64| {
            if is < least {
                all.push(format!("too little: {is} {what}, where {least} are the least"));
            }
        };
        at_least("answers", answered, wanted / 3);
        at_least("rotations", self.counts.rotations, seconds / 4);
        at_least("stops", self.stops() as u64, 2 + seconds / self.plan.restart_every.as_secs() / 2);
        at_least(
            "faults of downloads",
            self.clients.faults.values().map(|count| u64::from(*count)).sum(),
            wanted / 300,
        );
        at_least(
            "faults of sessions",
            self.troubles.faults.values().map(|count| u64::from(*count)).sum(),
            seconds / 20,
        );
        let reloads: u32 = self.processes.iter().map(|lives| lives.taken_up).sum();
        at_least("reloads", u64::from(reloads), seconds / self.plan.reload_every.as_secs() / 2);
        at_least("refused reloads", self.processes.iter().map(|lives| u64::from(lives.refused)).sum(), 1);
        let repeated = self.clients.repeated.len() as u64;
        if repeated * 50 > answered {
            all.push(format!("{repeated} requests had to be made again: {:#?}", self.clients.repeated));
        }
        all
    }
}

/// Latencies of small downloads in each quarter of the run: median and 99th percentile.
pub fn latencies(story: &Story) -> [(Duration, Duration); 4] {
    let mut quarters: BTreeMap<u128, Vec<Duration>> = BTreeMap::new();
    for answered in story.clients.answered.iter().filter(|answered| answered.class == "small" && answered.status == 200)
    {
        let quarter = answered.at.as_nanos() * 4 / story.plan.length.as_nanos().max(1);
        quarters.entry(quarter.min(3)).or_default().push(answered.took);
    }
    [0, 1, 2, 3].map(|quarter| {
        let mut all = quarters.remove(&quarter).unwrap_or_default();
        all.sort();
        let at = |share: usize| all.get(all.len() * share / 100).copied().unwrap_or_default();
        (at(50), at(99))
    })
}
