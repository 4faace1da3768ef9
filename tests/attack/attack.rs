//! The four modes of slowhttptest, 2,000 connections each, as often as they end within the time.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::good::{CLIENTS, Good, Latency};
use crate::usage::{KIB, Usage};
use crate::world::{World, call};

const CONNECTIONS: u32 = 2_000;
/// For good clients alone, before the attack.
const ALONE: Duration = Duration::from_secs(10);
/// For the connections of an attack to be gone after the limit that ends them.
const SLACK: Duration = Duration::from_secs(5);
const STALL_TIMEOUT: Duration = Duration::from_secs(20);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// One mode.
struct Mode {
    name: &'static str,
    flags: &'static [&'static str],
    /// Whether its requests carry a good token: without one a slow reader is given a refusal of a few hundred bytes.
    token: bool,
    /// What ends its connections.
    limit: Duration,
    /// The documented most of memory for one of its connections (docs/edge.md).
    bytes_each: u64,
}

/// What came of it.
struct Outcome {
    alone: Latency,
    attacked: Latency,
    failed: Vec<String>,
    peak_connections: f64,
    growth: u64,
    gone_after: Option<Duration>,
    ends: Vec<(String, f64)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers() {
    let flags = &["-H", "-i", "3", "-x", "16"];
    under(Mode { name: "slow headers (-H)", flags, token: false, limit: HEADER_TIMEOUT, bytes_each: 48 * KIB }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_body() {
    let flags = &["-B", "-i", "3", "-s", "65536", "-x", "16"];
    under(Mode { name: "slow body (-B)", flags, token: true, limit: HEADER_TIMEOUT, bytes_each: 48 * KIB }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges() {
    let flags = &["-R", "-a", "5", "-b", "2000", "-t", "GET"];
    under(Mode { name: "ranges (-R)", flags, token: true, limit: STALL_TIMEOUT, bytes_each: 256 * KIB }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_read() {
    let flags = &["-X", "-n", "3", "-z", "32", "-w", "64", "-y", "512"];
    under(Mode { name: "slow read (-X)", flags, token: true, limit: STALL_TIMEOUT, bytes_each: 256 * KIB }).await;
}

async fn under(mode: Mode) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new().agents(1001..1001 + CLIENTS + 1).sim(|sim| sim.default_size = 8 << 20).config(|config| {
        config["log"]["level"] = "warn".into();
        config["server"]["client_stall_timeout"] = format!("{}s", STALL_TIMEOUT.as_secs()).into();
        // One caller that takes every download place is a matter of budgets, not of the edge.
        config["server"]["max_downloads"] = 3_000.into();
    });
    let mut world = world.start_process().await;
    world.sim.add_file("good", 64 * KIB);
    let outcome = attack(&mut world, &mode).await;
    tell(&mode, &outcome);
    judge(&mode, &outcome);
    assert!(world.shut_down().await);
}

async fn attack(world: &mut World, mode: &Mode) -> Outcome {
    let good = Good::start(world);
    tokio::time::sleep(Duration::from_secs(2)).await;
    good.take();
    tokio::time::sleep(ALONE).await;
    let alone = good.take();
    let pid = world.process().pid();
    let idle = Usage::of(pid).rss;
    let (mut peak, mut peak_connections) = (idle, 0.0_f64);
    let begun = Instant::now();
    let time = std::env::var("ATTACK_SECONDS").map_or(60, |text| text.parse().unwrap());
    let mut attacker = launch(world, mode);
    while begun.elapsed() < Duration::from_secs(time) {
        if attacker.try_wait().unwrap().is_some() {
            attacker = launch(world, mode);
        }
        peak = peak.max(Usage::of(pid).rss);
        peak_connections = peak_connections.max(connections(world).await);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let attacked = good.take();
    let last = Instant::now();
    // The attacker goes on, but does not come back.
    let gone_after = loop {
        if connections(world).await <= f64::from(CLIENTS) {
            break Some(last.elapsed());
        }
        if last.elapsed() > mode.limit + SLACK {
            break None;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    let _ = attacker.kill().await;
    let ends = ends(world).await;
    Outcome { alone, attacked, failed: good.failed(), peak_connections, growth: peak - idle, gone_after, ends }
}

fn launch(world: &World, mode: &Mode) -> Child {
    let attacker = 1001 + CLIENTS;
    let url = format!("http://{}{}", world.server(), call(attacker, "attacked"));
    // The tool prints this value into the head as it is.
    let accept = if mode.token {
        format!("*/*\r\nAuthorization: Bearer {}", world.issuer.agent(attacker))
    } else {
        "*/*".to_owned()
    };
    let mut command = Command::new("nice");
    command.args(["slowhttptest", "-c", &CONNECTIONS.to_string(), "-r", "1000", "-l", "240", "-v", "0"]);
    command.args(mode.flags).args(["-u", &url, "-m", &accept]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("slowhttptest")
}

async fn connections(world: &World) -> f64 {
    world.metric("ccgate_http_connections").await.expect("the gauge")
}

/// Why connections ended so far.
async fn ends(world: &World) -> Vec<(String, f64)> {
    let page = crate::client::get(world.admin(), "/metrics", &[]).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let lines = page.lines().filter_map(|line| line.strip_prefix("ccgate_http_connections_closed_total{reason=\""));
    let ends = lines.map(|line| line.split_once("\"} ").unwrap());
    ends.map(|(reason, count)| (reason.to_owned(), count.parse().unwrap())).filter(|(_, count)| *count > 0.0).collect()
}

fn tell(mode: &Mode, outcome: &Outcome) {
    let millis = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let Outcome { alone, attacked, .. } = outcome;
    println!(
        "| {} | {} / {} | {} / {} | {} | {} KiB | {} |",
        mode.name,
        millis(alone.median),
        millis(alone.p99),
        millis(attacked.median),
        millis(attacked.p99),
        outcome.peak_connections,
        outcome.growth / KIB,
        outcome.gone_after.map_or("never".to_owned(), |after| format!("{:.1} s", after.as_secs_f64())),
    );
    let ends: Vec<_> = outcome.ends.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    println!(
        "  {} and {} good requests, {} failed; ended: {}",
        alone.count,
        attacked.count,
        outcome.failed.len(),
        ends.join(", ")
    );
}

fn judge(mode: &Mode, outcome: &Outcome) {
    let Outcome { alone, attacked, .. } = outcome;
    assert_eq!(outcome.failed.first(), None, "a good client was not served");
    assert!(outcome.peak_connections > 100.0, "no attack: {}", outcome.peak_connections);
    assert!(attacked.median <= alone.median * 2 + Duration::from_millis(1), "{attacked:?}, alone {alone:?}");
    let most = u64::from(CONNECTIONS) * mode.bytes_each;
    assert!(outcome.growth <= most, "{} KiB of memory, at most {} KiB", outcome.growth / KIB, most / KIB);
    assert!(outcome.gone_after.is_some(), "connections stay after the limit of {:?}", mode.limit);
}
