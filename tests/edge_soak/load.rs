//! Requests at an even rate to whichever process is ready, each held against what it must get. One that no head came for is
//! made once more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ccgate::sim::Scope;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cast;
use crate::faults;
use crate::gate::{Gate, Live};
use crate::judge;
use crate::order::{Expects, Manner, Order, Orders};
use crate::site::Site;
use crate::visit::{self, End, Got, Line};

/// Requests under way at once; one that finds no place is not made, and counted.
const UNDER_WAY: usize = 300;
/// Connections to a process that wait for another request.
const KEPT: usize = 8;
/// There is always a ready process within this.
const PATIENCE: Duration = Duration::from_secs(30);
/// More of them tells nothing more.
const COMPLAINTS_MAX: usize = 40;
/// An agent in trouble is left alone every other such time, so that it is signed out.
const SHIFTS: u32 = 3;

/// What is kept of an answer, to be found again in the audit log.
#[derive(Debug)]
pub struct Answered {
    pub gate: usize,
    pub class: &'static str,
    pub agent: u32,
    pub status: u16,
    pub code: Option<String>,
    pub entry: Option<String>,
    pub request_id: Option<String>,
    pub key: Arc<str>,
    pub bytes: u64,
    pub is_complete: bool,
    pub sha256: Option<String>,
    /// When it was asked for, since the run's beginning.
    pub at: Duration,
    pub took: Duration,
}

/// All that the clients know.
#[derive(Debug, Default)]
pub struct Clients {
    pub answered: Vec<Answered>,
    /// By class and outcome.
    pub outcomes: BTreeMap<(&'static str, String), u32>,
    pub bytes: u64,
    /// Faults of downloads by kind.
    pub faults: BTreeMap<String, u32>,
    /// Requests that no head came for, and that were made again.
    pub repeated: Vec<String>,
    /// Requests for which there was no place.
    pub left_out: u32,
    /// What was wrong, and how often.
    pub complaints: Vec<String>,
    pub wrong: u32,
}

struct Load {
    site: Arc<Site>,
    begun: Instant,
    clients: Mutex<Clients>,
    /// Connections, with the life of the process that they lead to.
    kept: [Mutex<Vec<(u32, Line)>>; 2],
    /// One request at a time for each agent whose downloads get faults.
    turns: Vec<tokio::sync::Mutex<()>>,
}

/// Sends requests until `end`, and waits for those under way.
pub async fn send(site: Arc<Site>, mut orders: Orders, begun: Instant, end: Instant) -> Clients {
    let per_second = site.plan.per_second;
    let load = Arc::new(Load {
        site,
        begun,
        clients: Mutex::default(),
        kept: Default::default(),
        turns: cast::FAULTY.map(|_| tokio::sync::Mutex::default()).collect(),
    });
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let mut under_way = JoinSet::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while Instant::now() < end {
        ticks.tick().await;
        while let Some(ended) = under_way.try_join_next() {
            ended.unwrap();
        }
        let order = orders.next(&load.site.library);
        if load.rests(order.agent) {
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            load.clients.lock().unwrap().left_out += 1;
            continue;
        };
        let load = Arc::clone(&load);
        under_way.spawn(async move {
            load.one(order).await;
            drop(place);
        });
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    Arc::into_inner(load).expect("all have ended").clients.into_inner().unwrap()
}

impl Load {
    /// Whether nobody asks for this agent's recordings for a while.
    fn rests(&self, agent: u32) -> bool {
        let shift = self.site.plan.idle_sign_out.as_millis() * 3 / 2;
        let number = u128::from(agent) + self.begun.elapsed().as_millis() / shift;
        cast::TROUBLED.contains(&agent) && number.is_multiple_of(u128::from(SHIFTS))
    }

    async fn one(&self, order: Order) {
        let _turn = match cast::FAULTY.clone().position(|agent| agent == order.agent) {
            Some(turn) => Some(self.turns[turn].lock().await),
            None => None,
        };
        if let Some(fault) = &order.fault {
            *self.clients.lock().unwrap().faults.entry(faults::name(fault)).or_default() += 1;
            self.site.fault(fault.clone(), Scope::Download, order.agent);
        }
        let at = self.begun.elapsed();
        let mut not = None;
        for is_last in [false, true] {
            let Some((gate, live)) = self.ready(not).await else {
                return self.complain(&order, "nobody is ready", &Got::default());
            };
            let mark = gate.policy_mark();
            let got = self.visit(gate, live, &order).await;
            if let (End::NoHead(why), false) = (&got.end, is_last) {
                let when = format!("{:?}: process {}, {}: {why}", self.begun.elapsed(), gate.number, order.class);
                self.clients.lock().unwrap().repeated.push(when);
                not = Some(gate.number);
                continue;
            }
            return self.note(&order, gate, (got, at), gate.was_closed(mark));
        }
    }

    /// One that is ready, another than that one if there is.
    async fn ready(&self, not: Option<usize>) -> Option<(&Gate, Live)> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let ready = |gate: &&Arc<Gate>| gate.is_ready();
            let mut ready: Vec<_> = self.site.gates.iter().filter(ready).collect();
            if ready.len() > 1 {
                ready.retain(|gate| Some(gate.number) != not);
            }
            if let Some(gate) = fastrand::choice(ready)
                && let Some(live) = gate.live()
            {
                return Some((gate, live));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    async fn visit(&self, gate: &Gate, live: Live, order: &Order) -> Got {
        let slow = matches!(order.manner, Manner::Slow(_));
        let kept = if slow { None } else { self.kept_line(gate.number, live.life).await };
        let line = match kept {
            Some(line) => Ok(line),
            None => Line::open(live.server, &self.site.tls, slow).await,
        };
        match line {
            Err(why) => Got { end: End::NoHead(format!("no connection: {why}")), ..Got::default() },
            Ok(line) => {
                let (got, line) = visit::visit(line, live.server, order).await;
                if let Some(line) = line.filter(|_| !slow) {
                    let mut kept = self.kept[gate.number].lock().unwrap();
                    if kept.len() < KEPT {
                        kept.push((live.life, line));
                    }
                }
                got
            }
        }
    }

    /// A kept connection to this life of the process. Each other request opens one of its own.
    async fn kept_line(&self, gate: usize, life: u32) -> Option<Line> {
        if fastrand::bool() {
            return None;
        }
        loop {
            let (of_life, mut line) = self.kept[gate].lock().unwrap().pop()?;
            if of_life == life && line.is_open().await {
                return Some(line);
            }
        }
    }

    fn note(&self, order: &Order, gate: &Gate, (got, at): (Got, Duration), closed: Option<bool>) {
        if let Some(wrong) = judge::wrong(order, &got, closed) {
            self.complain(order, &format!("process {}: {wrong} (closed: {closed:?})", gate.number), &got);
        }
        let mut clients = self.clients.lock().unwrap();
        let outcome = match (&got.end, got.status, &got.code) {
            (End::Complete, Some(status), Some(code)) => format!("{status} {code}"),
            (End::Complete, Some(status), None) if order.expects == Expects::Half => format!("{status} half of it"),
            (End::Complete, Some(status), None) => format!("{status} whole"),
            (End::Broken, Some(status), _) => format!("{status} broken off"),
            (End::Left, ..) => "client left".to_owned(),
            (End::NoHead(_), ..) => "no answer".to_owned(),
            _ => "hung".to_owned(),
        };
        *clients.outcomes.entry((order.class, outcome)).or_default() += 1;
        clients.bytes += got.bytes;
        if let Some(status) = got.status {
            clients.answered.push(Answered {
                gate: gate.number,
                class: order.class,
                agent: order.agent,
                status,
                code: got.code,
                entry: got.entry,
                request_id: got.request_id,
                key: Arc::clone(&order.file.key),
                bytes: got.bytes,
                is_complete: got.end == End::Complete,
                sha256: got.sha256,
                at,
                took: got.took,
            });
        }
    }

    fn complain(&self, order: &Order, what: &str, got: &Got) {
        let mut clients = self.clients.lock().unwrap();
        clients.wrong += 1;
        if clients.complaints.len() < COMPLAINTS_MAX {
            let text = format!("{:?}: {what}: {got:?} for {order:?}", self.begun.elapsed());
            println!("{text}");
            clients.complaints.push(text);
        }
    }
}
