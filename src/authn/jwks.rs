//! Reads a JWK set (RFC 7517) and keeps the keys that may verify tokens. It never takes a key on trust: what does not say
//! clearly that it is for us is left out, and one bad key does not spoil the others.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::bearer::sha256;
use super::key::Key;
use super::{Algorithm, json};

/// Longest set that is read.
pub(super) const SET_BYTES_MAX: usize = 256 * 1024;
/// Most keys in a set.
const KEYS_MAX: usize = 64;
/// Sizes of RSA keys that are accepted, in bits (below: too weak; above: too slow, and refused by the library).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Longest RSA exponent, in bytes.
const RSA_EXPONENT_BYTES_MAX: usize = 4;

/// The usable keys of one issuer, by `kid`.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: HashMap<String, Arc<Key>>,
    /// How many entries were left out.
    pub(super) left_out: usize,
}

/// A key set can't be used as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Longer than 256 KiB.
    #[error("the key set is longer than 256 KiB")]
    TooLong,
    /// Not a JSON object with a list `keys`, or a name stands twice.
    #[error("not a JWK set: a JSON object with a list `keys`, no name twice")]
    Malformed,
    /// More than 64 keys.
    #[error("the key set holds more than 64 keys")]
    TooMany,
    /// No key is left: none is a public signature key with a `kid`, of an accepted algorithm and size.
    #[error("the key set holds no usable key: a public signature key with a kid, of an accepted algorithm and size")]
    NoUsableKey,
}

impl KeySet {
    /// Reads a set and keeps what may verify tokens under one of `accepted`.
    pub(super) fn read(text: &[u8], accepted: &[Algorithm]) -> Result<Self, SetError> {
        if text.len() > SET_BYTES_MAX {
            return Err(SetError::TooLong);
        }
        let set = json::object(text).map_err(|_| SetError::Malformed)?;
        let entries = set.get("keys").and_then(Value::as_array).ok_or(SetError::Malformed)?;
        if entries.len() > KEYS_MAX {
            return Err(SetError::TooMany);
        }
        let once = |kid: &str| {
            entries.iter().filter(|entry| entry.get("kid").and_then(Value::as_str) == Some(kid)).count() == 1
        };
        let usable = |entry: &Value| {
            let jwk = Jwk(entry.as_object()?);
            // A `kid` that stands twice names neither key.
            let kid = jwk.text("kid").filter(|kid| !kid.is_empty() && once(kid))?;
            Some((kid.to_owned(), Arc::new(jwk.key(accepted)?)))
        };
        let keys: HashMap<_, _> = entries.iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(SetError::NoUsableKey);
        }
        Ok(Self { left_out: entries.len() - keys.len(), keys })
    }

    /// The key of exactly this id.
    pub(super) fn get(&self, kid: &str) -> Option<&Arc<Key>> {
        self.keys.get(kid)
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }
}

/// One entry of a set. Each step gives `None` where the entry is not for us.
#[derive(Clone, Copy)]
struct Jwk<'s>(&'s Map<String, Value>);

impl<'s> Jwk<'s> {
    fn key(self, accepted: &[Algorithm]) -> Option<Key> {
        if !self.is_for_signatures() || self.holds_secret() {
            return None;
        }
        let (decoding, material, fitting) = match self.text("kty")? {
            "EC" => self.elliptic()?,
            "OKP" => self.edwards()?,
            "RSA" => self.rsa()?,
            _ => return None,
        };
        let algorithms = self.algorithms(&fitting, accepted)?;
        let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let print = sha256(&[names.join(" ").as_bytes(), b"\0", &material]);
        Some(Key::new(decoding, algorithms, print))
    }

    /// `use` (section 4.2) and `key_ops` (section 4.3), where they are given, must allow verifying.
    fn is_for_signatures(self) -> bool {
        let use_fits = self.0.get("use").is_none_or(|purpose| purpose == "sig");
        let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"));
        use_fits && self.0.get("key_ops").is_none_or(verifies)
    }

    /// A private or shared key that stands in a public set is known to everybody.
    fn holds_secret(self) -> bool {
        self.0.contains_key("d") || self.0.contains_key("k")
    }

    /// The key's `alg` (section 4.4) if it has one and it fits, else all that fit; of these, the accepted ones.
    fn algorithms(self, fitting: &[Algorithm], accepted: &[Algorithm]) -> Option<Vec<Algorithm>> {
        let named: Option<Algorithm> = match self.0.get("alg") {
            Some(name) => Some(name.as_str()?.parse().ok()?),
            None => None,
        };
        let usable =
            |algorithm: &Algorithm| accepted.contains(algorithm) && named.is_none_or(|named| named == *algorithm);
        let algorithms: Vec<_> = fitting.iter().copied().filter(usable).collect();
        (!algorithms.is_empty()).then_some(algorithms)
    }

    fn elliptic(self) -> Option<(DecodingKey, Vec<u8>, Vec<Algorithm>)> {
        let (size, algorithm, point_check) = match self.text("crv")? {
            "P-256" => (32, Algorithm::ES256, &ECDSA_P256_SHA256_FIXED),
            "P-384" => (48, Algorithm::ES384, &ECDSA_P384_SHA384_FIXED),
            _ => return None,
        };
        let coordinate = |name| self.bytes(name).filter(|bytes| bytes.len() == size);
        let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
        // Off the curve: refused here, not at each token.
        ParsedPublicKey::new(point_check, &point).ok()?;
        Some((DecodingKey::from_ec_der(&point), point, vec![algorithm]))
    }

    fn edwards(self) -> Option<(DecodingKey, Vec<u8>, Vec<Algorithm>)> {
        let point = self.bytes("x").filter(|bytes| bytes.len() == 32 && self.text("crv") == Some("Ed25519"))?;
        Some((DecodingKey::from_ed_der(&point), point, vec![Algorithm::EdDSA]))
    }

    fn rsa(self) -> Option<(DecodingKey, Vec<u8>, Vec<Algorithm>)> {
        let (modulus, exponent) = (self.number("n")?, self.number("e")?);
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        let odd = |number: &[u8]| number.last().is_some_and(|byte| byte % 2 == 1);
        let exponent_fits = odd(&exponent) && exponent != [1] && exponent.len() <= RSA_EXPONENT_BYTES_MAX;
        if !RSA_BITS.contains(&bits) || !odd(&modulus) || !exponent_fits {
            return None;
        }
        let decoding = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
        let fitting = Algorithm::ALL.into_iter().filter(|algorithm| algorithm.is_rsa()).collect();
        Some((decoding, [exponent, vec![0], modulus].concat(), fitting))
    }

    fn text(self, name: &str) -> Option<&'s str> {
        self.0.get(name)?.as_str()
    }

    fn bytes(self, name: &str) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(self.text(name)?).ok()
    }

    /// A big-endian number without leading zeros, not zero.
    fn number(self, name: &str) -> Option<Vec<u8>> {
        let number: Vec<u8> = self.bytes(name)?.into_iter().skip_while(|byte| *byte == 0).collect();
        (!number.is_empty()).then_some(number)
    }
}
