//! Each limit of a connection: what its client sees, and under which name it is counted.

use std::time::Duration;

use ccgate::sim::{Fault, Kind, Scope};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::good;
use super::wire::{DEADLINE, Wire};
use crate::client;
use crate::world::{CALL, World, call, until};

/// Waits until so many connections have ended for a reason.
pub(super) async fn ended(world: &World, reason: &str, times: f64) {
    let line = format!("ccgate_http_connections_closed_total{{reason=\"{reason}\"}}");
    until(&format!("{times} ended by {reason}"), || async { world.metric(&line).await == Some(times) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_and_an_idle_connection_are_closed() {
    let world = World::new().config(|config| config["server"]["header_timeout"] = "300ms".into()).start().await;
    let mut half = Wire::open(world.server()).await;
    half.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
    let begin = tokio::time::Instant::now();
    assert!(half.closed().await, "without an answer");
    assert!(begin.elapsed() >= Duration::from_millis(200), "not before its time: {:?}", begin.elapsed());
    let mut silent = Wire::open(world.server()).await;
    assert!(silent.closed().await);
    let mut idle = Wire::open(world.server()).await;
    assert!(idle.still_open().await);
    assert!(idle.closed().await, "after its last answer");
    // Byte by byte it takes longer than a head may take, though each byte comes in time.
    let mut dripping = Wire::open(world.server()).await;
    let mut dripped = 0;
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: dripping-dripping-dripping-dripping\r\n\r\n" {
        dripped += 1;
        if dripping.stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(dripping.closed().await, "no answer after {dripped} bytes");
    ended(&world, "head_timeout", 2.0).await;
    ended(&world, "idle", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_ended() {
    let world = World::new()
        .config(|config| config["server"]["client_stall_timeout"] = "500ms".into())
        .sim(|sim| sim.default_size = 256 << 20)
        .start()
        .await;
    let mut wire = Wire::open(world.server()).await;
    wire.send(good(&world, "").as_bytes()).await;
    // One piece, and then nothing more: whatever fits between us fills up, and the gateway's write waits.
    assert!(wire.more().await);
    until("the entry's end", || async { !world.events("aborted").is_empty() }).await;
    let end = &world.events("aborted")[0];
    assert_eq!((&end["reason"], &end["delivery"]["complete"]), (&json!("client"), &json!(false)));
    assert!(end["delivery"]["client_bytes"].as_u64().unwrap() < 256 << 20);
    until("the upstream's end", || async { world.sim.counts().open_downloads == 0 }).await;
    let mut read = wire.read.len() as u64;
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count @ 1..) = wire.stream.read(&mut buffer).await {
        read += count as u64;
    }
    assert!(read < 256 << 20, "it never looked whole");
    ended(&world, "client_stall", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_a_little_is_served() {
    let world = World::new().config(|config| config["server"]["client_stall_timeout"] = "500ms".into()).start().await;
    world.sim.fault(Fault { what: Kind::Rate(40_000), calls: Scope::Download, agent: None, times: 1 });
    let slow = world.open(&call(1001, CALL), &world.issuer.agent(1001), &[]).await;
    let read = slow.read(Duration::from_millis(50)).await;
    assert_eq!((read.whole, read.bytes), (true, 65_536));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_the_library_refuses_is_answered_counted_and_told() {
    let mut world = World::new().start_process().await;
    let long = "a".repeat(70 * 1024);
    for (bytes, status, code, reason) in [
        ("GET / HTTP/1.1\r\n: x\r\n\r\n".to_owned(), 400, "bad_request", "bad_head"),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), 431, "head_too_large", "head_too_large"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 414, "target_too_long", "target_too_long"),
    ] {
        let (answer, closed) = client::raw(world.server(), bytes.as_bytes(), DEADLINE).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(closed && head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["code"], &body["status"]), (&json!(code), &json!(status)));
        ended(&world, reason, 1.0).await;
        let series = format!("ccgate_http_requests_total{{code=\"{status}\",method=\"other\",route=\"other\"}}");
        assert_eq!(world.metric(&series).await, Some(1.0));
        let id = body["request_id"].as_str().unwrap();
        assert!(head.contains(&format!("x-request-id: {id}")), "{head}");
        let log = world.process().log();
        let lines: Vec<serde_json::Value> =
            log.lines().filter(|line| line.contains(id)).map(|line| serde_json::from_str(line).unwrap()).collect();
        let [line] = &lines[..] else { panic!("not one line: {lines:?}") };
        for (field, value) in [
            ("target", json!("ccgate::access")),
            ("status", json!(status)),
            ("code", json!(code)),
            ("outcome", json!("refused")),
            ("route", json!("other")),
        ] {
            assert_eq!(line[field], value, "{line}");
        }
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_end_has_its_name() {
    let world = World::new().start().await;
    let mut wire = Wire::open(world.server()).await;
    assert!(wire.still_open().await);
    drop(wire);
    ended(&world, "closed", 1.0).await;
    let mut half = Wire::open(world.server()).await;
    half.send(b"GET / HTTP/1.1\r\nHos").await;
    drop(half);
    ended(&world, "client_gone", 1.0).await;
    let mut preface = Wire::open(world.server()).await;
    preface.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(preface.closed().await);
    ended(&world, "http2", 1.0).await;
    world.sim.fault(Fault { what: Kind::CutAt(40_000), calls: Scope::Download, agent: None, times: 1 });
    let cut = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert!(!cut.whole);
    ended(&world, "broken_off", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_takes_the_place_of_who_waited_longest() {
    let small = |config: &mut serde_json::Value| {
        config["server"]["max_connections"] = 4.into();
        config["server"]["max_downloads"] = 2.into();
        config["server"]["header_timeout"] = "60s".into();
    };
    let world = World::new().config(small).sim(|sim| sim.default_size = 64 << 20).start().await;
    // One that downloads, one that was served and waits for its next request.
    let mut download = Wire::open(world.server()).await;
    download.send(good(&world, "").as_bytes()).await;
    assert!(download.more().await);
    let mut served = Wire::open(world.server()).await;
    served.send(good(&world, "Range: bytes=0-9\r\n").as_bytes()).await;
    assert_eq!(served.answer().await.map(|head| head.status), Some(206));
    // More half heads than there are places: each takes the place of the oldest.
    let mut halves = Vec::new();
    for _ in 0..6 {
        let mut half = Wire::open(world.server()).await;
        half.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
        halves.push(half);
    }
    ended(&world, "made_room", 4.0).await;
    for half in &mut halves[..4] {
        assert!(half.closed().await, "without an answer");
    }
    let answer = world.get(&call(1001, CALL), "none").await;
    assert_eq!(answer.status, 401, "a good client is let in");
    assert!(served.still_open().await, "who was served stays longer than who was not");
    let mut left: usize = 64 << 20;
    while download.more().await {
        left -= download.read.len();
        download.read.clear();
        if left < (64 << 20) / 2 {
            break;
        }
    }
    assert!(left < (64 << 20) / 2, "the download goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_has_so_many_connections_and_no_more() {
    // Loopback is not counted, so this needs an address of this machine that is none. No packet is sent for it.
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    let Some(own) = probe.ok().map(|own| own.ip()).filter(|own| !own.is_loopback() && !own.is_unspecified()) else {
        println!("left out: this machine has no address but loopback");
        return;
    };
    let limit = |config: &mut serde_json::Value| {
        config["server"]["max_connections_per_peer"] = 2.into();
        config["server"]["listen"] = "0.0.0.0:0".into();
    };
    for (proxies, limited) in [(json!([]), true), (json!([own.to_string()]), false)] {
        let world =
            World::new().config(limit).config(|config| config["server"]["trusted_proxies"] = proxies).start().await;
        let address = (own, world.server().port()).into();
        let mut kept = Vec::new();
        for _ in 0..2 {
            let mut wire = Wire::open(address).await;
            assert!(wire.still_open().await);
            kept.push(wire);
        }
        let mut third = Wire::open(address).await;
        if limited {
            assert!(third.closed().await, "at once");
            ended(&world, "peer_limit", 1.0).await;
            let local = (std::net::Ipv4Addr::LOCALHOST, world.server().port()).into();
            assert!(Wire::open(local).await.still_open().await, "others come in");
            kept.pop();
            until("a place", || async { Wire::open(address).await.still_open().await }).await;
        } else {
            assert!(third.still_open().await, "a proxy stands for many");
        }
    }
}
