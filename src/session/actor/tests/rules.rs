//! Rules that change while sessions live.

use super::*;
use crate::session::Watch;
use crate::session::journal::LossCause;
use crate::session::store::{self, Entry, Found, Version, Watcher};

/// The rules of a world that begins as all do, with a change.
fn rules(world: &World, change: impl FnOnce(&mut crate::session::Config)) -> crate::session::Config {
    let mut rules = World::rules(world.accounts.path());
    change(&mut rules);
    rules
}

#[tokio::test(start_paused = true)]
async fn a_shorter_rest_holds_for_who_rests_already() {
    let world = World::new();
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    sleep(120 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)));
    world.sessions.reconfigure(rules(&world, |rules| rules.idle_sign_out = 180 * SECOND), world.gateway.clone());
    sleep(50 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)), "not three minutes yet");
    sleep(20 * SECOND).await;
    assert!(!world.gateway.is_live(agent(1001)));
    assert_eq!(world.gateway.count("sign in Platform"), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_and_who_has_a_lease_go_on_over_a_change() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    let waiting = world.sessions.lease(agent(1001));
    tokio::pin!(waiting);
    assert!(timeout(SECOND, &mut waiting).await.is_err(), "it is being signed in");
    world.sessions.reconfigure(rules(&world, |rules| rules.sign_ins_at_once = 1), world.gateway.clone());
    let lease = waiting.await.expect("the sign-in goes on");
    world.sessions.reconfigure(rules(&world, |rules| rules.idle_sign_out = SECOND), world.gateway.clone());
    sleep(60 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)), "it is in use");
    assert_eq!(world.gateway.count("sign in Platform"), 1);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn another_client_makes_the_calls_from_then_on() {
    let world = World::new();
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    let other = world::Gateway::default();
    world.sessions.reconfigure(rules(&world, |_| {}), other.clone());
    // A gateway that has never heard of the session: what it answers shows that it was asked.
    sleep(60 * SECOND).await;
    let before = other.count("sign in Platform");
    drop(world.sessions.lease(agent(1001)).await.expect("a fresh one"));
    assert_eq!((world.gateway.count("sign in Platform"), before, other.count("sign in Platform")), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_bound_on_agents_holds_for_the_next_one() {
    let world = World::new();
    world.account(agent(1002), "");
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    world.sessions.reconfigure(rules(&world, |rules| rules.agents_max = 1), world.gateway.clone());
    assert!(matches!(world.sessions.lease(agent(1002)).await, Err(Error::TooManyAgents)));
    assert!(world.sessions.lease(agent(1001)).await.is_ok(), "who is in stays in");
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_another_gateway_is_told_from_one_of_the_gateway_that_was_asked_for() {
    let world = World::new();
    let before = world.sessions.lease(agent(1001)).await.expect("a lease");
    let name = "other.example:8043";
    let other = world::Gateway::default();
    world.sessions.reconfigure(rules(&world, |rules| rules.upstream = name.to_owned()), other.clone());
    let before = before.at("gateway.example:8043").expect("it is what it was");
    let after = before.renewed().await.expect("the session as it is now");
    let error = after.at("gateway.example:8043").expect_err("it is the other one's from now on");
    assert_eq!((error.code(), error.retry_after()), ("upstream_switching", Some(SECOND)));
    assert!(world.sessions.lease(agent(1001)).await.expect("a lease").at(name).is_ok());
}

/// Told by the store of a session that nobody here knows of: it is let go, or others would wait for it.
#[tokio::test(start_paused = true)]
async fn a_refusal_for_an_agent_without_an_actor_is_looked_into() {
    let world = World::new();
    let (store, agent) = (Arc::clone(&world.sessions.0.store), agent(1001));
    let Ok(Found::Owned { fence, .. }) = store.seek(agent, 0).await else { panic!("there is no other process") };
    store.write(agent, fence, Entry::SigningIn).await.expect("taken");
    let watch = Watch(Arc::downgrade(&world.sessions.0));
    watch.rejected(agent, Version { fence, rotation: 0 }, LossCause::Forgotten);
    sleep(SECOND).await;
    assert!(matches!(store.write(agent, fence, Entry::SigningIn).await, Err(store::Error::Superseded)), "let go");
    assert_eq!(world.gateway.count("sign in Platform"), 0, "nobody waits for a session");
    assert!(world.sessions.actors().handles.is_empty(), "and the actor has ended");
}
