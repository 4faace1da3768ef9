//! One session an agent, whoever asks, however many at once, and however they leave.

use std::collections::BTreeSet;
use std::time::Duration;

use ccgate::sim::{self, Kind, Scope};
use futures_util::future::join_all;
use http::StatusCode;
use tokio::task::JoinSet;

use crate::client::Read;
use crate::world::{CALL, World, call, until};

const SIZE: u64 = 256 * 1024;

/// Downloads one call in an agent's session.
async fn download(world: &World, agent: u32, call_id: &str) -> (StatusCode, Read) {
    let open = world.open(&call(agent, call_id), &world.issuer.agent(agent), &[]).await;
    (open.status, open.read(Duration::ZERO).await)
}

fn right(call_id: &str) -> (StatusCode, Read) {
    (StatusCode::OK, Read { bytes: SIZE, sha256: sim::body_sha256(call_id, SIZE), whole: true })
}

#[tokio::test(flavor = "multi_thread")]
async fn r18_200_parallel_first_requests_of_an_agent_make_one_sign_in() {
    let world = World::new().sim(|sim| {
        sim.default_size = SIZE;
        sim.sign_in_delay = Duration::from_millis(300);
    });
    let world = world.start().await;
    let call_ids: Vec<String> = (0..200).map(|number| format!("1621413752-{number}")).collect();
    let reads = join_all(call_ids.iter().map(|call_id| download(&world, 1001, call_id))).await;
    for (call_id, read) in call_ids.iter().zip(reads) {
        assert_eq!(read, right(call_id), "{call_id}");
    }
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.downloads), (1, 1, 200));
    assert_eq!(world.sim.broken_rules(), []);
    until("200 ends", || async { world.events("finished").len() == 200 }).await;
    let entries: BTreeSet<String> =
        world.events("authorized").iter().map(|record| record["entry"].to_string()).collect();
    assert_eq!(entries.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_agents_at_once_make_fifty_sign_ins() {
    let agents = 2001..2051;
    let world = World::new().agents(agents.clone()).sim(|sim| {
        sim.default_size = SIZE;
        sim.sign_in_delay = Duration::from_millis(200);
    });
    let world = world.start().await;
    let reads = join_all(agents.clone().map(|agent| download(&world, agent, CALL))).await;
    assert!(reads.iter().all(|read| *read == right(CALL)), "{reads:?}");
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins), (50, 50));
    assert_eq!(world.sim.broken_rules(), []);
    assert_eq!(world.metric("ccgate_sessions{state=\"active\"}").await, Some(50.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_neither_stops_nor_repeats_the_sign_in() {
    let world = World::new().sim(|sim| sim.sign_in_delay = Duration::from_secs(4)).start().await;
    let (server, token) = (world.server(), world.issuer.agent(1001));
    let mut callers = JoinSet::new();
    callers.spawn(async move {
        let bearer = format!("Bearer {token}");
        crate::client::open(server, &call(1001, CALL), &[("authorization", &bearer)]).await
    });
    until("the sign-in is called", || async { world.sim.counts().sign_in_calls == 1 }).await;
    callers.shutdown().await;
    until("the gateway has seen it go", || async { world.metric("ccgate_http_requests_in_flight").await == Some(0.0) })
        .await;
    assert_eq!(world.sim.counts().sign_ins, 0, "the sign-in has not answered yet");
    until("the sign-in has answered", || async { world.sim.counts().sign_ins == 1 }).await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status, answer.whole), (StatusCode::OK, true));
    assert_eq!(world.sim.counts().sign_in_calls, 1);
    assert_eq!(world.sim.broken_rules(), []);
    assert_eq!(world.events("authorized").len(), 1, "whoever hung up was not given anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_gateway_under_20_downloads_makes_one_sign_in() {
    let world = World::new().sim(|sim| {
        sim.default_size = SIZE;
        sim.sign_in_delay = Duration::from_millis(300);
    });
    let world = world.start().await;
    world.hold_polls();
    assert_eq!(download(&world, 1001, CALL).await, right(CALL));
    // Twenty are under way when it happens, twenty come right after it.
    world.fault(Kind::Rate(SIZE / 4), Scope::Download, 20);
    let running: Vec<String> = (0..20).map(|number| format!("1621413752-{number}")).collect();
    let new: Vec<String> = (20..40).map(|number| format!("1621413752-{number}")).collect();
    let old = join_all(running.iter().map(|call_id| download(&world, 1001, call_id)));
    let fresh = async {
        until("all run", || async { world.sim.counts().open_downloads == 20 }).await;
        world.sim.restart();
        join_all(new.iter().map(|call_id| download(&world, 1001, call_id))).await
    };
    let (old, fresh) = tokio::join!(old, fresh);
    for (call_id, read) in running.iter().chain(&new).zip(old.into_iter().chain(fresh)) {
        assert_eq!(read, right(call_id), "{call_id}");
    }
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins), (2, 2));
    assert_eq!(world.sim.broken_rules(), []);
    assert_eq!(world.events("session.lost").len(), 1);
}
