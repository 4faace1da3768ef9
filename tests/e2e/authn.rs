//! Tokens from outside: what is let through over HTTP, what is not, and what the identity provider is asked.

use serde_json::json;

use crate::client::Answer;
use crate::issuer::{AUDIENCE, ISSUER, Issuer, seconds};
use crate::world::{CALL, World, call};

mod algorithms;
mod keys;
mod start;

/// Good claims, but for times written as these JSON texts.
fn claims_text(name: &str, literal: &str) -> String {
    let now = seconds();
    let mut claims = json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "agent_id": "1001", "iat": now, "nbf": now, "exp": now + 600,
    });
    claims[name] = "@@".into();
    claims.to_string().replace("\"@@\"", literal)
}

fn header() -> String {
    json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" }).to_string()
}

async fn refused(world: &World, token: &str, code: &str, what: &str) -> Answer {
    let answer = world.get(&call(1001, CALL), token).await;
    let status = if code == "keys_unavailable" { 503 } else { 401 };
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{what}: {answer:?}");
    assert_eq!(answer.header("www-authenticate").is_empty(), status == 503, "{what}");
    answer
}

async fn served(world: &World, token: &str, what: &str) {
    let answer = world.get(&call(1001, CALL), token).await;
    assert_eq!(answer.status, 200, "{what}: {answer:?}");
}

/// Nothing was let through: every token that was seen has its record, and the upstream was left alone.
fn nobody_came_in(world: &World, refusals: usize) {
    let (denied, authorized) = (world.events("denied"), world.events("authorized"));
    assert_eq!((denied.len(), authorized.len(), world.sim.counts().requests), (refusals, 0, 0));
    assert!(denied.iter().all(|record| record.get("who").is_none()), "nobody is named who was not verified");
}

#[tokio::test(flavor = "multi_thread")]
async fn r01_times_of_the_wrong_type_are_malformed() {
    let world = World::new().start().await;
    let mut count = 0;
    for name in ["exp", "nbf", "iat"] {
        for literal in [
            "\"4000000000\"",
            "null",
            "-1",
            "1e300",
            "4000000000.5",
            "4e9",
            "true",
            "[4000000000]",
            "{}",
            "18446744073709551615",
            "18446744073709551616",
        ] {
            let token = world.issuer.sign_text(&header(), &claims_text(name, literal));
            refused(&world, &token, "token_malformed", &format!("{name}: {literal}")).await;
            count += 1;
        }
    }
    nobody_came_in(&world, count);
    let good = world.issuer.sign_text(&header(), &claims_text("exp", &(seconds() + 60).to_string()));
    served(&world, &good, "the same with a number").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r02_claims_are_required_and_times_are_checked() {
    let world = World::new().start().await;
    let now = seconds();
    let mut count = 0;
    for (claims, code) in [
        (json!({ "iss": null }), "token_malformed"),
        (json!({ "sub": null }), "token_malformed"),
        (json!({ "aud": null }), "token_malformed"),
        (json!({ "exp": null }), "token_malformed"),
        (json!({ "iss": [ISSUER] }), "token_malformed"),
        (json!({ "aud": [AUDIENCE, 5] }), "token_malformed"),
        (json!({ "aud": {} }), "token_malformed"),
        (json!({ "aud": [] }), "token_untrusted"),
        (json!({ "aud": "CCGATE" }), "token_untrusted"),
        (json!({ "iss": "https://idp.example\u{0}" }), "token_untrusted"),
        (json!({ "exp": now - 31, "iat": now - 600 }), "token_expired"),
        (json!({ "nbf": now + 90 }), "token_claims"),
        (json!({ "iat": now + 90, "exp": now + 100 }), "token_claims"),
        (json!({ "exp": now + 25 * 3600 }), "token_claims"),
        (json!({ "exp": 253_402_200_000_i64, "iat": 253_402_199_000_i64 }), "token_claims"),
        (json!({ "iat": now + 20, "exp": now + 10 }), "token_claims"),
    ] {
        let mut all = claims.clone();
        all["agent_id"] = "1001".into();
        refused(&world, &world.issuer.token(&all), code, &claims.to_string()).await;
        count += 1;
    }
    let twice = claims_text("x", "1").replacen('{', "{\"agent_id\":\"1002\",", 1);
    refused(&world, &world.issuer.sign_text(&header(), &twice), "token_malformed", "a claim that stands twice").await;
    nobody_came_in(&world, count + 1);
    served(
        &world,
        &world.issuer.token(&json!({ "agent_id": "1001", "exp": now - 10, "iat": now - 60 })),
        "within the leeway",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r24_an_agent_is_an_id_and_nothing_is_trimmed() {
    let world = World::new().start().await;
    let ids = [
        json!(1001),
        json!("01001"),
        json!(" 1001"),
        json!("1001 "),
        json!("+1001"),
        json!("1001\u{0}"),
        json!("1001\n"),
        json!("1e3"),
        json!("100"),
        json!("1000000"),
        json!(""),
        json!(null),
        json!(["1001"]),
        json!("1001@example"),
        json!("\u{661}\u{660}\u{660}\u{661}"),
        json!("1001,1002"),
        json!(true),
    ];
    for id in &ids {
        refused(&world, &world.issuer.token(&json!({ "agent_id": id })), "token_claims", &id.to_string()).await;
    }
    let others = [
        json!({ "roles": "inspector" }),
        json!({ "roles": [1] }),
        json!({ "inspects": "*" }),
        json!({ "inspects": [4977] }),
        json!({ "inspects": ["0*"] }),
        json!({ "teams": [""] }),
        json!({ "sub": "" }),
        json!({ "sub": "a\u{0}b" }),
        json!({ "sub": "a\nb" }),
        json!({ "client_id": "\u{1b}[2J" }),
    ];
    for claims in &others {
        let mut all = claims.clone();
        all["agent_id"] = "1001".into();
        refused(&world, &world.issuer.token(&all), "token_claims", &claims.to_string()).await;
    }
    nobody_came_in(&world, ids.len() + others.len());
    served(
        &world,
        &world.issuer.token(&json!({ "agent_id": "1001", "sub": "a@b@c.example" })),
        "a subject is only a name",
    )
    .await;
    assert_eq!(world.events("authorized")[0]["who"]["subject"], "a@b@c.example");
}

#[tokio::test(flavor = "multi_thread")]
async fn r03_two_issuers_with_one_key_id() {
    const OTHER: &str = "https://other.example";
    let other = Issuer::new("k1");
    let world = World::new()
        .file("other.json", &other.jwks().to_string())
        .config(|config| {
            let issuer =
                json!({ "issuer": OTHER, "audiences": ["other"], "algorithms": ["ES256"], "jwks_file": "other.json" });
            config["auth"]["issuers"].as_array_mut().unwrap().push(issuer);
        })
        .start()
        .await;
    let theirs = json!({ "agent_id": "1001", "iss": OTHER, "aud": "other" });
    let ours = json!({ "agent_id": "1001" });
    for (what, token) in [
        ("ours by the other's key", other.token(&ours)),
        ("the other's by our key", world.issuer.token(&theirs)),
        ("the other's for our audience", other.token(&json!({ "agent_id": "1001", "iss": OTHER }))),
        ("ours for the other's audience", world.issuer.token(&json!({ "agent_id": "1001", "aud": "other" }))),
    ] {
        refused(&world, &token, "token_untrusted", what).await;
    }
    nobody_came_in(&world, 4);
    served(&world, &world.issuer.token(&ours), "ours").await;
    served(&world, &other.token(&theirs), "the other's").await;
    let issuers: Vec<_> = world.events("authorized").iter().map(|record| record["who"]["issuer"].clone()).collect();
    assert_eq!(issuers, [ISSUER, OTHER]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_at_most_8_kib_and_stands_in_one_header() {
    let world = World::new().start().await;
    let token = |filling: usize| world.issuer.token(&json!({ "agent_id": "1001", "x": "x".repeat(filling) }));
    // Three characters of filling are four of a token.
    let longest = (0..6200).rev().map(token).find(|token| token.len() <= 8192).unwrap();
    assert!(longest.len() > 8180, "{}", longest.len());
    served(&world, &longest, "8 KiB").await;
    let mut over = token(5900);
    for filling in 5900.. {
        over = token(filling);
        if over.len() > 8192 {
            break;
        }
    }
    refused(&world, &over, "token_malformed", &format!("{} bytes", over.len())).await;
    refused(&world, &token(15_000), "token_malformed", "20 KB").await;
    let good = world.issuer.agent(1001);
    let bearer = format!("Bearer {good}");
    for headers in [
        vec![("authorization", bearer.as_str()), ("authorization", bearer.as_str())],
        vec![("authorization", good.as_str())],
        vec![("authorization", "Basic YTpi")],
        vec![("authorization", "Bearer")],
        vec![("authorization", "Bearer  a.b.c")],
    ] {
        let answer = crate::client::get(world.server(), &call(1001, CALL), &headers).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_malformed"), "{headers:?}");
    }
    for target in [format!("{}&access_token={good}", call(1001, CALL)), format!("{}&token={good}", call(1001, CALL))] {
        assert_eq!(
            crate::client::get(world.server(), &target, &[]).await.status,
            400,
            "a token has no place in a query"
        );
    }
    assert_eq!(world.events("authorized").len(), 1);
}
