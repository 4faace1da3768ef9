//! Tokens that are bound to a client certificate (RFC 8705 section 3).

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::issuer::{ISSUER, P256, claims, claims_with, encode, set, token};
use super::world::{World, bearer, config, issuer, key_file};
use crate::authn::{BindingFault, Caller, Error, KeySource};
use crate::net::ClientCertificate;

fn certificate() -> ClientCertificate {
    let params = CertificateParams::new(vec!["web.example".to_owned()]).unwrap();
    let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    ClientCertificate::read(made.der()).unwrap()
}

fn bound_to(certificate: &ClientCertificate) -> Value {
    json!({ "cnf": { "x5t#S256": encode(certificate.sha256()) } })
}

async fn check(world: &World, token: &str, shown: Option<&ClientCertificate>) -> Result<Caller, Error> {
    world.authenticator.authenticate(&bearer(token), shown).await
}

async fn fault(world: &World, token: &str, shown: Option<&ClientCertificate>) -> BindingFault {
    match check(world, token, shown).await {
        Err(Error::Binding(fault)) => fault,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bound_token_is_good_with_its_certificate_alone() {
    let (world, ours, other) = (World::simple(), certificate(), certificate());
    let bound = token(&claims_with(&bound_to(&ours)));
    // In any order: what one connection proved is not remembered for another.
    for _ in 0..2 {
        assert_eq!(fault(&world, &bound, Some(&other)).await, BindingFault::OtherCertificate);
        assert!(check(&world, &bound, Some(&ours)).await.is_ok());
        assert_eq!(fault(&world, &bound, None).await, BindingFault::NoCertificate);
    }
    assert_eq!(world.authenticator.remembered(), 1, "verified once, and asked each time");
    let free = token(&claims());
    assert!(check(&world, &free, None).await.is_ok() && check(&world, &free, Some(&other)).await.is_ok());
    let line = r#"ccgate_auth_decisions_total{decision="deny",reason="token_binding"} 4"#;
    assert!(world.metrics().contains(line), "{}", world.metrics());
}

#[tokio::test]
async fn a_proof_that_is_not_checked_is_no_proof() {
    let (world, ours) = (World::simple(), certificate());
    let print = encode(ours.sha256());
    for unsupported in [
        json!({ "jkt": print }),
        json!({ "kid": "k1" }),
        json!({ "jwk": P256.jwk("k1") }),
        json!({ "jku": "https://idp.example/key" }),
        json!({ "x5t": print }),
        json!({ "X5T#S256": print }),
        json!({ "x5t#S256": print, "jkt": print }),
    ] {
        let bound = token(&claims_with(&json!({ "cnf": unsupported })));
        assert_eq!(fault(&world, &bound, Some(&ours)).await, BindingFault::Unsupported, "{unsupported}");
    }
    for malformed in [
        json!({}),
        json!([]),
        json!("x5t#S256"),
        json!(false),
        json!({ "x5t#S256": null }),
        json!({ "x5t#S256": "" }),
        json!({ "x5t#S256": [print] }),
        json!({ "x5t#S256": format!("{print}=") }),
        json!({ "x5t#S256": ours.sha256_hex() }),
        json!({ "x5t#S256": &print[..42] }),
        json!({ "x5t#S256": format!("{print}A") }),
    ] {
        let bound = token(&claims_with(&json!({ "cnf": malformed })));
        assert_eq!(fault(&world, &bound, Some(&ours)).await, BindingFault::Malformed, "{malformed}");
    }
    // `null` takes a claim away in the helper, so it is written here.
    let text = claims().to_string().replacen('{', r#"{"cnf":null,"#, 1);
    let header = super::issuer::header("ES256", "k1").to_string();
    let bound = super::issuer::raw(&P256, crate::authn::Algorithm::ES256, &header, &text);
    assert_eq!(fault(&world, &bound, Some(&ours)).await, BindingFault::Malformed);
    assert_eq!(world.authenticator.remembered(), 0);
}

#[tokio::test]
async fn an_issuer_whose_tokens_are_bound_has_no_bearer_tokens() {
    let keys = key_file(&set(&[P256.jwk("k1")]));
    let mut bound = issuer(ISSUER, KeySource::File(keys.path().to_owned()));
    bound.certificate_bound = true;
    let (world, ours) = (World::with_config(&config(vec![bound])).expect("a good config"), certificate());
    let free = token(&claims());
    for shown in [None, Some(&ours), Some(&ours)] {
        assert_eq!(fault(&world, &free, shown).await, BindingFault::Unbound);
    }
    let bound = token(&claims_with(&bound_to(&ours)));
    assert!(check(&world, &bound, Some(&ours)).await.is_ok());
    assert_eq!(fault(&world, &bound, None).await, BindingFault::NoCertificate);
}
