//! kill -9 under load, and in the middle of a start: nobody has a byte that the log does not know of, and the next start closes what was open.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

use crate::ledger;
use crate::plain::{self, Arrived};
use crate::world::{World, call};

/// `CRASH_KILLS` makes it another number.
const KILLS: usize = 10;
const CLIENTS: usize = 12;
const AGENTS: u32 = 4;
/// Each fourth recording; the others have the simulator's 64 KiB.
const BIG_BYTES: u64 = 8 * 1024 * 1024;
/// A client that has begun none of these has met a dead process by then.
const DOWNLOADS_MAX: usize = 400;

/// What one client got.
struct Got {
    call_id: String,
    arrived: Arrived,
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_random_moments_delivers_no_byte_without_a_durable_record() {
    let seed = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    let kills = std::env::var("CRASH_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut world = World::new().agents(1001..1001 + AGENTS).config(|c| c["log"]["level"] = "info".into());
    world = world.sim(|sim| sim.default_size = 64 * 1024);
    let mut world = world.without_gateway().await;
    let mut all = Vec::new();
    for life in 0..kills {
        // What the killed process left signed in is forgotten, so that no agent stays busy.
        world.sim.restart();
        if life % 4 == 3 {
            // The next start finds what a recovery that was killed has left.
            world.start_and_kill(Duration::from_micros(random.u64(..200_000))).await;
        }
        world.run_process().await;
        world.until_ready().await;
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let agent = 1001 + u32::try_from(client).unwrap() % AGENTS;
            let ids = (0..DOWNLOADS_MAX).map(|number| call_id(life, client, number)).collect::<Vec<_>>();
            for id in ids.iter().filter(|id| is_big(id)) {
                world.sim.add_file(id, BIG_BYTES);
            }
            clients.spawn(client_of(world.server(), agent, world.issuer.agent(agent), ids));
        }
        tokio::time::sleep(Duration::from_micros(random.u64(..400_000))).await;
        world.kill().await;
        for got in clients.join_all().await {
            all.extend(got);
        }
    }
    world.sim.restart();
    world.run_process().await;
    world.until_ready().await;
    assert!(world.shut_down().await);
    let records = world.records();
    ledger::check(&records);
    let lives = lives(&records);
    assert!(lives.len() > kills, "a begin for each start: {}", lives.len());
    no_byte_without_a_record(&all, &records);
    each_answer_has_its_entry_and_one_end(&all, &records);
    assert!(nothing_asked_without_a_record(&world, &records) > kills);
    let report = ledger::verified(&world.dir().join("audit"));
    assert!(report.is_sound(), "{report:#?}");
    open_entries_get_unknown_at_the_next_start(&lives);
    // The load was one: most lives were cut in the middle of downloads, and files did arrive.
    let (cut, whole) = (unknowns(&records), all.iter().filter(|got| got.arrived.is_whole_file()).count());
    let half = lives.iter().filter(|records| !has_started(records)).count();
    println!("{kills} kills: {} requests, {whole} whole files, {cut} entries cut, {half} starts cut", all.len());
    assert!(cut >= kills && whole >= kills, "{cut} entries cut, {whole} whole files");
    assert_eq!(world.sim.broken_rules(), vec![]);
}

async fn client_of(server: SocketAddr, agent: u32, token: String, ids: Vec<String>) -> Vec<Got> {
    let mut all = Vec::new();
    for call_id in ids {
        let arrived = plain::get(server, &call(agent, &call_id), &token, None).await;
        let dead = arrived.status.is_none();
        all.push(Got { call_id, arrived });
        if dead {
            break;
        }
    }
    all
}

fn call_id(life: usize, client: usize, number: usize) -> String {
    format!("{life}-{client}-{number}")
}

fn is_big(call_id: &str) -> bool {
    call_id.rsplit('-').next().unwrap().parse::<usize>().unwrap() % 4 == 3
}

/// The records of each life of the process.
fn lives(records: &[Value]) -> Vec<&[Value]> {
    let begins: Vec<_> = (0..records.len()).filter(|at| records[*at]["event"] == "audit.opened").collect();
    let ends = begins.iter().skip(1).copied().chain([records.len()]);
    begins.iter().zip(ends).map(|(begin, end)| &records[*begin..end]).collect()
}

fn authorized(records: &[Value]) -> BTreeSet<&str> {
    let opened = records.iter().filter(|record| record["event"] == "authorized");
    opened.map(|record| record["what"]["call_id"].as_str().unwrap()).collect()
}

/// Whether a start came to its end.
fn has_started(records: &[Value]) -> bool {
    records.iter().any(|record| record["event"] == "started")
}

fn unknowns(records: &[Value]) -> usize {
    records.iter().filter(|record| record["event"] == "unknown").count()
}

/// Call ids are used once, so the record was written by the life that delivered, before it was killed.
fn no_byte_without_a_record(all: &[Got], records: &[Value]) {
    let recorded = authorized(records);
    for got in all.iter().filter(|got| got.arrived.status == Some(200)) {
        assert!(recorded.contains(got.call_id.as_str()), "{}: {:?}", got.call_id, got.arrived);
    }
    let odd: Vec<_> = all.iter().filter(|got| !matches!(got.arrived.status, Some(200) | None)).collect();
    assert!(odd.is_empty(), "{} {:?}", odd[0].call_id, odd[0].arrived);
}

/// The id that a head named is that of the recording's entry, and its one end owns up to at least the bytes that arrived,
/// unless the process died over it.
fn each_answer_has_its_entry_and_one_end(all: &[Got], records: &[Value]) {
    let opened: BTreeMap<_, _> = records
        .iter()
        .filter(|record| record["event"] == "authorized")
        .map(|record| (record["what"]["call_id"].as_str().unwrap(), ledger::entry(record)))
        .collect();
    let ends: BTreeMap<_, _> =
        records.iter().filter(|record| ledger::is_end(record)).map(|end| (ledger::entry(end), end)).collect();
    for Got { call_id, arrived } in all.iter().filter(|got| got.arrived.status.is_some()) {
        let entry = opened[call_id.as_str()];
        assert_eq!(arrived.entry.as_deref(), Some(entry), "{call_id}");
        let end = ends[entry];
        let told = end["delivery"]["client_bytes"].as_u64();
        assert!(end["event"] == "unknown" || told >= Some(arrived.body_bytes), "{arrived:?} {end}");
    }
}

/// The stronger form: what the upstream was asked for, delivered or not.
fn nothing_asked_without_a_record(world: &World, records: &[Value]) -> usize {
    let recorded = authorized(records);
    let mut downloads = 0;
    for seen in world.sim.requests() {
        if let Some((_, call_id)) = seen.target.split_once("recordfiledownloadEx?callId=") {
            assert!(recorded.contains(call_id), "asked for without a record: {}", seen.target);
            downloads += 1;
        }
    }
    downloads
}

fn open_entries_get_unknown_at_the_next_start(lives: &[&[Value]]) {
    let mut open = BTreeSet::new();
    for records in lives {
        let closed = records.iter().filter(|record| record["event"] == "unknown").map(ledger::entry).collect();
        if has_started(records) {
            assert_eq!(open, closed, "what the lives before left open");
        }
        assert!(open.is_superset(&closed), "{closed:?} of {open:?}");
        open.retain(|entry| !closed.contains(entry));
        for record in *records {
            if record["event"] == "authorized" {
                open.insert(ledger::entry(record));
            } else if ledger::is_end(record) {
                open.remove(ledger::entry(record));
            }
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
