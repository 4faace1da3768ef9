//! What can happen to replicas and their store happens, under downloads and rotation, and nobody sees more of it than
//! `store_unavailable`. Prints what happened.
//!
//! `REPLICA_SECONDS` says how long it goes on (60); what happens is repeated for as long.

use std::collections::BTreeMap;
use std::time::Duration;

use ccgate::clock::Clock;
use ccgate::sim::GuidMode;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::fleet::{Fleet, LEASE, TAKEOVER};
use crate::traffic::{Download, End, SIZE, Traffic};
use crate::wire::State;
use crate::world::{World, until};

const AGENT: u32 = 1001;
/// Longer than any lease and any Guid.
const CUT: Duration = Duration::from_secs(10);
const REDIS_AWAY: Duration = Duration::from_secs(5);
/// Whole downloads that show that a replica serves.
const ENOUGH: usize = 20;

/// What happened when.
struct Happening {
    what: String,
    at: Instant,
    /// How long another replica took to resume the session.
    takeover: Option<Duration>,
    /// How many rules had been broken by then.
    broken: usize,
}

struct Story {
    fleet: Fleet,
    traffic: Traffic,
    told: Vec<Happening>,
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_die_and_sleep_and_redis_and_wires_go_and_no_second_sign_in_is_made() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let seconds = std::env::var("REPLICA_SECONDS").map_or(60, |text| text.parse().expect("a number of seconds"));
    let world = World::new().config(|c| c["log"]["level"] = "info".into()).sim(|sim| {
        sim.default_size = SIZE;
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(2), timeout: Duration::from_secs(4) };
        sim.poll_wait = Duration::from_millis(500);
        sim.forbid_force = true;
    });
    let fleet = Fleet::start(world, 3).await;
    let traffic = Traffic::start(&fleet, AGENT);
    let mut story = Story { fleet, traffic, told: Vec::new() };
    story.tell("all start");
    story.until_all_serve().await;
    // Until two are seen nobody knows how soon the next Guid comes; a takeover then leaves the gateway's own 60 s and 120 s
    // room, which are 2 s and 4 s here.
    until("rotations", || async { story.fleet.world.sim.counts().rotations >= 2 }).await;
    let begun = Instant::now();
    let mut round = 0;
    // A round takes half a minute; one that would begin near the end is left out.
    while round == 0 || begun.elapsed() + Duration::from_secs(15) < Duration::from_secs(seconds) {
        story.kill_the_owner().await;
        story.pause_the_owner().await;
        story.kill_redis().await;
        story.cut_the_owners_wire(if round % 2 == 0 { State::Silent } else { State::Refusing }).await;
        round += 1;
    }
    story.end().await;
}

impl Story {
    fn tell(&mut self, what: impl Into<String>) {
        let (what, broken) = (what.into(), self.fleet.world.sim.broken_rules().len());
        // The table is printed at the end; this is for a run that does not come so far.
        println!("{} {what} ({broken} rules broken so far)", now());
        self.told.push(Happening { what, at: Instant::now(), takeover: None, broken });
    }

    async fn kill_the_owner(&mut self) {
        let owner = self.fleet.owner().await;
        self.tell(format!("owner {owner}: kill -9"));
        let since = now();
        self.traffic.goes(owner);
        self.fleet.kill(owner).await;
        self.until_taken_over(owner, since).await;
        self.tell(format!("{owner} started again"));
        self.fleet.run(owner).await;
        self.traffic.is_back(owner, self.fleet.server(owner).expect("it runs"));
        self.until_all_serve().await;
    }

    async fn pause_the_owner(&mut self) {
        let owner = self.fleet.owner().await;
        self.tell(format!("owner {owner}: SIGSTOP for {CUT:?}"));
        let (since, begun) = (now(), Instant::now());
        self.traffic.goes(owner);
        self.fleet.pause(owner);
        self.until_taken_over(owner, since).await;
        tokio::time::sleep_until(begun + CUT).await;
        self.tell(format!("{owner} woken"));
        self.fleet.wake(owner);
        self.traffic.is_back(owner, self.fleet.server(owner).expect("it runs"));
        self.until_all_serve().await;
    }

    async fn kill_redis(&mut self) {
        self.tell(format!("Redis: kill -9, for {REDIS_AWAY:?}"));
        self.fleet.redis.kill();
        tokio::time::sleep(REDIS_AWAY).await;
        self.tell("Redis started again, empty");
        self.fleet.redis.restart_empty();
        self.until_all_serve().await;
    }

    async fn cut_the_owners_wire(&mut self, how: State) {
        let owner = self.fleet.owner().await;
        self.tell(format!("owner {owner}: wire to Redis {how:?} for {CUT:?}"));
        let (since, begun) = (now(), Instant::now());
        self.fleet.wires[owner].set(how);
        self.until_taken_over(owner, since).await;
        tokio::time::sleep_until(begun + CUT).await;
        self.tell(format!("wire of {owner} mended"));
        self.fleet.wires[owner].set(State::Whole);
        self.until_all_serve().await;
    }

    /// Waits until another replica than the owner has gone on with the session; it must not take longer than it may.
    async fn until_taken_over(&mut self, owner: usize, since: Timestamp) {
        let resumed = || {
            let times = self.fleet.events("session.resumed").into_iter().filter(|(replica, _)| *replica != owner);
            times.map(|(_, record)| timestamp(&record["ts"])).filter(|at| *at > since).min()
        };
        until("a takeover", || async { resumed().is_some() }).await;
        let took = resumed().expect("just seen").duration_since(since).unsigned_abs();
        self.told.last_mut().expect("what happened").takeover = Some(took);
        assert!(took <= TAKEOVER, "{took:?} where the lease is {LEASE:?}");
    }

    async fn until_all_serve(&self) {
        if let Err(wrong) = self.traffic.until_whole(&[0, 1, 2], ENOUGH).await {
            self.tell_all();
            self.tell_stores().await;
            panic!("not all replicas serve:\n{wrong}");
        }
    }

    /// What the replicas' records and the simulator tell, for a story that ends badly.
    fn tell_all(&self) {
        let mut lines: Vec<_> = (self.fleet.events_of("session.").into_iter())
            .map(|(replica, record)| format!("{} {replica} {}", record["ts"], record))
            .collect();
        lines.sort();
        let counts = self.fleet.world.sim.counts();
        println!("{}\n{counts:?}", lines.join("\n"));
        for broken in self.fleet.world.sim.broken_rules() {
            println!("broken rule: {broken}");
        }
    }

    /// How each replica's calls to the store ended since it was started, for the same.
    async fn tell_stores(&self) {
        for replica in self.fleet.awake() {
            println!("calls of {replica} to the store: {:?}", self.fleet.store_calls(replica).await);
        }
    }

    async fn end(mut self) {
        let (downloads, not_counted) = self.traffic.stop().await;
        let counts = self.fleet.world.sim.counts();
        let broken = self.fleet.world.sim.broken_rules();
        let lost = self.fleet.events("session.lost").len();
        print(&self.told, &downloads, broken.len());
        println!("{not_counted} downloads of replicas that were dead or stopped; {counts:?}");
        println!("broken rules: {broken:#?}");
        let failed: Vec<_> = downloads.iter().filter(|download| !is_allowed(&download.end)).collect();
        if !broken.is_empty() || !failed.is_empty() || lost > 0 || counts.sign_in_calls > 1 {
            self.tell_all();
            self.tell_stores().await;
        }
        assert_eq!(broken, []);
        assert!(failed.is_empty(), "{} failed: {failed:#?}", failed.len());
        assert_eq!((counts.sign_in_calls, counts.sign_outs), (1, 0));
        assert_eq!(lost, 0);
        assert!(counts.rotations >= 10, "{counts:?}");
    }
}

fn is_allowed(end: &End) -> bool {
    match end {
        End::Whole => true,
        End::Refused(code) => code == "store_unavailable",
        End::Broken(_) => false,
    }
}

/// One line for what happened, and how the downloads that began then ended.
fn print(told: &[Happening], downloads: &[Download], broken: usize) {
    let Some(first) = told.first() else { return };
    for (index, happening) in told.iter().enumerate() {
        let next = told.get(index + 1).map(|next| next.at);
        let mut ends = BTreeMap::<String, usize>::new();
        for download in downloads {
            if download.from >= happening.at && next.is_none_or(|next| download.from < next) {
                let name = match &download.end {
                    End::Whole => "whole".to_owned(),
                    End::Refused(code) => code.clone(),
                    End::Broken(how) => format!("broken ({how})"),
                };
                *ends.entry(name).or_default() += 1;
            }
        }
        let ends: Vec<_> = ends.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        let at = happening.at.duration_since(first.at).as_secs_f64();
        let takeover = happening.takeover.map(|took| format!("; taken over after {took:.2?}")).unwrap_or_default();
        let broken = told.get(index + 1).map_or(broken, |next| next.broken).saturating_sub(happening.broken);
        let broken = if broken == 0 { String::new() } else { format!("; {broken} RULES BROKEN") };
        println!("{at:6.1} s  {:45} {}{takeover}{broken}", happening.what, ends.join(", "));
    }
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn timestamp(text: &serde_json::Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}
