//! What holds for any key set: no key is taken that does not say clearly that it is one for signatures, and a bad one
//! does not spoil the others.

use std::cell::RefCell;
use std::fs;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ccgate::authn::{
    Algorithm, Authenticator, Claims, Config, Error, IssuerConfig, KeySource, KeysError, Metrics, Timing,
    check_key_file,
};
use ccgate::clock::Clock;
use ccgate::ready::Ready;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000;

thread_local! {
    static PLACE: RefCell<Option<tempfile::NamedTempFile>> = const { RefCell::new(None) };
}

/// The input is the text of the set. Says whether a token is let through by it.
pub fn check(data: &[u8]) -> bool {
    PLACE.with_borrow_mut(|place| {
        let file = place.get_or_insert_with(|| tempfile::NamedTempFile::new().expect("a file"));
        fs::write(file.path(), data).expect("written");
        let ed25519 = check_key_file(file.path(), &[Algorithm::EdDSA]);
        let all = check_key_file(file.path(), &Algorithm::ALL);
        match (&ed25519, &all) {
            (Ok(few), Ok(many)) => assert!(few >= many, "fewer algorithms, more keys"),
            (Ok(_), Err(error)) => panic!("fewer algorithms, more keys: {error}"),
            (Err(KeysError::Set(_)), _) => {}
            (Err(error), _) => panic!("the file was there: {error}"),
        }
        if let Ok(left_out) = all {
            let set: Value = serde_json::from_slice(data).expect("a set is JSON");
            let entries = set["keys"].as_array().expect("a list");
            assert!(left_out < entries.len() && entries.len() <= 64, "{left_out} of {}", entries.len());
        }
        // With this, everything behind the parser: only where there is a key to verify with.
        ed25519.is_ok() && check_verifying(data, KeySource::File(file.path().to_owned()))
    })
}

/// A token of the key `[7; 32]` gets in exactly where the set holds that key, once, as one that verifies.
fn check_verifying(set: &[u8], keys: KeySource) -> bool {
    let mut let_through = false;
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let set: Value = serde_json::from_slice(set).expect("a set is JSON");
    for kid in ["k1", "k2"] {
        let named: Vec<&Value> = set["keys"].as_array().expect("a list").iter().filter(|it| it["kid"] == kid).collect();
        let usable = named.len() == 1 && named.iter().all(|entry| may_verify(entry, key.public_key().as_ref()));
        let answer = ask(keys.clone(), &token(&key, kid));
        assert_eq!(answer.is_ok(), usable, "{kid}: {answer:?}");
        let_through |= usable;
    }
    let_through
}

fn may_verify(entry: &Value, public: &[u8]) -> bool {
    let entry = entry.as_object().expect("it has a kid");
    let is = |name: &str, value: &str| entry.get(name).and_then(Value::as_str) == Some(value);
    let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.contains(&json!("verify")));
    is("kty", "OKP")
        && is("crv", "Ed25519")
        && is("x", &URL_SAFE_NO_PAD.encode(public))
        && (!entry.contains_key("use") || is("use", "sig"))
        && (!entry.contains_key("alg") || is("alg", "EdDSA"))
        && entry.get("key_ops").is_none_or(verifies)
        && !["d", "k"].iter().any(|name| entry.contains_key(*name))
}

fn token(key: &Ed25519KeyPair, kid: &str) -> String {
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": kid});
    let payload = json!({"iss": "https://idp.example", "sub": "s", "aud": "ccgate", "exp": NOW + 600});
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(payload));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign(signed.as_bytes())))
}

fn ask(keys: KeySource, token: &str) -> Result<(), Error> {
    let issuer = IssuerConfig {
        issuer: "https://idp.example".to_owned(),
        audiences: vec!["ccgate".to_owned()],
        algorithms: vec![Algorithm::EdDSA],
        keys,
        ca_file: None,
        claims: Claims::default(),
        certificate_bound: false,
    };
    let hour = std::time::Duration::from_hours(1);
    let config = Config { leeway: hour / 60, max_token_lifetime: hour, issuers: vec![issuer] };
    let timing = Timing { cooldown: hour, wait_max: std::time::Duration::ZERO, ..Timing::default() };
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
    let clock = Clock::fixed(Timestamp::from_second(NOW).expect("a time"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let authenticator =
            Authenticator::with_timing(&config, clock, &Ready::new(), metrics, timing).expect("a key to verify with");
        let mut headers = HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().expect("a header"));
        authenticator.authenticate(&headers, None).await.map(|_caller| ())
    })
}
