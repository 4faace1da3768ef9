//! Who is asking: from a bearer token to a [`Caller`]. It knows nothing of what is asked for, and never lets a request
//! through without a verified token.
//!
//! ```text
//!  Authorization ─ bearer ─ token ─── keys ──── key ──── claims ── Caller
//!                  one,     strict    (iss,kid) signature time,
//!                  8 KiB    JSON         │                types
//!                                     refresh ── source ── jwks
//!                                     (owner)    file, URL, discovery
//! ```
//!
//! Whose fault it is, is in the type: [`Error::KeysUnavailable`] is ours (503), everything else the token's (401).

mod algorithm;
mod authenticator;
mod bearer;
mod binding;
mod caller;
mod claims;
mod config;
mod error;
mod json;
mod jwks;
mod key;
mod keys;
mod metrics;
mod person;
mod pointer;
mod refresh;
mod source;
mod supposed;
#[cfg(test)]
mod tests;
mod timing;
mod token;
mod verified;

pub use algorithm::{Algorithm, AlgorithmError};
pub use authenticator::Authenticator;
pub use caller::{Caller, Inspects};
pub use config::{Claims, Config, ConfigError, IssuerConfig, KeySource};
pub use error::{BindingFault, ClaimFault, Error, Malformed, Untrusted};
pub use jwks::SetError;
pub use metrics::{Decision, Metrics};
pub use pointer::{JsonPointer, JsonPointerError};
pub use source::{DiscoveryFault, KeysError, check_key_file};
pub(crate) use supposed::supposed_caller;
pub use timing::Timing;
