//! One authenticator after another: what goes on, what does not, and what readiness says meanwhile. The clock is paused.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::issuer::{ISSUER, OTHER_P256, P256, claims, header, raw, set, token};
use super::script::Answer;
use super::world::{World, config, good_script, issuer, key_file, scripted_config};
use crate::authn::{Algorithm, Config, Error, KeySource, Timing, Untrusted};

const MINUTE: Duration = Duration::from_mins(1);

impl World {
    /// Puts the next one in force, as whoever owns the tasks does.
    async fn follow(&mut self, config: &Config, unchanged: bool) {
        let next = self.authenticator.next(config, |_| unchanged).expect("a good config");
        assert!(next.load_new().await.is_empty());
        self.stop().await;
        self.authenticator = Arc::new(next);
        self.authenticator.take_up();
        self.start();
    }
}

fn unknown_key() -> String {
    raw(&OTHER_P256, Algorithm::ES256, &header("ES256", "unknown").to_string(), &claims().to_string())
}

#[tokio::test(start_paused = true)]
async fn keys_go_on_and_are_fetched_when_they_would_have_been() {
    let script = good_script();
    let mut world = World::running(&script).await;
    assert!(world.check(&token(&claims())).await.is_ok());
    // More often than keys are fetched: they must be fetched all the same.
    for round in 0..30_u64 {
        sleep(MINUTE).await;
        let mut other = scripted_config();
        other.leeway = Duration::from_secs(round);
        world.follow(&other, true).await;
        assert_eq!(world.not_ready(), None);
        // Later on the token itself is too old.
        assert!(round >= 4 || world.check(&token(&claims())).await.is_ok(), "{round}");
    }
    assert!((5..=8).contains(&script.fetches()), "every 5 to 5.5 minutes of 30: {}", script.fetches());
    assert!(world.metrics().contains("ccgate_jwks_keys{issuer=\"https://idp.example\"} 1"));
}

#[tokio::test(start_paused = true)]
async fn taking_keys_up_confirms_none_of_them() {
    let mut world = World::running(&good_script()).await;
    let confirmed = |world: &World| {
        let page = world.metrics();
        page.lines().find(|line| line.starts_with("ccgate_jwks_last_success_timestamp_seconds{")).map(str::to_owned)
    };
    let before = confirmed(&world).expect("a series");
    sleep(3 * MINUTE).await;
    world.follow(&scripted_config(), true).await;
    assert_eq!(confirmed(&world), Some(before), "three minutes ago");
}

#[tokio::test(start_paused = true)]
async fn no_token_gets_in_by_what_held_before() {
    let mut world = World::running(&good_script()).await;
    assert!(world.check(&token(&claims())).await.is_ok());
    let mut other = scripted_config();
    other.issuers[0].audiences = vec!["somebody else".to_owned()];
    world.follow(&other, true).await;
    assert_eq!(world.refusal(&token(&claims())).await, Error::Untrusted(Untrusted::Audience));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_was_cut_short_keeps_nobody_waiting() {
    let script = good_script();
    let mut world = World::running(&script).await;
    script.set(Answer::Hang);
    sleep(6 * MINUTE).await;
    let fetched = script.fetches();
    assert!(fetched > 1, "one hangs");
    script.set(Answer::Set(set(&[P256.jwk("k1")])));
    world.follow(&scripted_config(), true).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(script.fetches(), fetched + 1, "it was due");
    assert_eq!(world.refusal(&unknown_key()).await, Error::Untrusted(Untrusted::Key), "there is an answer");
}

#[tokio::test(start_paused = true)]
async fn another_key_file_is_read_before_anything_changes_and_a_broken_one_refuses() {
    let file = key_file(&set(&[P256.jwk("k1")]));
    let of_file = config(vec![issuer(ISSUER, KeySource::File(file.path().to_owned()))]);
    let mut world = World::with_config(&of_file).expect("good");
    world.start();
    assert!(world.check(&token(&claims())).await.is_ok());
    std::fs::write(file.path(), "{").unwrap();
    assert!(world.authenticator.next(&of_file, |_| false).is_err());
    assert_eq!(world.not_ready(), None, "nothing has changed");
    std::fs::write(file.path(), set(&[OTHER_P256.jwk("unknown")])).unwrap();
    world.follow(&of_file, false).await;
    assert!(world.check(&unknown_key()).await.is_ok());
    assert_eq!(world.refusal(&token(&claims())).await, Error::Untrusted(Untrusted::Key));
}

#[tokio::test(start_paused = true)]
async fn r05_a_set_that_gets_too_old_is_told_at_once_and_not_with_the_next_fetch() {
    let script = good_script();
    let timing = Timing { stale_max: MINUTE, ..Timing::default() };
    let mut world = World::scripted(&scripted_config(), &[(ISSUER, &script)], timing);
    world.start();
    sleep(Duration::from_secs(59)).await;
    assert_eq!(world.not_ready(), None);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.not_ready().as_deref(), Some("https://idp.example: the key set is too old"));
    assert!(matches!(world.refusal(&token(&claims())).await, Error::KeysUnavailable { .. }));
    assert_eq!(script.fetches(), 1, "nobody has asked meanwhile");
    sleep(5 * MINUTE).await;
    assert_eq!(script.fetches(), 2);
}
