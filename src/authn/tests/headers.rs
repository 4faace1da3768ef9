//! What a token's header and shape may be, and what it must not.

use serde_json::{Value, json};

use super::issuer::{ED25519, ISSUER, OTHER_P256, P256, RSA, claims, encode, header, merged, raw, set, token};
use super::world::{World, good_script};
use crate::authn::{Algorithm, Error, Malformed, Untrusted};
use crate::cc::AgentId;

fn with_header(header: &str) -> String {
    raw(&P256, Algorithm::ES256, header, &claims().to_string())
}

fn with_more(more: &Value) -> String {
    with_header(&merged(header("ES256", "k1"), more).to_string())
}

#[tokio::test]
async fn a_good_token_is_a_caller() {
    let world = World::simple();
    let caller = world.check(&token(&claims())).await.expect("good");
    assert_eq!((caller.issuer(), caller.subject(), caller.client_id()), (ISSUER, "alice", Some("web")));
    assert_eq!(caller.agent().map(AgentId::get), Some(4977));
    assert!(caller.roles().contains("agent") && caller.teams().contains("north"));
    assert!(!caller.inspects().all && caller.inspects().agents.len() == 1);
    assert_eq!(caller.expires().as_second(), super::issuer::NOW + 300);
}

#[tokio::test]
async fn tokens_of_another_library_verify() {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let world = World::with_set(&set(&[P256.jwk("k1"), ED25519.jwk("k2"), RSA.jwk("k3")]));
    for (kid, algorithm, key) in [
        ("k1", jsonwebtoken::Algorithm::ES256, EncodingKey::from_ec_der(&P256.der())),
        ("k2", jsonwebtoken::Algorithm::EdDSA, EncodingKey::from_ed_der(&ED25519.der())),
        ("k3", jsonwebtoken::Algorithm::RS256, EncodingKey::from_rsa_der(&RSA.der())),
    ] {
        let mut header = Header::new(algorithm);
        header.kid = Some(kid.to_owned());
        let token = encode(&header, &claims(), &key).expect("signed");
        assert!(world.check(&token).await.is_ok(), "{kid}");
    }
}

#[tokio::test]
async fn the_type_must_be_a_jwt() {
    let world = World::simple();
    for good in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"] {
        assert!(world.check(&with_more(&json!({ "typ": good }))).await.is_ok(), "{good}");
    }
    for bad in [json!("JOSE"), json!("dpop+jwt"), json!("logout+jwt"), json!(""), json!(null), json!(["JWT"])] {
        let refusal = world.refusal(&with_more(&json!({ "typ": bad }))).await;
        assert_eq!(refusal, Error::Malformed(Malformed::Type), "{bad}");
    }
    let refusal = world.refusal(&with_header(r#"{"alg":"ES256","kid":"k1"}"#)).await;
    assert_eq!(refusal, Error::Malformed(Malformed::Type));
}

#[tokio::test(start_paused = true)]
async fn r04_a_key_in_the_token_is_refused_and_nothing_is_fetched() {
    let script = good_script();
    let world = World::running(&script).await;
    let fetched = script.fetches();
    for (name, value) in [
        ("crit", json!(["b64"])),
        ("crit", json!(["https://example/unknown"])),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("jku", json!("https://evil.example/jwks")),
        ("x5u", json!("https://evil.example/cert")),
        ("jwk", OTHER_P256.jwk("evil")),
        ("x5c", json!(["MIIB"])),
        ("zip", json!("DEF")),
        ("enc", json!("A256GCM")),
        ("jku", json!(null)),
    ] {
        let forged = merged(header("ES256", "evil"), &json!({ name: value }));
        let token = raw(&OTHER_P256, Algorithm::ES256, &forged.to_string(), &claims().to_string());
        assert_eq!(world.refusal(&token).await, Error::Malformed(Malformed::Parameter(name)), "{name}");
    }
    assert_eq!(script.fetches(), fetched);
}

#[tokio::test]
async fn r04_none_and_shared_secrets_are_refused() {
    let world = World::with_set(&set(&[RSA.jwk("k1")]));
    for name in ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "es256", "ES512", "ES256K"] {
        let signed = format!(
            "{}.{}",
            encode(header(name, "k1").to_string().as_bytes()),
            encode(claims().to_string().as_bytes())
        );
        for signature in [encode(&[0]), encode(&[0; 64])] {
            let refusal = world.refusal(&format!("{signed}.{signature}")).await;
            assert_eq!(refusal, Error::Untrusted(Untrusted::Algorithm), "{name}");
        }
        assert_eq!(world.refusal(&format!("{signed}.")).await, Error::Malformed(Malformed::Encoding), "{name}");
    }
}

#[tokio::test]
async fn r04_the_public_key_is_no_shared_secret() {
    let jwk = RSA.jwk("k1");
    let world = World::with_set(&set(std::slice::from_ref(&jwk)));
    let secrets = [jwk["n"].as_str().unwrap().as_bytes().to_vec(), jwk.to_string().into_bytes()];
    for secret in secrets {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        header.kid = Some("k1".to_owned());
        let key = jsonwebtoken::EncodingKey::from_secret(&secret);
        let token = jsonwebtoken::encode(&header, &claims(), &key).expect("signed");
        assert_eq!(world.refusal(&token).await, Error::Untrusted(Untrusted::Algorithm));
        // The same signature, declared to be RSA's.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let payload = signed.split_once('.').unwrap().1;
        let relabelled =
            format!("{}.{payload}.{signature}", encode(super::issuer::header("RS256", "k1").to_string().as_bytes()));
        assert_eq!(world.refusal(&relabelled).await, Error::Untrusted(Untrusted::Signature));
    }
}

#[tokio::test]
async fn r02_a_repeated_header_parameter_is_refused() {
    let world = World::simple();
    for bad in [
        r#"{"typ":"JWT","alg":"none","alg":"ES256","kid":"k1"}"#,
        r#"{"typ":"JWT","alg":"ES256","alg":"ES256","kid":"k1"}"#,
        r#"{"typ":"JWT","alg":"ES256","kid":"k2","kid":"k1"}"#,
        r#"{"typ":"JWT","alg":"ES256","kid":"k1","x":{"y":1,"y":1}}"#,
        r#"["typ"]"#,
        r#""JWT""#,
        "",
        "{",
    ] {
        let refused = world.refusal(&with_header(bad)).await;
        let expected = if bad.is_empty() { Malformed::Encoding } else { Malformed::Header };
        assert_eq!(refused, Error::Malformed(expected), "{bad}");
    }
}

#[tokio::test]
async fn a_key_id_and_an_algorithm_are_required() {
    let world = World::simple();
    for bad in [json!(null), json!(1), json!(""), json!("k".repeat(257)), json!(["k1"])] {
        let refused = world.refusal(&with_more(&json!({ "kid": bad }))).await;
        assert_eq!(refused, Error::Malformed(Malformed::KeyId), "{bad}");
    }
    assert_eq!(world.refusal(&with_header(r#"{"typ":"JWT","alg":"ES256"}"#)).await, Error::Malformed(Malformed::KeyId));
    for bad in
        [r#"{"typ":"JWT","kid":"k1"}"#, r#"{"typ":"JWT","kid":"k1","alg":1}"#, r#"{"typ":"JWT","kid":"k1","alg":null}"#]
    {
        assert_eq!(world.refusal(&with_header(bad)).await, Error::Malformed(Malformed::Algorithm), "{bad}");
    }
    for bad in ["K1", "k1 ", "k", "k11", "../k1"] {
        let refused = world.refusal(&with_more(&json!({ "kid": bad }))).await;
        assert!(
            matches!(refused, Error::Untrusted(Untrusted::Key) | Error::KeysUnavailable { .. }),
            "{bad}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_changed_token_does_not_verify() {
    let world = World::simple();
    let good = token(&claims());
    let parts: Vec<&str> = good.split('.').collect();
    let forged = claims().to_string().replace("4977", "4978");
    let swapped = format!("{}.{}.{}", parts[0], encode(forged.as_bytes()), parts[2]);
    assert_eq!(world.refusal(&swapped).await, Error::Untrusted(Untrusted::Signature));
    for length in [0, 1, 63, 65, 128] {
        let signature = encode(&vec![1; length]);
        let refused = world.refusal(&format!("{}.{}.{signature}", parts[0], parts[1])).await;
        let expected =
            if length == 0 { Error::Malformed(Malformed::Encoding) } else { Error::Untrusted(Untrusted::Signature) };
        assert_eq!(refused, expected, "{length}");
    }
    let null_signature = encode(&[0; 64]);
    let refused = world.refusal(&format!("{}.{}.{null_signature}", parts[0], parts[1])).await;
    assert_eq!(refused, Error::Untrusted(Untrusted::Signature));
}

#[tokio::test]
async fn a_part_has_one_spelling() {
    let world = World::simple();
    let good = token(&claims());
    // 64 bytes are 86 characters: the last one holds four bits that mean nothing, and must be zero.
    let (rest, last) = good.split_at(good.len() - 1);
    let stray = char::from(last.as_bytes()[0] + 1);
    assert_eq!(world.refusal(&format!("{rest}{stray}")).await, Error::Malformed(Malformed::Encoding));
    assert_eq!(world.refusal(&format!("{good}==")).await, Error::Malformed(Malformed::Encoding));
    let token = with_header("");
    assert_eq!(world.refusal(&token).await, Error::Malformed(Malformed::Encoding));
}

#[tokio::test]
async fn r17_no_error_holds_a_part_of_the_token() {
    let world = World::simple();
    let planted = "planted-5ecre7";
    for claims in [
        json!({"iss": planted}),
        json!({"iss": planted, "sub": planted, "aud": planted, "exp": planted}),
        super::issuer::claims_with(&json!({"agent_id": planted})),
        super::issuer::claims_with(&json!({"roles": planted})),
        super::issuer::claims_with(&json!({"aud": planted})),
    ] {
        for header in [header("ES256", "k1"), header("ES256", planted), header(planted, "k1")] {
            let token = raw(&P256, Algorithm::ES256, &header.to_string(), &claims.to_string());
            let error = world.refusal(&token).await;
            let text = format!("{error} {error:?} {}", crate::authn::refresh::chain(&error));
            assert!(!text.contains(planted) && !text.contains(&token[..20]), "{text}");
        }
    }
    assert!(!world.metrics().contains(planted));
}

#[tokio::test]
async fn no_character_of_a_token_can_be_changed() {
    let world = World::simple();
    let good = token(&claims());
    for position in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert!(world.check(&changed).await.is_err(), "{position}");
    }
    assert!(world.check(&good).await.is_ok());
}
