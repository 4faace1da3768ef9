//! Every session is kept alive, and costs little.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::site::{ALL_DESCRIPTORS, Site};
use crate::usage::{KIB, Usage};
use crate::world::{World, call};

const SESSIONS: u32 = 10_000;
const FIRST: u32 = 100_000;
/// Clients that download at once.
const CLIENTS: usize = 32;
/// What a session may cost in push mode, where it has no connection of its own.
const HEARTBEAT_BYTES_MAX: u64 = 24 * KIB;

/// How long sessions are kept, and how strict the site is meanwhile.
struct Pace {
    seconds: u64,
    /// `MAXTIME`: shorter than the soak, so that a session which is not kept alive is lost in it.
    max_time: &'static str,
    /// Between two heartbeats.
    interval: &'static str,
}

impl Pace {
    fn of_environment() -> Self {
        let seconds = std::env::var("SOAK_SECONDS").map_or(30, |text| text.parse().expect("a number of seconds"));
        let (max_time, interval) = if seconds >= 150 { ("120s", "30s") } else { ("25s", "10s") };
        Self { seconds, max_time, interval }
    }
}

/// What sessions cost.
struct Cost {
    /// Each, in bytes of resident memory.
    bytes: u64,
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_are_kept_alive_by_heartbeats_at_24_kib_each() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let pace = Pace::of_environment();
    let cost = keep("heartbeat", &["--push-mode"], &pace, |sessions| {
        sessions["keep_alive"] = "heartbeat".into();
        sessions["keep_alive_interval"] = pace.interval.into();
        sessions["callback"] = json!({ "uri": "https://receiver.example/", "service_token_file": "service-token" });
    })
    .await;
    assert!(cost.bytes <= HEARTBEAT_BYTES_MAX, "{} bytes each", cost.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_sessions_are_kept_alive_by_polls() {
    let _alone = ONE_AT_A_TIME.lock().await;
    keep("poll", &[], &Pace::of_environment(), |_| {}).await;
}

/// Signs all in by a download each, keeps them, and tells what one of them costs.
async fn keep(mode: &str, site: &[&str], pace: &Pace, change: impl FnOnce(&mut Value)) -> Cost {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("site-ca.pem");
    let site = Site::start(&ca_file, &[site, &["--max-time", pace.max_time]].concat()).await;
    let mut world = World::new()
        .agents(FIRST..FIRST + SESSIONS)
        .file("service-token", "Planted-Service-Token")
        .config(|c| {
            c["upstream"]["url"] = site.url().into();
            c["upstream"]["ca_file"] = ca_file.to_str().unwrap().into();
            c["sessions"]["idle_sign_out"] = "24h".into();
            c["sessions"]["sign_ins"] = json!({ "at_once": 1024, "per_second": 10_000 });
            c["log"]["level"] = "info".into();
            change(&mut c["sessions"]);
        })
        .without_gateway()
        .await;
    world.run_process_under(&ALL_DESCRIPTORS).await;
    world.until_ready().await;
    let pid = world.process().pid();
    let tokens: Vec<_> = (FIRST..FIRST + SESSIONS).map(|agent| world.issuer.agent(agent)).collect();

    // Another's call: refused before a session is asked for. Verified tokens are remembered whether or not there are
    // sessions, so they are no part of what a session costs.
    let empty = Usage::of(pid);
    assert_eq!(each(&world, &tokens, |agent| format!("{}&workNo=999", call(agent, "c"))).await, (0, SESSIONS));
    let before = Usage::of(pid);
    let begun = Instant::now();
    assert_eq!(each(&world, &tokens, |agent| call(agent, &format!("c-{agent}"))).await, (SESSIONS, 0));
    let (signed_in_after, start, site_start) = (begun.elapsed(), Usage::of(pid), Usage::of(site.pid()));
    let kept_before = kept_alive(&world).await;

    tokio::time::sleep(Duration::from_secs(pace.seconds)).await;
    let (end, site_end) = (Usage::of(pid), Usage::of(site.pid()));
    let keep_alives = kept_alive(&world).await - kept_before;
    let state = site.state().await;
    assert_eq!(state["rules_broken"], 0, "{}", site.rules().await);
    assert_eq!(state["sessions"].as_array().unwrap().len(), SESSIONS as usize);
    assert_eq!((&state["counts"]["sign_ins"], &state["counts"]["sign_outs"]), (&json!(SESSIONS), &json!(0)));
    assert_eq!(world.metric(r#"ccgate_sessions{state="active"}"#).await, Some(f64::from(SESSIONS)));
    assert!(keep_alives >= f64::from(SESSIONS), "{keep_alives} keep-alives");

    let per = |used: Duration| used.as_secs_f64() / f64::from(SESSIONS) * 1000.0 / pace.seconds as f64 * 60.0;
    let bytes = end.rss.saturating_sub(before.rss) / u64::from(SESSIONS);
    println!(
        "{mode}: {SESSIONS} sessions signed in by a download each in {signed_in_after:.1?} ({:.1?} CPU), kept {} s by {keep_alives} \
         keep-alives; RSS {} KiB empty, {} with the tokens, {} signed in, {} kept: {:.1} KiB a session; CPU a minute for \
         1,000 sessions {:.2} s, of the simulator {:.2} s, whose RSS is {} KiB",
        start.cpu.saturating_sub(before.cpu),
        pace.seconds,
        empty.rss / KIB,
        before.rss / KIB,
        start.rss / KIB,
        end.rss / KIB,
        bytes as f64 / KIB as f64,
        per(end.cpu.saturating_sub(start.cpu)),
        per(site_end.cpu.saturating_sub(site_start.cpu)),
        site_end.rss / KIB,
    );
    Cost { bytes }
}

async fn kept_alive(world: &World) -> f64 {
    world.metric(r#"ccgate_session_keep_alives_total{outcome="ok"}"#).await.unwrap()
}

/// One request for each agent: how many were answered whole, and how many were forbidden.
async fn each(world: &World, tokens: &[String], target: impl Fn(u32) -> String) -> (u32, u32) {
    let requests = (FIRST..).zip(tokens).map(|(agent, token)| {
        let target = target(agent);
        async move {
            let answer = world.get(&target, token).await;
            match answer.status.as_u16() {
                200 if answer.whole && answer.body.len() as u64 == KIB => (1, 0),
                403 => (0, 1),
                _ => panic!("agent {agent}: {answer:?}"),
            }
        }
    });
    let sum = |so_far: (u32, u32), one: (u32, u32)| std::future::ready((so_far.0 + one.0, so_far.1 + one.1));
    futures_util::stream::iter(requests).buffer_unordered(CLIENTS).fold((0, 0), sum).await
}
