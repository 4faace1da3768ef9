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
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// One mode.
struct Mode {
    name: &'static str,
    flags: &'static [&'static str],
    target: fn(u32) -> String,
    /// Of the file that it asks for.
    file_bytes: u64,
    /// Connections a second.
    rate: &'static str,
    /// What ends its connections.
    limit: Duration,
    /// The documented most of memory for one of its connections (docs/edge.md).
    bytes_each: u64,
}

/// A recording, under the name of the attack.
fn recording(agent: u32) -> String {
    call(agent, "attacked")
}

/// A sign-in, the only request here that has a body.
fn sign_in(agent: u32) -> String {
    format!("/agentgateway/resource/onlineagent/{agent}/loginex")
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
    /// Good requests in all, each on a connection of its own.
    good: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers() {
    let flags = &["-H", "-i", "3", "-x", "16"];
    let (name, target, limit) = ("slow headers (-H)", recording, HEADER_TIMEOUT);
    under(Mode { name, flags, target, file_bytes: 0, rate: "1000", limit, bytes_each: 48 * KIB }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_body() {
    let flags = &["-B", "-i", "3", "-s", "8192", "-x", "16", "-t", "PUT", "-f", "application/json"];
    let (name, target, limit) = ("slow body (-B)", sign_in, BODY_TIMEOUT);
    under(Mode { name, flags, target, file_bytes: 0, rate: "1000", limit, bytes_each: 80 * KIB }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges() {
    // Each request is a whole download of a caller with a token: more of them a second would be load and no attack.
    let flags = &["-R", "-a", "5", "-b", "2000", "-t", "GET"];
    let (name, target, limit) = ("ranges (-R)", recording, STALL_TIMEOUT);
    under(Mode { name, flags, target, file_bytes: 64 * KIB, rate: "50", limit, bytes_each: 256 * KIB }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_read() {
    let flags = &["-X", "-n", "3", "-z", "32", "-w", "64", "-y", "512"];
    let (name, target, limit) = ("slow read (-X)", recording, STALL_TIMEOUT);
    under(Mode { name, flags, target, file_bytes: 8 << 20, rate: "200", limit, bytes_each: 256 * KIB }).await;
}

async fn under(mode: Mode) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new().agents(1001..1001 + CLIENTS + 1).config(|config| {
        config["server"]["client_stall_timeout"] = format!("{}s", STALL_TIMEOUT.as_secs()).into();
        config["sessions"]["pass_through"] = true.into();
        // One caller that takes every download place is a matter of budgets, not of the edge.
        config["server"]["max_downloads"] = 3_000.into();
    });
    // It stands for a gateway on another machine. Left to itself, what the system keeps of its answers takes the memory that
    // all connections of this machine share, and packets of the good clients are dropped.
    let world = world.sim(|sim| sim.send_buffer = Some(64 * 1024));
    let mut world = world.env("CCGATE_LOG_FILTER", "info,ccgate::access=off").start_process().await;
    world.sim.add_file("good", 64 * KIB);
    world.sim.add_file("attacked", mode.file_bytes);
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
    let (failed, good) = (good.failed(), good.all());
    Outcome { alone, attacked, failed, peak_connections, growth: peak - idle, gone_after, ends, good }
}

fn launch(world: &World, mode: &Mode) -> Child {
    let attacker = 1001 + CLIENTS;
    let url = format!("http://{}{}", world.server(), (mode.target)(attacker));
    // The tool prints a cookie into the head as it is, and so a token behind it.
    let cookie = format!("a=b\r\nAuthorization: Bearer {}", world.issuer.agent(attacker));
    let mut command = Command::new("nice");
    command.args(["slowhttptest", "-c", &CONNECTIONS.to_string(), "-r", mode.rate, "-l", "240", "-v", "0"]);
    command.args(mode.flags).args(["-u", &url, "-j", &cookie]);
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
    let ended: f64 = outcome.ends.iter().map(|(_, count)| count).sum();
    let attacks = ended - outcome.good as f64;
    assert!(attacks > 1_000.0, "no attack: {attacks} connections");
    assert!(attacked.median <= alone.median * 2 + Duration::from_millis(1), "{attacked:?}, alone {alone:?}");
    let most = u64::from(CONNECTIONS) * mode.bytes_each;
    assert!(outcome.growth <= most, "{} KiB of memory, at most {} KiB", outcome.growth / KIB, most / KIB);
    assert!(outcome.gone_after.is_some(), "connections stay after the limit of {:?}", mode.limit);
}
