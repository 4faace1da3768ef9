//! Bounds that change while they are used up, and what goes on over a change: sessions, connections, the gateway's client.

use std::time::Duration;

use ccgate::sim::{self, Kind, Scope, Simulator};
use serde_json::json;

use super::{change, until_generation, watching};
use crate::client::{Keeper, Open};
use crate::world::{CALL, PASSWORD, World, call, until};

/// A download that goes on for as long as the test does not read it.
async fn held(world: &World, agent: u32) -> Open {
    world.sim.add_file("1621413752-64", 64 * 1024 * 1024);
    let mut open = world.open(&call(agent, "1621413752-64"), &world.issuer.agent(agent), &[]).await;
    assert_eq!(open.status, 200);
    open.piece().await.expect("a piece").expect("a good one");
    open
}

async fn status(world: &World) -> u16 {
    world.get(&call(1001, CALL), &world.issuer.agent(1001)).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_downloads_holds_over_a_change() {
    let world = watching().config(|c| c["server"]["max_downloads"] = 2.into()).start().await;
    let (one, two) = (held(&world, 1001).await, held(&world, 1002).await);
    assert_eq!(status(&world).await, 503);
    change(&world, |c| c["server"]["max_downloads"] = 1.into());
    until_generation(&world, 2).await;
    drop(one);
    until("its end", || async { world.events("aborted").len() == 1 }).await;
    assert_eq!(status(&world).await, 503, "one is open, and that is all there may be");
    change(&world, |c| c["server"]["max_downloads"] = 3.into());
    until_generation(&world, 3).await;
    // More than at the start: the audit log has places for them, too.
    let (three, four) = (held(&world, 1001).await, held(&world, 1001).await);
    assert_eq!(status(&world).await, 503);
    drop((two, three, four));
    until("all ends", || async { world.events("aborted").len() == 4 }).await;
    until("a place", || async { status(&world).await == 200 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_on_connections_can_grow() {
    let world = watching().config(|c| c["server"]["max_connections"] = 1.into()).start().await;
    // One that only waited for its client would have to go.
    let busy = held(&world, 1002).await;
    let (token, target) = (world.issuer.agent(1001), call(1001, CALL));
    let waiting = world.get(&target, &token);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut waiting).await.is_err(), "it waits to be accepted");
    change(&world, |c| c["server"]["max_connections"] = 2.into());
    assert_eq!(waiting.await.status, 200);
    drop(busy);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_and_open_connections_outlive_every_change() {
    let world = watching().start().await;
    let token = format!("Bearer {}", world.issuer.agent(1001));
    let mut kept = Keeper::open(world.server()).await;
    let target = call(1001, CALL);
    for generation in 2..7_u32 {
        let answer = kept.get(&target, &[("authorization", &token)]).await;
        assert_eq!((answer.status.as_u16(), answer.whole), (200, true));
        change(&world, |c| match generation {
            // A client of its own for the gateway, other rules for sessions, other rules for everybody.
            2 => c["upstream"]["response_timeout"] = "29s".into(),
            3 => c["sessions"]["idle_sign_out"] = "14m".into(),
            4 => c["sessions"]["max_agents"] = 9.into(),
            5 => c["sessions"]["sign_ins"] = json!({ "at_once": 1 }),
            _ => c["auth"]["leeway"] = "29s".into(),
        });
        until_generation(&world, generation).await;
    }
    let answer = kept.get(&target, &[("authorization", &token)]).await;
    assert_eq!(answer.status, 200);
    let counts = world.sim.counts();
    assert_eq!((counts.sign_ins, counts.sign_outs), (1, 0));
    assert_eq!(world.sim.broken_rules(), vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_rest_signs_out_who_has_rested_so_long() {
    let world = watching().start().await;
    assert_eq!(status(&world).await, 200);
    change(&world, |c| c["sessions"]["idle_sign_out"] = "500ms".into());
    until_generation(&world, 2).await;
    until("signed out", || async { world.sim.signed_in(1001).is_none() }).await;
    assert_eq!(status(&world).await, 200, "and in again");
    assert_eq!(world.sim.broken_rules(), vec![]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pages_of_other_origins_may_read_changes_with_the_next_request() {
    let world = watching().start().await;
    let token = format!("Bearer {}", world.issuer.agent(1001));
    let mut kept = Keeper::open(world.server()).await;
    let target = call(1001, CALL);
    let headers = [("authorization", token.as_str()), ("origin", "https://app.example")];
    assert_eq!(kept.get(&target, &headers).await.header("access-control-allow-origin"), "");
    change(&world, |c| c["server"]["cors"] = json!({ "allowed_origins": ["https://app.example"] }));
    until_generation(&world, 2).await;
    assert_eq!(kept.get(&target, &headers).await.header("access-control-allow-origin"), "https://app.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_session_is_given_none_of_another_gateway() {
    let agents = sim::AgentSource::Any { password: PASSWORD.to_owned() };
    let other = Simulator::start(sim::Config { agents, ..sim::Config::default() }).await.unwrap();
    let one_at_a_time = watching().config(|c| c["sessions"]["sign_ins"] = json!({ "at_once": 1 }));
    let mut world = one_at_a_time.without_gateway().await;
    std::fs::write(world.dir().join("upstream-ca.pem"), [world.sim.ca_pem(), other.ca_pem()].concat()).unwrap();
    world.run_here().await;
    world.until_ready().await;
    world.fault(Kind::DelayHead(Duration::from_secs(8)), Scope::SignIn, 1);
    let token = world.issuer.agent(1001);
    let (second, others, target) = (world.issuer.agent(1002), call(1002, CALL), call(1001, CALL));
    let (busy, waited, ()) = tokio::join!(
        world.get(&others, &second),
        async {
            until("a sign-in", || async { world.sim.counts().sign_in_calls == 1 }).await;
            world.get(&target, &token).await
        },
        async {
            until("both wait", || async { world.metric("ccgate_sessions{state=\"signing_in\"}").await == Some(2.0) })
                .await;
            change(&world, |c| c["upstream"]["url"] = other.url().into());
            until_generation(&world, 2).await;
        }
    );
    // The first one's Guid is of the gateway before, and what is asked for next is asked of the other.
    for answer in [&busy, &waited] {
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (503, "1"));
        assert_eq!(answer.code(), "upstream_switching");
    }
    assert_eq!(world.get(&target, &token).await.status, 200);
    let (before, now) = (world.sim.counts(), other.counts());
    assert_eq!((before.sign_ins, now.sign_ins, now.sign_outs), (1, 1, 0), "a healthy session is no lost one");
    assert!(world.sim.requests().iter().all(|seen| !seen.target.contains("recordfile")), "and no Guid went astray");
    assert_eq!(other.broken_rules(), vec![]);
}
