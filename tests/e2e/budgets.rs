//! How much a person may take: recordings, bytes and downloads at once, over ranges, crashes and pseudonyms.

use std::time::Duration;

use ccgate::audit::Pseudonyms;
use ccgate::sim::{Fault, Kind, Scope};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::issuer::ISSUER;
use crate::world::{Builder, CALL, World, call, until};

/// The base64 of 32 bytes.
const KEY: &str = "UGxhbnRlZC1Qc2V1ZG9ueW0tS2V5LU9mLTMyLUJ5dGU=";
const SIZE: u64 = 64 * 1024;

fn limited(budgets: Value) -> Builder {
    World::new().sim(|sim| sim.default_size = SIZE).config(|config| config["budgets"] = budgets)
}

async fn take(world: &World, call_id: &str) -> Answer {
    world.get(&call(1001, call_id), &world.issuer.agent(1001)).await
}

/// Waits until all that began has ended: what was taken counts from the end on, as a start would count it.
async fn ended(world: &World, downloads: usize) {
    until("all have ended", || async { world.events("finished").len() >= downloads }).await;
}

fn wait(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap()
}

/// It is refused for this limit, and says so to the caller and in the record.
fn refused(world: &World, answer: &Answer, limit: &str) {
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "budget_exceeded"), "{}", answer.json());
    assert!(answer.json()["detail"].as_str().unwrap().contains(limit), "{}", answer.json());
    let record = world.events("denied").pop().unwrap();
    assert_eq!((&record["code"], &record["limit"]), (&json!("budget_exceeded"), &json!(limit)));
    assert_eq!((&record["decision"]["effect"], &record["who"]["issuer"]), (&json!("allow"), &json!(ISSUER)));
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_are_limited_and_parts_and_repeats_of_one_are_one() {
    let world = limited(json!({ "recordings_per_hour": 2, "recordings_per_day": 100 })).start().await;
    let token = world.issuer.agent(1001);
    assert_eq!(take(&world, "1621413752-1").await.status, 200);
    for range in ["bytes=0-9", "bytes=10-19", "bytes=-5"] {
        let answer = world.get_with(&call(1001, "1621413752-1"), &token, &[("range", range)]).await;
        assert_eq!(answer.status, 206, "{range}");
    }
    // One that is not there costs nothing.
    let what = Kind::Message { retcode: "104-005".to_owned(), message: "no such file".to_owned() };
    world.sim.fault(Fault { what, calls: Scope::Download, agent: None, times: 1 });
    assert_ne!(take(&world, "1621413752-9").await.status, 200);
    assert_eq!(take(&world, "1621413752-2").await.status, 200);
    let asked = world.asked();
    let answer = take(&world, "1621413752-3").await;
    refused(&world, &answer, "recordings_per_hour");
    assert!((3_540..=3_660).contains(&wait(&answer)), "{}", wait(&answer));
    assert_eq!(world.asked(), asked, "the gateway was not asked");
    assert_eq!(take(&world, "1621413752-1").await.status, 200, "one that counts already");
    let bob = world.issuer.token(&json!({ "sub": "bob", "agent_id": "1002" }));
    let other = world.get(&call(1002, "1621413752-3"), &bob).await;
    assert_eq!(other.status, 200, "another person");

    let alerts = world.events("budget.alert");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let alert = &alerts[0];
    let told = (&alert["limit"], &alert["used"], &alert["allowed"], &alert["issuer"]);
    assert_eq!(told, (&json!("recordings_per_hour"), &json!(2), &json!(2), &json!(ISSUER)));
    assert_eq!(alert["subject"], world.events("authorized")[0]["who"]["subject"]);
    let count = async |limit: &str, decision: &str| {
        let name = format!("ccgate_budget_decisions_total{{decision=\"{decision}\",limit=\"{limit}\"}}");
        world.metric(&name).await
    };
    assert_eq!(count("recordings_per_hour", "refuse").await, Some(1.0));
    assert_eq!(count("recordings_per_hour", "alert").await, Some(1.0));
    assert_eq!(count("none", "allow").await, Some(8.0));
    assert_eq!(world.metric("ccgate_budget_subjects").await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_count_while_they_run_and_a_running_download_is_let_end() {
    let world = limited(json!({ "bytes_per_day": "64KiB" })).start().await;
    let token = world.issuer.agent(1001);
    world.fault(Kind::SlowBody { piece: 4_096, every: Duration::from_millis(150) }, Scope::Download, 2);
    let (mut one, two) = (
        world.open(&call(1001, "1621413752-1"), &token, &[]).await,
        world.open(&call(1001, "1621413752-2"), &token, &[]).await,
    );
    one.piece().await.expect("a piece").expect("whole so far");
    assert_eq!(take(&world, "1621413752-3").await.status, 200, "there is something left");
    refused(&world, &take(&world, "1621413752-4").await, "bytes_per_day");
    let (one, two) = (one.read(Duration::ZERO).await, two.read(Duration::ZERO).await);
    assert!(one.whole && two.whole, "nobody is cut off");
    assert_eq!(two.bytes, SIZE);
    let answer = take(&world, "1621413752-1").await;
    refused(&world, &answer, "bytes_per_day");
    assert!((24 * 3_600 - 60..=24 * 3_600 + 1_800).contains(&wait(&answer)), "{}", wait(&answer));
    until("the alert", || async { world.events("budget.alert").len() == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_at_once_have_room_again_when_one_ends_or_its_client_goes() {
    let limits = json!({ "downloads_at_once_per_subject": 1, "downloads_at_once_per_agent": 2 });
    let world = limited(limits).start().await;
    let own = world.issuer.agent(1001);
    // Two people may be one agent at the gateway.
    let person = |name: &str| world.issuer.token(&json!({ "sub": name, "agent_id": "1001" }));
    let target = call(1001, CALL);
    world.fault(Kind::StallAt(10), Scope::Download, 2);
    let mut running = world.open(&target, &own, &[]).await;
    running.piece().await.expect("a piece").expect("whole so far");
    let answer = world.get(&target, &own).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str(), wait(&answer)), (429, "too_many_at_once", 1));
    assert_eq!(world.events("denied").pop().unwrap()["limit"], "downloads_at_once_per_subject");
    let other = world.open(&target, &person("bob"), &[]).await;
    assert_eq!(other.status, 200);
    let third = world.get(&target, &person("carol")).await;
    assert_eq!((third.status.as_u16(), third.code().as_str()), (429, "too_many_at_once"));
    assert_eq!(world.events("denied").pop().unwrap()["limit"], "downloads_at_once_per_agent");
    drop((running, other));
    until("there is room", || async { world.get(&target, &own).await.status == 200 }).await;
    assert_eq!(world.metric("ccgate_downloads_total{kind=\"audio\",outcome=\"aborted\"}").await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_can_be_let_off() {
    let world = limited(json!({ "recordings_per_hour": 1, "exempt_roles": ["auditor"] })).start().await;
    let token = world.issuer.token(&json!({ "sub": "alice", "agent_id": "1001", "roles": ["agent", "auditor"] }));
    for number in 0..4 {
        assert_eq!(world.get(&call(1001, &format!("1621413752-{number}")), &token).await.status, 200);
    }
    assert_eq!(world.events("budget.alert").len(), 0);
}

async fn keeps_counts(world: &mut World, kill: bool) {
    for number in [1, 1, 2] {
        assert_eq!(take(world, &format!("1621413752-{number}")).await.status, 200);
    }
    refused(world, &take(world, "1621413752-3").await, "recordings_per_day");
    ended(world, 3).await;
    assert_eq!(world.events("budget.alert").len(), 1);
    if kill {
        world.kill().await;
        world.run_process().await;
    } else {
        assert!(world.shut_down().await);
        world.run_here().await;
    }
    world.until_ready().await;
    let answer = take(world, "1621413752-3").await;
    refused(world, &answer, "recordings_per_day");
    assert!(wait(&answer) > 23 * 3_600, "{}", wait(&answer));
    assert_eq!(take(world, "1621413752-2").await.status, 200, "one that counts already");
    assert_eq!(world.events("budget.alert").len(), 1, "it was told before");
    assert_eq!(world.metric("ccgate_budget_subjects").await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_counts_on_from_the_log() {
    let mut world = limited(json!({ "recordings_per_day": 2 })).start().await;
    keeps_counts(&mut world, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_after_a_crash_counts_on_and_what_ran_counts_as_taken() {
    let mut world = limited(json!({ "recordings_per_day": 2, "bytes_per_day": "1GiB" }))
        // So that the agents are not busy after a crash.
        .file("state.key", KEY)
        .config(|config| config["sessions"]["state_file"] = "sessions.state".into())
        .config(|config| config["sessions"]["state_key_file"] = "state.key".into())
        .start_process()
        .await;
    keeps_counts(&mut world, true).await;
    // Nobody knows how much of it was handed over: the recording counts.
    let token = world.issuer.token(&json!({ "sub": "bob", "agent_id": "1002" }));
    world.fault(Kind::StallAt(10), Scope::Download, 1);
    let mut running = world.open(&call(1002, "1621413752-5"), &token, &[]).await;
    running.piece().await.expect("a piece").expect("whole so far");
    world.kill().await;
    drop(running);
    world.run_process().await;
    world.until_ready().await;
    assert_eq!(world.get(&call(1002, "1621413752-6"), &token).await.status, 200);
    refused(&world, &world.get(&call(1002, "1621413752-7"), &token).await, "recordings_per_day");
    assert_eq!(world.get(&call(1002, "1621413752-5"), &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_pseudonyms_counts_on_too_and_an_alert_names_nobody() {
    let mut world = limited(json!({ "recordings_per_day": 2 }))
        .file("names.key", KEY)
        .config(|config| config["audit"]["pseudonym_key_file"] = "names.key".into())
        .start()
        .await;
    keeps_counts(&mut world, false).await;
    let names = Pseudonyms::parse(KEY.as_bytes()).unwrap();
    let authorized = world.events("authorized");
    assert!(authorized.iter().any(|record| record["what"]["reference"] == names.reference("call:1621413752-1")));
    let alert = &world.events("budget.alert")[0];
    assert_eq!(alert["subject"], authorized[0]["who"]["subject"]);
    assert!(alert["subject"].as_str().unwrap().starts_with("hmac:"), "{alert}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_nothing_is_counted_and_the_past_is_not_read() {
    let mut world = World::new().sim(|sim| sim.default_size = SIZE).start_process().await;
    for number in 0..20 {
        assert_eq!(take(&world, &format!("1621413752-{number}")).await.status, 200);
    }
    assert_eq!(world.metric("ccgate_budget_subjects").await, Some(0.0));
    ended(&world, 20).await;
    world.kill().await;
    world.run_process().await;
    world.until_ready().await;
    assert!(!world.process().log().contains("budgets count on"), "nobody asked for it");
}
