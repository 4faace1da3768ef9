//! Heads that the HTTP library refuses, in the situations in which a refusal is easily lost.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::good;
use super::limits::ended;
use super::wire::Wire;
use crate::world::{CALL, World, call, until};

const BAD: &str = "GET / HTTP/1.1\r\n: x\r\n\r\n";

/// More than the kernel keeps for a client with a small buffer.
const LARGE: u64 = 16 << 20;

/// The process stands still: nothing that comes now is seen before it goes on.
async fn stop(world: &mut World) {
    world.signal("STOP");
    let file = format!("/proc/{}/stat", world.process().pid());
    until("stopped", || async { std::fs::read_to_string(&file).unwrap().contains(") T ") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_is_counted_and_told_though_its_client_has_reset() {
    let mut world = World::new().start_process().await;
    let long = "a".repeat(70 * 1024);
    for (bytes, status, code, reason) in [
        (BAD.to_owned(), 400, "bad_request", "bad_head"),
        (format!("GET / HTTP/1.1\r\nX: {long}\r\n\r\n"), 431, "head_too_large", "head_too_large"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), 414, "target_too_long", "target_too_long"),
    ] {
        let mut wire = Wire::open(world.server()).await;
        until("accepted", || async { world.metric("ccgate_http_connections").await == Some(1.0) }).await;
        stop(&mut world).await;
        wire.stream.write_all(bytes.as_bytes()).await.unwrap();
        wire.stream.set_zero_linger().unwrap();
        drop(wire);
        world.signal("CONT");
        ended(&world, reason, 1.0).await;
        let series = format!("ccgate_http_requests_total{{code=\"{status}\",method=\"other\",route=\"other\"}}");
        assert_eq!(world.metric(&series).await, Some(1.0));
        let log = world.process().log_handle();
        let told = || -> Vec<Value> {
            let log = log.lock().unwrap();
            let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.filter(|line| line["target"] == "ccgate::access" && line["code"] == code).collect()
        };
        until("told", || async { !told().is_empty() }).await;
        let told = told();
        let [line] = &told[..] else { panic!("not one line: {told:?}") };
        assert_eq!((&line["status"], &line["outcome"]), (&json!(status), &json!("refused")), "{line}");
    }
    ended(&world, "client_gone", 0.0).await;
    ended(&world, "closed", 0.0).await;
}

/// The library reads the next head when an answer is with the kernel and not before, so what it then says of its own is
/// always known from what we say.
#[tokio::test(flavor = "multi_thread")]
async fn a_bad_head_behind_a_request_is_refused_as_any_other() {
    let cors = json!({ "allowed_origins": ["https://app.example"] });
    let world =
        World::new().config(|config| config["server"]["cors"] = cors).sim(|sim| sim.default_size = LARGE).start().await;
    let asks = "Host: a\r\nOrigin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    let target = call(1001, CALL);
    let firsts = [
        (good(&world, ""), 200),
        ("GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 404),
        (format!("OPTIONS {target} HTTP/1.1\r\n{asks}\r\n"), 200),
        // The library answers in the version of the last good head.
        (format!("OPTIONS {target} HTTP/1.0\r\n{asks}Connection: keep-alive\r\n\r\n"), 200),
    ];
    for (times, (first, status)) in (1_u32..).zip(firsts) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(world.server()).await.unwrap();
        let mut wire = Wire { stream, read: Vec::new() };
        wire.send(format!("{first}{BAD}").as_bytes()).await;
        // What fits between us fills up, and the rest of the first answer waits for us.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let answer = wire.answer().await.expect("an answer");
        assert_eq!(answer.status, status, "{first}");
        let refusal = wire.answer().await.expect("a refusal");
        assert_eq!(refusal.status, 400, "{first}");
        assert!(refusal.has("content-type: application/problem+json"), "{first}: {refusal:?}");
        assert!(wire.closed().await);
        ended(&world, "bad_head", f64::from(times)).await;
        let series = "ccgate_http_requests_total{code=\"400\",method=\"other\",route=\"other\"}";
        assert_eq!(world.metric(series).await, Some(f64::from(times)), "{first}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_head_is_counted_though_its_place_is_needed_at_once() {
    let world = World::new()
        .config(|config| {
            config["server"]["max_connections"] = 1.into();
            config["server"]["max_downloads"] = 1.into();
        })
        .start()
        .await;
    // The gateway reads on for a second after a refusal, if nobody needs the place.
    let mut refused = Wire::open(world.server()).await;
    refused.send(BAD.as_bytes()).await;
    assert_eq!(refused.answer().await.map(|head| head.status), Some(400));
    assert!(Wire::open(world.server()).await.still_open().await);
    let series = "ccgate_http_requests_total{code=\"400\",method=\"other\",route=\"other\"}";
    assert_eq!(world.metric(series).await, Some(1.0));
}
