//! The end of the process: in order, with downloads under way, at a deadline, in a hurry.

use std::time::Duration;

use bytes::Bytes;
use ccgate::sim::{Fault, Kind, Scope};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::{self, Open};
use crate::ledger;
use crate::world::{Builder, CALL, World, call, until};

/// More than all buffers between the simulator and a client that does not read.
const LONG: &str = "1621413752-64";
const LONG_BYTES: u64 = 64 * 1024 * 1024;

fn draining(delay: &str, timeout: &str) -> Builder {
    World::new().config(|c| c["server"]["drain"] = json!({ "delay": delay, "timeout": timeout }))
}

/// A download that goes on for as long as the test does not read it.
async fn long_download(world: &World) -> Open {
    world.sim.add_file(LONG, LONG_BYTES);
    let mut open = world.open(&call(1001, LONG), &world.issuer.agent(1001), &[]).await;
    assert_eq!(open.status, 200);
    open.piece().await.expect("a piece").expect("a good one");
    open
}

async fn until_refused(world: &World) {
    until("no new connections", || async { TcpStream::connect(world.server()).await.is_err() }).await;
}

async fn readyz(world: &World) -> (u16, String) {
    let answer = client::get(world.admin(), "/readyz?verbose", &[]).await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

fn last(world: &World) -> Value {
    world.records().pop().expect("a record")
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_sigterm_serves_through_the_delay_and_lets_downloads_end() {
    const DELAY: Duration = Duration::from_secs(4);
    let mut world = draining("4s", "60s").start_process().await;
    let mut download = long_download(&world).await;
    let entry = download.headers["ccgate-audit-id"].to_str().unwrap().to_owned();
    let told = Instant::now();
    world.signal("TERM");
    until("not ready", || async { readyz(&world).await.0 == 503 }).await;
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    assert!(readyz(&world).await.1.contains("[-] start not ready: shutting down"), "{}", readyz(&world).await.1);
    let new = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert!(told.elapsed() < DELAY, "this machine is too slow for this test: {:?}", told.elapsed());
    assert_eq!((new.status.as_u16(), new.whole), (200, true));
    until_refused(&world).await;
    assert!(told.elapsed() >= DELAY, "{:?}", told.elapsed());
    assert_eq!(readyz(&world).await.0, 503, "the admin plane ends last");
    // The rest of it, after all that.
    let mut bytes = 0;
    let whole = loop {
        match download.piece().await {
            None => break true,
            Some(Err(())) => break false,
            Some(Ok(piece)) => bytes += piece.len() as u64,
        }
    };
    assert!(whole && bytes > LONG_BYTES / 2, "{bytes}");
    drop(download);
    assert_eq!(world.exited().await, Some(0));
    assert_eq!((world.sim.signed_in(1001), world.sim.counts().sign_outs), (None, 1));
    let end = world.end_of(&entry).await;
    assert_eq!((&end["event"], &end["delivery"]["client_bytes"]), (&json!("finished"), &json!(LONG_BYTES)));
    assert_eq!((&last(&world)["event"], &last(&world)["entries_open"]), (&json!("stopped"), &json!(0)));
    ledger::check(&world.records());
    assert_eq!(world.sim.broken_rules(), vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_at_the_deadline_what_still_runs_is_cut_and_recorded() {
    let mut world = draining("0s", "1s").start_process().await;
    // One client does not read, one waits for an upstream that is silent.
    let stuck = long_download(&world).await;
    world.sim.fault(Fault { what: Kind::StallAt(1000), calls: Scope::Download, agent: Some(1002), times: 1 });
    let mut silent = world.open(&call(1002, CALL), &world.issuer.agent(1002), &[]).await;
    assert!(matches!(silent.piece().await, Some(Ok(_))));
    let told = Instant::now();
    world.signal("TERM");
    assert_eq!(silent.piece().await, Some(Err(())), "no good end");
    assert!(told.elapsed() >= Duration::from_secs(1), "{:?}", told.elapsed());
    let read = stuck.read(Duration::ZERO).await;
    assert!(!read.whole && read.bytes < LONG_BYTES, "{read:?}");
    assert_eq!(world.exited().await, Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let aborted = world.events("aborted");
    assert_eq!(aborted.len(), 2);
    for record in &aborted {
        assert_eq!((&record["reason"], &record["delivery"]["complete"]), (&json!("shutdown"), &json!(false)));
    }
    assert_eq!((world.sim.signed_in(1001), world.sim.signed_in(1002)), (None, None));
    assert_eq!((&last(&world)["event"], &last(&world)["entries_open"]), (&json!("stopped"), &json!(0)));
    ledger::check(&world.records());
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_a_second_signal_hurries_out_of_the_delay_and_out_of_the_drain() {
    for (delay, timeout) in [("300s", "300s"), ("0s", "300s")] {
        let mut world = draining(delay, timeout).start_process().await;
        let download = long_download(&world).await;
        world.signal("TERM");
        until("draining", || async { readyz(&world).await.0 == 503 }).await;
        if delay == "0s" {
            until_refused(&world).await;
        }
        let again = Instant::now();
        world.signal("INT");
        assert!(!download.read(Duration::ZERO).await.whole);
        assert_eq!(world.exited().await, Some(0));
        assert!(again.elapsed() < Duration::from_secs(10), "{:?}", again.elapsed());
        let aborted = world.events("aborted");
        assert_eq!((aborted.len(), &aborted[0]["reason"]), (1, &json!("shutdown")));
        assert_eq!(world.sim.signed_in(1001), None);
        ledger::check(&world.records());
    }
}

/// A connection for several requests.
struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    connection: JoinSet<()>,
}

impl Kept {
    async fn new(world: &World) -> Self {
        let stream = TcpStream::connect(world.server()).await.unwrap();
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut connection = JoinSet::new();
        connection.spawn(async move { driver.await.unwrap() });
        Self { sender, connection }
    }

    async fn get(&mut self, world: &World) -> Response<Incoming> {
        let bearer = format!("Bearer {}", world.issuer.agent(1001));
        let request = Request::get(call(1001, CALL)).header("host", "ccgate").header("authorization", bearer);
        self.sender.ready().await.unwrap();
        self.sender.send_request(request.body(Empty::new()).unwrap()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r20_draining_says_connection_close_and_closes_idle_connections() {
    let mut world = draining("0s", "60s").start_process().await;
    let (mut idle, mut asking) = (Kept::new(&world).await, Kept::new(&world).await);
    let answer = idle.get(&world).await;
    assert_eq!(answer.headers().get("connection"), None, "not yet");
    answer.collect().await.unwrap();
    // The head of this one is made after the listener has closed.
    let late = Kind::DelayHead(Duration::from_secs(3));
    world.sim.fault(Fault { what: late, calls: Scope::Download, agent: None, times: 1 });
    let (late, ()) = tokio::join!(asking.get(&world), async {
        let asked = || world.sim.requests().iter().filter(|seen| seen.target.contains(CALL)).count();
        until("the request is under way", || async { asked() == 2 }).await;
        world.signal("TERM");
        until_refused(&world).await;
        until("the idle connection is closed", || async { idle.sender.is_closed() }).await;
    });
    assert_eq!((late.status().as_u16(), &late.headers()["connection"]), (200, &"close".parse().unwrap()));
    let size = late.headers()["content-length"].to_str().unwrap().parse::<usize>().unwrap();
    assert_eq!(late.collect().await.unwrap().to_bytes().len(), size);
    asking.connection.join_next().await.unwrap().expect("closed in order");
    assert_eq!(world.exited().await, Some(0));
    assert_eq!(world.events("finished").len(), 2);
    ledger::check(&world.records());
}

/// From the signal on, so that clients with kept connections go to another replica while this one still answers, and not when
/// it is about to close.
#[tokio::test(flavor = "multi_thread")]
async fn r20_answers_in_the_delay_are_the_last_of_their_connections() {
    let mut world = draining("300s", "60s").start_process().await;
    let mut kept = Kept::new(&world).await;
    let answer = kept.get(&world).await;
    assert_eq!(answer.headers().get("connection"), None, "not yet");
    answer.collect().await.unwrap();
    world.signal("TERM");
    until("not ready", || async { readyz(&world).await.0 == 503 }).await;
    let mut late = kept.get(&world).await;
    for _ in 0..2 {
        assert_eq!((late.status().as_u16(), &late.headers()["connection"]), (200, &"close".parse().unwrap()));
        late.collect().await.unwrap();
        kept.connection.join_next().await.unwrap().expect("closed in order");
        // Whoever comes back is served.
        kept = Kept::new(&world).await;
        late = kept.get(&world).await;
    }
    drop((late, kept));
    world.signal("TERM");
    assert_eq!(world.exited().await, Some(0));
}

/// A start can take long: the audit log is read, a shared store answers late or, as here, not at all.
#[tokio::test(flavor = "multi_thread")]
async fn r20_it_lives_before_it_is_ready_and_says_what_it_waits_for() {
    let store = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = free.local_addr().unwrap();
    drop(free);
    let world = World::new()
        .file("redis-url", &format!("redis://{}/0\n", store.local_addr().unwrap()))
        .file("redis-key", &format!("{}=\n", "A".repeat(43)))
        .config(|c| {
            c["admin"]["listen"] = admin.to_string().into();
            let redis = json!({ "url_file": "redis-url", "key_file": "redis-key", "timeout": "10s", "lease": "30s" });
            c["sessions"]["store"] = json!({ "redis": redis });
        })
        .without_gateway()
        .await;
    let starting = world.refused_start();
    let looking = async {
        let ask = async |path: &str| client::try_request(admin, "GET", path, &[("ccgate-admin", "1")]).await;
        until("alive", || async { ask("/livez").await.is_ok_and(|answer| answer.status == 200) }).await;
        let ready = client::get(admin, "/readyz", &[]).await;
        let told = String::from_utf8(ready.body.to_vec()).unwrap();
        assert!(ready.status == 503 && told.contains("[-] start not ready: starting"), "{told}");
        assert_eq!(ask("/config").await.unwrap().status, 503, "there is nobody to ask yet");
    };
    tokio::select! {
        () = looking => {}
        (code, told) = starting => panic!("it ended before anybody could look: {code:?} {told}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_does_not_end_the_process() {
    let mut world = World::new().start_process().await;
    world.signal("HUP");
    let log = world.process().log_handle();
    until("it is told", || async { log.lock().unwrap().contains("SIGHUP") }).await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.whole), (200, true));
    assert!(world.shut_down().await);
}
