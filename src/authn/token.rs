//! Reads a token strictly, before anything of it is believed. It verifies nothing.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::bearer::Bearer;
use super::{Algorithm, Error, Malformed, Untrusted, json};

/// Longest `kid`.
const KEY_ID_BYTES_MAX: usize = 256;

/// Header parameters (RFC 7515 section 4.1, RFC 7797, RFC 7516) that would say how, or with whose key, to verify. We take
/// that from the configuration and the issuer alone.
const REFUSED_PARAMETERS: [&str; 8] = ["crit", "b64", "jku", "x5u", "jwk", "x5c", "zip", "enc"];

/// A token's parts, read and not yet believed. It can't be printed.
pub(super) struct Token<'h> {
    /// What is signed: the first two parts with the dot between.
    pub(super) signed: &'h str,
    pub(super) signature: Vec<u8>,
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
    pub(super) registered: Registered,
    /// The whole payload, for the configurable claims.
    pub(super) payload: Value,
}

/// The registered claims (RFC 7519 section 4.1, RFC 8693 section 4.3), of their exact types.
pub(super) struct Registered {
    pub(super) issuer: String,
    pub(super) subject: String,
    pub(super) audiences: Vec<String>,
    pub(super) expires: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) issued: Option<Timestamp>,
    pub(super) token_id: Option<String>,
    pub(super) client_id: Option<String>,
}

impl<'h> Token<'h> {
    /// Reads header and payload. Its errors come from the caller's own text only.
    pub(super) fn read(bearer: Bearer<'h>) -> Result<Self, Error> {
        let parts = bearer.expose().rsplit_once('.');
        let (signed, signature) = parts.ok_or(Error::Malformed(Malformed::Encoding))?;
        let (header, payload) = signed.split_once('.').ok_or(Error::Malformed(Malformed::Encoding))?;
        let signature = decode(signature)?;
        let header = json::object(&decode(header)?).map_err(|_| Error::Malformed(Malformed::Header))?;
        let (algorithm, key_id) = read_header(&header)?;
        let payload = json::object(&decode(payload)?).map_err(|_| Error::Malformed(Malformed::Payload))?;
        let registered = Registered::read(&payload).map_err(Error::Malformed)?;
        Ok(Self { signed, signature, algorithm, key_id, registered, payload: Value::Object(payload) })
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

/// Unpadded base64url whose last character holds no stray bits: a part has one spelling.
fn decode(part: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Malformed(Malformed::Encoding))
}

fn read_header(header: &Map<String, Value>) -> Result<(Algorithm, String), Error> {
    if let Some(name) = REFUSED_PARAMETERS.into_iter().find(|name| header.contains_key(*name)) {
        return Err(Error::Malformed(Malformed::Parameter(name)));
    }
    // A media type: its case does not matter (RFC 7515 section 4.1.9). RFC 9068 section 2.1 for `at+jwt`.
    let accepted =
        |typ: &str| ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known));
    if !header.get("typ").and_then(Value::as_str).is_some_and(accepted) {
        return Err(Error::Malformed(Malformed::Type));
    }
    let algorithm = header.get("alg").and_then(Value::as_str).ok_or(Error::Malformed(Malformed::Algorithm))?;
    let algorithm = algorithm.parse().map_err(|_| Error::Untrusted(Untrusted::Algorithm))?;
    let fits = |kid: &&str| (1..=KEY_ID_BYTES_MAX).contains(&kid.len());
    let key_id = header.get("kid").and_then(Value::as_str).filter(fits).ok_or(Error::Malformed(Malformed::KeyId))?;
    Ok((algorithm, key_id.to_owned()))
}

impl Registered {
    pub(super) fn read(payload: &Map<String, Value>) -> Result<Self, Malformed> {
        let client_id = optional(payload, "client_id", text)?;
        let authorized_party = optional(payload, "azp", text)?;
        Ok(Self {
            issuer: required(payload, "iss", text)?,
            subject: required(payload, "sub", text)?,
            audiences: required(payload, "aud", texts)?,
            expires: required(payload, "exp", moment)?,
            not_before: optional(payload, "nbf", moment)?,
            issued: optional(payload, "iat", moment)?,
            token_id: optional(payload, "jti", text)?,
            client_id: client_id.or(authorized_party),
        })
    }
}

fn required<T>(
    payload: &Map<String, Value>,
    name: &'static str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<T, Malformed> {
    payload.get(name).and_then(read).ok_or(Malformed::Claim(name))
}

/// A claim that may be missing; `null` is not missing.
fn optional<T>(
    payload: &Map<String, Value>,
    name: &'static str,
    read: impl FnOnce(&Value) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    payload.get(name).map(|value| read(value).ok_or(Malformed::Claim(name))).transpose()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// One text, or a list of texts; any other entry spoils the list.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one.clone()]),
        Value::Array(list) => list.iter().map(text).collect(),
        _ => None,
    }
}

/// Whole seconds since the epoch, not negative, at most the year 9999. RFC 7519 would let fractions in; we don't.
fn moment(value: &Value) -> Option<Timestamp> {
    value
        .as_u64()
        .and_then(|seconds| i64::try_from(seconds).ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
}
