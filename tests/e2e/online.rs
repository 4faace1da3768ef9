//! `ccgate check --online` against the simulator, with settings that fit and settings that do not.

use std::process::Stdio;
use std::time::Duration;

use ccgate::sim::{GuidMode, Rule};
use serde_json::json;
use tokio::process::Command;

use crate::world::{Builder, World, until};

/// Exit code and what was told, without the lines of the offline check.
async fn check(world: &World, extra: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.args(["check", "--online", "--config"]).arg(world.config_file()).args(extra);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end in time").unwrap();
    assert!(ended.stderr.is_empty(), "{}", String::from_utf8_lossy(&ended.stderr));
    let told = String::from_utf8(ended.stdout).unwrap();
    (ended.status.code(), told.replace(world.dir().to_str().unwrap(), "DIR"))
}

/// Watches agent 1001 for a few seconds.
async fn watch(world: &World, time: &str) -> (Option<i32>, String) {
    let found = check(world, &["--agent", "1001", "--watch", time]).await;
    assert!(world.sim.signed_in(1001).is_none(), "the agent was left signed in: {}", found.1);
    found
}

/// A gateway that answers polls soon, and replaces Guids every two seconds.
fn quick() -> Builder {
    World::new().sim(|sim| {
        sim.poll_wait = Duration::from_millis(1_200);
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(2), timeout: Duration::from_secs(4) };
    })
}

fn heartbeats(builder: Builder, interval: &str) -> Builder {
    let interval = interval.to_owned();
    builder.file("service-token", "token\n").config(move |c| {
        c["sessions"]["keep_alive"] = "heartbeat".into();
        c["sessions"]["keep_alive_interval"] = interval.into();
        c["sessions"]["callback"] = json!({ "uri": "https://events.example", "service_token_file": "service-token" });
    })
}

fn has(told: &str, line: &str) {
    assert!(told.contains(line), "{line:?} is not in\n{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_fits_is_good() {
    let world = quick().without_gateway().await;
    let (code, told) = watch(&world, "6s").await;
    assert_eq!(code, Some(0), "{told}");
    has(&told, "  ok       auth.issuers[0].jwks_file: the keys of ");
    has(&told, "  ok       sessions.store: memory: for one replica");
    has(&told, "is trusted and answers as CC-Gateway does");
    has(&told, "  ok       sessions.sign_in: platform: agent 1001 was signed in");
    has(&told, "  ok       sessions.keep_alive: poll is taken");
    has(&told, "  ok       sessions.keep_alive: a poll takes up to 1.");
    has(&told, "  ok       upstream.url: dynamic Guids (AUTHMODE 2): ");
    assert!(told.ends_with("online: good\n"), "{told}");
    let broken: Vec<_> = world.sim.broken_rules().iter().map(|broken| broken.rule).collect();
    assert_eq!(broken, [Rule::UnknownGuid], "the made-up Guid of the first call");
    let counts = world.sim.requests();
    assert_eq!(counts.iter().filter(|seen| seen.target.ends_with("/loginex")).count(), 1);
    assert_eq!(counts.iter().filter(|seen| seen.target.ends_with("/logout")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_agent_nobody_is_signed_in() {
    let world = World::new().without_gateway().await;
    let (code, told) = check(&world, &[]).await;
    assert_eq!(code, Some(0), "{told}");
    has(&told, "  ok       --agent: whether keep-alives and Guids fit was not asked");
    assert!(world.sim.requests().iter().all(|seen| !seen.target.contains("login")));
}

#[tokio::test(flavor = "multi_thread")]
async fn static_guids_are_seen() {
    let static_mode = World::new().sim(|sim| {
        sim.poll_wait = Duration::from_millis(100);
        sim.guid_mode = GuidMode::Static;
    });
    let world = static_mode.without_gateway().await;
    let (code, told) = watch(&world, "3s").await;
    assert_eq!(code, Some(0), "{told}");
    has(&told, "  ok       upstream.url: no new Guid within 3");
    has(&told, "static Guids (AUTHMODE 1), or a longer GUIDINTERVAL; --watch 75s tells");
    has(&told, "  warning  sessions.keep_alive: polls are answered within 0.");
    assert!(told.ends_with("online: good, 1 warning\n"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_mode_is_named_with_the_right_one() {
    // A gateway in push mode takes the sign-in and refuses polls.
    let world = quick().sim(|sim| sim.push_mode = true).without_gateway().await;
    let (code, told) = watch(&world, "2s").await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  sessions.keep_alive: poll is refused (000-001)");
    has(&told, "set keep_alive: heartbeat, with sessions.callback");
    let world = heartbeats(quick(), "500ms").without_gateway().await;
    let (code, told) = watch(&world, "2s").await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  sessions.keep_alive: ");
    has(&told, "set keep_alive: poll");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interval_that_is_too_long_for_the_rotation_is_seen() {
    let push = || quick().sim(|sim| sim.push_mode = true);
    let world = heartbeats(push(), "500ms").without_gateway().await;
    let (code, told) = watch(&world, "6s").await;
    assert_eq!(code, Some(0), "{told}");
    has(&told, "  ok       sessions.keep_alive_interval: 0.5s fits twice into the time-out of 120.0s, and into the 2.");
    let world = heartbeats(push(), "2500ms").without_gateway().await;
    let (code, told) = watch(&world, "8s").await;
    assert_eq!(code, Some(0), "{told}");
    has(&told, "  warning  sessions.keep_alive_interval: 2.5s is no shorter than the gateway's GUIDINTERVAL");
    // The gateway forgets an agent that is silent for so long.
    let world = heartbeats(push().sim(|sim| sim.max_time = Duration::from_secs(1)), "3s").without_gateway().await;
    let (code, told) = watch(&world, "5s").await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  sessions.keep_alive_interval: the session was gone after 3.");
    has(&told, "3.0s is too long");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_busy_is_left_alone() {
    let world = quick().file("accounts/1001.yaml", "password: Planted-Passw0rd\ntakeover: true\n");
    let world = world.without_gateway().await;
    world.sim.hold_elsewhere(1001);
    let (code, told) = check(&world, &["--agent", "1001", "--watch", "1s"]).await;
    assert_eq!(code, Some(0), "{told}");
    has(&told, "  warning  --agent: agent 1001 is signed in elsewhere (100-002) and was left alone");
    assert!(world.sim.requests().iter().all(|seen| !seen.target.contains("force")), "even with takeover: true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once() {
    let world = quick().without_gateway().await;
    world.sim.set_password(1001, "another");
    let (code, told) = watch(&world, "1s").await;
    assert_eq!(code, Some(1), "{told}");
    has(
        &told,
        "  problem  sessions.accounts_dir: agent 1001: wrong user name or password (100-004); it was tried once",
    );
    assert_eq!(world.sim.requests().iter().filter(|seen| seen.target.ends_with("/loginex")).count(), 1);
    assert!(!told.contains("Planted"), "{told}");
    let (code, told) = check(&world, &["--agent", "1003", "--watch", "1s"]).await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  sessions.accounts_dir: there is no file DIR/accounts/1003.yaml");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_not_trusted_or_not_there_is_told() {
    let world = World::new().without_gateway().await;
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(world.dir().join("upstream-ca.pem"), other.cert.pem()).unwrap();
    let (code, told) = check(&world, &["--agent", "1001"]).await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  upstream.ca_file: 127.0.0.1:");
    has(&told, "name the CA of the gateway's certificate in upstream.ca_file");
    has(&told, "  warning  --agent: agent 1001 was not signed in: the gateway did not answer");
    assert!(world.sim.requests().is_empty(), "nothing was said to it");
    let away = World::new().config(|c| c["upstream"]["url"] = "https://127.0.0.1:9".into()).without_gateway().await;
    let (code, told) = check(&away, &[]).await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  upstream.url: 127.0.0.1:9: the gateway cannot be reached");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_the_watching_with_a_sign_out() {
    let world = quick().without_gateway().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.args(["check", "--online", "--agent", "1001", "--config"]).arg(world.config_file());
    let child = command.stdout(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true).spawn().unwrap();
    until("signed in and polled", || async {
        world.sim.requests().iter().filter(|seen| seen.target.contains("/agentevent/1001")).count() > 2
    })
    .await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), child.wait_with_output()).await.unwrap().unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    has(&told, "  warning  --watch: ended by a signal after ");
    assert!(world.sim.signed_in(1001).is_none(), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_does_not_answer_is_named() {
    let world = World::new().config(|c| {
        let issuer = c["auth"]["issuers"][0].as_object_mut().unwrap();
        issuer.remove("jwks_file");
        issuer.insert("jwks_url".to_owned(), "http://127.0.0.1:9/jwks".into());
    });
    let world = world.without_gateway().await;
    let (code, told) = check(&world, &[]).await;
    assert_eq!(code, Some(1), "{told}");
    has(&told, "  problem  auth.issuers[0].jwks_url: ");
    has(&told, "503 keys_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_wrong_asks_nobody() {
    let world = World::new().config(|c| c["log"]["level"] = "loud".into()).without_gateway().await;
    let (code, told) = check(&world, &["--agent", "1001"]).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(world.sim.requests().is_empty() && !told.contains("online"), "{told}");
}
