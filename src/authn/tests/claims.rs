//! What a genuine token may claim, and what it must not.

use std::time::Duration;

use serde_json::{Value, json};

use super::issuer::{ISSUER, NOW, P256, claims, claims_with, header, raw, set, token};
use super::world::{World, config, issuer, key_file};
use crate::authn::{Algorithm, ClaimFault, Error, KeySource, Malformed, Untrusted};
use crate::cc::AgentId;

fn with_payload(payload: &str) -> String {
    raw(&P256, Algorithm::ES256, &header("ES256", "k1").to_string(), payload)
}

/// Good claims with one replaced by a literal JSON text.
fn replaced(name: &str, literal: &str) -> String {
    let mut claims = claims_with(&json!({ name: "@@" }));
    if claims.get(name).is_none() {
        claims[name] = json!("@@");
    }
    with_payload(&claims.to_string().replace("\"@@\"", literal))
}

#[tokio::test]
async fn r01_times_of_the_wrong_type_are_malformed() {
    let world = World::simple();
    for name in ["exp", "nbf", "iat"] {
        for literal in [
            "\"1800000100\"",
            "null",
            "-1",
            "-0",
            "1e300",
            "1e30",
            "1800000100.0",
            "1800000100.5",
            "18e8",
            "true",
            "[]",
            "{}",
            "[1800000100]",
            "18446744073709551615",
            "18446744073709551616",
            "9223372036854775807",
            "253402300800000",
        ] {
            let refused = world.refusal(&replaced(name, literal)).await;
            assert_eq!(refused.code(), "token_malformed", "{name} {literal}: {refused:?}");
        }
    }
}

#[tokio::test]
async fn r02_each_required_claim_is_required() {
    let world = World::simple();
    for name in ["iss", "sub", "aud", "exp"] {
        let refused = world.refusal(&token(&claims_with(&json!({ name: null })))).await;
        assert_eq!(refused, Error::Malformed(Malformed::Claim(name)));
    }
    for name in ["nbf", "iat", "jti", "client_id", "agent_id", "roles", "inspects", "teams"] {
        assert!(world.check(&token(&claims_with(&json!({ name: null })))).await.is_ok(), "{name}");
    }
}

#[tokio::test]
async fn registered_claims_have_exact_types() {
    let world = World::simple();
    let bad = [
        ("iss", r#"["https://idp.example"]"#),
        ("iss", r#"["https://evil","https://idp.example"]"#),
        ("iss", "null"),
        ("iss", "1"),
        ("sub", "1"),
        ("sub", "null"),
        ("aud", "5"),
        ("aud", "{}"),
        ("aud", "null"),
        ("aud", r#"["ccgate",5]"#),
        ("aud", r#"["ccgate",null]"#),
        ("aud", r#"[["ccgate"]]"#),
        ("jti", "1"),
        ("jti", "null"),
        ("client_id", "[]"),
        ("azp", "1"),
    ];
    for (name, literal) in bad {
        let refused = world.refusal(&replaced(name, literal)).await;
        assert_eq!(refused, Error::Malformed(Malformed::Claim(name)), "{name} {literal}");
    }
}

#[tokio::test]
async fn r02_a_repeated_claim_is_refused_at_any_level() {
    let world = World::simple();
    let good = claims().to_string();
    for more in [
        r#""roles":["inspector"]"#,
        r#""sub":"bob""#,
        r#""exp":1800000300"#,
        r#""agent\u005fid":"120""#,
        r#""realm":{"roles":[],"roles":["inspector"]}"#,
    ] {
        for payload in [format!("{{{more},{}", &good[1..]), format!("{},{more}}}", &good[..good.len() - 1])] {
            assert_eq!(world.refusal(&with_payload(&payload)).await, Error::Malformed(Malformed::Payload), "{more}");
        }
    }
    for payload in ["[]", "1", "null", "\"x\"", "{}x", "x", &format!("{good} {good}")] {
        assert_eq!(world.refusal(&with_payload(payload)).await, Error::Malformed(Malformed::Payload), "{payload}");
    }
    let deep = format!("{{\"a\":{}{},{}", "[".repeat(2000), "]".repeat(2000), &good[1..]);
    assert_eq!(world.refusal(&with_payload(&deep)).await, Error::Malformed(Malformed::Payload));
}

#[tokio::test]
async fn r19_only_configured_issuers_and_audiences() {
    let world = World::simple();
    for bad in [
        "https://evil.example",
        "",
        "https://idp.example/",
        "HTTPS://idp.example",
        "https://idp.example\u{0}",
        " https://idp.example",
    ] {
        let refused = world.refusal(&token(&claims_with(&json!({ "iss": bad })))).await;
        assert_eq!(refused, Error::Untrusted(Untrusted::Issuer), "{bad:?}");
    }
    for bad in [
        json!("other"),
        json!([]),
        json!(["other"]),
        json!(""),
        json!("ccgate "),
        json!("CCGATE"),
        json!("ccgate,other"),
    ] {
        let refused = world.refusal(&token(&claims_with(&json!({ "aud": bad })))).await;
        assert_eq!(refused, Error::Untrusted(Untrusted::Audience), "{bad}");
    }
    for good in [json!("ccgate"), json!(["ccgate"]), json!(["other", "ccgate"])] {
        assert!(world.check(&token(&claims_with(&json!({ "aud": good })))).await.is_ok(), "{good}");
    }
}

#[tokio::test(start_paused = true)]
async fn r02_time_is_checked_to_the_second() {
    let world = World::simple();
    let at = |exp: i64, nbf: i64, iat: i64| token(&claims_with(&json!({"exp": exp, "nbf": nbf, "iat": iat})));
    let day = 24 * 60 * 60;
    let cases = [
        (NOW + 1, NOW, NOW, None),
        (NOW - 29, NOW - 60, NOW - 60, None),
        (NOW - 30, NOW - 60, NOW - 60, Some(Error::Expired)),
        (NOW - 59, NOW - 100, NOW - 100, Some(Error::Expired)),
        (0, 0, 0, Some(Error::Expired)),
        (NOW + 100, NOW + 30, NOW, None),
        (NOW + 100, NOW + 31, NOW, Some(Error::Claims(ClaimFault::NotYet))),
        (NOW + 7200, NOW + 3600, NOW, Some(Error::Claims(ClaimFault::NotYet))),
        (NOW + 100, NOW, NOW + 30, None),
        (NOW + 100, NOW, NOW + 31, Some(Error::Claims(ClaimFault::IssuedInFuture))),
        (NOW + 7200, NOW, NOW + 3600, Some(Error::Claims(ClaimFault::IssuedInFuture))),
        (NOW + day, NOW, NOW, None),
        (NOW + day + 1, NOW, NOW, Some(Error::Claims(ClaimFault::Lifetime))),
        (NOW + 60, NOW, NOW + 60 - day, None),
        (NOW + 60, NOW, NOW + 59 - day, Some(Error::Claims(ClaimFault::Lifetime))),
        (NOW + 10, NOW, NOW + 10, Some(Error::Claims(ClaimFault::Lifetime))),
        (NOW + 10, NOW, NOW + 20, Some(Error::Claims(ClaimFault::Lifetime))),
        (253_402_207_200, NOW, NOW, Some(Error::Claims(ClaimFault::Lifetime))),
    ];
    for (exp, nbf, iat, expected) in cases {
        let result = world.check(&at(exp, nbf, iat)).await;
        assert_eq!(result.err(), expected, "exp {} nbf {} iat {}", exp - NOW, nbf - NOW, iat - NOW);
    }
}

#[tokio::test(start_paused = true)]
async fn without_iat_the_lifetime_counts_from_now() {
    let world = World::simple();
    let until = |exp: i64| token(&claims_with(&json!({"exp": exp, "iat": null, "nbf": null})));
    assert!(world.check(&until(NOW + 86_400)).await.is_ok());
    assert_eq!(world.refusal(&until(NOW + 86_401)).await, Error::Claims(ClaimFault::Lifetime));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(world.check(&until(NOW + 86_401)).await.is_ok());
}

#[tokio::test]
async fn r24_an_agent_claim_is_exactly_an_agent_id() {
    let world = World::simple();
    for literal in [
        "4977",
        "\"04977\"",
        "\" 4977\"",
        "\"4977 \"",
        "\"+4977\"",
        "\"100\"",
        "\"1000000\"",
        "\"\"",
        "null",
        "[\"4977\"]",
        "{}",
        "true",
        "4977.0",
        "\"4977\\u0000\"",
        "\"4977@120\"",
        "\"１２０\"",
        "\"4977\\n\"",
    ] {
        let refused = world.refusal(&replaced("agent_id", literal)).await;
        assert_eq!(refused, Error::Claims(ClaimFault::Agent), "{literal}");
    }
    let none = world.check(&token(&claims_with(&json!({"agent_id": null})))).await.expect("no agent is no fault");
    assert_eq!(none.agent(), None);
}

#[tokio::test]
async fn lists_are_lists_of_good_texts() {
    let world = World::simple();
    let many = |count: usize| json!((0..count).map(|n| format!("r{n}")).collect::<Vec<_>>()).to_string();
    for (name, fault) in [("roles", ClaimFault::Roles), ("teams", ClaimFault::Teams)] {
        let long = format!("[\"{}\"]", "x".repeat(129));
        for literal in [
            "\"admin\"",
            "null",
            "{}",
            "1",
            "[1]",
            "[null]",
            "[\"\"]",
            "[[\"a\"]]",
            "[\"a\\u0000\"]",
            "[\"a\\n\"]",
            &long,
            &many(257),
        ] {
            assert_eq!(world.refusal(&replaced(name, literal)).await, Error::Claims(fault), "{name} {literal}");
        }
        for literal in ["[]", "[\"a\",\"b\"]", &long.replacen('x', "", 1), &many(256)] {
            assert!(world.check(&replaced(name, literal)).await.is_ok(), "{name} {literal}");
        }
    }
    for literal in [
        "\"*\"",
        "\"120\"",
        "[120]",
        "[\"120\",1]",
        "[\"**\"]",
        "[\"\"]",
        "[\"0120\"]",
        "null",
        "[\"120 \"]",
        "{\"*\":1}",
    ] {
        assert_eq!(
            world.refusal(&replaced("inspects", literal)).await,
            Error::Claims(ClaimFault::Inspects),
            "{literal}"
        );
    }
    let all = world.check(&replaced("inspects", "[\"*\",\"120\",\"120\"]")).await.expect("good");
    assert!(all.inspects().all && all.inspects().agents.len() == 1);
}

#[tokio::test]
async fn identities_are_printable_and_bounded() {
    let world = World::simple();
    for (name, fault) in [("sub", "sub"), ("client_id", "client_id")] {
        for bad in ["", "a\u{0}b", "a\nb", "a\u{1b}[31m", "a\u{2028}b", &"é".repeat(257)] {
            let refused = world.refusal(&token(&claims_with(&json!({ name: bad })))).await;
            assert_eq!(refused, Error::Claims(ClaimFault::Text(fault)), "{name} {bad:?}");
        }
        let longest = "é".repeat(256);
        assert!(world.check(&token(&claims_with(&json!({ name: longest })))).await.is_ok());
    }
    // Nothing is taken out of a subject: two `@` stay two.
    let odd = world.check(&token(&claims_with(&json!({"sub": "a@evil@good.example"})))).await.expect("opaque");
    assert_eq!(odd.subject(), "a@evil@good.example");
    let party = world.check(&token(&claims_with(&json!({"client_id": null, "azp": "spa"})))).await.expect("good");
    assert_eq!(party.client_id(), Some("spa"));
}

#[tokio::test]
async fn claims_are_found_where_the_config_says() {
    let file = key_file(&set(&[P256.jwk("k1")]));
    let mut idp = issuer(ISSUER, KeySource::File(file.path().to_owned()));
    idp.claims.agent = "/ext/https:~1~1cc/agent".parse().unwrap();
    idp.claims.roles = "/realm_access/roles".parse().unwrap();
    idp.claims.purpose = Some("/why".parse().unwrap());
    idp.claims.ticket = Some("/case".parse().unwrap());
    let world = World::with_config(&config(vec![idp])).expect("good");
    let nested = json!({
        "ext": {"https://cc": {"agent": "120"}}, "realm_access": {"roles": ["qa"]}, "why": "complaint", "case": "T-1",
    });
    let caller = world.check(&token(&claims_with(&nested))).await.expect("good");
    assert_eq!(caller.agent().map(AgentId::get), Some(120), "not the claim at the default place");
    assert_eq!(caller.roles().iter().collect::<Vec<_>>(), ["qa"]);
    assert_eq!((caller.purpose(), caller.ticket()), (Some("complaint"), Some("T-1")));
    let none = world.check(&token(&claims())).await.expect("good");
    assert_eq!((none.agent(), none.purpose(), none.ticket()), (None, None, None));
    for bad in [json!(""), json!(1), json!("a\nb"), json!(" a"), json!("x".repeat(201)), json!(["a"])] {
        for (name, fault) in [("why", "purpose"), ("case", "ticket")] {
            let refused = world.refusal(&token(&claims_with(&json!({ name: bad })))).await;
            assert_eq!(refused, Error::Claims(ClaimFault::Text(fault)), "{name} {bad}");
        }
    }
}

#[tokio::test]
async fn the_tag_leads_to_the_token_without_showing_it() {
    let world = World::simple();
    let tag = async |changes: Value| {
        world.check(&token(&claims_with(&changes))).await.expect("good").token_tag().map(str::to_owned)
    };
    let first = tag(json!({})).await;
    // SHA-256 of "https://idp.example", NUL, "t-1".
    assert_eq!(first.as_deref(), Some(EXPECTED_TAG));
    assert_eq!(first, tag(json!({"sub": "bob"})).await, "by jti");
    assert_ne!(first, tag(json!({"jti": "t-2"})).await);
    for nothing in [json!({"jti": null}), json!({"jti": ""})] {
        assert_eq!(tag(nothing).await, None, "a hash of the token itself would be one of a secret");
    }
}

const EXPECTED_TAG: &str = "e6ad0dda2d1883b62c74ae549bb29f6e";
