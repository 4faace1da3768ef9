//! What an agent's own app is told where its call about its seat fails.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::golden;
use crate::client::{self, Answer};
use crate::desk::app::{App, body};
use crate::world::{Builder, World};

fn desks() -> Builder {
    World::new().config(|config| config["sessions"]["pass_through"] = true.into())
}

const JSON: &str = "Content-Type: application/json\r\n";

/// One call, as an app sends it, and its answer.
async fn ask(cause: &str, world: &World, app: &App, call: (&str, &str), body: &str) -> String {
    let framing = if body.is_empty() { String::new() } else { format!("{JSON}Content-Length: {}\r\n", body.len()) };
    send(cause, world, call, &format!("{}{body}", app.head(call.0, call.1, &framing))).await
}

async fn send(cause: &str, world: &World, (method, path): (&str, &str), request: &str) -> String {
    let (bytes, closed) = client::raw(world.server(), request.as_bytes(), Duration::from_mins(1)).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(closed, "{cause}: no end: {text}");
    golden::answer(cause, &format!("{method} {path}"), &parse(&text))
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    let headers: HeaderMap = lines.map(header).collect();
    let status = StatusCode::from_u16(status).unwrap();
    Answer { status, headers, body: body.to_owned().into(), whole: true }
}

#[tokio::test(flavor = "multi_thread")]
async fn seats() {
    let world = desks().sim(|sim| sim.sign_in_delay = Duration::from_secs(3)).start().await;
    let (own, other) = (App::new(&world, 1001), App::with_token(&world, 1001, world.issuer.agent(1002)));
    let sign_in = ("PUT", "/onlineagent/1001");
    let with = |name: &str, value: serde_json::Value| {
        let mut body = body();
        body[name] = value;
        body.to_string()
    };
    let long = format!("{}{}", body(), " ".repeat(16 * 1024));
    let mut answers = Vec::new();
    for (cause, app, call, body) in [
        ("another agent's seat", &other, ("GET", "/agentevent/1001"), String::new()),
        ("not signed in", &own, ("GET", "/agentevent/1001"), String::new()),
        ("another method", &own, ("POST", "/agentevent/1001"), String::new()),
        ("no such call", &own, ("PUT", "/onlineagent/1001/updateGuid"), String::new()),
        ("no JSON", &own, sign_in, "[]".to_owned()),
        ("no password", &own, sign_in, "{}".to_owned()),
        ("a field that is not the manual's", &own, sign_in, with("agentid", json!(1002))),
        ("a field twice", &own, sign_in, "{\"status\":3,\"status\":4,\"password\":\"\"}".to_owned()),
        ("a value that is not the manual's", &own, sign_in, with("status", json!(7))),
        ("push mode", &own, sign_in, with("callBackUri", json!("https://evil.example/"))),
        ("a body that is too long", &own, sign_in, long),
    ] {
        answers.push(ask(cause, &world, app, call, &body).await);
    }
    assert_eq!(world.sim.counts().requests, 0, "the gateway heard of none of it");
    // The second of two at once. Whichever comes first holds the seat for seconds.
    let text = body().to_string();
    let first = ask("first", &world, &own, sign_in, &text);
    let second = async {
        crate::world::until("the first", || async { world.sim.counts().requests > 0 }).await;
        ask("a sign-in is under way", &world, &own, sign_in, &text).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.contains("200 OK"), "{first}");
    answers.push(second);
    golden::compare("seats", &answers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    let call = ("PUT", "/onlineagent/1001");
    let head = app.head(call.0, call.1, &format!("{JSON}Content-Length: 100\r\n"));
    let answer = send("a body that does not come", &world, call, &format!("{head}{{\"password\":")).await;
    golden::compare("slow-body", &[answer]);
}
