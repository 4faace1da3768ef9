//! Tokens that are bound to a client certificate (RFC 8705 section 3). It never takes a token without the proof that the
//! token itself asks for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::BindingFault;
use crate::net::ClientCertificate;

/// The claim (RFC 7800 section 3.1) and its only member that can be checked here.
const CLAIM: &str = "cnf";
const MEMBER: &str = "x5t#S256";

/// SHA-256 of the certificate that a token is bound to; `None`: it is a bearer token.
pub(super) type Binding = Option<[u8; 32]>;

/// What a token is bound to.
///
/// RFC 7800 would have members that are not understood ignored, but leaves it to applications to ask for more. Here a token
/// that names a proof which nobody checks would be taken from whoever stole it, so there is exactly one member, and it is
/// one that is checked.
pub(super) fn of(payload: &Value) -> Result<Binding, BindingFault> {
    let Some(claim) = payload.get(CLAIM) else { return Ok(None) };
    let members = claim.as_object().filter(|members| !members.is_empty()).ok_or(BindingFault::Malformed)?;
    let thumbprint = members.get(MEMBER).filter(|_| members.len() == 1).ok_or(BindingFault::Unsupported)?;
    let bytes = thumbprint.as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(Some).ok_or(BindingFault::Malformed)
}

/// Whether a request may use a token that is bound so, over a connection with this certificate. Asked for every request:
/// the same token comes over other connections.
pub(super) fn check(binding: &Binding, required: bool, shown: Option<&ClientCertificate>) -> Result<(), BindingFault> {
    match (binding, shown) {
        (None, _) if required => Err(BindingFault::Unbound),
        (None, _) => Ok(()),
        (Some(_), None) => Err(BindingFault::NoCertificate),
        (Some(bound), Some(shown)) if bound == shown.sha256() => Ok(()),
        (Some(_), Some(_)) => Err(BindingFault::OtherCertificate),
    }
}
