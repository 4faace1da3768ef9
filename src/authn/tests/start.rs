//! What is refused at the start, with which words.

use std::path::PathBuf;
use std::time::Duration;

use super::issuer::{ISSUER, P256, set};
use super::world::{World, config, issuer, key_file};
use crate::authn::{Config, KeySource};

fn refusal(config: &Config) -> String {
    match World::with_config(config) {
        Ok(_) => panic!("accepted: {config:?}"),
        Err(error) => crate::authn::refresh::chain(&error),
    }
}

#[test]
fn r19_no_value_lets_everybody_in() {
    let file = key_file(&set(&[P256.jwk("k1")]));
    let good = || issuer(ISSUER, KeySource::File(file.path().to_owned()));
    assert!(World::with_config(&config(vec![good()])).is_ok());
    let with = |change: fn(&mut Config)| {
        let mut config = config(vec![good()]);
        change(&mut config);
        refusal(&config)
    };
    let nobody = "audiences is empty or holds an empty text: a token for anybody would be accepted";
    for (found, expected) in [
        (
            with(|config| config.issuers.clear()),
            "no issuer is configured: without one no token can be verified".to_owned(),
        ),
        (with(|config| config.issuers[0].issuer.clear()), "an issuer is the empty text".to_owned()),
        (with(|config| config.issuers[0].audiences.clear()), format!("issuer {ISSUER}: {nobody}")),
        (with(|config| config.issuers[0].audiences.push(String::new())), format!("issuer {ISSUER}: {nobody}")),
        (with(|config| config.issuers[0].algorithms.clear()), format!("issuer {ISSUER}: algorithms is empty")),
        (with(|config| config.issuers.push(config.issuers[0].clone())), format!("issuer {ISSUER} is configured twice")),
        (with(|config| config.leeway = Duration::from_secs(301)), "leeway is more than 300 s".to_owned()),
        (with(|config| config.max_token_lifetime = Duration::ZERO), "max_token_lifetime is zero".to_owned()),
    ] {
        assert_eq!(found, expected);
    }
    let many = (0..33).map(|n| issuer(&format!("https://{n}.example"), KeySource::Discovery)).collect();
    assert_eq!(refusal(&config(many)), "33 issuers are configured, at most 32 are possible");
}

#[test]
fn keys_come_from_trusted_addresses_only() {
    let expected = |issuer: &str| format!("issuer {issuer}: keys come over https only, or over http from this machine");
    for url in ["http://idp.example/jwks", "ftp://idp.example/", "/jwks", "https://user@idp.example/"] {
        let config = config(vec![issuer(ISSUER, KeySource::Url(url.parse().unwrap()))]);
        assert_eq!(refusal(&config), expected(ISSUER), "{url}");
    }
    for name in ["idp", "http://idp.example", "https://idp.example/?a=b", "https://idp.example/#a", "urn:idp"] {
        assert_eq!(refusal(&config(vec![issuer(name, KeySource::Discovery)])), expected(name), "{name}");
    }
    // An issuer's name is an address only where it is used as one.
    let url = KeySource::Url("https://keys.example/a".parse().unwrap());
    assert!(World::with_config(&config(vec![issuer("urn:idp", url)])).is_ok());
}

#[test]
fn key_files_are_read_and_checked() {
    let with = |path: PathBuf| refusal(&config(vec![issuer(ISSUER, KeySource::File(path))]));
    let missing = with("/nonexistent/jwks.json".into());
    assert!(
        missing.starts_with("issuer https://idp.example: the key file cannot be used: cannot read /nonexistent"),
        "{missing}"
    );
    for (text, expected) in [
        ("{}", "the key set cannot be used: not a JWK set"),
        (r#"{"keys":[]}"#, "the key set cannot be used: the key set holds no usable key"),
        (r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#, "the key set holds no usable key"),
        (&" ".repeat(256 * 1024 + 1), "the key set is longer than 256 KiB"),
    ] {
        let found = with(key_file(text).into_temp_path().keep().unwrap());
        assert!(found.contains(expected), "{found}");
        assert!(!found.contains("c2VjcmV0"), "{found}");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(with(folder.path().to_owned()).contains("cannot read"));
}

#[test]
fn a_refused_config_changes_neither_readiness_nor_metrics() {
    let file = key_file(&set(&[P256.jwk("k1")]));
    let world =
        World::with_config(&config(vec![issuer(ISSUER, KeySource::File(file.path().to_owned()))])).expect("good");
    let metrics = crate::authn::Metrics::register(&prometheus::Registry::new()).unwrap();
    let broken = config(vec![issuer("https://x.example", KeySource::File("/nonexistent".into()))]);
    let before = world.ready.report();
    assert!(crate::authn::Authenticator::new(&broken, super::world::clock(), &world.ready, metrics).is_err());
    assert_eq!(world.ready.report(), before);
}
