//! What a person writes about shipping the audit log; the rules of `raw` hold here too.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Duration;

/// When a download may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// When its record is durable here.
    Local,
    /// When the stream has acknowledged its record, too.
    Shipped,
}

/// Where the records are sent, beside the log's own files.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Ship {
    /// Nowhere.
    None,
    /// Standard output, a record a line, for a log agent.
    Stdout,
    /// A NATS JetStream stream.
    Nats(Nats),
}

/// A NATS JetStream stream.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Nats {
    /// File with the servers' URLs on one line, separated by commas, `tls://user:password@host:4222`; `nats://` is without TLS unless the server asks for it. Required.
    #[schemars(extend("x-secret" = true))]
    pub(in crate::config) url_file: Option<PathBuf>,
    /// Subject of records, which a stream must take; checkpoints go to `<subject>.checkpoint`, which one must take, too.
    #[schemars(length(min = 1, max = 128))]
    pub(in crate::config) subject: String,
    /// File with the certificates to trust, PEM; without it the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
    /// File with our certificate, PEM, together with `client_key_file`: mTLS.
    pub(in crate::config) client_cert_file: Option<PathBuf>,
    /// File with its private key, PEM, together with `client_cert_file`.
    #[schemars(extend("x-secret" = true))]
    pub(in crate::config) client_key_file: Option<PathBuf>,
    /// For connecting, for handing a record over, and for each acknowledgement.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60s"))]
    pub(in crate::config) timeout: Duration,
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            url_file: None,
            subject: "ccgate.audit".to_owned(),
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A witness that cosigns the log's checkpoints (c2sp.org/tlog-witness).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Witness {
    /// Its submission prefix, https (http on loopback); checkpoints are posted to `<url>/add-checkpoint`.
    #[schemars(required, length(min = 1, max = 2048))]
    pub(in crate::config) url: Option<String>,
    /// Its verifier key for cosignatures with Ed25519: `<name>+<id>+<base64>`.
    #[schemars(required, length(min = 1, max = 512))]
    pub(in crate::config) key: Option<String>,
    /// File with the certificates to trust, PEM; without it the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
    /// Between two submissions.
    #[schemars(extend("x-min" = "1s", "x-max" = "24h"))]
    pub(in crate::config) interval: Duration,
    /// For a whole submission.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60s"))]
    pub(in crate::config) timeout: Duration,
}

impl Default for Witness {
    fn default() -> Self {
        Self {
            url: None,
            key: None,
            ca_file: None,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
        }
    }
}
