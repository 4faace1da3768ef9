//! How sessions are lost, healed, kept alive and ended.

use std::time::Duration;

use ccgate::sim::{GuidMode, GuidShape, Kind, Rule, Scope};
use serde_json::{Value, json};

use crate::client::Answer;
use crate::world::{Builder, CALL, PASSWORD, World, call, until};

async fn get(world: &World, agent: u32) -> Answer {
    world.get(&call(agent, CALL), &world.issuer.agent(agent)).await
}

/// The end of an answer's entry: the event, the attempts, the reason.
async fn end(world: &World, answer: &Answer) -> (Value, Value, Value) {
    let end = world.end_of(answer.header("ccgate-audit-id")).await;
    (end["event"].clone(), end["attempts"].clone(), end["reason"].clone())
}

fn heartbeats(world: Builder, interval: &str) -> Builder {
    let callback = json!({ "uri": "https://ccgate.example/events", "service_token_file": "service-token" });
    world.file("service-token", "planted-service-token\n").config(|config| {
        config["sessions"]["keep_alive"] = "heartbeat".into();
        config["sessions"]["callback"] = callback;
        config["sessions"]["keep_alive_interval"] = interval.into();
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_is_healed_by_one_fresh_one_and_one_retry() {
    for (retcode, cause) in [("100-006", "forgotten"), ("100-008", "forgotten"), ("000-003", "refused")] {
        let world = World::new().sim(|sim| sim.dead_guid_retcode = retcode.to_owned()).start().await;
        world.hold_polls();
        let first = get(&world, 1001).await;
        assert_eq!(
            (first.status.as_u16(), end(&world, &first).await),
            (200, (json!("finished"), json!(1), Value::Null))
        );
        world.sim.throw_out(1001);
        let healed = get(&world, 1001).await;
        assert_eq!((healed.status.as_u16(), healed.whole), (200, true), "{retcode}");
        assert_eq!(end(&world, &healed).await, (json!("finished"), json!(2), Value::Null), "{retcode}");
        assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (2, vec![]), "{retcode}");
        assert_eq!(world.events("authorized").len(), 2, "one entry covers both tries");
        let lost = world.events("session.lost");
        assert_eq!((lost.len(), &lost[0]["detail"]), (1, &json!(cause)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_session_that_lives_is_signed_out_before_the_fresh_one() {
    let world = World::new().start().await;
    world.fault(Kind::Retcode("000-003".to_owned()), Scope::Download, 1);
    let answer = get(&world, 1001).await;
    assert_eq!((answer.status.as_u16(), end(&world, &answer).await.1), (200, json!(2)));
    let counts = world.sim.counts();
    assert_eq!((counts.sign_ins, counts.sign_outs), (2, 1));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_really_missing_costs_one_extra_sign_in() {
    let world = World::new().start().await;
    world.fault(Kind::Retcode("000-003".to_owned()), Scope::Download, 4);
    for _ in 0..2 {
        let answer = get(&world, 1001).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "upstream_forbidden"));
        assert_eq!(answer.json()["retcode"], "000-003");
        assert_eq!(end(&world, &answer).await, (json!("failed"), json!(2), json!("upstream_refused")));
        assert_eq!((world.sim.counts().sign_in_calls, world.sim.counts().sign_outs), (2, 1));
    }
    assert_eq!((get(&world, 1001).await.status.as_u16(), world.sim.counts().sign_in_calls), (200, 2));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_the_keep_alive_sees_costs_no_request_a_try() {
    let world = World::new().start().await;
    assert_eq!(get(&world, 1001).await.status, 200);
    until("a poll waits", || async { world.sim.counts().polls == 1 }).await;
    world.sim.throw_out(1001);
    until("the loss is recorded", || async { world.events("session.lost").len() == 1 }).await;
    let answer = get(&world, 1001).await;
    assert_eq!((answer.status.as_u16(), end(&world, &answer).await.1), (200, json!(1)));
    assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (2, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_signs_in_before_somebody_asks_and_an_idle_agent_is_signed_out() {
    let world = World::new().sim(|sim| sim.default_size = 256 * 1024);
    let world = world.config(|config| config["sessions"]["idle_sign_out"] = "300ms".into()).start().await;
    assert_eq!(world.sim.counts().requests, 0);
    // A download that lasts many times longer is no idleness.
    world.fault(Kind::Rate(64 * 1024), Scope::Download, 1);
    let mut open = world.open(&call(1001, CALL), &world.issuer.agent(1001), &[]).await;
    let (start, mut bytes) = (tokio::time::Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(1500) {
        bytes += open.piece().await.expect("four seconds' worth").expect("whole").len();
    }
    assert!(bytes < 256 * 1024 && world.sim.counts().sign_outs == 0, "{bytes}");
    assert!(open.read(Duration::ZERO).await.whole);
    until("it is signed out", || async { world.sim.counts().sign_outs == 1 }).await;
    assert_eq!(world.sim.guid_of(1001), None);
    until("that is recorded", || async { world.events("session.signed_out").len() == 1 }).await;
    assert_eq!(world.events("session.signed_out")[0]["detail"], "idle");
    assert_eq!((get(&world, 1001).await.status.as_u16(), world.sim.counts().sign_ins), (200, 2));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_is_signed_out_at_shutdown_and_the_agents_are_free() {
    let mut world = World::new().start().await;
    assert_eq!(
        (get(&world, 1001).await.status, get(&world, 1002).await.status),
        (http::StatusCode::OK, http::StatusCode::OK)
    );
    assert!(world.shut_down().await);
    assert_eq!((world.sim.counts().sign_ins, world.sim.counts().sign_outs), (2, 2));
    assert_eq!((world.sim.guid_of(1001), world.sim.guid_of(1002)), (None, None));
    let tag = |event: &str| -> Vec<Value> {
        let named = world.events(event).into_iter().filter(|record| record["session"]["agent"] == "1001");
        named.map(|record| record["session"]["guid_tag"].clone()).collect()
    };
    let told = |event: &str| -> Vec<Value> {
        let named = world.events(event).into_iter().filter(|record| record["agent"] == "1001");
        named.map(|record| record["guid_tag"].clone()).collect()
    };
    assert!(tag("authorized").len() == 1 && tag("authorized")[0].is_string(), "{:?}", world.events("authorized"));
    assert_eq!(told("session.signed_in"), tag("authorized"), "session and entry are tied");
    assert_eq!(told("session.signed_out"), tag("authorized"));
    let left = world.events("session.signed_out");
    assert!(left.len() == 2 && left.iter().all(|record| record["detail"] == "shutdown"), "{left:?}");
    assert_eq!(world.records().last().unwrap()["event"], "stopped");

    world.run_here().await;
    world.until_ready().await;
    assert_eq!((get(&world, 1001).await.status.as_u16(), world.sim.counts().sign_ins), (200, 3));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_with_a_callback_keep_and_rotate_a_session() {
    let world = heartbeats(World::new(), "200ms").sim(|sim| {
        sim.push_mode = true;
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(2), timeout: Duration::from_secs(10) };
    });
    let world = world.start().await;
    assert_eq!(get(&world, 1001).await.status, 200);
    assert_eq!(world.sim.signed_in(1001).unwrap().callback_uri.as_deref(), Some("https://ccgate.example/events"));
    let first = world.sim.guid_of(1001);
    until("a rotation", || async { world.metric("ccgate_session_guid_rotations_total").await == Some(1.0) }).await;
    assert_ne!(world.sim.guid_of(1001), first);
    assert_eq!(get(&world, 1001).await.status, 200);
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.polls), (1, 0));
    assert!(counts.heartbeats >= 3, "{counts:?}");
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_guid_stays() {
    let world = World::new().sim(|sim| {
        sim.guid_mode = GuidMode::Static;
        sim.poll_wait = Duration::from_millis(50);
    });
    let world = world.start().await;
    assert_eq!(get(&world, 1001).await.status, 200);
    let guid = world.sim.guid_of(1001);
    until("polls follow each other", || async { world.sim.counts().polls >= 4 }).await;
    assert_eq!(get(&world, 1001).await.status, 200);
    assert_eq!((world.sim.guid_of(1001), world.sim.counts().sign_ins), (guid, 1));
    assert_eq!(world.metric("ccgate_session_guid_rotations_total").await, Some(0.0));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guid_of_48_hex_digits_and_another_node_works_and_rotates() {
    let world = World::new().sim(|sim| {
        sim.guid_shape = GuidShape::Hex48;
        sim.node = "AgentGateway1".to_owned();
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(2), timeout: Duration::from_secs(10) };
        sim.poll_wait = Duration::from_millis(50);
    });
    let world = world.start().await;
    assert_eq!(get(&world, 1001).await.status, 200);
    let guid = world.sim.guid_of(1001).unwrap();
    let (digits, node) = guid.split_once('.').unwrap();
    assert!(digits.len() == 48 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && node == "AgentGateway1");
    until("a rotation", || async { world.metric("ccgate_session_guid_rotations_total").await == Some(1.0) }).await;
    assert_eq!(get(&world, 1001).await.status, 200);
    assert_eq!((world.sim.counts().sign_ins, world.sim.broken_rules()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_way_of_keeping_alive_is_told_and_stopped() {
    for push_mode in [true, false] {
        let world = if push_mode { World::new() } else { heartbeats(World::new(), "200ms") };
        let world = world.sim(|sim| sim.push_mode = push_mode).start().await;
        assert_eq!(get(&world, 1001).await.status, 200);
        until("it is recorded", || async { world.events("session.refused").len() == 1 }).await;
        let refused = &world.events("session.refused")[0];
        assert_eq!((&refused["retcode"], &refused["detail"]), (&json!("000-001"), &json!("wrong_keep_alive")));
        // No condition shows that nothing comes any more; the next one would have come within 500 ms.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let counts = world.sim.counts();
        assert_eq!((counts.polls + counts.heartbeats, counts.sign_ins), (1, 1));
        assert_eq!(get(&world, 1001).await.status, 200, "the session lives until the gateway forgets it");
        let broken: Vec<Rule> = world.sim.broken_rules().into_iter().map(|broken| broken.rule).collect();
        assert_eq!(broken, [Rule::CallbackMode, Rule::WrongEventMode], "and only what the configuration asks for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keep_alive_that_fails_is_tried_again_and_loses_nothing() {
    let world = World::new().sim(|sim| sim.poll_wait = Duration::from_millis(50)).start().await;
    world.fault(Kind::Http(500), Scope::Poll, 1);
    world.fault(Kind::GarbageHead, Scope::Poll, 1);
    assert_eq!(get(&world, 1001).await.status, 200);
    until("polls work again", || async {
        world.metric("ccgate_session_keep_alives_total{outcome=\"ok\"}").await >= Some(1.0)
    })
    .await;
    assert_eq!(world.metric("ccgate_session_keep_alives_total{outcome=\"protocol\"}").await, Some(2.0));
    assert_eq!((get(&world, 1001).await.status.as_u16(), world.sim.counts().sign_ins), (200, 1));
    assert_eq!(world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_without_an_answer_in_time_is_told_and_not_made_again_at_once() {
    let world = World::new().config(|config| {
        config["upstream"]["connect_timeout"] = "2s".into();
        config["upstream"]["response_timeout"] = "1s".into();
    });
    let world = world.file("accounts/1001.yaml", &format!("password: {PASSWORD}\n")).start().await;
    world.fault(Kind::HangBeforeHead, Scope::SignIn, 1);
    let answer = get(&world, 1001).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (504, "upstream_timeout"));
    // The gateway may still be at it, and nobody knows the Guid: nothing is asked for half a minute.
    let again = get(&world, 1001).await;
    assert_eq!((again.status.as_u16(), again.code().as_str()), (504, "upstream_timeout"));
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.forced), (1, 0));
    let refused = world.events("session.refused");
    assert_eq!((refused.len(), &refused[0]["detail"]), (1, &json!("upstream_timeout")));
    assert_eq!(world.sim.broken_rules(), []);
}
