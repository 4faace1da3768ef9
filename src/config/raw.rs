//! What a person writes into `ccgate.yaml`. The doc comments here are the texts of `ccgate schema`; bounds and defaults
//! stand as attributes and values beside them and nowhere else. Nothing beyond `config` sees these types.

mod budgets;
mod reload;
mod sessions;
mod ship;
mod telemetry;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::{Duration, Size};
pub(super) use budgets::Budgets;
pub(super) use reload::Reload;
pub(super) use sessions::{Callback, Redis, Sessions, Store};
pub use sessions::{KeepAlive, SignIn};
pub use ship::Durability;
pub(super) use ship::{Nats, Ship, Witness};
pub(super) use telemetry::{Otlp, Telemetry};

/// Configuration of ccgate. It never holds a secret, only the names of files that do.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    /// Version of this file's format: 1.
    #[schemars(required, range(min = 1, max = 1))]
    pub(super) version: Option<u32>,
    /// The data plane: the listener for callers.
    pub(super) server: Server,
    /// The admin plane: metrics, liveness, readiness, sessions.
    pub(super) admin: Admin,
    /// The CC-Gateway or its load balancer (NSLB).
    pub(super) upstream: Upstream,
    /// Whose tokens are believed.
    pub(super) auth: Auth,
    /// The agents' sessions at the gateway.
    pub(super) sessions: Sessions,
    /// The rules on recordings.
    pub(super) policy: Policy,
    /// How much each person may take.
    pub(super) budgets: Budgets,
    /// The audit log.
    pub(super) audit: Audit,
    /// The program's own log, on standard error.
    pub(super) log: Log,
    /// Traces and metrics for a collector.
    pub(super) telemetry: Telemetry,
    /// How changes of this file, and of the files that it names, are taken up.
    pub(super) reload: Reload,
}

/// The data plane: the listener for callers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Server {
    /// Address and port to listen on.
    pub(super) listen: String,
    /// Certificate of the listener; without it plain HTTP, which is meant for loopback.
    pub(super) tls: Option<Tls>,
    /// Networks (CIDR) of the proxies whose `X-Forwarded-For` is believed. No network of all addresses.
    #[schemars(length(max = 64))]
    pub(super) trusted_proxies: Vec<String>,
    /// Cross-origin requests of web apps.
    pub(super) cors: Cors,
    /// Connections open at once. For one more, the connection goes that has waited longest for its client.
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) max_connections: u32,
    /// Of these from one address (IPv6: from one network of 64 bits); more are closed. Loopback and `trusted_proxies`
    /// are not counted.
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) max_connections_per_peer: u32,
    /// Downloads open at once; more get 503.
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) max_downloads: u32,
    /// For a request's head, and for an idle connection.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60s"))]
    pub(super) header_timeout: Duration,
    /// No progress in writing to the client for so long ends the connection.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60m"))]
    pub(super) client_stall_timeout: Duration,
    /// Fewer bytes a second, over five minutes of waiting for the client, end its connection; 0B: any.
    #[schemars(extend("x-min" = "0B", "x-max" = "1MiB"))]
    pub(super) client_min_rate: Size,
    /// How the process ends after SIGTERM.
    pub(super) drain: Drain,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            tls: None,
            trusted_proxies: Vec::new(),
            cors: Cors::default(),
            max_connections: 4096,
            max_connections_per_peer: 512,
            max_downloads: 1024,
            header_timeout: Duration::from_secs(10),
            client_stall_timeout: Duration::from_secs(60),
            client_min_rate: Size::from_kib(1),
            drain: Drain::default(),
        }
    }
}

/// Certificate of the listener.
#[allow(clippy::struct_field_names, reason = "the names of the keys")]
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    /// File with the certificate chain, PEM, the server's first.
    #[schemars(required)]
    pub(super) cert_file: Option<PathBuf>,
    /// File with the private key, PEM.
    #[schemars(required, extend("x-secret" = true))]
    pub(super) key_file: Option<PathBuf>,
    /// File with certificates, PEM; with it only clients that show a certificate issued by one of them are let in (mTLS).
    pub(super) client_ca_file: Option<PathBuf>,
    /// File with revocation lists of those issuers, PEM; needs `client_ca_file`. A certificate that no list in force covers is refused, as a revoked one is.
    pub(super) client_crl_file: Option<PathBuf>,
}

/// Cross-origin requests of web apps.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Cors {
    /// Origins that may read answers, as in `https://app.example` or `http://localhost:3000`; no `*`. Empty: no CORS.
    #[schemars(length(max = 64))]
    pub(super) allowed_origins: Vec<String>,
}

/// How the process ends after SIGTERM.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Drain {
    /// From "not ready" to the closing of the listener: the time that load balancers need to notice.
    #[schemars(extend("x-min" = "0s", "x-max" = "5m"))]
    pub(super) delay: Duration,
    /// From then on for running downloads to end; those left are cut and recorded as aborted.
    #[schemars(extend("x-min" = "0s", "x-max" = "24h"))]
    pub(super) timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self { delay: Duration::from_secs(5), timeout: Duration::from_secs(300) }
    }
}

/// The admin plane: metrics, liveness, readiness, sessions.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    /// Address and port to listen on; another than `server.listen`.
    pub(super) listen: String,
    /// Certificate of the listener; without it plain HTTP. With `client_ca_file`, who shows a certificate may look at and end sessions from elsewhere too, not from loopback alone.
    pub(super) tls: Option<Tls>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: "0.0.0.0:9090".to_owned(), tls: None }
    }
}

/// The CC-Gateway or its load balancer (NSLB).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    /// Where the gateway is, https only: `https://10.244.154.23:8043`, with or without its base path `/agentgateway/resource`.
    /// Exactly one of `url` and `urls` is required.
    pub(super) url: Option<String>,
    /// In place of `url`: several, 1 to 16, of load balancers (NSLB) or of gateways. Sign-ins go to them in turn. The first
    /// one stands for the upstream in the session store, so it stays the first.
    #[schemars(length(min = 1, max = 16))]
    pub(super) urls: Option<Vec<String>>,
    /// Where the sessions of each node live: the name behind the dot of a Guid (`AgentGateway0`) and the node's URL. Calls
    /// in such a session go there and nowhere else; needed for gateways that share no sessions.
    #[schemars(extend("maxProperties" = 64))]
    pub(super) nodes: BTreeMap<String, String>,
    /// What the gateway's certificate is held against: `ca`, the authorities (and the pins, if there are any); `pin`, the pins and the certificate's time alone, for a certificate that is signed by itself or is an authority's.
    pub(super) trust: Trust,
    /// File with the certificates to trust, PEM; without it the system's. Not with `trust: pin`.
    pub(super) ca_file: Option<PathBuf>,
    /// The name to verify in the gateway's certificate, when the URL holds a bare address.
    #[schemars(length(min = 1, max = 253))]
    pub(super) server_name: Option<String>,
    /// Pins: SHA-256 of the public keys (SPKI) to accept, 32 bytes in base64 or hex. Empty: any certificate that verifies.
    #[schemars(length(max = 16))]
    pub(super) pin_sha256: Vec<String>,
    /// File with our certificate chain for mTLS, PEM; together with `client_key_file`.
    pub(super) client_cert_file: Option<PathBuf>,
    /// File with our private key for mTLS, PEM; together with `client_cert_file`.
    #[schemars(extend("x-secret" = true))]
    pub(super) client_key_file: Option<PathBuf>,
    /// For name lookup, TCP and TLS together.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60s"))]
    pub(super) connect_timeout: Duration,
    /// From the sent request to the response head.
    #[schemars(extend("x-min" = "100ms", "x-max" = "10m"))]
    pub(super) response_timeout: Duration,
    /// Silence inside a body for so long ends the download; a body that keeps moving may take any time.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60m"))]
    pub(super) idle_timeout: Duration,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            url: None,
            urls: None,
            nodes: BTreeMap::new(),
            trust: Trust::Ca,
            ca_file: None,
            server_name: None,
            pin_sha256: Vec::new(),
            client_cert_file: None,
            client_key_file: None,
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
        }
    }
}

/// What the gateway's certificate is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Trust {
    /// A chain to a trusted authority, the name, and the pins, if there are any.
    Ca,
    /// One of the pins, and the certificate's time.
    Pin,
}

/// Whose tokens are believed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Auth {
    /// How far the issuers' clocks may be off.
    #[schemars(extend("x-min" = "0s", "x-max" = "5m"))]
    pub(super) leeway: Duration,
    /// Longest lifetime of a token, from `iat` to `exp`.
    #[schemars(extend("x-min" = "1m", "x-max" = "168h"))]
    pub(super) max_token_lifetime: Duration,
    /// The issuers; at least one.
    #[schemars(required, length(min = 1, max = 32))]
    pub(super) issuers: Option<Vec<Issuer>>,
}

impl Default for Auth {
    fn default() -> Self {
        Self { leeway: Duration::from_secs(30), max_token_lifetime: Duration::from_secs(24 * 3600), issuers: None }
    }
}

/// One issuer of tokens. Its keys come from `jwks_file` or `jwks_url`; with neither, by OIDC discovery from the issuer.
#[allow(clippy::struct_field_names, reason = "the names of the keys")]
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Issuer {
    /// The `iss` claim, exactly; for discovery an https URL (http on loopback).
    #[schemars(required, length(min = 1, max = 256))]
    pub(super) issuer: Option<String>,
    /// Accepted `aud` values; at least one.
    #[schemars(required, length(min = 1, max = 16))]
    pub(super) audiences: Option<Vec<String>>,
    /// Accepted signature algorithms; at least one. Neither `none` nor an HMAC can be named.
    #[schemars(required, length(min = 1, max = 9))]
    pub(super) algorithms: Option<Vec<Algorithm>>,
    /// File with the issuer's JWKS; read again when its content changes. Not together with `jwks_url`.
    pub(super) jwks_file: Option<PathBuf>,
    /// Where the issuer's JWKS is, https (http on loopback). Not together with `jwks_file`.
    #[schemars(length(min = 1, max = 2048))]
    pub(super) jwks_url: Option<String>,
    /// File with the certificates to trust for `jwks_url` and discovery, PEM; without it the system's.
    pub(super) ca_file: Option<PathBuf>,
    /// Whether its tokens must be bound to a client certificate (RFC 8705); needs `server.tls.client_ca_file`. One that is bound is taken over a connection with that certificate only, whatever stands here.
    pub(super) certificate_bound: bool,
    /// Where in a token the facts are, as JSON pointers (RFC 6901).
    pub(super) claims: Claims,
}

/// Where in a token the facts are, as JSON pointers (RFC 6901).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Claims {
    /// The agent that the caller is: a string that is an agent id.
    #[schemars(length(max = 256))]
    pub(super) agent: String,
    /// The caller's roles: a list of strings.
    #[schemars(length(max = 256))]
    pub(super) roles: String,
    /// The agents that an inspector may listen to: a list of agent ids, or `*`.
    #[schemars(length(max = 256))]
    pub(super) inspects: String,
    /// The teams that an inspector may listen to: a list of strings.
    #[schemars(length(max = 256))]
    pub(super) teams: String,
    /// The purpose; without it the request header `Ccgate-Purpose` alone counts.
    #[schemars(length(max = 256))]
    pub(super) purpose: Option<String>,
    /// The ticket; without it the request header `Ccgate-Ticket` alone counts.
    #[schemars(length(max = 256))]
    pub(super) ticket: Option<String>,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            agent: "/agent_id".to_owned(),
            roles: "/roles".to_owned(),
            inspects: "/inspects".to_owned(),
            teams: "/teams".to_owned(),
            purpose: None,
            ticket: None,
        }
    }
}

/// A signature algorithm of RFC 7518 section 3.1 or RFC 8037. The symmetric ones and `none` do not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names of the RFCs")]
pub enum Algorithm {
    ES256,
    ES384,
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    EdDSA,
}

/// The rules on recordings.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Policy {
    /// Folder with the rules, `*.cedar`; without it the built-in ones.
    pub(super) dir: Option<PathBuf>,
    /// File with the teams and who is in them.
    pub(super) entities_file: Option<PathBuf>,
}

/// The audit log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Audit {
    /// Folder of the log: one process writes it, on a volume that survives it.
    pub(super) dir: PathBuf,
    /// File with the key that signs the log: Ed25519, PKCS#8, PEM.
    #[schemars(extend("x-secret" = true))]
    pub(super) signing_key_file: PathBuf,
    /// File with the verifier keys that signed before, one a line, as `audit.pub` in the log's folder has them. A log that
    /// was last signed by any other key stops the start.
    pub(super) verifier_keys_file: Option<PathBuf>,
    /// The log's name in its checkpoints, different for each replica; without it that of the folder, a random one where it
    /// is new.
    #[schemars(length(min = 1, max = 128))]
    pub(super) origin: Option<String>,
    /// How often the log is signed, where there is something new.
    #[schemars(extend("x-min" = "250ms", "x-max" = "60s"))]
    pub(super) checkpoint_interval: Duration,
    /// File with the key that turns subjects and recordings into pseudonyms; without it, records name them.
    ///
    /// One key a line, base64 of 32 bytes: the first makes pseudonyms, queries search by all. Neither the signing key's file
    /// nor in `dir`.
    #[schemars(extend("x-secret" = true))]
    pub(super) pseudonym_key_file: Option<PathBuf>,
    /// How long a request waits for its record to be durable, before it gets 503.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60s"))]
    pub(super) write_timeout: Duration,
    /// Digest of the bytes handed to the client.
    pub(super) digest: Digest,
    /// A new file is begun when one has grown to so much.
    #[schemars(extend("x-min" = "64KiB", "x-max" = "4GiB"))]
    pub(super) segment_size: Size,
    /// A new file is begun when one is so old.
    #[schemars(extend("x-min" = "1m", "x-max" = "8760h"))]
    pub(super) segment_age: Duration,
    /// Files whose last record is older are removed, and the log says so; without it they stay for ever.
    #[schemars(extend("x-min" = "1h", "x-max" = "87600h"))]
    pub(super) retention: Option<Duration>,
    /// With less free space on the volume no new download is let through; the ends of running ones are still written.
    #[schemars(extend("x-min" = "0B", "x-max" = "1TiB"))]
    pub(super) free_space_min: Size,
    /// When a download may begin: `local`, when its record is durable here; `shipped`, when the stream has acknowledged it, too.
    pub(super) durability: Durability,
    /// Where the records are sent, beside the log's own files: `none`, `stdout` (a line each, for a log agent), or `nats` (a NATS JetStream stream).
    pub(super) ship: Ship,
    /// Who cosigns the log's checkpoints, so that not even the holder of its key can write it anew unseen; each learns sizes and hashes, never a record.
    #[schemars(length(max = 8))]
    pub(super) witnesses: Vec<Witness>,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/var/lib/ccgate/audit"),
            signing_key_file: PathBuf::from("/etc/ccgate/audit.key"),
            verifier_keys_file: None,
            origin: None,
            checkpoint_interval: Duration::from_secs(1),
            pseudonym_key_file: None,
            write_timeout: Duration::from_secs(2),
            digest: Digest::Sha256,
            segment_size: Size::from_mib(64),
            segment_age: Duration::from_secs(24 * 3_600),
            retention: None,
            free_space_min: Size::from_mib(64),
            durability: Durability::Local,
            ship: Ship::None,
            witnesses: Vec::new(),
        }
    }
}

/// Digest of the bytes handed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// BLAKE3.
    Blake3,
    /// No digest.
    None,
}

/// The program's own log, on standard error.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    /// The least severe lines that are written.
    pub(super) level: Level,
    /// How lines look.
    pub(super) format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Json }
    }
}

/// The least severe lines that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// What failed.
    Error,
    /// And what may soon.
    Warn,
    /// And what happened.
    Info,
    /// And how.
    Debug,
    /// And every step.
    Trace,
}

impl Level {
    /// Every level, the most severe first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line, for programs.
    Json,
    /// One line of text, for people.
    Text,
}
