//! What is to be trusted, and the check of it. There is no value that means "let everybody in".

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::source::{KeysError, check_url};
use super::{Algorithm, JsonPointer};
use crate::net;

/// Whom to believe, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How far clocks may differ; at most 5 minutes.
    pub leeway: Duration,
    /// Longest accepted time from `iat` (else now) to `exp`; not zero.
    pub max_token_lifetime: Duration,
    /// The trusted issuers, 1 to 32, each once.
    pub issuers: Vec<IssuerConfig>,
}

/// One trusted issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerConfig {
    /// `iss`, compared byte by byte.
    pub issuer: String,
    /// One of these must be in `aud`; not empty.
    pub audiences: Vec<String>,
    /// The algorithms to accept; not empty.
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are.
    pub keys: KeySource,
    /// PEM file with the certificates to trust when keys are fetched; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Whether its tokens have to be bound to a client certificate (RFC 8705 section 3). One that is bound is never taken
    /// without that certificate, whatever stands here.
    pub certificate_bound: bool,
    /// Where in the payload our claims stand.
    pub claims: Claims,
}

/// Where an issuer's key set comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file with a JWK set (RFC 7517), read again when it changes.
    File(PathBuf),
    /// A JWK set at this address: `https`, or `http` on loopback.
    Url(Uri),
    /// The `jwks_uri` of the issuer's OpenID Connect discovery document.
    Discovery,
}

/// Where our claims stand in the payload. A claim that is not there is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// A string that is an agent id.
    pub agent: JsonPointer,
    /// A list of names.
    pub roles: JsonPointer,
    /// A list of agent ids, or `*`.
    pub inspects: JsonPointer,
    /// A list of names.
    pub teams: JsonPointer,
    /// A text of at most 200 characters; `None`: it comes in a request header only.
    pub purpose: Option<JsonPointer>,
    /// A text of at most 200 characters; `None`: it comes in a request header only.
    pub ticket: Option<JsonPointer>,
}

impl Default for Claims {
    /// `/agent_id`, `/roles`, `/inspects`, `/teams`.
    fn default() -> Self {
        #[allow(clippy::expect_used, reason = "called with the four texts below only")]
        let pointer = |text: &str| text.parse().expect("a JSON pointer");
        Self {
            agent: pointer("/agent_id"),
            roles: pointer("/roles"),
            inspects: pointer("/inspects"),
            teams: pointer("/teams"),
            purpose: None,
            ticket: None,
        }
    }
}

/// The configuration, or a file that it names, can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Nobody would be trusted, or nobody meant to say so.
    #[error("no issuer is configured: without one no token can be verified")]
    NoIssuer,
    /// More issuers than the bound.
    #[error("{count} issuers are configured, at most {} are possible", Config::ISSUERS_MAX)]
    TooManyIssuers {
        /// How many.
        count: usize,
    },
    /// An issuer without a name.
    #[error("an issuer is the empty text")]
    EmptyIssuer,
    /// The same issuer twice.
    #[error("issuer {issuer} is configured twice")]
    DuplicateIssuer {
        /// Which.
        issuer: String,
    },
    /// No audience, or an empty one: a token for anybody would pass.
    #[error("issuer {issuer}: audiences is empty or holds an empty text: a token for anybody would be accepted")]
    NoAudience {
        /// Which.
        issuer: String,
    },
    /// No algorithm.
    #[error("issuer {issuer}: algorithms is empty")]
    NoAlgorithm {
        /// Which.
        issuer: String,
    },
    /// The leeway is above its bound.
    #[error("leeway is more than {} s", Config::LEEWAY_MAX.as_secs())]
    Leeway,
    /// No token could be accepted.
    #[error("max_token_lifetime is zero")]
    Lifetime,
    /// Keys would come from an address that can't be trusted.
    #[error("issuer {issuer}: keys come over https only, or over http from this machine")]
    Address {
        /// Which.
        issuer: String,
    },
    /// The key file can't be used.
    #[error("issuer {issuer}: the key file cannot be used")]
    Keys {
        /// Which.
        issuer: String,
        /// Why.
        #[source]
        source: KeysError,
    },
    /// The certificates to trust can't be used.
    #[error("issuer {issuer}: the certificates to trust cannot be used")]
    Tls {
        /// Which.
        issuer: String,
        /// Why.
        #[source]
        source: net::TlsError,
    },
    /// The cryptography of this build does not work.
    #[error("verifying a known signature failed: the cryptography of this build does not work")]
    SelfTest,
}

impl Config {
    /// Most issuers.
    pub const ISSUERS_MAX: usize = 32;
    /// Largest leeway.
    pub const LEEWAY_MAX: Duration = Duration::from_mins(5);

    /// What can be told without reading a file.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self.issuers.len() {
            0 => return Err(ConfigError::NoIssuer),
            1..=Self::ISSUERS_MAX => {}
            count => return Err(ConfigError::TooManyIssuers { count }),
        }
        if self.leeway > Self::LEEWAY_MAX {
            return Err(ConfigError::Leeway);
        }
        if self.max_token_lifetime.is_zero() {
            return Err(ConfigError::Lifetime);
        }
        let mut seen = BTreeSet::new();
        for issuer in &self.issuers {
            if !seen.insert(&issuer.issuer) {
                return Err(ConfigError::DuplicateIssuer { issuer: issuer.issuer.clone() });
            }
            issuer.check()?;
        }
        Ok(())
    }
}

impl IssuerConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let issuer = self.issuer.clone();
        if issuer.is_empty() {
            return Err(ConfigError::EmptyIssuer);
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Err(ConfigError::NoAudience { issuer });
        }
        if self.algorithms.is_empty() {
            return Err(ConfigError::NoAlgorithm { issuer });
        }
        let trusted = match &self.keys {
            KeySource::File(_) => true,
            KeySource::Url(url) => check_url(url),
            // Discovery section 4: an issuer has neither query nor fragment.
            KeySource::Discovery => {
                !issuer.contains(['?', '#']) && issuer.parse().is_ok_and(|url: Uri| check_url(&url))
            }
        };
        if trusted { Ok(()) } else { Err(ConfigError::Address { issuer }) }
    }
}
