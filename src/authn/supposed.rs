//! A caller from claims that nobody has signed, for `ccgate policy explain --claims`. It verifies nothing, so it must
//! never stand between a request and a recording.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::binding;
use super::claims::facts;
use super::person::Person;
use super::token::Registered;
use super::{Caller, Config, Error, Malformed, Untrusted, json};

/// The end of a token whose claims name none, in seconds since the epoch: 2100-01-01.
const SUPPOSED_END: i64 = 4_102_444_800;

/// The caller that a token with these claims would prove, were it genuine: read by the parser of real tokens, but
/// without signature, audience and time. `claims` is one JSON object; of the registered claims only `sub` is needed, and
/// `iss` where several issuers are configured.
///
/// The data plane can't get here, twice over. It is handed an [`Authenticator`](super::Authenticator), which has no such
/// method, and no [`Config`], which this takes. And `tests/architecture.rs` lets only the command name this function; it
/// is not part of the crate's public face either.
pub(crate) fn supposed_caller(config: &Config, claims: &[u8]) -> Result<Caller, Error> {
    let mut payload = json::object(claims).map_err(|_| Error::Malformed(Malformed::Payload))?;
    fill(&mut payload, config);
    let registered = Registered::read(&payload).map_err(Error::Malformed)?;
    let named = config.issuers.iter().find(|issuer| issuer.issuer == registered.issuer);
    let issuer = named.ok_or(Error::Untrusted(Untrusted::Issuer))?;
    let name = Arc::from(issuer.issuer.as_str());
    let payload = Value::Object(payload);
    let facts = facts(&name, &issuer.claims, &registered, &payload);
    // Supposed to be shown, as the signature is supposed to be good; what nobody could prove is refused all the same.
    binding::of(&payload).map_err(Error::Binding)?;
    let (identity, token) = facts.map_err(Error::Claims)?;
    // Remembered by nobody: a supposed person is never one of the data plane's.
    Ok(Caller::new(Arc::new(Person::new(Arc::new(identity))), token))
}

/// Puts in what decides nothing here and would only have to be typed.
fn fill(payload: &mut Map<String, Value>, config: &Config) {
    if let [only] = config.issuers.as_slice() {
        payload.entry("iss").or_insert_with(|| json!(only.issuer));
    }
    payload.entry("aud").or_insert_with(|| json!([]));
    payload.entry("exp").or_insert_with(|| json!(SUPPOSED_END));
}
