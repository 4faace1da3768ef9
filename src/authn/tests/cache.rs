//! Tokens that were verified before: they hold exactly as long as a fresh look would say so.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::issuer::{NOW, OTHER_P256, P256, claims, claims_with, set, token};
use super::script::Answer;
use super::world::{World, good_script};
use crate::authn::{Error, Untrusted};

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_remembered_token_ends_with_its_time() {
    let world = World::simple();
    let token = token(&claims_with(&json!({"exp": NOW + 60})));
    for _ in 0..3 {
        assert!(world.check(&token).await.is_ok());
    }
    assert_eq!(world.authenticator.remembered(), 1);
    sleep(Duration::from_secs(89)).await;
    assert!(world.check(&token).await.is_ok(), "within the leeway");
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.refusal(&token).await, Error::Expired);
    assert_eq!(world.authenticator.remembered(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_ends_with_its_key() {
    let script = good_script();
    let world = World::running(&script).await;
    let token = token(&claims_with(&json!({"exp": NOW + 86_000})));
    assert!(world.check(&token).await.is_ok());
    // The same set again, and one with more keys: the key is still there.
    script.set(Answer::Set(set(&[OTHER_P256.jwk("k2"), P256.jwk("k1")])));
    sleep(6 * MINUTE).await;
    assert!(world.check(&token).await.is_ok());
    // Another key under the same id.
    script.set(Answer::Set(set(&[OTHER_P256.jwk("k1")])));
    sleep(6 * MINUTE).await;
    assert_eq!(world.refusal(&token).await, Error::Untrusted(Untrusted::Signature));
    script.set(Answer::Set(set(&[P256.jwk("k1")])));
    sleep(6 * MINUTE).await;
    assert!(world.check(&token).await.is_ok());
    script.set(Answer::Set(set(&[OTHER_P256.jwk("k2")])));
    sleep(6 * MINUTE).await;
    assert_eq!(world.refusal(&token).await, Error::Untrusted(Untrusted::Key));
}

#[tokio::test(start_paused = true)]
async fn r05_a_remembered_token_ends_when_the_keys_are_too_old() {
    let script = good_script();
    let world = World::running(&script).await;
    script.set(Answer::Down);
    sleep(20 * 60 * MINUTE).await;
    let now = NOW + 20 * 3600;
    let token = token(&claims_with(&json!({"exp": now + 80_000, "iat": now, "nbf": now})));
    assert!(world.check(&token).await.is_ok());
    sleep(5 * 60 * MINUTE).await;
    assert!(matches!(world.refusal(&token).await, Error::KeysUnavailable { .. }));
}

#[tokio::test]
async fn failures_are_not_remembered() {
    let world = World::simple();
    for claims in [
        claims_with(&json!({"aud": "other"})),
        claims_with(&json!({"exp": NOW - 100})),
        claims_with(&json!({"roles": 1})),
    ] {
        world.refusal(&token(&claims)).await;
    }
    assert_eq!(world.authenticator.remembered(), 0);
}

#[tokio::test]
async fn decisions_are_counted_under_closed_labels() {
    let world = World::simple();
    let good = token(&claims());
    for _ in 0..2 {
        assert!(world.check(&good).await.is_ok());
    }
    world.refusal(&token(&claims_with(&json!({"exp": NOW - 100})))).await;
    world.refusal("x").await;
    assert_eq!(world.authenticator.authenticate(&http::HeaderMap::new(), None).await.err(), Some(Error::Missing));
    let metrics = world.metrics();
    for line in [
        r#"ccgate_auth_decisions_total{decision="allow",reason="ok"} 2"#,
        r#"ccgate_auth_decisions_total{decision="deny",reason="token_expired"} 1"#,
        r#"ccgate_auth_decisions_total{decision="deny",reason="token_malformed"} 1"#,
        r#"ccgate_auth_decisions_total{decision="deny",reason="token_missing"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}
