//! One public key and what it may verify. The algorithm comes from the key, never from the token alone.

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use super::{Algorithm, ConfigError};

/// A usable key of an issuer's set.
pub(super) struct Key {
    decoding: DecodingKey,
    /// What the key may verify and the configuration accepts; not empty.
    algorithms: Vec<Algorithm>,
    /// Hash of the key and its algorithms: the same key in the next set has the same print.
    print: [u8; 32],
}

impl Key {
    pub(super) fn new(decoding: DecodingKey, algorithms: Vec<Algorithm>, print: [u8; 32]) -> Self {
        Self { decoding, algorithms, print }
    }

    /// Whether a token may name this algorithm with this key.
    pub(super) fn accepts(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub(super) fn print(&self) -> [u8; 32] {
        self.print
    }

    /// Whether the signature is this key's, under an algorithm that the key accepts.
    pub(super) fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &Vec<u8>) -> bool {
        // The provider is named, not taken from the process: nothing that is (not) installed elsewhere can make this panic.
        self.accepts(algorithm)
            && (DEFAULT_PROVIDER.verifier_factory)(&algorithm.into(), &self.decoding)
                .is_ok_and(|verifier| verifier.verify(signed, signature).is_ok())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

/// Verifies two published signatures and refuses one with a bit turned: RFC 7515 appendix A.3 (ES256), RFC 8037
/// appendix A.4 (`EdDSA`). A build whose cryptography does not work must not start.
pub(super) fn self_test() -> Result<(), ConfigError> {
    const ES256: (&str, &str) = (
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    );
    const EDDSA: (&str, &str) = (
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    );
    let p256 = DecodingKey::from_ec_components(
        "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    );
    let ed25519 = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let holds = |decoding, algorithm, (signed, signature): (&str, &str)| {
        let Ok(mut signature) = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature)
        else {
            return false;
        };
        let key = Key::new(decoding, vec![algorithm], [0; 32]);
        let genuine = key.verify(algorithm, signed.as_bytes(), &signature);
        signature.iter_mut().take(1).for_each(|byte| *byte ^= 1);
        genuine && !key.verify(algorithm, signed.as_bytes(), &signature)
    };
    let sound = p256.is_ok_and(|key| holds(key, Algorithm::ES256, ES256))
        && ed25519.is_ok_and(|key| holds(key, Algorithm::EdDSA, EDDSA));
    if sound { Ok(()) } else { Err(ConfigError::SelfTest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_signatures_verify() {
        assert!(self_test().is_ok());
    }
}
