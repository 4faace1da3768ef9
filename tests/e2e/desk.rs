//! Agents whose own apps sign in, poll and sign out through ccgate, and the downloads that use their sessions.

pub mod app;

use std::time::Duration;

use ccgate::sim::{GuidMode, Kind, Rule, Scope, SignInForm};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use app::{App, body};

use crate::client;
use crate::world::{Builder, CALL, PASSWORD, World, call, until};

/// A site with people at their desks: they sign in as idle, and hear of events at once.
fn desks() -> Builder {
    World::new()
        .sim(|sim| {
            sim.forbid_idle = false;
            sim.poll_wait = Duration::from_millis(200);
        })
        .config(|config| config["sessions"]["pass_through"] = true.into())
}

async fn download(world: &World, agent: u32) -> client::Answer {
    world.get(&call(agent, CALL), &world.issuer.agent(agent)).await
}

/// Who had signed in the session of each download, in order.
fn kinds(world: &World) -> Vec<Value> {
    world.events("authorized").iter().map(|record| record["session"]["kind"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_signs_in_polls_rotates_downloads_and_signs_out() {
    let world = desks().sim(|sim| {
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_millis(300), timeout: Duration::from_secs(30) };
    });
    let world = world.start().await;
    let app = App::new(&world, 1001);
    let signed_in = app.sign_in("").await;
    assert_eq!(signed_in.retcode(), "0");
    assert_eq!(signed_in.json()["result"]["workno"], "1001", "the gateway's own answer: {signed_in:?}");
    let seen = world.sim.signed_in(1001).unwrap();
    assert_eq!((seen.form, seen.status, seen.phone_number.as_str()), (SignInForm::Full, 4, "40038"));
    let mut guids = vec![world.sim.guid_of(1001).unwrap()];

    world.sim.push_event(1001, json!({ "eventType": "AgentEvent_Ready", "content": "Grüße" }));
    let polled = app.poll().await;
    assert_eq!((polled.retcode().as_str(), &polled.json()["event"]["content"]), ("0", &json!("Grüße")));
    while world.sim.counts().rotations < 3 {
        assert_eq!(app.poll().await.retcode(), "0");
        guids.push(world.sim.guid_of(1001).unwrap());
        assert_eq!(download(&world, 1001).await.status, 200);
    }
    assert_eq!(world.sim.counts().sign_in_calls, 1, "downloads use the desk's session");
    assert!(kinds(&world).len() >= 2 && kinds(&world).iter().all(|kind| kind == "desk"), "{:?}", kinds(&world));

    assert_eq!(app.sign_out().await.retcode(), "0");
    assert_eq!((world.sim.guid_of(1001), world.sim.counts().sign_outs), (None, 1));
    assert_eq!(app.poll().await.refused(), (409, "not_signed_in".to_owned()));
    assert_eq!(app.beat().await.refused(), (409, "not_signed_in".to_owned()));
    assert_eq!(app.sign_out().await.refused(), (409, "not_signed_in".to_owned()));

    assert_eq!(download(&world, 1001).await.status, 200);
    assert_eq!((world.sim.counts().sign_ins, kinds(&world).pop()), (2, Some(json!("own"))));
    assert_eq!(world.sim.signed_in(1001).unwrap().status, 3, "our own comes in as busy");
    guids.push(world.sim.guid_of(1001).unwrap());
    app.never_saw(&guids);
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desks_life_is_on_the_record_and_counted() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("/loginex").await.retcode(), "0");
    assert_eq!(download(&world, 1001).await.status, 200);
    assert_eq!(app.poll().await.retcode(), "0");
    assert_eq!(app.sign_out().await.retcode(), "0");
    until("its record", || async { !world.events("session.desk_signed_out").is_empty() }).await;
    let (signed_in, signed_out) = (world.events("session.desk_signed_in"), world.events("session.desk_signed_out"));
    assert_eq!((signed_in.len(), signed_out.len()), (1, 1), "{:?}", world.records());
    assert_eq!((&signed_in[0]["agent"], &signed_in[0]["detail"]), (&json!("1001"), &json!("platform")));
    let tag = &world.events("authorized")[0]["session"]["guid_tag"];
    assert_eq!((&signed_in[0]["guid_tag"], &signed_out[0]["guid_tag"]), (tag, tag), "session and entry are tied");
    for (method, route) in [("PUT", "sign_in"), ("GET", "events"), ("DELETE", "sign_out")] {
        let name = format!("ccgate_http_requests_total{{code=\"200\",method=\"{method}\",route=\"{route}\"}}");
        assert_eq!(world.metric(&name).await, Some(1.0), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_session_gives_way_to_the_agents_app() {
    let world = desks().start().await;
    assert_eq!(download(&world, 1001).await.status, 200);
    let own = world.sim.guid_of(1001).unwrap();
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "0");
    let counts = world.sim.counts();
    assert_eq!((counts.sign_outs, counts.sign_ins, counts.forced), (1, 2, 0), "signed out, not thrown out");
    assert_eq!(download(&world, 1001).await.status, 200);
    assert_eq!(kinds(&world), ["own", "desk"]);
    assert_eq!(world.sim.counts().sign_ins, 2);
    app.never_saw(&[own, world.sim.guid_of(1001).unwrap()]);
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_at_another_desk_is_busy_until_its_own_app_forces_it() {
    let world = desks().start().await;
    world.sim.hold_elsewhere(1001);
    let answer = download(&world, 1001).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "agent_busy"), "takeover is false");
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "100-002", "the gateway's own word");
    assert_eq!(world.sim.counts().forced, 0);
    assert_eq!(app.sign_in("/forcelogin").await.retcode(), "0");
    assert_eq!((world.sim.counts().forced, world.sim.counts().sign_ins), (1, 1));
    assert_eq!(download(&world, 1001).await.status, 200);
    assert_eq!(kinds(&world), ["desk"]);
    let records = world.records();
    let place = |event: &str| records.iter().position(|record| record["event"] == event);
    assert!(place("session.forced").unwrap() < place("session.desk_signed_in").unwrap(), "{records:?}");
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seat_is_its_own_agents_alone() {
    let world = desks().start().await;
    let other = world.issuer.token(&json!({ "agent_id": "1002", "roles": ["inspector"], "inspects": ["*"] }));
    let nobody = world.issuer.token(&json!({}));
    for (token, agent) in [(other, json!("1002")), (nobody, Value::Null)] {
        let app = App::with_token(&world, 1001, token);
        let before = world.events("denied").len();
        let told = [
            app.sign_in("").await,
            app.sign_in("/loginex").await,
            app.sign_in("/forcelogin").await,
            app.beat().await,
            app.poll().await,
            app.sign_out().await,
        ];
        assert!(told.iter().all(|told| told.refused() == (403, "not_your_seat".to_owned())), "{told:?}");
        let denied = world.events("denied").split_off(before);
        assert_eq!(denied.len(), 6);
        for (record, operation) in
            denied.iter().zip(["sign_in", "sign_in", "sign_in", "handshake", "events", "sign_out"])
        {
            assert_eq!(record["what"], json!({ "operation": operation, "agent": "1001" }), "{record}");
            assert_eq!((&record["code"], &record["who"]["agent"]), (&json!("not_your_seat"), &agent), "{record}");
            assert_eq!(record["decision"]["effect"], "deny");
        }
    }
    let app = App::with_token(&world, 1001, "no.token.at-all".to_owned());
    assert_eq!(app.sign_in("").await.refused(), (401, "token_malformed".to_owned()));
    assert_eq!(app.poll().await.refused(), (401, "token_malformed".to_owned()));
    assert_eq!(world.sim.counts().requests, 0, "the gateway heard of none of it");
    let metric = "ccgate_auth_decisions_total{decision=\"deny\",reason=\"not_your_seat\"}";
    assert_eq!(world.metric(metric).await, Some(12.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_the_manuals_or_it_is_refused() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    let with = |name: &str, value: Value| {
        let mut body = body();
        body[name] = value;
        body.to_string()
    };
    let table = [
        (String::new(), "bad_request"),
        ("[]".to_owned(), "bad_request"),
        (format!("{}{{}}", body()), "bad_request"),
        ("{\"password\":\"\u{1}\"}".to_owned(), "bad_request"),
        (format!("{{\"password\":{}", "[".repeat(5000)), "bad_request"),
        ("{}".to_owned(), "parameter_missing"),
        (with("agentid", json!(1002)), "parameter_unknown"),
        (with("Password", json!("x")), "parameter_unknown"),
        (format!("{{\"status\":3,\"status\":4,\"password\":\"{PASSWORD}\"}}"), "parameter_repeated"),
        (with("password", json!("x".repeat(33))), "parameter_invalid"),
        (with("password", json!(["x"])), "parameter_invalid"),
        (with("phonenum", json!("1".repeat(25))), "parameter_invalid"),
        (with("status", json!(7)), "parameter_invalid"),
        (with("agenttype", json!("5")), "parameter_invalid"),
        (with("ip", json!("::1")), "parameter_invalid"),
        (with("autoanswer", json!(null)), "parameter_invalid"),
        (with("callBackUri", json!("https://evil.example/")), "desk_push_unsupported"),
        (with("serviceToken", json!("t")), "desk_push_unsupported"),
    ];
    for (body, code) in &table {
        let told = app.sign_in_with("", body).await;
        assert_eq!(told.refused(), (400, (*code).to_owned()), "{body:.100}");
        assert!(!told.body.contains(PASSWORD), "{told:?}");
    }
    let denied = world.events("denied");
    assert_eq!(
        denied.iter().map(|record| record["code"].as_str().unwrap()).collect::<Vec<_>>(),
        table.map(|row| row.1)
    );
    let long = format!("{}{}", body(), " ".repeat(16 * 1024));
    assert_eq!(app.sign_in_with("", &long).await.refused(), (413, "body_too_large".to_owned()));
    assert_eq!(world.sim.counts().requests, 0, "the gateway heard of none of it");

    // In chunks it is the same.
    let text = body().to_string();
    let chunked = format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len());
    let headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n";
    assert_eq!(app.ask("PUT", "/onlineagent/1001", headers, &chunked).await.retcode(), "0");
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    let headers = "Content-Type: application/json\r\nContent-Length: 100\r\n";
    let told = app.ask("PUT", "/onlineagent/1001", headers, "{\"password\":").await;
    assert_eq!(told.refused(), (408, "body_timeout".to_owned()));
    assert_eq!(world.sim.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_of_seats_are_read_as_strictly_as_those_of_downloads() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    let json = "Content-Type: application/json\r\n";
    for (method, path, headers, refused) in [
        ("PUT", "/onlineagent/1001/updateGuid", "", (404, "not_found")),
        ("DELETE", "/onlineagent/1001/forcelogout", "", (404, "not_found")),
        ("POST", "/onlineagent/1001/logininfo", "", (404, "not_found")),
        ("PUT", "/onlineagent/1001/loginex/", "", (404, "not_found")),
        ("GET", "/onlineagent/1001", "", (405, "method_not_allowed")),
        ("POST", "/agentevent/1001", "", (405, "method_not_allowed")),
        ("PUT", "/onlineagent/01001", &format!("{json}Content-Length: 2\r\n"), (400, "bad_request")),
        ("PUT", "/onlineagent/1001", json, (400, "bad_request")),
        ("PUT", "/onlineagent/1001", "Content-Length: 2\r\n", (400, "bad_request")),
        ("GET", "/agentevent/1001?a=b", "", (400, "bad_request")),
        ("GET", "/agentevent/1001", "Content-Length: 2\r\n", (400, "bad_request")),
        ("DELETE", "/onlineagent/1001/logout", "Transfer-Encoding: chunked\r\n", (400, "bad_request")),
        ("GET", "/agentevent/%31001", "", (400, "bad_request")),
    ] {
        let told = app.ask(method, path, headers, "").await;
        assert_eq!(told.refused(), (refused.0, refused.1.to_owned()), "{method} {path}");
    }
    let told = app.ask("GET", "/onlineagent/1001/logout", "", "").await;
    assert!(told.head.contains("allow: delete"), "{told:?}");
    assert_eq!(world.sim.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_pass_through_there_is_nothing_at_these_paths() {
    let world = World::new().start().await;
    let app = App::new(&world, 1001);
    for told in [
        app.sign_in("").await,
        app.sign_in("/forcelogin").await,
        app.beat().await,
        app.poll().await,
        app.sign_out().await,
    ] {
        assert_eq!(told.refused(), (404, "not_found".to_owned()));
    }
    assert_eq!((world.sim.counts().requests, world.events("denied").len()), (0, 0));
    assert_eq!(
        world.metric("ccgate_http_requests_total{code=\"404\",method=\"GET\",route=\"other\"}").await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_an_answer_that_shows_a_guid_is_kept_back() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "0");
    let guid = world.sim.guid_of(1001).unwrap();
    for shown in [guid.clone(), guid.split('.').next().unwrap().to_uppercase(), "JSESSIONID=abc".to_owned()] {
        let retcode = "0".to_owned();
        world.fault(Kind::Message { retcode, message: format!("session {shown} is fine") }, Scope::Poll, 1);
        assert_eq!(app.poll().await.refused(), (502, "upstream_protocol".to_owned()), "{shown}");
    }
    assert_eq!(app.poll().await.retcode(), "0", "the session lives on");
    app.never_saw(&[guid]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_passed_down_whole_within_their_bounds() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "0");
    world.sim.push_event(1001, json!("x".repeat(900_000)));
    let told = app.poll().await;
    assert_eq!((told.retcode().as_str(), told.json()["event"].as_str().unwrap().len()), ("0", 900_000));
    world.sim.push_event(1001, json!("x".repeat(1_100_000)));
    assert_eq!(app.poll().await.refused(), (502, "upstream_protocol".to_owned()));
    for what in [Kind::HtmlPage, Kind::Http(500), Kind::GarbageHead] {
        world.fault(what, Scope::Poll, 1);
        assert_eq!(app.poll().await.refused(), (502, "upstream_protocol".to_owned()));
    }
    assert_eq!(app.poll().await.retcode(), "0");
    world.fault(Kind::Retcode("100-006".to_owned()), Scope::Poll, 1);
    assert_eq!(app.poll().await.retcode(), "100-006", "a refusal is an envelope too");
    until("it is believed", || async { world.events("session.lost").len() == 1 }).await;
    assert_eq!(app.poll().await.refused(), (409, "not_signed_in".to_owned()));
    assert_eq!(app.sign_in("/forcelogin").await.retcode(), "0");
    assert_eq!(app.poll().await.retcode(), "0");
    assert_eq!(world.events("session.forced")[0]["detail"], "desk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_whose_app_has_gone_ends_upstream() {
    let world = desks().sim(|sim| sim.poll_wait = Duration::from_secs(20)).start().await;
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "0");
    let mut stream = tokio::net::TcpStream::connect(world.server()).await.unwrap();
    stream.write_all(app.head("GET", "/agentevent/1001", "").as_bytes()).await.unwrap();
    until("the poll waits", || async { world.sim.counts().polls == 1 }).await;
    let open = world.sim.counts().open_connections;
    drop(stream);
    until("its connection ends", || async { world.sim.counts().open_connections < open }).await;
    world.sim.push_event(1001, json!("after"));
    let told = app.poll().await;
    assert_eq!((told.retcode().as_str(), &told.json()["event"]), ("0", &json!("after")));
    let overlap = world.sim.broken_rules().into_iter().filter(|broken| broken.rule == Rule::PollsOverlap).count();
    assert_eq!(overlap, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_no_password_and_no_guid_comes_up_in_a_desks_log() {
    let mut world = desks().env(ccgate::config::FILTER_VARIABLE, "trace").start_process().await;
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "0");
    let guid = world.sim.guid_of(1001).unwrap();
    app.poll().await;
    assert_eq!(download(&world, 1001).await.status, 200);
    app.sign_in_with("", &format!("{{\"password\":\"{PASSWORD}\",\"x\":\"{PASSWORD}\"}}")).await;
    app.sign_in_with("", &format!("{{\"password\":\"{PASSWORD}\"")).await;
    app.sign_out().await;
    world.process().signal("TERM");
    assert!(world.process().child.wait().await.unwrap().success());
    let log = world.process().log();
    assert!(log.contains("\"route\":\"sign_in\"") && log.contains("\"route\":\"events\""), "{log}");
    let audit: String = world.records().iter().map(Value::to_string).collect();
    let secret = guid.split('.').next().unwrap();
    for (name, text) in [("log", log), ("audit log", audit)] {
        assert!(!text.contains(PASSWORD), "the password is in the {name}");
        assert!(!text.contains(secret), "the Guid is in the {name}");
    }
    app.never_saw(&[guid]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_in_a_browser_gets_its_preflight() {
    let origin = "https://desk.example";
    let world =
        desks().config(|config| config["server"]["cors"] = json!({ "allowed_origins": [origin] })).start().await;
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let target = "/agentgateway/resource/onlineagent/1001";
    let answer = client::whole(client::request(world.server(), "OPTIONS", target, &asked).await).await;
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, origin));
    assert_eq!(answer.header("access-control-allow-methods"), "GET,PUT,POST,DELETE");
    assert!(answer.header("access-control-allow-headers").contains("content-type"), "{answer:?}");
    let target = "/agentgateway/resource/onlineagent/1001/updateGuid";
    let answer = client::whole(client::request(world.server(), "OPTIONS", target, &asked).await).await;
    assert_eq!(answer.status, 404);
    assert_eq!(world.sim.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desk_keeps_its_connection_from_poll_to_poll() {
    let world = desks().start().await;
    let app = App::new(&world, 1001);
    assert_eq!(app.sign_in("").await.retcode(), "0");
    let mut stream = tokio::net::TcpStream::connect(world.server()).await.unwrap();
    let head = app.head("GET", "/agentevent/1001", "").replace("Connection: close\r\n", "");
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.ends_with('}') {
            let mut buffer = [0; 4096];
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}
