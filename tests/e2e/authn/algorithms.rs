//! The algorithm and the key are the issuer's choice; a token that chooses for itself is refused.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};

use super::{claims_text, nobody_came_in, refused, served};
use crate::idp::Idp;
use crate::issuer::{Issuer, encoded};
use crate::world::World;

/// A gateway that trusts an issuer with a P-256 key `k1` and an RSA key `r1`, and good claims.
struct TwoKeys {
    world: World,
    rsa: RsaKeyPair,
    rsa_jwk: Value,
    modulus: Vec<u8>,
    claims: String,
}

impl TwoKeys {
    async fn start() -> Self {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public = RsaPublicKeyComponents::<Vec<u8>>::from(rsa.public_key());
        let rsa_jwk = json!({ "kty": "RSA", "kid": "r1", "n": encoded(&public.n), "e": encoded(&public.e) });
        let issuer = Issuer::new("k1");
        let set = json!({ "keys": [issuer.jwk(), rsa_jwk] }).to_string();
        let world = World::new().issuer(issuer).file("both.json", &set).config(|config| {
            config["auth"]["issuers"][0]["jwks_file"] = "both.json".into();
            config["auth"]["issuers"][0]["algorithms"] = json!(["ES256", "RS256"]);
        });
        Self { world: world.start().await, rsa, rsa_jwk, modulus: public.n, claims: claims_text("x", "1") }
    }

    fn signed(&self, header: &Value) -> String {
        format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(self.claims.as_bytes()))
    }

    fn with_signature(&self, header: &Value, signature: &[u8]) -> String {
        format!("{}.{}", self.signed(header), encoded(signature))
    }

    /// By the P-256 key, whatever the header says.
    fn by_ec(&self, header: &Value) -> String {
        self.world.issuer.sign_text(&header.to_string(), &self.claims)
    }

    fn by_rsa(&self, header: &Value) -> String {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        let signed = self.signed(header);
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        self.with_signature(header, &signature)
    }

    async fn untrusted(&self, token: &str, what: &str) {
        refused(&self.world, token, "token_untrusted", what).await;
    }
}

fn header(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "typ": "JWT", "kid": kid })
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_each_key_verifies_its_own_algorithm_only() {
    let keys = TwoKeys::start().await;
    let mut count = 0;
    for alg in [
        "none", "None", "NONE", "HS256", "HS384", "HS512", "ES384", "ES512", "ES256K", "RS384", "PS256", "EdDSA",
        "es256", "",
    ] {
        for kid in ["k1", "r1"] {
            let header = header(alg, kid);
            for token in [keys.with_signature(&header, &[7; 64]), keys.by_ec(&header), keys.by_rsa(&header)] {
                keys.untrusted(&token, &header.to_string()).await;
                count += 1;
            }
        }
    }
    keys.untrusted(&keys.by_ec(&header("RS256", "r1")), "a P-256 signature as RSA's").await;
    keys.untrusted(&keys.by_ec(&header("ES256", "r1")), "a P-256 signature by the RSA key's name").await;
    keys.untrusted(&keys.by_rsa(&header("ES256", "k1")), "an RSA signature as P-256's").await;
    keys.untrusted(&keys.by_rsa(&header("RS256", "k1")), "an RSA signature by the P-256 key's name").await;
    let unsigned = keys.with_signature(&header("none", "k1"), b"");
    refused(&keys.world, &unsigned, "token_malformed", "none without a signature").await;
    nobody_came_in(&keys.world, count + 5);
    served(&keys.world, &keys.by_ec(&header("ES256", "k1")), "ES256").await;
    served(&keys.world, &keys.by_rsa(&header("RS256", "r1")), "RS256").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_a_public_key_is_no_shared_secret() {
    let keys = TwoKeys::start().await;
    let text = keys.rsa_jwk["n"].as_str().unwrap().as_bytes().to_vec();
    for secret in [keys.rsa_jwk.to_string().into_bytes(), text, keys.modulus.clone(), Vec::new()] {
        for alg in ["HS256", "RS256"] {
            let header = header(alg, "r1");
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), keys.signed(&header).as_bytes());
            keys.untrusted(&keys.with_signature(&header, mac.as_ref()), alg).await;
        }
    }
    nobody_came_in(&keys.world, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn r04_a_token_brings_no_key_and_no_address() {
    let (keys, idp, evil) = (TwoKeys::start().await, Idp::start().await, Issuer::new("evil"));
    idp.put("/jwks", &evil.jwks().to_string());
    let url = format!("{}/jwks", idp.origin);
    let brought = [
        ("jwk", evil.jwk()),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
    ];
    for (name, value) in &brought {
        let mut header = header("ES256", "evil");
        header[name] = value.clone();
        let token = evil.sign_text(&header.to_string(), &keys.claims);
        refused(&keys.world, &token, "token_malformed", name).await;
    }
    assert_eq!(idp.asked("/jwks"), 0, "no address of a token is asked");
    nobody_came_in(&keys.world, brought.len());
}
