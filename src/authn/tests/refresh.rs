//! Fetching keys: when, how often, and what holds while it fails. The clock is paused: minutes pass at once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::issuer::{ISSUER, NOW, OTHER_P256, P256, Signer, claims, claims_with, header, raw, set, token};
use super::script::{Answer, Script};
use super::world::{World, config, good_script, issuer, key_file, scripted_config};
use crate::authn::{Algorithm, Error, KeySource, Timing, Untrusted};

const MINUTE: Duration = Duration::from_mins(1);

fn by(signer: &Signer, kid: &str) -> String {
    raw(signer, Algorithm::ES256, &header("ES256", kid).to_string(), &claims().to_string())
}

/// A token of the key `k1` for when the test is so many hours old.
fn after(hours: i64) -> String {
    let now = NOW + hours * 3600;
    token(&claims_with(&json!({"exp": now + 300, "iat": now - 10, "nbf": null})))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_at_once_and_then_at_intervals() {
    let script = good_script();
    let mut world = World::scripted(&scripted_config(), &[(ISSUER, &script)], Timing::default());
    assert_eq!(world.not_ready().as_deref(), Some("https://idp.example: the key set is not loaded yet"));
    assert!(matches!(world.refusal(&token(&claims())).await, Error::KeysUnavailable { .. }), "before the first load");
    world.start();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((script.fetches(), world.not_ready()), (1, None));
    assert!(world.check(&token(&claims())).await.is_ok());
    sleep(60 * MINUTE).await;
    assert!((11..=13).contains(&script.fetches()), "every 5 to 5.5 minutes: {}", script.fetches());
    world.stop().await;
    let fetched = script.fetches();
    sleep(60 * MINUTE).await;
    assert_eq!(script.fetches(), fetched, "nothing runs after the end");
}

#[tokio::test(start_paused = true)]
async fn r05_a_flood_of_unknown_keys_is_one_fetch_a_cooldown() {
    let script = good_script();
    let world = World::running(&script).await;
    sleep(MINUTE).await;
    let begin = Instant::now();
    for round in 0..100 {
        let tokens: Vec<_> = (0..100).map(|n| by(&OTHER_P256, &format!("random-{round}-{n}"))).collect();
        let results = join_all(tokens.iter().map(|token| world.check(token))).await;
        assert!(results.into_iter().all(|result| result.is_err()));
        assert!(world.check(&token(&claims())).await.is_ok(), "known keys go on");
        sleep(Duration::from_secs(1)).await;
    }
    let cooldowns = begin.elapsed().as_secs() / 30 + 1;
    let fetches = u64::try_from(script.fetches()).unwrap() - 1;
    assert!(fetches <= cooldowns, "{fetches} fetches in {cooldowns} cooldowns");
    assert_eq!(script.running_max(), 1, "one at a time");
}

#[tokio::test(start_paused = true)]
async fn r05_many_waiters_share_one_fetch_and_are_bounded() {
    let script = good_script();
    let world = World::running(&script).await;
    sleep(MINUTE).await;
    script.set(Answer::Set(set(&[P256.jwk("k1"), OTHER_P256.jwk("k2")])));
    let rotated = by(&OTHER_P256, "k2");
    let results = join_all((0..300).map(|_| world.check(&rotated))).await;
    let good = results.iter().filter(|result| result.is_ok()).count();
    let turned_away = results.iter().filter(|result| matches!(result, Err(Error::KeysUnavailable { .. }))).count();
    assert_eq!((good, turned_away), (256, 44));
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn r05_a_rotation_is_seen_within_the_cooldown() {
    let script = good_script();
    let world = World::running(&script).await;
    script.set(Answer::Set(set(&[P256.jwk("k1"), OTHER_P256.jwk("k2")])));
    let rotated = by(&OTHER_P256, "k2");
    assert_eq!(world.refusal(&rotated).await, Error::Untrusted(Untrusted::Key), "the set is fresh: it says no");
    let begin = Instant::now();
    while world.check(&rotated).await.is_err() {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begin.elapsed() <= Duration::from_secs(31), "{:?}", begin.elapsed());
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn r05_with_the_issuer_down_known_keys_work_until_too_old() {
    let script = good_script();
    let world = World::running(&script).await;
    script.set(Answer::Down);
    sleep(23 * 60 * MINUTE).await;
    assert_eq!(world.not_ready(), None);
    let before = world.check(&after(23)).await;
    assert!(before.is_ok(), "{before:?}");
    let unknown = world.refusal(&by(&OTHER_P256, "k2")).await;
    assert!(matches!(unknown, Error::KeysUnavailable { .. }), "the last fetch failed: we can't tell, {unknown:?}");
    sleep(2 * 60 * MINUTE).await;
    let refused = world.refusal(&after(25)).await;
    let Error::KeysUnavailable { retry_after } = refused else { panic!("503, not 401: {refused:?}") };
    assert!((1..=30).contains(&retry_after.as_secs()), "{retry_after:?}");
    assert_eq!(world.not_ready().as_deref(), Some("https://idp.example: the key set is too old"));
    let retries = script.fetches();
    assert!((700..=1_600).contains(&retries), "1 to 2 minutes apart: {retries}");
    script.set(Answer::Set(set(&[P256.jwk("k1")])));
    sleep(3 * MINUTE).await;
    assert!(world.check(&after(25)).await.is_ok());
    assert_eq!(world.not_ready(), None);
}

#[tokio::test(start_paused = true)]
async fn r05_a_bad_set_leaves_the_last_good_one() {
    let script = good_script();
    let world = World::running(&script).await;
    for bad in [
        String::new(),
        "<html>".to_owned(),
        r#"{"keys":[]}"#.to_owned(),
        r#"{"keys":[{"kty":"oct","kid":"k1","k":"AAAA"}]}"#.to_owned(),
        set(&(0..65).map(|n| P256.jwk(&format!("k{n}"))).collect::<Vec<_>>()),
        format!("{}{}", set(&[OTHER_P256.jwk("k1")]), " ".repeat(256 * 1024)),
    ] {
        let fetched = script.fetches();
        script.set(Answer::Set(bad));
        sleep(7 * MINUTE).await;
        assert!(script.fetches() > fetched);
        let minutes = claims_with(&json!({"exp": NOW + 86_000, "iat": NOW - 10}));
        assert!(world.check(&token(&minutes)).await.is_ok());
        assert_eq!(world.not_ready(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_is_given_up_and_nobody_waits_for_long() {
    let script = good_script();
    let world = World::running(&script).await;
    script.set(Answer::Hang);
    sleep(MINUTE).await;
    let begin = Instant::now();
    let refused = world.refusal(&by(&OTHER_P256, "k2")).await;
    assert!(matches!(refused, Error::KeysUnavailable { .. }), "{refused:?}");
    assert_eq!(begin.elapsed(), Timing::default().wait_max);
    script.set(Answer::Set(set(&[OTHER_P256.jwk("k2")])));
    sleep(MINUTE).await;
    assert!(world.check(&by(&OTHER_P256, "k2")).await.is_ok(), "the hanging fetch was given up");
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_takes_nothing_along() {
    let script = good_script();
    let world = World::running(&script).await;
    sleep(MINUTE).await;
    script.set(Answer::Set(set(&[OTHER_P256.jwk("k2")])));
    let rotated = by(&OTHER_P256, "k2");
    let left = tokio::time::timeout(Duration::from_millis(10), world.check(&rotated)).await;
    assert!(left.is_err(), "it was still waiting");
    assert!(world.check(&rotated).await.is_ok());
    assert_eq!(script.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_an_owner_nobody_waits_for_ever() {
    let script = good_script();
    let mut world = World::running(&script).await;
    world.stop().await;
    sleep(MINUTE).await;
    let refused = world.refusal(&by(&OTHER_P256, "k2")).await;
    assert!(matches!(refused, Error::KeysUnavailable { .. }), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_owner_waits_for_the_first() {
    let script = good_script();
    let mut world = World::running(&script).await;
    world.start();
    sleep(60 * MINUTE).await;
    assert!(script.fetches() <= 13, "{}", script.fetches());
}

#[tokio::test(start_paused = true)]
async fn r05_the_first_load_is_tried_until_it_succeeds() {
    let script = Arc::new(Script::new([Answer::Down]));
    let world = World::running(&script).await;
    sleep(10 * MINUTE).await;
    let tries = script.fetches();
    assert!((8..=20).contains(&tries), "growing pauses: {tries}");
    assert_eq!(world.not_ready().as_deref(), Some("https://idp.example: the key set cannot be fetched"));
    assert!(matches!(world.refusal(&token(&claims())).await, Error::KeysUnavailable { .. }));
    script.set(Answer::Set(set(&[P256.jwk("k1")])));
    sleep(3 * MINUTE).await;
    assert_eq!(world.not_ready(), None);
}

#[tokio::test(start_paused = true)]
async fn one_issuer_that_is_down_does_not_hold_up_another() {
    const OTHER: &str = "https://other.example";
    let (up, down) = (good_script(), Arc::new(Script::new([Answer::Hang])));
    let both = config(vec![issuer(OTHER, KeySource::Discovery), issuer(ISSUER, KeySource::Discovery)]);
    let mut world = World::scripted(&both, &[(ISSUER, &up), (OTHER, &down)], Timing::default());
    world.start();
    sleep(Duration::from_secs(20)).await;
    assert!(world.check(&token(&claims())).await.is_ok());
    let reason = world.not_ready().expect("one is missing");
    assert_eq!(reason, "https://other.example: the key set did not come in time");
    let metrics = world.metrics();
    assert!(metrics.contains("ccgate_jwks_keys{issuer=\"https://idp.example\"} 1"), "{metrics}");
    assert!(metrics.contains("ccgate_jwks_keys{issuer=\"https://other.example\"} 0"), "{metrics}");
    assert!(metrics.contains(&format!("timestamp_seconds{{issuer=\"https://idp.example\"}} {NOW}")), "{metrics}");
}

#[tokio::test(start_paused = true)]
async fn a_key_file_counts_as_it_was_read_until_the_configuration_is_read_again() {
    let file = key_file(&set(&[P256.jwk("k1")]));
    let source = KeySource::File(file.path().to_owned());
    let mut world = World::with_config(&config(vec![issuer(ISSUER, source)])).expect("good");
    assert_eq!(world.not_ready(), None, "it was read at the start");
    assert!(world.metrics().contains("ccgate_jwks_keys{issuer=\"https://idp.example\"} 1"));
    world.start();
    std::fs::write(file.path(), set(&[OTHER_P256.jwk("k2")])).unwrap();
    sleep(2 * MINUTE).await;
    assert!(world.check(&token(&claims())).await.is_ok(), "what is in force is a whole");
    assert_eq!(
        world.refusal(&by(&OTHER_P256, "k2")).await,
        Error::Untrusted(Untrusted::Key),
        "and no token changes it"
    );
    let metrics = world.metrics();
    let confirmed = format!("timestamp_seconds{{issuer=\"https://idp.example\"}} {}", NOW + 120);
    assert!(metrics.contains(&confirmed), "{metrics}");
    std::fs::write(file.path(), "{").unwrap();
    sleep(2 * 24 * 60 * MINUTE).await;
    assert_eq!(world.not_ready(), None, "it does not get too old for as long as it is in force");
}

#[tokio::test(start_paused = true)]
async fn once_is_one_fetch_and_tells_what_did_not_come() {
    let script = good_script();
    let world = World::scripted(&scripted_config(), &[(ISSUER, &script)], Timing::default());
    assert!(world.authenticator.refresh_once().await.is_empty());
    assert_eq!((script.fetches(), world.not_ready()), (1, None));
    assert!(world.check(&token(&claims())).await.is_ok());
    sleep(60 * MINUTE).await;
    assert_eq!(script.fetches(), 1, "nothing goes on by itself");
    script.set(Answer::Down);
    let failed = world.authenticator.refresh_once().await;
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0].0, ISSUER);
    assert!(world.check(&token(&claims())).await.is_err_and(|error| error == Error::Expired), "an hour later");
}

#[tokio::test(start_paused = true)]
async fn r05_a_token_that_cannot_be_good_causes_no_fetch() {
    let script = good_script();
    let mut narrow = scripted_config();
    narrow.issuers[0].algorithms = vec![Algorithm::ES384, Algorithm::ES256];
    let mut world = World::scripted(&narrow, &[(ISSUER, &script)], Timing::default());
    world.start();
    sleep(MINUTE).await;
    let rs256 = raw(&P256, Algorithm::ES256, &header("RS256", "unknown").to_string(), &claims().to_string());
    assert_eq!(world.refusal(&rs256).await, Error::Untrusted(Untrusted::Algorithm));
    let stranger = claims_with(&json!({"iss": "https://evil.example"})).to_string();
    let stranger = raw(&P256, Algorithm::ES256, &header("ES256", "unknown").to_string(), &stranger);
    assert_eq!(world.refusal(&stranger).await, Error::Untrusted(Untrusted::Issuer));
    assert_eq!(script.fetches(), 1);
    // To see that this test can fail: the same with nothing wrong but the key id.
    assert_eq!(world.refusal(&by(&P256, "unknown")).await, Error::Untrusted(Untrusted::Key));
    assert_eq!(script.fetches(), 2);
}
