//! What is planted and must come up nowhere: passwords, Guids, tokens. And what a hostile text must not do to a line.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use ccgate::sim::{Fault, GuidMode, Kind, Scope};
use ccgate::{authn, cc, config, upstream};
use serde_json::{Value, json};

use crate::client;
use crate::issuer::{Issuer, seconds};
use crate::world::{Builder, CALL, PASSWORD, World, call, recording, until};

const SERVICE_TOKEN: &str = "Planted-Service-Token-4711";
const WRONG_PASSWORD: &str = "Planted-Wrong-Passw0rd";
const MISPLACED: &str = "Planted-In-The-Wrong-Place";

/// What must not come up, and where it was looked for.
struct Hunt {
    secrets: BTreeSet<String>,
    outputs: Vec<(String, String)>,
}

impl Hunt {
    fn new() -> Self {
        let secrets = [PASSWORD, SERVICE_TOKEN, WRONG_PASSWORD, MISPLACED].map(str::to_owned).into();
        Self { secrets, outputs: Vec::new() }
    }

    /// A token, and each part of it that could be used or that names its owner.
    fn token(&mut self, token: String) -> String {
        self.secrets.extend(token.split('.').skip(1).map(str::to_owned));
        token
    }

    /// The Guids that live now; with the node's name cut off, as a log could do it.
    fn guids(&mut self, world: &World) {
        for agent in [1001, 1002] {
            let guid = world.sim.guid_of(agent);
            self.secrets.extend(guid.iter().map(|guid| guid.split('.').next().unwrap().to_owned()));
        }
    }

    fn output(&mut self, name: &str, text: String) {
        self.outputs.push((name.to_owned(), text));
    }

    async fn pages(&mut self, world: &World) {
        for page in ["/metrics", "/", "/readyz?verbose", "/livez"] {
            let answer = client::get(world.admin(), page, &[]).await;
            self.output(page, String::from_utf8(answer.body.to_vec()).unwrap());
        }
    }

    fn nothing_came_up(&self) {
        assert!(self.secrets.len() > 12, "{}", self.secrets.len());
        for (name, text) in &self.outputs {
            assert!(!text.is_empty(), "{name} is empty");
            for secret in &self.secrets {
                assert!(secret.len() >= 16, "too short to be looked for: {secret}");
                if let Some(at) = text.find(secret.as_str()) {
                    let from = text[..at].char_indices().rev().nth(200).map_or(0, |(from, _)| from);
                    panic!("{secret} came up in {name}: …{}", &text[from..at + secret.len()]);
                }
            }
        }
    }
}

/// A site that rotates Guids quickly, and deadlines that end quickly.
fn busy_world() -> Builder {
    World::new()
        .sim(|sim| {
            sim.guid_mode =
                GuidMode::Dynamic { interval: Duration::from_millis(300), timeout: Duration::from_secs(30) };
            sim.poll_wait = Duration::from_millis(200);
        })
        .config(|config| {
            config["upstream"]["connect_timeout"] = "2s".into();
            config["upstream"]["response_timeout"] = "200ms".into();
            config["upstream"]["idle_timeout"] = "300ms".into();
        })
        .file("accounts/1003.yaml", &format!("pasword: {MISPLACED}\n"))
        .file("accounts/1004.yaml", &format!("password: {MISPLACED}-{}\n", "x".repeat(40)))
        .file("accounts/1005.yaml", &format!("- {MISPLACED}\n"))
        .file("accounts/1006.yaml", "password_file: 1006.password\n")
        .file("accounts/1006.password", &format!("{MISPLACED}\n{MISPLACED}\n"))
        .file("accounts/1007.yaml", &format!("password: {WRONG_PASSWORD}\n"))
        .file("accounts/1008.yaml", &format!("password_file: {MISPLACED}\n").replace(MISPLACED, "missing.password"))
}

/// Every kind of failure, and every answer's head and body.
async fn provoke(world: &World, hunt: &mut Hunt) {
    let good = hunt.token(world.issuer.agent(1001));
    let inspector = hunt.token(world.issuer.inspector(1002, &["4977"]));
    world.get(&call(1001, CALL), &good).await;
    world.get(&recording(1002, "Y:/90/0/20210519/4977/1.V3"), &inspector).await;
    hunt.guids(world);
    let now = seconds();
    for token in [
        Issuer::new("k1").agent(1001),
        world.issuer.token(&json!({ "agent_id": "1001", "exp": now - 600, "iat": now - 900 })),
        world.issuer.token(&json!({ "agent_id": 1001 })),
        world.issuer.token(&json!({ "agent_id": "1001", "aud": "other" })),
        world.issuer.token(&json!({ "agent_id": "1001", "x": "x".repeat(9000) })),
        format!("{MISPLACED}.{MISPLACED}.{MISPLACED}"),
        MISPLACED.to_owned(),
    ] {
        let token = if token.contains(MISPLACED) { token } else { hunt.token(token) };
        answered(world, hunt, &call(1001, CALL), &token, &[]).await;
    }
    for headers in [
        &[("guid", MISPLACED), ("cookie", MISPLACED), ("proxy-authorization", MISPLACED)][..],
        &[("connection", MISPLACED)],
        &[("expect", MISPLACED)],
        &[("x-request-id", "Planted In The Wrong Place")],
        &[("authorization", MISPLACED)],
        &[("traceparent", MISPLACED), ("range", MISPLACED), ("if-range", MISPLACED), ("accept", MISPLACED)],
    ] {
        answered(world, hunt, &call(1001, CALL), &good, headers).await;
    }
    for target in [
        format!("{}&access_token={good}", call(1001, CALL)),
        format!("/{good}"),
        format!("/{MISPLACED}?{MISPLACED}={MISPLACED}"),
    ] {
        answered(world, hunt, &target, &good, &[]).await;
    }
    for agent in 1003..=1009 {
        let token = hunt.token(world.issuer.agent(agent));
        answered(world, hunt, &call(agent, CALL), &token, &[]).await;
    }
    upstream_faults(world, hunt, &good).await;
}

async fn upstream_faults(world: &World, hunt: &mut Hunt, good: &str) {
    let retcode = |code: &str| Kind::Retcode(code.to_owned());
    for what in [
        retcode("104-002"),
        retcode("104-005"),
        retcode("000-004"),
        retcode("000-003"),
        retcode("999-999"),
        Kind::Http(500),
        Kind::HtmlPage,
        Kind::GarbageHead,
        Kind::Reset,
        Kind::HugeHead,
        Kind::TwoLengths,
        Kind::BothFramings,
        Kind::CloseDelimited,
        Kind::Switching101,
        Kind::HangBeforeHead,
        Kind::CutAt(1000),
        Kind::StallAt(1000),
        Kind::JsonAsFile("104-005".to_owned()),
    ] {
        world.sim.fault(Fault { what, calls: Scope::Download, agent: Some(1001), times: 1 });
        answered(world, hunt, &call(1001, CALL), good, &[]).await;
        hunt.guids(world);
    }
    world.sim.throw_out(1001);
    answered(world, hunt, &call(1001, CALL), good, &[]).await;
    let rotations = world.sim.counts().rotations;
    until("rotations", || {
        hunt.guids(world);
        async { world.sim.counts().rotations >= rotations + 2 }
    })
    .await;
    for what in [retcode("100-003"), Kind::GarbageHead, Kind::HtmlPage, Kind::HangBeforeHead] {
        world.sim.throw_out(1001);
        world.sim.fault(Fault { what, calls: Scope::SignIn, agent: Some(1001), times: 1 });
        answered(world, hunt, &call(1001, CALL), good, &[]).await;
    }
    for what in [Kind::Reset, Kind::GarbageHead, Kind::Http(500)] {
        world.sim.fault(Fault { what, calls: Scope::Poll, agent: Some(1002), times: 1 });
    }
    let failed = "ccgate_session_keep_alives_total{outcome=\"protocol\"}";
    if world.metric("ccgate_upstream_requests_total{operation=\"poll\",outcome=\"ok\"}").await.is_some() {
        until("a poll that fails", || async { world.metric(failed).await > Some(0.0) }).await;
    }
}

async fn answered(world: &World, hunt: &mut Hunt, target: &str, token: &str, headers: &[(&str, &str)]) {
    let answer = world.get_with(target, token, headers).await;
    let body =
        if answer.status.is_success() { String::new() } else { String::from_utf8_lossy(&answer.body).into_owned() };
    hunt.output(&format!("the answer to {target:.60}"), format!("{} {:?} {body}", answer.status, answer.headers));
}

/// All files of the audit log, whatever their names. Tiles are hashes, not text.
fn audit_files(world: &World) -> String {
    let files = std::fs::read_dir(world.dir().join("audit")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| String::from_utf8(std::fs::read(path).unwrap()).unwrap()).collect()
}

/// The audit log's records.
fn records_text(world: &World) -> String {
    let segments = ccgate::trail::segments(&world.dir().join("audit")).unwrap();
    segments.iter().map(|segment| std::fs::read_to_string(&segment.path).unwrap()).collect()
}

async fn hunt_in(mut world: World, log_has: &str) {
    let mut hunt = Hunt::new();
    provoke(&world, &mut hunt).await;
    hunt.pages(&world).await;
    world.process().signal("TERM");
    assert!(world.process().child.wait().await.unwrap().success());
    until("the log's end", || {
        let ended = world.process().log().contains("\"ended\"");
        async move { ended }
    })
    .await;
    let log = world.process().log();
    assert!(log.contains(log_has) && log.contains("not served"), "{log}");
    hunt.output("the log", log);
    let audit = audit_files(&world);
    assert!(audit.contains("\"finished\"") && audit.contains("session.rotated"), "{audit}");
    hunt.output("the audit log", audit);
    hunt.nothing_came_up();
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_no_secret_comes_up_at_trace_level() {
    hunt_in(busy_world().start_process().await, "ccgate::access").await;
}

/// Also with the libraries' own lines: nothing that they write today holds what they carry.
#[tokio::test(flavor = "multi_thread")]
async fn r17_no_secret_comes_up_with_every_library_at_trace_level() {
    let world = busy_world().env(config::FILTER_VARIABLE, "trace").start_process().await;
    hunt_in(world, "\"level\":\"TRACE\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_no_secret_comes_up_in_push_mode() {
    let world = busy_world()
        .sim(|sim| sim.push_mode = true)
        .config(|config| {
            config["sessions"]["keep_alive"] = "heartbeat".into();
            config["sessions"]["keep_alive_interval"] = "200ms".into();
            config["sessions"]["callback"] =
                json!({ "uri": "https://app.example/events", "service_token_file": "service.token" });
        })
        .file("service.token", SERVICE_TOKEN)
        .env(config::FILTER_VARIABLE, "trace")
        .start_process()
        .await;
    hunt_in(world, "ccgate::access").await;
}

/// The real binary with a configuration or files that hold a secret in a wrong place.
#[tokio::test(flavor = "multi_thread")]
async fn r17_no_secret_comes_up_in_what_is_wrong_with_a_configuration() {
    let mut hunt = Hunt::new();
    let changes: [fn(&mut Value); 5] = [
        |config| config["upstream"]["url"] = format!("https://user:{MISPLACED}@127.0.0.1:1").into(),
        |config| config["upstream"]["password"] = MISPLACED.into(),
        |config| config["auth"]["issuers"][0]["jwks_file"] = "accounts/1003.yaml".into(),
        |config| config["policy"] = json!({ "dir": "rules" }),
        |config| config["upstream"]["ca_file"] = "accounts/1003.yaml".into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let world = busy_world().file("rules/a.cedar", "permit(").config(change).without_gateway().await;
        for command in ["run", "check"] {
            let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_ccgate"));
            child.args([command, "--config"]).arg(world.config_file()).kill_on_drop(true);
            let output = tokio::time::timeout(Duration::from_secs(30), child.output()).await.expect("it ends").unwrap();
            assert!(command == "check" || !output.status.success(), "{command} {number}");
            let text = [output.stdout, output.stderr].concat();
            hunt.output(&format!("{command} with change {number}"), String::from_utf8(text).unwrap());
        }
    }
    hunt.secrets.extend((0..10).map(|n| format!("no-such-secret-{n}-at-all")));
    hunt.nothing_came_up();
}

/// What a `{:?}` of ours shows, in either form.
fn shown(value: &impl Debug) -> String {
    format!("{value:?} {value:#?}")
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_no_public_type_shows_a_secret() {
    let mut hunt = Hunt::new();
    let world = World::new().file("service.token", SERVICE_TOKEN).without_gateway().await;
    let guid = cc::Guid::from_text("279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0").unwrap();
    hunt.secrets.insert("279fe21d-2caa-4437".to_owned());
    hunt.output("Guid", shown(&guid));
    hunt.output("a header", shown(&guid.header_value()));
    hunt.output("GuidTag", shown(&cc::GuidTagKey::random().tag(&guid)));
    let service_token = config::read_secret(&world.dir().join("service.token")).unwrap();
    hunt.output("a secret that was read", shown(&service_token));
    let callback = upstream::Callback { uri: "https://app.example".to_owned(), service_token };
    hunt.output("Callback", shown(&callback));
    let password = config::read_secret(&world.dir().join("password")).unwrap_err();
    hunt.output("an error", shown(&password));
    let signed_in = upstream::SignedIn { guid, password_days_left: Some(1), must_change_password: false };
    hunt.output("SignedIn", shown(&signed_in));
    let loaded = config::load(world.config_file(), &config::Overrides::default()).unwrap();
    hunt.output("the configuration", shown(&loaded));
    let registry = prometheus::Registry::new();
    let metrics = authn::Metrics::register(&registry).unwrap();
    let source = authn::KeySource::File(world.dir().join("jwks.json"));
    let issuer = authn::IssuerConfig {
        issuer: crate::issuer::ISSUER.to_owned(),
        audiences: vec![crate::issuer::AUDIENCE.to_owned()],
        algorithms: vec![authn::Algorithm::ES256],
        keys: source,
        ca_file: None,
        certificate_bound: false,
        claims: authn::Claims::default(),
    };
    let trusted =
        authn::Config { leeway: Duration::ZERO, max_token_lifetime: Duration::from_hours(24), issuers: vec![issuer] };
    let ready = ccgate::ready::Ready::new();
    let authenticator = authn::Authenticator::new(&trusted, ccgate::clock::Clock::system(), &ready, metrics).unwrap();
    let token = hunt.token(world.issuer.agent(1001));
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let caller = authenticator.authenticate(&headers, None).await.unwrap();
    hunt.output("Caller", shown(&caller));
    hunt.output("Authenticator", shown(&authenticator));
    headers.insert("authorization", format!("Bearer {token}x").parse().unwrap());
    hunt.output("a refusal", shown(&authenticator.authenticate(&headers, None).await.unwrap_err()));
    hunt.secrets.extend((0..10).map(|n| format!("no-such-secret-{n}-at-all")));
    hunt.nothing_came_up();
}

/// A text with everything that ends a line, moves a cursor or turns text around, and a forged line in it.
const HOSTILE: &str =
    "a\r\n{\"forged\":true}\r\n\u{1b}[2J\u{7f}\u{85}\u{9b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}\0\"\\";

/// Every line is one JSON object, and no character of it is a line's end or a command for anybody.
fn lines_are_objects(text: &str) -> Vec<Value> {
    let bad = |c: &char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let line = |line: &str| {
        assert_eq!(line.chars().find(bad), None, "{line:?}");
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert!(object.is_object() && object.get("forged").is_none(), "{object}");
        object
    };
    text.strip_suffix('\n').unwrap_or(text).split('\n').map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn r16_one_line_in_one_object_out() {
    let mut world = World::new().env(config::FILTER_VARIABLE, "trace").start_process().await;
    // Letters that a subject, a purpose and a ticket may have, and that turn a line around on a screen.
    let allowed = "\u{202e}\u{2066}\"\\,{}[]<script>'%n\u{200f}é";
    let token =
        world.issuer.token(&json!({ "agent_id": "1001", "sub": allowed, "roles": [allowed], "client_id": allowed }));
    let bearer = format!("Bearer {token}");
    let target = call(1001, CALL);
    let message = format!("{HOSTILE}{}", HOSTILE.repeat(40));
    for retcode in ["104-002", "999-999", "000-004", HOSTILE] {
        let what = Kind::Message { retcode: retcode.to_owned(), message: message.clone() };
        world.sim.fault(Fault { what, calls: Scope::Download, agent: None, times: 1 });
        assert!(world.get(&target, &token).await.status.as_u16() >= 400, "{retcode:?}");
    }
    let what = Kind::Message { retcode: "100-007".to_owned(), message: message.clone() };
    world.sim.fault(Fault { what, calls: Scope::SignIn, agent: Some(1002), times: 1 });
    assert_eq!(world.get(&call(1002, CALL), &world.issuer.agent(1002)).await.status, 502);
    let head = |lines: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\nConnection: close\r\n{lines}\r\n")
    };
    for (lines, status) in [
        (format!("Ccgate-Purpose: {allowed}\r\nCcgate-Ticket: {allowed}\r\n"), "200"),
        (format!("X-Request-Id: {allowed}\r\n"), "200"),
        ("X-Request-Id: a\u{85}b\u{2028}c\r\n".to_owned(), "200"),
        ("traceparent: \u{202e}\r\nForwarded: \u{202e}\r\nUser-Agent: \u{202e}\r\n".to_owned(), "200"),
        ("Ccgate-Purpose: a\u{2028}b\r\n".to_owned(), "400"),
        ("Ccgate-Ticket: a\u{85}b\r\n".to_owned(), "400"),
        ("X-Request-Id: a\u{1b}[2J\r\n".to_owned(), "400"),
        ("X-Request-Id: a\u{0}\r\n".to_owned(), "400"),
    ] {
        let (answer, closed) = client::raw(world.server(), head(&lines).as_bytes(), Duration::from_secs(20)).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(closed && answer.starts_with(&format!("HTTP/1.1 {status} ")), "{lines:?}: {answer:.300}");
    }
    for target in ["/\u{202e}", "/%0d%0a%7b%22forged%22:true%7d", "/\u{1b}[2J", "/a\u{2028}"] {
        let request = format!("GET {target}?{target} HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\n\r\n");
        let (answer, _) = client::raw(world.server(), request.as_bytes(), Duration::from_secs(20)).await;
        assert!(answer.starts_with(b"HTTP/1.1 400 "), "{target:?}");
    }
    check_lines(&mut world, allowed).await;
}

async fn check_lines(world: &mut World, allowed: &str) {
    world.process().signal("TERM");
    assert!(world.process().child.wait().await.unwrap().success());
    until("the log's end", || {
        let ended = world.process().log().contains("\"ended\"");
        async move { ended }
    })
    .await;
    let log = lines_are_objects(&world.process().log());
    let told = log.iter().filter(|line| line["upstream_message"].as_str().is_some_and(|text| text.contains("forged")));
    assert!(told.count() >= 3, "the message is in the log, as a text");
    let audit = lines_are_objects(&records_text(world));
    let subjects = audit.iter().filter(|record| record["who"]["subject"] == allowed).count();
    assert!(subjects >= 4, "a subject is kept as it is: {subjects}");
    assert!(audit.iter().any(|record| record["why"]["purpose"] == allowed && record["why"]["ticket"] == allowed));
    let messages: Vec<&str> = audit.iter().filter_map(|record| record["upstream"]["message"].as_str()).collect();
    assert!(messages.len() >= 3 && messages.iter().all(|text| text.chars().count() <= 200), "{messages:?}");
    assert!(messages.iter().any(|text| HOSTILE.starts_with(text) || text.starts_with(HOSTILE)), "{messages:?}");
}
