//! The metrics page: every name of the contract, labels of closed sets, and no more series whatever callers send.

use std::collections::BTreeSet;

use ccgate::sim::{Fault, Kind, Scope};
use serde_json::json;

use crate::client::{self, Keeper};
use crate::issuer::Issuer;
use crate::world::{CALL, World, call, recording, until};

async fn page(world: &World) -> String {
    let answer = client::get(world.admin(), "/metrics", &[]).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "text/plain; version=0.0.4"));
    String::from_utf8(answer.body.to_vec()).unwrap()
}

/// Each series, as its name and labels.
fn series(page: &str) -> BTreeSet<String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

/// The names of a series' labels, without the buckets' own.
fn labels(series: &str) -> Vec<&str> {
    let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    inside
        .split("\",")
        .filter(|label| !label.is_empty())
        .map(|label| label.split_once('=').unwrap().0)
        .filter(|name| *name != "le")
        .collect()
}

/// The names of the contract, each with its labels. A histogram stands here by its count.
const NAMES: &[(&str, &[&str])] = &[
    ("ccgate_http_requests_total", &["code", "method", "route"]),
    ("ccgate_http_request_duration_seconds_count", &["route"]),
    ("ccgate_http_response_duration_seconds_count", &[]),
    ("ccgate_http_requests_in_flight", &[]),
    ("ccgate_http_response_bytes_total", &[]),
    ("ccgate_http_connections", &[]),
    ("ccgate_http_connections_closed_total", &["reason"]),
    ("ccgate_downloads_total", &["kind", "outcome"]),
    ("ccgate_upstream_requests_total", &["operation", "outcome"]),
    ("ccgate_upstream_request_duration_seconds_count", &["operation"]),
    ("ccgate_upstream_breaker_open", &["reason"]),
    ("ccgate_upstream_healthy", &["upstream"]),
    ("ccgate_sessions", &["state"]),
    ("ccgate_session_sign_ins_total", &["outcome"]),
    ("ccgate_session_keep_alives_total", &["outcome"]),
    ("ccgate_session_guid_rotations_total", &[]),
    ("ccgate_account_password_expiry_timestamp_seconds", &[]),
    ("ccgate_auth_decisions_total", &["decision", "reason"]),
    ("ccgate_jwks_keys", &["issuer"]),
    ("ccgate_jwks_last_success_timestamp_seconds", &["issuer"]),
    ("ccgate_audit_records_total", &["event", "outcome"]),
    ("ccgate_audit_write_duration_seconds_count", &[]),
    ("ccgate_audit_open_entries", &[]),
    ("ccgate_audit_open_entries_max", &[]),
    ("ccgate_audit_writable", &[]),
    ("ccgate_audit_records_lost_total", &[]),
    ("ccgate_audit_disk_free_bytes", &[]),
    ("ccgate_config_last_reload_successful", &[]),
    ("ccgate_config_last_reload_success_timestamp_seconds", &[]),
    ("ccgate_config_generation", &[]),
    ("ccgate_config_info", &["hash"]),
    ("ccgate_tls_certificate_expiry_timestamp_seconds", &["name"]),
    ("ccgate_tls_handshakes_total", &["outcome", "plane"]),
    ("ccgate_build_info", &["revision", "version"]),
    ("process_resident_memory_bytes", &[]),
    ("process_open_fds", &[]),
];

/// What three downloads, one refusal and one sign-in make of them.
const VALUES: &[(&str, f64)] = &[
    ("ccgate_http_requests_total{code=\"200\",method=\"GET\",route=\"recordfiledownloadEx\"}", 3.0),
    ("ccgate_http_requests_total{code=\"403\",method=\"GET\",route=\"recordfile\"}", 1.0),
    ("ccgate_downloads_total{kind=\"audio\",outcome=\"finished\"}", 3.0),
    ("ccgate_upstream_requests_total{operation=\"download\",outcome=\"ok\"}", 3.0),
    ("ccgate_upstream_requests_total{operation=\"sign_in\",outcome=\"ok\"}", 1.0),
    ("ccgate_session_sign_ins_total{outcome=\"ok\"}", 1.0),
    ("ccgate_sessions{state=\"active\"}", 1.0),
    ("ccgate_auth_decisions_total{decision=\"allow\",reason=\"permitted\"}", 3.0),
    ("ccgate_auth_decisions_total{decision=\"deny\",reason=\"not_your_recording\"}", 1.0),
    ("ccgate_jwks_keys{issuer=\"https://idp.example\"}", 1.0),
    ("ccgate_audit_records_total{event=\"authorized\",outcome=\"written\"}", 3.0),
    ("ccgate_audit_records_total{event=\"finished\",outcome=\"written\"}", 3.0),
    ("ccgate_audit_records_total{event=\"denied\",outcome=\"written\"}", 1.0),
    ("ccgate_audit_records_lost_total", 0.0),
    ("ccgate_audit_open_entries", 0.0),
    ("ccgate_audit_open_entries_max", 1024.0),
    ("ccgate_http_requests_in_flight", 0.0),
    ("ccgate_config_last_reload_successful", 1.0),
    ("ccgate_config_generation", 1.0),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_name_of_the_contract_is_there_with_its_labels() {
    let world = World::new()
        .sim(|sim| {
            sim.password_days = Some(20);
            sim.poll_wait = std::time::Duration::from_millis(100);
        })
        .start()
        .await;
    let token = world.issuer.agent(1001);
    for _ in 0..3 {
        let answer = world.get(&call(1001, CALL), &token).await;
        world.end_of(answer.header("ccgate-audit-id")).await;
    }
    world.get(&recording(1001, "Y:/90/0/20210519/4977/1.V3"), &token).await;
    until("a poll", || async { world.metric("ccgate_session_keep_alives_total{outcome=\"ok\"}").await > Some(0.0) })
        .await;
    let page = page(&world).await;
    let all = series(&page);
    for (name, expected) in NAMES {
        let found: Vec<_> = all.iter().filter(|series| series.split('{').next() == Some(*name)).collect();
        assert!(!found.is_empty(), "{name} is missing:\n{page}");
        for series in found {
            assert_eq!(labels(series), *expected, "{series}");
        }
    }
    for (start, value) in VALUES {
        assert_eq!(world.metric(start).await, Some(*value), "{start}\n{page}");
    }
    let expiry = world.metric("ccgate_account_password_expiry_timestamp_seconds").await.unwrap();
    #[allow(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
    let days = (expiry - crate::issuer::seconds() as f64) / 86_400.0;
    assert!((19.0..=20.1).contains(&days), "{days}");
    // Names and labels; a value can hold any digits.
    let told = |line: &str| line.rsplit_once(' ').map_or(line, |(series, _value)| series).to_owned();
    assert!(
        page.lines().map(told).all(|line| !line.contains("1001") && !line.contains("alice") && !line.contains(CALL)),
        "{page}"
    );
}

/// Numbers that repeat themselves in no test run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn word(&mut self) -> String {
        (0..8).map(|_| char::from(b'a' + u8::try_from(self.roll(26)).unwrap())).collect()
    }
}

/// One request of whatever kind; `known` draws only from what makes each series once.
async fn one(world: &World, keeper: &mut Keeper, dice: &mut Dice, kind: u64) {
    let agent = 101 + u32::try_from(dice.roll(900_000)).unwrap();
    let word = dice.word();
    let good = format!("Bearer {}", world.issuer.agent(1001));
    let bearer = |token: String| format!("Bearer {token}");
    let (method, target, token) = match kind {
        0 => ("GET".to_owned(), format!("/{word}/{agent}?{word}={word}"), good),
        1 => (word.to_uppercase(), format!("/{word}"), good),
        2 => (word.to_uppercase(), call(agent, &word), good),
        3 => (
            "GET".to_owned(),
            call(agent, &word),
            bearer(
                world.issuer.token(&json!({ "agent_id": agent.to_string(), "iss": format!("https://{word}.example") })),
            ),
        ),
        4 => (
            "GET".to_owned(),
            call(agent, &word),
            bearer(world.issuer.token(&json!({ "agent_id": agent.to_string(), "aud": word }))),
        ),
        5 => ("GET".to_owned(), call(agent, &word), bearer(Issuer::new(&word).agent(agent))),
        6 => (
            "GET".to_owned(),
            call(agent, &word),
            bearer(world.issuer.token(&json!({ "agent_id": word, "sub": word }))),
        ),
        7 => ("GET".to_owned(), call(agent, &word), bearer(word)),
        8 => ("GET".to_owned(), recording(1001, &format!("Y:/{}/0/20210519/{agent}/{word}.V3", dice.roll(999))), good),
        9 => ("GET".to_owned(), format!("{}&{word}=1", call(1001, &word)), good),
        // An agent of whom there is no account.
        10 => (
            "GET".to_owned(),
            call(agent, &word),
            bearer(world.issuer.token(&json!({ "agent_id": agent.to_string(), "sub": word }))),
        ),
        _ => {
            let retcode = format!("{}-{}", dice.roll(90) + 200, dice.roll(900) + 100);
            world.sim.fault(Fault { what: Kind::Retcode(retcode), calls: Scope::Download, agent: None, times: 1 });
            ("GET".to_owned(), call(1001, &word), good)
        }
    };
    let answer = keeper.request(&method, &target, &[("authorization", &token), ("x-request-id", &dice.word())]).await;
    assert!(!answer.status.is_success(), "{method} {target}: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r23_whatever_callers_send_makes_no_series() {
    const KINDS: u64 = 12;
    let world = World::new().sim(|sim| sim.poll_wait = std::time::Duration::from_millis(100)).start().await;
    let (mut keeper, mut dice) = (Keeper::open(world.server()).await, Dice(23));
    let token = world.issuer.agent(1001);
    assert_eq!(world.get(&call(1001, CALL), &token).await.status, 200);
    for kind in (0..KINDS).chain(0..KINDS) {
        one(&world, &mut keeper, &mut dice, kind).await;
    }
    until("a poll", || async { world.metric("ccgate_session_keep_alives_total{outcome=\"ok\"}").await > Some(1.0) })
        .await;
    let before = series(&page(&world).await);
    for n in 0..3_000 {
        let kind = if n < KINDS { n } else { dice.roll(KINDS) };
        one(&world, &mut keeper, &mut dice, kind).await;
    }
    let after = series(&page(&world).await);
    let new: Vec<_> = after.difference(&before).collect();
    assert!(new.is_empty(), "{new:?}");
    assert_eq!(after.len(), before.len());
    let requests: f64 = {
        let page = page(&world).await;
        let counts = page.lines().filter(|line| line.starts_with("ccgate_http_requests_total{"));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    };
    assert!(requests >= 3_025.0, "{requests}");
}
