//! An identity provider's keys and the tokens it signs, or forges.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::authn::Algorithm;

pub(super) const ISSUER: &str = "https://idp.example";
/// The time at which every test begins.
pub(super) const NOW: i64 = 1_800_000_000;

/// A private key of each kind; making an RSA key takes a while.
pub(super) static P256: LazyLock<Signer> = LazyLock::new(Signer::p256);
pub(super) static OTHER_P256: LazyLock<Signer> = LazyLock::new(Signer::p256);
pub(super) static P384: LazyLock<Signer> =
    LazyLock::new(|| Signer::P384(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()));
pub(super) static ED25519: LazyLock<Signer> = LazyLock::new(|| Signer::Ed25519(Ed25519KeyPair::generate().unwrap()));
pub(super) static RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));

pub(super) enum Signer {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// The public key as a JWK with this `kid`, and nothing optional.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        let curve = |name: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at((point.len() - 1) / 2);
            json!({"kty": "EC", "crv": name, "kid": kid, "x": encode(x), "y": encode(y)})
        };
        match self {
            Self::P256(pair) => curve("P-256", pair.public_key().as_ref()),
            Self::P384(pair) => curve("P-384", pair.public_key().as_ref()),
            Self::Ed25519(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(pair.public_key().as_ref())})
            }
            Self::Rsa(pair) => {
                let components = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "kid": kid, "n": encode(&components.n), "e": encode(&components.e)})
            }
        }
    }

    /// The JWK with some members added or replaced.
    pub(super) fn jwk_with(&self, kid: &str, more: &Value) -> Value {
        merged(self.jwk(kid), more)
    }

    /// Signs with what the key can do; for RSA as `algorithm` says.
    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(pair) | Self::P384(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let encoding: &'static dyn RsaEncoding = match algorithm {
                    Algorithm::RS384 => &RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::PS384 => &RSA_PSS_SHA384,
                    Algorithm::PS512 => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        }
    }

    /// For another library's signing: PKCS#8, for RSA the PKCS#1 within it.
    pub(super) fn der(&self) -> Vec<u8> {
        match self {
            Self::P256(pair) | Self::P384(pair) => pair.to_pkcs8v1().unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.to_pkcs8().unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => {
                let whole: Pkcs8V1Der<'_> = AsDer::as_der(pair).unwrap();
                whole.as_ref()[26..].to_vec()
            }
        }
    }
}

pub(super) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn header(algorithm: &str, kid: &str) -> Value {
    json!({"typ": "JWT", "alg": algorithm, "kid": kid})
}

/// Good claims.
pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "alice", "aud": "ccgate", "exp": NOW + 300, "iat": NOW - 10, "nbf": NOW - 10, "jti": "t-1",
        "client_id": "web", "agent_id": "4977", "roles": ["agent"], "inspects": ["120"], "teams": ["north"],
    })
}

/// Good claims with some changed; `null` takes one away.
pub(super) fn claims_with(changes: &Value) -> Value {
    let mut claims = merged(claims(), changes);
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

pub(super) fn merged(mut object: Value, more: &Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        object[name] = value.clone();
    }
    object
}

/// A token of exactly these texts, signed.
pub(super) fn raw(signer: &Signer, algorithm: Algorithm, header: &str, payload: &str) -> String {
    let text = format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes()));
    let signature = encode(&signer.sign(algorithm, text.as_bytes()));
    format!("{text}.{signature}")
}

/// A P-256 token with the key id `k1`.
pub(super) fn token(claims: &Value) -> String {
    raw(&P256, Algorithm::ES256, &header("ES256", "k1").to_string(), &claims.to_string())
}
