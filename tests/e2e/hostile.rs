//! Bytes that no honest client sends: each is refused before anything is asked of the upstream, and the connection is
//! closed wherever its next bytes could mean something else to another reader.

use serde_json::json;

use crate::client;
use crate::world::{CALL, World, call, recording};

mod heads;
mod limits;
mod room;
mod tls;
pub mod vectors;
mod wire;

use vectors::Vector;
use wire::{DEADLINE, Wire};

/// The whole head of a good request but for its last line end, with `more` lines in it.
fn good(world: &World, more: &str) -> String {
    let (target, token) = (call(1001, CALL), world.issuer.agent(1001));
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{more}\r\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn r07_r11_r12_hostile_bytes_reach_nobody() {
    let world = World::new().start().await;
    let all = vectors::all(&call(1001, CALL), &world.issuer.agent(1001));
    let (served, refused): (Vec<_>, Vec<_>) = all.iter().partition(|vector| vector.upstream);
    assert!(refused.len() >= 228 && served.len() >= 24, "{} {}", refused.len(), served.len());
    let mut wrong = Vec::new();
    for vector in refused {
        wrong.extend(replay(&world, vector).await);
        assert_eq!(world.sim.counts().requests, 0, "{}: reached the upstream", vector.name);
    }
    assert_eq!(world.events("authorized").len(), 0);
    for vector in served {
        let before = world.asked();
        wrong.extend(replay(&world, vector).await);
        let answered = vector.statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(world.asked() - before, answered, "{}", vector.name);
    }
    assert_eq!(wrong, [] as [String; 0]);
    assert_eq!(world.sim.broken_rules(), vec![]);
}

/// Sends a vector and holds the answers against it: what is wrong, so that one run tells everything.
async fn replay(world: &World, vector: &Vector) -> Option<String> {
    let name = format!("{}: {}", vector.group, vector.name);
    let mut wire = Wire::open(world.server()).await;
    wire.send(&vector.bytes).await;
    for status in &vector.statuses {
        let Some(head) = wire.answer().await else { return Some(format!("{name}: closed before {status}")) };
        let text = head.text.to_ascii_lowercase();
        let told =
            text.contains("\r\ncontent-type: application/problem+json\r\n") && text.contains("\r\nx-request-id: ");
        let closes = head.has("connection: close") != vector.open || *status < 400;
        if head.status != *status || (*status >= 400 && !told) || !closes {
            return Some(format!("{name}: not {status}: {head:?}"));
        }
    }
    if vector.open {
        return (!wire.still_open().await).then(|| format!("{name}: closed afterwards"));
    }
    // A second request behind it, as a smuggler would have it, is never answered.
    wire.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
    (!wire.closed().await).then(|| format!("{name}: open afterwards"))
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
