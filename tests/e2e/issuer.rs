//! An identity provider in miniature: a key, its JWKS, tokens of any claims.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The name of the issuer that a [`World`](crate::world::World) trusts.
pub const ISSUER: &str = "https://idp.example";
/// The audience that it asks for.
pub const AUDIENCE: &str = "ccgate";

/// Signs ES256 tokens.
pub struct Issuer {
    key: EcdsaKeyPair,
    kid: String,
}

impl Issuer {
    /// An issuer with a fresh key.
    pub fn new(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { key, kid: kid.to_owned() }
    }

    /// Its public key as a JWK.
    pub fn jwk(&self) -> Value {
        let point = &self.key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": encoded(x), "y": encoded(y) })
    }

    /// Its key set.
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// A token with exactly this header and these claims.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// A token of exactly these texts, JSON or not.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
        let signature = self.key.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", encoded(signature.as_ref()))
    }

    /// A good token with these claims over the registered ones.
    pub fn token(&self, claims: &Value) -> String {
        let now = seconds();
        let mut all = json!({
            "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": now, "exp": now + 3600, "jti": uuid(),
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        self.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid }), &all)
    }

    /// A good token of an agent.
    pub fn agent(&self, agent: u32) -> String {
        self.token(&json!({ "agent_id": agent.to_string() }))
    }

    /// A good token of an inspector who may listen to these agents.
    pub fn inspector(&self, agent: u32, inspects: &[&str]) -> String {
        self.token(&json!({ "agent_id": agent.to_string(), "roles": ["inspector"], "inspects": inspects }))
    }
}

/// Seconds since the epoch.
pub fn seconds() -> i64 {
    ccgate::clock::Clock::system().now().as_second()
}

fn uuid() -> String {
    ccgate::route::RequestId::random().as_str().to_owned()
}

pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
