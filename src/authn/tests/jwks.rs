//! Which keys of a set are taken, and for which algorithms.

use serde_json::{Value, json};

use super::issuer::{
    ED25519, ISSUER, OTHER_P256, P256, P384, RSA, Signer, claims, claims_with, encode, header, raw, set,
};
use super::world::{World, config, issuer, key_file};
use crate::authn::jwks::KeySet;
use crate::authn::{Algorithm, Error, KeySource, SetError, Untrusted};

fn read(keys: &[Value]) -> Result<usize, SetError> {
    KeySet::read(set(keys).as_bytes(), &Algorithm::ALL).map(|set| set.len())
}

/// Whether this one key is taken, beside a good one.
fn taken(jwk: Value) -> bool {
    match read(&[P256.jwk("good"), jwk]) {
        Ok(1) => false,
        Ok(2) => true,
        other => panic!("{other:?}"),
    }
}

fn signed(signer: &Signer, algorithm: Algorithm, kid: &str) -> String {
    raw(signer, algorithm, &header(algorithm.name(), kid).to_string(), &claims().to_string())
}

#[tokio::test]
async fn r04_each_algorithm_with_each_kind_of_key() {
    let signers: [(&str, &Signer); 4] = [("p256", &P256), ("p384", &P384), ("ed", &ED25519), ("rsa", &RSA)];
    let world = World::with_set(&set(&signers.map(|(kid, signer)| signer.jwk(kid))));
    for (kid, signer) in signers {
        for algorithm in Algorithm::ALL {
            let fits = match algorithm {
                Algorithm::ES256 => kid == "p256",
                Algorithm::ES384 => kid == "p384",
                Algorithm::EdDSA => kid == "ed",
                _ => kid == "rsa",
            };
            let result = world.check(&signed(signer, algorithm, kid)).await;
            let expected = (!fits).then_some(Error::Untrusted(Untrusted::Algorithm));
            assert_eq!(result.err(), expected, "{algorithm} with {kid}");
        }
    }
}

#[tokio::test]
async fn r04_a_keys_alg_binds_it() {
    let world = World::with_set(&set(&[
        RSA.jwk_with("bound", &json!({"alg": "PS256"})),
        P256.jwk_with("p256", &json!({"alg": "ES256", "use": "sig", "key_ops": ["verify"]})),
    ]));
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_rsa()) {
        let result = world.check(&signed(&RSA, algorithm, "bound")).await;
        assert_eq!(result.is_ok(), algorithm == Algorithm::PS256, "{algorithm}");
    }
    assert!(world.check(&signed(&P256, Algorithm::ES256, "p256")).await.is_ok());
    // One RSA scheme's signature, declared to be the other's.
    let free = World::with_set(&set(&[RSA.jwk("k1")]));
    let forged = raw(&RSA, Algorithm::RS256, &header("PS256", "k1").to_string(), &claims().to_string());
    assert_eq!(free.refusal(&forged).await, Error::Untrusted(Untrusted::Signature));
}

#[tokio::test]
async fn r04_the_config_narrows_the_algorithms() {
    let file = key_file(&set(&[RSA.jwk("rsa"), P256.jwk("p256")]));
    let mut idp = issuer(ISSUER, KeySource::File(file.path().to_owned()));
    idp.algorithms = vec![Algorithm::RS512, Algorithm::ES256];
    let world = World::with_config(&config(vec![idp])).expect("good");
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_rsa()) {
        let result = world.check(&signed(&RSA, algorithm, "rsa")).await;
        assert_eq!(result.is_ok(), algorithm == Algorithm::RS512, "{algorithm}");
    }
    assert!(world.check(&signed(&P256, Algorithm::ES256, "p256")).await.is_ok());
    // A key that fits nothing of the list is not taken at all.
    let none = KeySet::read(set(&[ED25519.jwk("ed")]).as_bytes(), &[Algorithm::RS512]);
    assert_eq!(none.expect_err("unusable"), SetError::NoUsableKey);
}

#[test]
fn r04_keys_that_are_not_for_verifying_are_left_out() {
    for more in [
        json!({"use": "enc"}),
        json!({"use": "SIG"}),
        json!({"use": null}),
        json!({"use": ["sig"]}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": []}),
        json!({"key_ops": "verify"}),
        json!({"key_ops": ["encrypt", "wrapKey"]}),
        json!({"alg": "RSA-OAEP"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"alg": null}),
        json!({"alg": 1}),
        json!({"kid": null}),
        json!({"kid": ""}),
        json!({"kid": 7}),
        json!({"kty": "oct"}),
        json!({"kty": "AKP"}),
        json!({"kty": "ec"}),
        json!({"kty": null}),
        json!({"d": "AAAA"}),
        json!({"k": "AAAA"}),
    ] {
        for signer in [&*P256, &*RSA, &*ED25519] {
            assert!(!taken(signer.jwk_with("k1", &more)), "{more}");
        }
    }
    for signer in [&*P256, &*P384, &*RSA, &*ED25519] {
        assert!(taken(
            signer.jwk_with("k1", &json!({"use": "sig", "key_ops": ["sign", "verify"], "x5t": "a", "n2": {}}))
        ));
    }
    assert!(!taken(json!({"kty": "oct", "kid": "k1", "k": encode(&[7; 64]), "alg": "HS256", "use": "sig"})));
    assert!(!taken(json!("key")) && !taken(json!({})) && !taken(json!(null)));
}

#[test]
fn r04_an_alg_of_another_family_does_not_fit() {
    let keys: [(&Signer, &str); 4] = [(&P256, "ES256"), (&P384, "ES384"), (&ED25519, "EdDSA"), (&RSA, "RS256")];
    for (signer, own) in keys {
        for (_, alg) in keys {
            assert_eq!(taken(signer.jwk_with("k1", &json!({ "alg": alg }))), alg == own, "{own} {alg}");
        }
    }
}

#[test]
fn weak_and_broken_key_material_is_left_out() {
    let modulus = |bits: usize| {
        let mut number = vec![0xff; bits.div_ceil(8)];
        number[0] = u8::try_from((1_u16 << (((bits - 1) % 8) + 1)) - 1).unwrap();
        json!({"n": encode(&number)})
    };
    for (bits, good) in
        [(512, false), (1024, false), (2047, false), (2048, true), (4096, true), (8192, true), (8193, false)]
    {
        assert_eq!(taken(RSA.jwk_with("k1", &modulus(bits))), good, "{bits}");
    }
    // 1024 bits behind zeros are 1024 bits.
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    assert!(!taken(RSA.jwk_with("k1", &json!({"n": encode(&padded)}))));
    for more in [
        json!({"n": encode(&[0xfe; 256])}),
        json!({"n": ""}),
        json!({"n": encode(&[0; 256])}),
        json!({"n": "!"}),
        json!({"n": 5}),
        json!({"e": ""}),
        json!({"e": "AQ"}),
        json!({"e": "AA"}),
        json!({"e": "Ag"}),
        json!({"e": encode(&[0xff; 5])}),
        json!({"e": "AQAB="}),
    ] {
        assert!(!taken(RSA.jwk_with("k1", &more)), "{more}");
    }
    let other = OTHER_P256.jwk("x");
    for more in [
        json!({"crv": "P-384"}),
        json!({"crv": "P-521"}),
        json!({"crv": "secp256k1"}),
        json!({"crv": null}),
        json!({"y": other["y"]}),
        json!({"x": encode(&[0; 32]), "y": encode(&[0; 32])}),
        json!({"x": encode(&[1; 31])}),
        json!({"x": encode(&[1; 33])}),
        json!({"y": ""}),
    ] {
        assert!(!taken(P256.jwk_with("k1", &more)), "{more}");
    }
    for more in [json!({"crv": "X25519"}), json!({"crv": "Ed448"}), json!({"x": encode(&[1; 31])}), json!({"x": null})]
    {
        assert!(!taken(ED25519.jwk_with("k1", &more)), "{more}");
    }
}

#[test]
fn r03_a_key_id_that_stands_twice_names_no_key() {
    assert_eq!(read(&[P256.jwk("a"), P384.jwk("b"), OTHER_P256.jwk("a")]), Ok(1));
    assert_eq!(read(&[P256.jwk("a"), OTHER_P256.jwk("a")]), Err(SetError::NoUsableKey));
    assert_eq!(read(&[P256.jwk("a"), RSA.jwk_with("a", &json!({"use": "enc"}))]), Err(SetError::NoUsableKey));
}

#[test]
fn r05_a_set_is_bounded_and_well_formed() {
    let many = |count: usize| (0..count).map(|n| P256.jwk(&format!("k{n}"))).collect::<Vec<_>>();
    assert_eq!(read(&many(64)), Ok(64));
    assert_eq!(read(&many(65)), Err(SetError::TooMany));
    assert_eq!(read(&[]), Err(SetError::NoUsableKey));
    for bad in [
        "",
        "[]",
        "{}",
        "null",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"keys":[],"keys":[]}"#,
        "<html>",
        "{\"keys\":[",
    ] {
        assert_eq!(KeySet::read(bad.as_bytes(), &Algorithm::ALL).expect_err(bad), SetError::Malformed, "{bad}");
    }
    let good = set(&[P256.jwk("a")]);
    let padded = |len: usize| format!("{good}{}", " ".repeat(len - good.len()));
    assert!(KeySet::read(padded(256 * 1024).as_bytes(), &Algorithm::ALL).is_ok());
    assert_eq!(KeySet::read(padded(256 * 1024 + 1).as_bytes(), &Algorithm::ALL).expect_err("long"), SetError::TooLong);
}

#[tokio::test]
async fn r03_the_same_key_id_at_two_issuers_is_two_keys() {
    const OTHER: &str = "https://other.example";
    let (first, second) = (key_file(&set(&[P256.jwk("k1")])), key_file(&set(&[OTHER_P256.jwk("k1")])));
    let world = World::with_config(&config(vec![
        issuer(ISSUER, KeySource::File(first.path().to_owned())),
        issuer(OTHER, KeySource::File(second.path().to_owned())),
    ]))
    .expect("good");
    let signers: [(&str, &Signer); 2] = [(ISSUER, &P256), (OTHER, &OTHER_P256)];
    for (name, _) in signers {
        for (owner, signer) in signers {
            let claims = claims_with(&json!({ "iss": name })).to_string();
            let token = raw(signer, Algorithm::ES256, &header("ES256", "k1").to_string(), &claims);
            let result = world.check(&token).await.map(|caller| caller.issuer().to_owned());
            let expected =
                if name == owner { Ok(name.to_owned()) } else { Err(Error::Untrusted(Untrusted::Signature)) };
            assert_eq!(result, expected, "issuer {name}, key of {owner}");
        }
    }
}
