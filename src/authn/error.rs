//! Why a caller was not recognised. No text of these errors ever holds a part of the token.

use std::time::Duration;

/// Why there is no [`Caller`](super::Caller). Only [`Error::KeysUnavailable`] is our fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No `Authorization` header.
    #[error("no bearer token was sent")]
    Missing,
    /// The token or its header can't be read.
    #[error("the bearer token is malformed")]
    Malformed(#[source] Malformed),
    /// The token's time is over, leeway included.
    #[error("the token has expired")]
    Expired,
    /// The token is not from whom we trust, or not for us.
    #[error("the token is not trusted")]
    Untrusted(#[source] Untrusted),
    /// The token is genuine, but what it claims can't be used.
    #[error("a claim of the token cannot be used")]
    Claims(#[source] ClaimFault),
    /// The token is genuine, and bound to something that this connection does not prove.
    #[error("the token cannot be used over this connection")]
    Binding(#[source] BindingFault),
    /// We can't tell: the issuer's keys are not here, or too old.
    #[error("the keys to verify the token are not available")]
    KeysUnavailable {
        /// When it is worth trying again; at least a second.
        retry_after: Duration,
    },
}

impl Error {
    /// The stable code, as in the problem document and the metric's reason.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed(_) => "token_malformed",
            Self::Expired => "token_expired",
            Self::Untrusted(_) => "token_untrusted",
            Self::Claims(_) => "token_claims",
            Self::Binding(_) => "token_binding",
            Self::KeysUnavailable { .. } => "keys_unavailable",
        }
    }
}

/// What can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// More than one `Authorization` header.
    #[error("more than one Authorization header")]
    Repeated,
    /// Not `Bearer`, one space, a token.
    #[error("the Authorization header is not `Bearer`, one space and a token")]
    Scheme,
    /// Longer than 8 KiB.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// Not three parts of unpadded base64url with dots between.
    #[error("the token is not three parts of base64url")]
    Encoding,
    /// The header is not one JSON object without repeated names.
    #[error("the token's header is not a JSON object without repeated names")]
    Header,
    /// `typ` is missing or none of `JWT`, `at+jwt`, `application/at+jwt`.
    #[error("the header's typ is neither JWT nor at+jwt")]
    Type,
    /// The header's `alg` is missing or no string.
    #[error("the header names no alg")]
    Algorithm,
    /// The header's `kid` is missing, no string, empty or longer than 256 bytes.
    #[error("the header names no kid")]
    KeyId,
    /// The header holds a parameter that would change how the token is to be verified.
    #[error("the header holds the parameter {0}, which is not accepted")]
    Parameter(&'static str),
    /// The payload is not one JSON object without repeated names.
    #[error("the token's payload is not a JSON object without repeated names")]
    Payload,
    /// A registered claim is missing or of the wrong type.
    #[error("the claim {0} is missing or of the wrong type")]
    Claim(&'static str),
}

/// What is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// `iss` is not exactly one of the configured issuers.
    #[error("the issuer is not configured")]
    Issuer,
    /// `aud` holds none of the issuer's audiences.
    #[error("the token is for another audience")]
    Audience,
    /// The algorithm is not accepted, from this issuer or with this key.
    #[error("the algorithm is not accepted for this issuer and key")]
    Algorithm,
    /// The issuer's current key set does not hold the key.
    #[error("the issuer has no such key")]
    Key,
    /// The signature is not the key's.
    #[error("the signature does not verify")]
    Signature,
}

/// Why a token is not the connection's to use (RFC 8705 section 3, RFC 7800 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BindingFault {
    /// `cnf` is no object with members, or its `x5t#S256` is no SHA-256 in unpadded base64url.
    #[error("its claim cnf is malformed")]
    Malformed,
    /// `cnf` names another proof than `x5t#S256`, or one beside it.
    #[error("its claim cnf asks for another proof than x5t#S256, which alone is checked here")]
    Unsupported,
    /// The connection has no client certificate.
    #[error("it is bound to a client certificate, and none was shown")]
    NoCertificate,
    /// The connection's client certificate is another one.
    #[error("it is bound to another client certificate than the one that was shown")]
    OtherCertificate,
    /// The issuer's tokens have to be bound.
    #[error("it is bound to no client certificate, as this issuer's tokens have to be")]
    Unbound,
}

/// Which claim can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    /// `nbf` is in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// `iat` is in the future.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// The token lives longer than accepted, or ends before it begins.
    #[error("the token's lifetime is not accepted")]
    Lifetime,
    /// A claim's text is empty, too long or not printable.
    #[error("the claim {0} is empty, too long or not printable")]
    Text(&'static str),
    /// The agent claim is no agent id.
    #[error("the agent claim is not a string that is an agent id")]
    Agent,
    /// The roles claim is no list of names.
    #[error("the roles claim is not a list of at most 256 names")]
    Roles,
    /// The inspects claim is no list of agent ids.
    #[error("the inspects claim is not a list of agent ids or `*`")]
    Inspects,
    /// The teams claim is no list of names.
    #[error("the teams claim is not a list of at most 256 names")]
    Teams,
}
