//! Where keys come from: a provider that rotates them, is asked too often, is down, or speaks for another.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{claims_text, refused, served};
use crate::client::{Answer, Keeper};
use crate::idp::Idp;
use crate::issuer::{ISSUER, Issuer, encoded};
use crate::world::{Builder, CALL, World, call, until};

/// A gateway whose keys come from this provider: by address, or by discovery.
fn with_keys_of(issuer: Issuer, idp: &Idp, name: &str, url: Option<&str>) -> Builder {
    World::new().issuer(issuer).config(|config| {
        let entry = config["auth"]["issuers"][0].as_object_mut().unwrap();
        entry.remove("jwks_file");
        entry.insert("issuer".to_owned(), name.into());
        if let Some(path) = url {
            entry.insert("jwks_url".to_owned(), format!("{}{path}", idp.origin).into());
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_a_flood_of_unknown_keys_is_one_fetch_a_cooldown() {
    const CONNECTIONS: usize = 32;
    const TOKENS: usize = 10_000;
    let (idp, issuer) = (Idp::start().await, Issuer::new("k1"));
    idp.put("/jwks", &issuer.jwks().to_string());
    let world = with_keys_of(issuer, &idp, ISSUER, Some("/jwks")).start().await;
    assert_eq!(idp.asked("/jwks"), 1);
    let begin = Instant::now();
    let (claims, server) = (encoded(claims_text("x", "1").as_bytes()), world.server());
    let mut flood = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let claims = claims.clone();
        flood.spawn(async move {
            let mut keeper = Keeper::open(server).await;
            for n in (connection..TOKENS).step_by(CONNECTIONS) {
                let header = json!({ "alg": "ES256", "typ": "JWT", "kid": format!("random-{n}") }).to_string();
                let bearer = format!("Bearer {}.{claims}.{}", encoded(header.as_bytes()), encoded(&[7; 64]));
                let answer = keeper.get(&call(1001, CALL), &[("authorization", &bearer)]).await;
                assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_untrusted"), "{answer:?}");
            }
        });
    }
    let token = world.issuer.agent(1001);
    for _ in 0..5 {
        served(&world, &token, "a known key meanwhile").await;
    }
    flood.join_all().await;
    let cooldowns = 1 + usize::try_from(begin.elapsed().as_secs()).unwrap() / 30;
    assert!(idp.asked("/jwks") <= 1 + cooldowns, "{} fetches in {:?}", idp.asked("/jwks"), begin.elapsed());
    assert_eq!(
        world.metric("ccgate_auth_decisions_total{decision=\"deny\",reason=\"token_untrusted\"}").await,
        Some(10_000.0)
    );
    served(&world, &token, "a known key afterwards").await;
}

/// Real time passes here, as in the next one: half a minute, the time between two fetches for unknown keys.
#[tokio::test(flavor = "multi_thread")]
async fn r05_a_rotation_is_seen_within_the_cooldown() {
    let (idp, issuer, next) = (Idp::start().await, Issuer::new("k1"), Issuer::new("k2"));
    idp.put("/jwks", &issuer.jwks().to_string());
    let both = json!({ "keys": [issuer.jwk(), next.jwk()] }).to_string();
    let world = with_keys_of(issuer, &idp, ISSUER, Some("/jwks")).start().await;
    idp.put("/jwks", &both);
    let rotated = next.agent(1001);
    let answer = after_the_cooldown(&world, &rotated).await;
    assert_eq!((answer.status.as_u16(), idp.asked("/jwks")), (200, 2), "{answer:?}");
    served(&world, &world.issuer.agent(1001), "the old key, which is still there").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_with_the_issuer_down_known_keys_go_on_and_others_get_503() {
    let (idp, issuer) = (Idp::start().await, Issuer::new("k1"));
    idp.put("/jwks", &issuer.jwks().to_string());
    let world = with_keys_of(issuer, &idp, ISSUER, Some("/jwks")).start().await;
    idp.take_away("/jwks");
    let answer = after_the_cooldown(&world, &Issuer::new("k2").agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "keys_unavailable"), "nobody can tell now");
    assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(answer.header("www-authenticate"), "");
    served(&world, &world.issuer.agent(1001), "a known key").await;
    world.until_ready().await;
}

/// Asks with a token of an unknown key until the answer is another than "no such key", for 45 s at most. A known key
/// works all the while.
async fn after_the_cooldown(world: &World, unknown: &str) -> Answer {
    let begin = Instant::now();
    loop {
        let answer = world.get(&call(1001, CALL), unknown).await;
        if answer.status != 401 {
            return answer;
        }
        assert_eq!(answer.code(), "token_untrusted", "{answer:?}");
        assert!(begin.elapsed() < Duration::from_secs(45), "a cooldown of 30 s, on a slow machine");
        served(world, &world.issuer.agent(1001), "a known key meanwhile").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn r05_a_start_without_keys_is_503_until_they_come() {
    let (idp, issuer) = (Idp::start().await, Issuer::new("k1"));
    let good = issuer.jwks().to_string();
    idp.put("/elsewhere", &good);
    idp.redirect("/jwks", "/elsewhere");
    let mut world = with_keys_of(issuer, &idp, ISSUER, Some("/jwks")).without_gateway().await;
    world.run_here().await;
    let token = world.issuer.agent(1001);
    let mut asked = 0;
    for bad in [
        // The redirect; then, as the pauses between fetches grow, two of the many sets that are none.
        None,
        Some("<html>".to_owned()),
        Some(format!("{good}{}", " ".repeat(300_000))),
    ] {
        if let Some(bad) = &bad {
            idp.put("/jwks", bad);
        }
        until("a fetch", || async { idp.asked("/jwks") > asked }).await;
        asked = idp.asked("/jwks");
        let answer = refused(&world, &token, "keys_unavailable", "no keys").await;
        assert!(answer.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert_eq!(crate::client::get(world.admin(), "/readyz", &[]).await.status, 503);
    }
    assert_eq!(idp.asked("/elsewhere"), 0, "no redirect is followed");
    idp.put("/jwks", &good);
    tokio::time::timeout(Duration::from_secs(90), async {
        while world.get(&call(1001, CALL), &token).await.status != 200 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
    .expect("the keys come by themselves");
    world.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_discovery_speaks_for_its_own_issuer() {
    const PATH: &str = "/.well-known/openid-configuration";
    for (same, works) in [(true, true), (false, false)] {
        let (idp, issuer) = (Idp::start().await, Issuer::new("k1"));
        let name = if same { idp.origin.clone() } else { format!("{}/", idp.origin) };
        idp.put("/certs", &issuer.jwks().to_string());
        idp.put(PATH, &json!({ "issuer": name, "jwks_uri": format!("{}/certs", idp.origin) }).to_string());
        let origin = idp.origin.clone();
        let mut world = with_keys_of(issuer, &idp, &origin, None).without_gateway().await;
        world.run_here().await;
        let token = world.issuer.token(&json!({ "agent_id": "1001", "iss": origin }));
        if works {
            world.until_ready().await;
            served(&world, &token, "its own").await;
        } else {
            until("a fetch", || async { idp.asked(PATH) > 1 }).await;
            refused(&world, &token, "keys_unavailable", "another's").await;
            assert_eq!(idp.asked("/certs"), 0);
            let page = crate::client::get(world.admin(), "/readyz?verbose", &[]).await;
            let page = String::from_utf8(page.body.to_vec()).unwrap();
            assert!(page.contains("the discovery document cannot be used"), "{page}");
        }
    }
}
