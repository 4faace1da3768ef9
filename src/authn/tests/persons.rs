//! Tokens of one person: they share who it is, and nothing else.

use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::issuer::{NOW, claims, claims_with, token};
use super::world::World;
use crate::authn::{Caller, Error};

async fn caller(world: &World, changes: &serde_json::Value) -> Caller {
    world.check(&token(&claims_with(changes))).await.expect("a good token")
}

fn same(one: &Caller, other: &Caller) -> bool {
    ptr::eq(one.person(), other.person())
}

#[tokio::test]
async fn two_tokens_of_a_person_share_it_and_keep_what_is_their_own() {
    let world = World::simple();
    let one = caller(&world, &json!({"jti": "a", "exp": NOW + 60})).await;
    let other = caller(&world, &json!({"jti": "b", "exp": NOW + 90})).await;
    assert!(same(&one, &other));
    assert_eq!((world.authenticator.remembered(), world.authenticator.remembered_persons()), (2, 1));
    assert_ne!(one.token_tag(), other.token_tag());
    assert_eq!((one.expires().as_second(), other.expires().as_second()), (NOW + 60, NOW + 90));
    one.person().memory().put(Arc::new(7_u8));
    assert_eq!(other.person().memory().get::<u8>(), Some(Arc::new(7)));
}

#[tokio::test]
async fn whoever_differs_in_anything_is_another_person() {
    let world = World::simple();
    let mut seen = vec![world.check(&token(&claims())).await.expect("a good token")];
    for changes in [
        json!({"sub": "somebody else"}),
        json!({"client_id": "another"}),
        json!({"agent_id": "4999"}),
        json!({"roles": ["agent", "another"]}),
        json!({"roles": ["Agent"]}),
        json!({"roles": []}),
        json!({"inspects": ["4998"]}),
        json!({"inspects": ["*"]}),
        json!({"inspects": ["*", "4998"]}),
        json!({"teams": ["another"]}),
        // Names that only look the same when they are written one behind the other.
        json!({"roles": ["a", "b"], "teams": []}),
        json!({"roles": ["a"], "teams": ["b"]}),
    ] {
        let next = caller(&world, &changes).await;
        assert!(!seen.iter().any(|before| same(before, &next)), "{changes}");
        assert!(next.person().memory().get::<u8>().is_none(), "{changes}");
        next.person().memory().put(Arc::new(1_u8));
        seen.push(next);
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_known_lets_no_token_in() {
    let world = World::simple();
    let brief = token(&claims_with(&json!({"exp": NOW + 60})));
    let known = world.check(&brief).await.expect("a good token");
    let later = caller(&world, &json!({"exp": NOW + 600})).await;
    assert!(same(&known, &later));
    sleep(Duration::from_secs(90)).await;
    assert_eq!(world.refusal(&brief).await, Error::Expired);
    assert!(world.check(&format!("{brief}x")).await.is_err());
}

#[tokio::test]
async fn what_is_refused_makes_no_person() {
    let world = World::simple();
    for changes in [json!({"aud": "other"}), json!({"exp": NOW - 100}), json!({"cnf": {"jkt": "x"}})] {
        world.refusal(&token(&claims_with(&changes))).await;
    }
    assert_eq!(world.authenticator.remembered_persons(), 0);
}
