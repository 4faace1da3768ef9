//! Bodies under way: cut, silent, slow, left behind. What the client sees, what the upstream sees, what is recorded.

use std::time::Duration;

use ccgate::sim::{self, Framing, Kind, Scope};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{Open, Read};
use crate::world::{Builder, CALL, World, call, hex, hex_sha256, until};

const STEP: u64 = 64 * 1024;
const MIB: u64 = 1024 * 1024;

async fn open(world: &World) -> (Open, String) {
    let open = world.open(&call(1001, CALL), &world.issuer.agent(1001), &[]).await;
    assert_eq!(open.status, 200);
    let entry = open.headers["ccgate-audit-id"].to_str().unwrap().to_owned();
    (open, entry)
}

async fn read(open: Open) -> Read {
    tokio::time::timeout(Duration::from_mins(1), open.read(Duration::ZERO)).await.expect("an end of the body")
}

/// The event, the reason, and the bytes from the upstream and to the client.
fn facts(end: &Value) -> (&str, Option<&str>, u64, u64) {
    let bytes = |name: &str| end["delivery"][name].as_u64().unwrap();
    (end["event"].as_str().unwrap(), end["reason"].as_str(), bytes("upstream_bytes"), bytes("client_bytes"))
}

fn of(size: u64, framing: Framing) -> Builder {
    World::new().sim(|sim| (sim.default_size, sim.framing) = (size, framing))
}

async fn upstream_cut_everywhere(framing: Framing, fault: fn(u64) -> Kind) {
    let world = of(MIB, framing).start().await;
    // With a length, a cut behind the last byte cuts nothing.
    let last = if framing == Framing::Chunked { 16 } else { 15 };
    let places: Vec<u64> = (1..=last).map(|step| step * STEP).chain([1, 100_001]).collect();
    for at in &places {
        world.fault(fault(*at), Scope::Download, 1);
        let (open, entry) = open(&world).await;
        let read = read(open).await;
        assert!(!read.whole && read.bytes <= *at, "{at}: {read:?}");
        let end = world.end_of(&entry).await;
        assert_eq!(facts(&end), ("failed", Some("upstream_truncated"), *at, *at));
        assert_eq!(end["delivery"]["complete"], false);
        let handed_over = sim::body_bytes(CALL, 0, usize::try_from(*at).unwrap(), MIB);
        assert_eq!(end["delivery"]["sha256"], hex_sha256(&handed_over), "{at}");
    }
    // Before the first byte there is still an honest status to give.
    world.fault(fault(0), Scope::Download, 1);
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_protocol"));
    let end = world.end_of(answer.header("ccgate-audit-id")).await;
    assert_eq!(facts(&end), ("failed", Some("upstream_truncated"), 0, 0));

    assert_eq!(world.asked(), places.len() + 1, "a body that was begun is never asked for again");
    assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (1, vec![]));
    let failed = world.metric("ccgate_downloads_total{kind=\"audio\",outcome=\"failed\"}").await;
    assert_eq!(failed, Some(f64::from(u32::try_from(places.len() + 1).unwrap())), "every entry is counted once");
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_an_upstream_cut_anywhere_breaks_a_body_with_a_length() {
    upstream_cut_everywhere(Framing::ContentLength, Kind::CutAt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_an_upstream_cut_anywhere_breaks_a_chunked_body() {
    upstream_cut_everywhere(Framing::Chunked, Kind::CutAt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_cut_with_a_clean_tls_end_breaks_a_body_with_a_length() {
    upstream_cut_everywhere(Framing::ContentLength, Kind::CutCleanAt).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r22_a_cut_with_a_clean_tls_end_breaks_a_chunked_body() {
    upstream_cut_everywhere(Framing::Chunked, Kind::CutCleanAt).await;
}

/// The client goes when it has got every byte that the upstream has sent so far; how long the upstream then still sends.
async fn client_cut_at(world: &World, at: u64) -> Duration {
    world.fault(Kind::StallAt(at), Scope::Download, 1);
    let (mut open, entry) = open(world).await;
    let mut got = 0;
    while got < at {
        got += open.piece().await.expect("more to come").expect("whole so far").len() as u64;
    }
    drop(open);
    let left = Instant::now();
    until("the upstream's body is closed", || async { world.sim.counts().open_downloads == 0 }).await;
    let took = left.elapsed();
    assert_eq!(facts(&world.end_of(&entry).await), ("aborted", Some("client"), at, at));
    took
}

async fn client_cut_everywhere(framing: Framing) {
    let world = of(MIB, framing).start().await;
    let mut took = Vec::new();
    for step in 1..=15 {
        took.push(client_cut_at(&world, step * STEP).await);
    }
    took.sort();
    // The median: one of them may meet a busy machine.
    assert!(took[7] < Duration::from_secs(1), "{took:?}");
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_anywhere_in_a_body_with_a_length_ends_the_upstream_transfer() {
    client_cut_everywhere(Framing::ContentLength).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_anywhere_in_a_chunked_body_ends_the_upstream_transfer() {
    client_cut_everywhere(Framing::Chunked).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_at_full_speed_is_recorded_as_gone() {
    let world = of(256 * MIB, Framing::ContentLength).start().await;
    let (mut open, entry) = open(&world).await;
    let mut got = 0;
    while got < MIB {
        got += open.piece().await.unwrap().unwrap().len() as u64;
    }
    drop(open);
    let end = world.end_of(&entry).await;
    let (event, reason, upstream_bytes, client_bytes) = facts(&end);
    assert_eq!((event, reason), ("aborted", Some("client")));
    assert!((got..256 * MIB).contains(&client_bytes) && upstream_bytes >= client_bytes, "{got} {end}");
    until("the upstream's body is closed", || async { world.sim.counts().open_downloads == 0 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_before_the_head_is_recorded_as_gone() {
    for fault in [Kind::StallAt(0), Kind::HangBeforeHead] {
        let world = of(MIB, Framing::ContentLength).start().await;
        world.fault(fault.clone(), Scope::Download, 1);
        let (server, token) = (world.server(), world.issuer.agent(1001));
        let mut callers = JoinSet::new();
        callers.spawn(async move {
            let bearer = format!("Bearer {token}");
            crate::client::open(server, &call(1001, CALL), &[("authorization", &bearer)]).await
        });
        until("the upstream is asked", || async { world.asked() == 1 }).await;
        callers.shutdown().await;
        let entry = world.events("authorized")[0]["entry"].as_str().unwrap().to_owned();
        assert_eq!(facts(&world.end_of(&entry).await), ("aborted", Some("client"), 0, 0), "{fault:?}");
        let aborted = world.metric("ccgate_downloads_total{kind=\"audio\",outcome=\"aborted\"}").await;
        assert_eq!(aborted, Some(1.0), "{fault:?}");
        until("the upstream's body is closed", || async { world.sim.counts().open_downloads == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_over_before_the_head_is_recorded_as_shutdown() {
    let world = of(MIB, Framing::ContentLength);
    let mut world = world.config(|config| config["server"]["drain"]["timeout"] = "300ms".into()).start().await;
    world.fault(Kind::HangBeforeHead, Scope::Download, 1);
    let (server, token) = (world.server(), world.issuer.agent(1001));
    let mut callers = JoinSet::new();
    callers.spawn(async move {
        let bearer = format!("Bearer {token}");
        crate::client::open(server, &call(1001, CALL), &[("authorization", &bearer)]).await
    });
    until("the upstream is asked", || async { world.asked() == 1 }).await;
    assert!(world.shut_down().await, "every entry has its end");
    let entry = world.events("authorized")[0]["entry"].as_str().unwrap().to_owned();
    assert_eq!(facts(&world.end_of(&entry).await), ("aborted", Some("shutdown"), 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_a_silent_upstream_is_broken_off() {
    for framing in [Framing::ContentLength, Framing::Chunked] {
        let world = of(MIB, framing).config(|config| config["upstream"]["idle_timeout"] = "700ms".into()).start().await;
        world.fault(Kind::StallAt(100_000), Scope::Download, 1);
        let start = Instant::now();
        let (open, entry) = open(&world).await;
        let read = read(open).await;
        assert!(!read.whole && read.bytes <= 100_000, "{read:?}");
        assert!(start.elapsed() >= Duration::from_millis(700), "not before its time");
        assert_eq!(facts(&world.end_of(&entry).await), ("failed", Some("upstream_idle"), 100_000, 100_000));
        until("the upstream's body is closed", || async { world.sim.counts().open_downloads == 0 }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_a_slow_body_that_moves_survives_every_deadline() {
    let world = of(30 * 1024, Framing::ContentLength).config(|config| {
        config["upstream"]["idle_timeout"] = "2s".into();
        config["upstream"]["connect_timeout"] = "2s".into();
        config["upstream"]["response_timeout"] = "1s".into();
        config["server"]["header_timeout"] = "1s".into();
        config["server"]["client_stall_timeout"] = "2s".into();
        config["sessions"]["idle_sign_out"] = "1s".into();
    });
    let world = world.start().await;
    world.fault(Kind::SlowBody { piece: 1024, every: Duration::from_millis(250) }, Scope::Download, 1);
    let start = Instant::now();
    let (open, entry) = open(&world).await;
    let read = read(open).await;
    assert!(start.elapsed() >= Duration::from_secs(7), "longer than each of them, and than all together");
    assert_eq!(read, Read { bytes: 30 * 1024, sha256: sim::body_sha256(CALL, 30 * 1024), whole: true });
    assert_eq!(facts(&world.end_of(&entry).await), ("finished", None, 30 * 1024, 30 * 1024));
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_a_client_that_pauses_is_no_silence_of_the_upstream() {
    let size = 64 * MIB;
    let world = of(size, Framing::ContentLength).config(|config| config["upstream"]["idle_timeout"] = "1500ms".into());
    let world = world.start().await;
    let (mut open, entry) = open(&world).await;
    let first = open.piece().await.unwrap().unwrap().len() as u64;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let rest = read(open).await;
    assert_eq!((rest.whole, first + rest.bytes), (true, size));
    let end = world.end_of(&entry).await;
    assert_eq!(facts(&end), ("finished", None, size, size));
    assert_eq!(end["delivery"]["sha256"], hex(&sim::body_sha256(CALL, size)));
}

/// Waits until the simulator has sent no byte for a second; how many it has sent.
async fn sent_at_rest(world: &World) -> u64 {
    let (mut sent, mut since) = (0, Instant::now());
    let deadline = Instant::now() + Duration::from_mins(1);
    while sent == 0 || since.elapsed() < Duration::from_secs(1) {
        assert!(Instant::now() < deadline, "it goes on and on");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = world.sim.counts().bytes_sent;
        if now != sent {
            (sent, since) = (now, Instant::now());
        }
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stops_the_upstream_and_wakes_it_by_reading() {
    let size = 1024 * MIB;
    let world = of(size, Framing::ContentLength).start().await;
    let (mut open, entry) = open(&world).await;
    let sent = sent_at_rest(&world).await;
    // Two hops of socket buffers, which the system may grow, and less than 200 KiB of ours.
    assert!(sent < 96 * MIB, "{sent}");
    while world.sim.counts().bytes_sent == sent {
        open.piece().await.expect("more to come").expect("whole so far");
    }
    drop(open);
    assert_eq!(facts(&world.end_of(&entry).await).0, "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_again_is_given_up() {
    let world = of(1024 * MIB, Framing::Chunked);
    let world = world.config(|config| config["server"]["client_stall_timeout"] = "1s".into()).start().await;
    let (open, entry) = open(&world).await;
    let end = world.end_of(&entry).await;
    assert_eq!((&end["event"], &end["reason"]), (&json!("aborted"), &json!("client")));
    until("the upstream's body is closed", || async { world.sim.counts().open_downloads == 0 }).await;
    assert!(!read(open).await.whole);
}
