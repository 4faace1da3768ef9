//! Bytes that no honest client sends: each is refused before anything is asked of the upstream, and the connection is
//! closed wherever its next bytes could mean something else to another reader.

use std::net::SocketAddr;
use std::time::Duration;

use ccgate::sim::{Fault, Kind, Scope};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client;
use crate::world::{CALL, World, call, recording, until};

mod vectors;

/// Nothing takes longer, on a machine with other work.
const DEADLINE: Duration = Duration::from_secs(20);

/// A connection on which bytes are sent as they are.
struct Wire {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer's status and head.
#[derive(Debug)]
struct Head {
    status: u16,
    text: String,
}

impl Head {
    fn has(&self, header: &str) -> bool {
        self.text.to_ascii_lowercase().contains(&format!("\r\n{header}\r\n"))
    }
}

impl Wire {
    async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// A server that has refused early may have closed its side already.
    async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// More bytes; `false`: there are none any more.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let read =
            tokio::time::timeout(DEADLINE, self.stream.read(&mut buffer)).await.expect("bytes or an end in time");
        let count = read.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// The next answer, its body by length and dropped; `None`: the connection was closed instead.
    async fn answer(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.read.is_empty(), "half a head: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        };
        let text = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let lower = text.to_ascii_lowercase();
        let length = lower
            .split("\r\ncontent-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        while self.read.len() < length && self.more().await {}
        self.read.drain(..length.min(self.read.len()));
        Some(Head { status, text })
    }

    /// Reads to the end: whether nothing more came before it.
    async fn closed(&mut self) -> bool {
        while self.more().await {}
        self.read.is_empty()
    }

    /// Whether another request on this connection gets its own answer.
    async fn still_open(&mut self) -> bool {
        self.send(b"GET /still/open HTTP/1.1\r\nHost: a\r\nX-Request-Id: still-open\r\n\r\n").await;
        self.answer().await.is_some_and(|head| head.status == 404 && head.has("x-request-id: still-open"))
    }
}

/// What is expected of a connection after the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Open,
    Close,
}

/// The whole head of a good request but for its last line end, with `more` lines in it.
fn good(world: &World, more: &str) -> String {
    let (target, token) = (call(1001, CALL), world.issuer.agent(1001));
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn r07_r11_r12_hostile_bytes_reach_nobody() {
    let world = World::new().start().await;
    let token = world.issuer.agent(1001);
    let all = vectors::all(&call(1001, CALL), &token);
    assert!(all.len() >= 90, "{}", all.len());
    for (name, bytes, expected, after) in &all {
        let mut wire = Wire::open(world.server()).await;
        wire.send(bytes).await;
        let head = wire.answer().await;
        assert_eq!(head.as_ref().map(|head| head.status), *expected, "{name}: {head:?}");
        match after {
            After::Open => assert!(wire.still_open().await, "{name}: closed after {head:?}"),
            After::Close => {
                // A second request behind it, as a smuggler would have it, is never answered.
                wire.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
                assert!(wire.closed().await, "{name}: open after {head:?}");
            }
        }
        assert_eq!(world.sim.counts().requests, 0, "{name}: reached the upstream");
    }
    assert_eq!(world.events("authorized").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_and_good_heads_are_served() {
    let world = World::new().start().await;
    for (name, more) in [
        ("nothing more", String::new()),
        ("close", "Connection: close\r\n".to_owned()),
        ("keep-alive", "Connection: keep-alive\r\n".to_owned()),
        ("an underscore", "x_user: admin\r\n".to_owned()),
        ("bytes over ASCII", "X: \u{fc}\r\n".to_owned()),
        ("60 headers", (0..60).map(|n| format!("x{n}: y\r\n")).collect::<Vec<_>>().concat()),
        ("a range of another unit", "Range: chapters=1\r\n".to_owned()),
        ("a purpose in German", "Ccgate-Purpose: Pr\u{fc}fung\r\n".to_owned()),
    ] {
        let mut wire = Wire::open(world.server()).await;
        wire.send(good(&world, &more).as_bytes()).await;
        assert_eq!(wire.answer().await.expect(name).status, 200, "{name}");
    }
    let mut wire = Wire::open(world.server()).await;
    let request = good(&world, "");
    wire.send(format!("\r\n{request}{request}").as_bytes()).await;
    let answers = (wire.answer().await.unwrap().status, wire.answer().await.unwrap().status);
    assert_eq!(answers, (200, 200), "pipelined, after an empty line");
    assert_eq!(world.events("authorized").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn r06_nothing_but_a_token_lets_a_request_through() {
    let world = World::new().start().await;
    let target = call(1001, CALL);
    let admin = ["/healthz", "/livez", "/readyz", "/metrics", "/ping", "/oauth2/auth"];
    let names = [
        "user-agent",
        "x-forwarded-uri",
        "x-original-url",
        "x-rewrite-url",
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "x-auth-request-redirect",
        "x-forwarded-method",
        "x-http-method-override",
        "x-forwarded-user",
        "x-authenticated-user",
        "x.authenticated.user",
        "x_authenticated_user",
        "remote-user",
        "guid",
        "cookie",
        "proxy-authorization",
        "x-forwarded-access-token",
        "x-envoy-original-path",
        "ccgate-purpose",
        "origin",
    ];
    let values = [
        "kube-probe/1.30",
        "GoogleHC/1.0",
        "ELB-HealthChecker/2.0",
        "/healthz",
        "127.0.0.1",
        "GET",
        "admin",
        "null",
        "1001",
    ];
    let mut tried = 0;
    for name in names {
        for value in values {
            let answer = client::get(world.server(), &target, &[(name, value)]).await;
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_missing"), "{name}: {value}");
            tried += 1;
        }
    }
    let queries =
        ["", "?", "?access_token=x", "?token=x", "&access_token=x", "&Authorization=Bearer%20x", "%23", "?x=/healthz"];
    for method in ["GET", "POST", "OPTIONS", "HEAD", "PUT", "TRACE", "PROPFIND", "get"] {
        for target in admin.into_iter().chain([target.as_str(), "/", "/agentgateway/resource/onlineagent/1001/loginex"])
        {
            for query in queries {
                let answer =
                    client::whole(client::request(world.server(), method, &format!("{target}{query}"), &[]).await)
                        .await;
                assert!(answer.status.is_client_error(), "{method} {target}{query}: {answer:?}");
                tried += 1;
            }
        }
    }
    assert!(tried > 750, "{tried}");
    assert_eq!((world.sim.counts().requests, world.events("authorized").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn r09_the_upstream_sees_one_guid_ours_and_listed_headers() {
    let world = World::new().start().await;
    let aliases = "Guid: stolen\r\nguid: stolen\r\nGUID: stolen\r\nG_uid: stolen\r\nX_Guid: stolen\r\nX.Guid: stolen\r\nservice_token: stolen\r\n\
         Service-Token: stolen\r\nSet-GUID: JSESSIONID=stolen\r\nCookie: JSESSIONID=stolen\r\nX-Authenticated-User: stolen\r\nVia: 1.1 stolen\r\n\
         Proxy-Authorization: Basic stolen\r\nOrigin: https://stolen\r\nReferer: https://stolen\r\nAccept-Encoding: gzip\r\nUser-Agent: stolen\r\n\
         Content-Type: text/stolen\r\nTE: trailers\r\nX-Request-Id: stolen\r\nCcgate-Purpose: stolen\r\nCcgate-Ticket: stolen\r\n";
    let passed = "Range: bytes=0-9\r\nIf-Range: \"x\"\r\nAccept: audio/*\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let mut wire = Wire::open(world.server()).await;
    wire.send(good(&world, &format!("{aliases}{passed}")).as_bytes()).await;
    let head = wire.answer().await.expect("an answer");
    assert!([200, 206].contains(&head.status), "{head:?}");
    let download =
        world.sim.requests().into_iter().find(|seen| seen.target.contains("recordfile")).expect("a download");
    let mut names: Vec<String> = download.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "content-type", "guid", "host", "if-range", "range", "traceparent", "user-agent"]);
    assert_eq!(download.header("content-type"), Some("application/json; charset=UTF-8"));
    assert_eq!(download.header("host"), Some(world.sim.address().to_string().as_str()));
    let trace = download.header("traceparent").unwrap();
    assert!(trace.contains("4bf92f3577b34da6a3ce929d0e0e4736") && !trace.contains("00f067aa0ba902b7"), "{trace}");
    for seen in world.sim.requests() {
        assert!(!format!("{seen:?}").contains("stolen"), "{seen:?}");
    }
    assert_eq!(world.sim.broken_rules(), vec![], "the simulator took the Guid for the session's own");
    let nominated = client::raw(world.server(), good(&world, "Connection: guid\r\n").as_bytes(), DEADLINE).await;
    assert!(nominated.0.starts_with(b"HTTP/1.1 400 ") && nominated.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn r10_nobody_says_where_from_but_a_trusted_proxy() {
    const SAID: [(&str, &str); 9] = [
        ("x-forwarded-for", "10.9.8.7"),
        ("forwarded", "for=10.9.8.7"),
        ("x-real-ip", "10.9.8.7"),
        ("true-client-ip", "10.9.8.7"),
        ("x-original-url", "/healthz"),
        ("x-envoy-original-path", "/healthz"),
        ("x-http-method-override", "POST"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
    ];
    let rule = "@id(\"net\")\n@reason(\"outside_network\")\nforbid (principal, action == Action::\"download\", resource) when { context.peer.isInRange(ip(\"10.0.0.0/8\")) };\n";
    let closed = || {
        let world = World::new()
            .file("policy/net.cedar", rule)
            .file("policy/own.cedar", include_str!("../../config/policy/own.cedar"));
        world.config(|config| config["policy"] = json!({ "dir": "policy" }))
    };
    let world = closed().start().await;
    let token = world.issuer.agent(1001);
    for said in SAID {
        assert_eq!(world.get_with(&call(1001, CALL), &token, &[said]).await.status, 200, "{said:?}");
    }
    assert_eq!(world.get_with(&call(1001, CALL), &token, &SAID).await.status, 200);
    let records = world.events("authorized");
    assert_eq!(records.len(), SAID.len() + 1);
    for record in records {
        assert!(record["from"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
        assert_eq!(record["from"].get("forwarded"), None, "{record}");
    }
    let behind = closed().config(|config| config["server"]["trusted_proxies"] = json!(["127.0.0.0/8"])).start().await;
    let token = behind.issuer.agent(1001);
    for (header, status) in
        [(SAID[0], 403), (SAID[1], 200), (SAID[2], 200), (("x-forwarded-for", "10.9.8.7, 192.0.2.1"), 200)]
    {
        assert_eq!(behind.get_with(&call(1001, CALL), &token, &[header]).await.status, status, "{header:?}");
    }
    let denied = &behind.events("denied")[0];
    assert_eq!((&denied["code"], &denied["from"]["forwarded"]), (&json!("outside_network"), &json!("10.9.8.7")));
    assert!(denied["from"]["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "the real peer stands beside it");
}

#[tokio::test(flavor = "multi_thread")]
async fn r08_all_spellings_of_a_path_are_one_recording() {
    let world = World::new().start().await;
    let forms = [
        "Y:/90/0/20210519/1001/1.V3",
        "y:/90/0/20210519/1001/1.V3",
        "Y%3A%2F90%2F0%2F20210519%2F1001%2F1.V3",
        "y%3a%5C90%5C0%5C20210519%5C1001%5C1.V3",
    ];
    let mut bodies = Vec::new();
    for form in forms {
        let answer = world.get(&recording(1001, form), &world.issuer.agent(1001)).await;
        assert_eq!(answer.status, 200, "{form}");
        bodies.push(answer.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let references: Vec<_> =
        world.events("authorized").iter().map(|record| record["what"]["reference"].clone()).collect();
    assert_eq!(references, vec![json!("file:Y:/90/0/20210519/1001/1.V3"); 4]);
    let sent: Vec<_> = world
        .sim
        .requests()
        .into_iter()
        .filter(|seen| seen.target.contains("recordId"))
        .map(|seen| seen.target)
        .collect();
    assert!(sent.len() == 4 && sent.iter().all(|target| *target == sent[0]), "{sent:?}");
    assert_eq!(world.sim.broken_rules(), vec![]);
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_a_little_is_served() {
    let world = World::new().config(|config| config["server"]["client_stall_timeout"] = "500ms".into()).start().await;
    world.sim.fault(Fault { what: Kind::Rate(40_000), calls: Scope::Download, agent: None, times: 1 });
    let slow = world.open(&call(1001, CALL), &world.issuer.agent(1001), &[]).await;
    let read = slow.read(Duration::from_millis(50)).await;
    assert_eq!((read.whole, read.bytes), (true, 65_536));
}
