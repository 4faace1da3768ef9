//! Why the gateway does not start: each cause names what to look at.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::session::store;
use crate::{audit, authn, budget, net, policy, serve, ship};

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin plane's address can't be bound.
    #[error("cannot listen on admin.listen {address}")]
    Admin {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The admin plane's TLS files can't be used.
    #[error("admin.tls cannot be used")]
    AdminTls(#[source] net::TlsError),
    /// The data plane can't be set up.
    #[error("the data plane (server) cannot be set up")]
    Server(#[from] serve::Error),
    /// An origin is no header value.
    #[error("server.cors.allowed_origins holds a value that is no origin")]
    Origin,
    /// The upstream's TLS files can't be used.
    #[error("the connection to the upstream cannot be set up")]
    Upstream(#[source] net::TlsError),
    /// The verification of tokens can't be set up.
    #[error("tokens cannot be verified (auth)")]
    Auth(#[from] authn::ConfigError),
    /// The policy can't be used.
    #[error("the policy cannot be used")]
    Policy(#[from] policy::Error),
    /// The keys of the audit log's pseudonyms can't be used.
    #[error("audit.pseudonym_key_file cannot be used")]
    Pseudonyms(#[source] audit::PseudonymError),
    /// The audit log can't be used.
    #[error("the audit log cannot be used (audit.dir)")]
    Audit(#[from] audit::StartError),
    /// The audit log can't be read for the budgets.
    #[error("the budgets cannot be counted on from {}", .path.display())]
    Past {
        /// The log's folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no randomness for the budgets' key.
    #[error("the budgets cannot be set up")]
    Budgets(#[from] budget::NoRandom),
    /// The audit log can't be shipped.
    #[error("the audit log cannot be shipped (audit.ship)")]
    Ship(#[from] ship::StartError),
    /// Traces and metrics can't be sent.
    #[error("traces and metrics cannot be sent (telemetry.otlp)")]
    Otlp(#[from] crate::telemetry::otlp::StartError),
    /// Witnesses can't be asked.
    #[error("the audit log cannot be witnessed (audit.witnesses)")]
    Witness(#[from] ship::witness::StartError),
    /// The folder of the accounts is missing or can't be read.
    #[error("sessions.accounts_dir {} cannot be read", .path.display())]
    Accounts {
        /// Which folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The callback's token can't be read.
    #[error("sessions.callback.service_token_file cannot be used")]
    ServiceToken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Two metrics have one name.
    #[error("the metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The keys of the state file can't be used.
    #[error("sessions.state_key_file cannot be used")]
    StateKeys(#[source] store::seal::KeyError),
    /// The state file can't be used.
    #[error("sessions.state_file cannot be used")]
    StateFile(#[source] Box<store::memory::StateFileError>),
    /// The shared store can't be used.
    #[error("{key} cannot be used")]
    SessionStore {
        /// The key to look at.
        key: &'static str,
        /// Why.
        #[source]
        source: Box<store::redis::ConnectError>,
    },
}
