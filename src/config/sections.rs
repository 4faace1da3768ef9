//! The configuration as the program uses it: parsed values, one struct for each section of the file. It reads nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use http::uri::Authority;
use ipnet::IpNet;

use super::raw::Algorithm;
pub use super::raw::{Digest, Durability, Format, KeepAlive, Level, SignIn};
use crate::cc::NodeName;
use crate::net::{ClientConfig, ServerTls};
use crate::{audit, authn, policy, upstream};

/// A whole configuration; every rule that needs no file but its own has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The data plane.
    pub server: Server,
    /// The admin plane.
    pub admin: Admin,
    /// The gateway.
    pub upstream: Upstream,
    /// Whose tokens are believed.
    pub auth: authn::Config,
    /// The agents' sessions.
    pub sessions: Sessions,
    /// The rules on recordings.
    pub policy: policy::Config,
    /// The audit log.
    pub audit: Audit,
    /// The program's own log.
    pub log: Log,
    /// The collector of traces and metrics; `None`: there is none.
    pub otlp: Option<Otlp>,
}

/// Where traces and metrics go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// The collector; `/v1/traces` and `/v1/metrics` are added to its path.
    pub endpoint: Uri,
    /// Trust; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Header fields of each request, which are secrets.
    pub headers_file: Option<PathBuf>,
    /// Whether spans are sent.
    pub traces: bool,
    /// Share of the traces begun here that is recorded, 0 to 100.
    pub sample_percent: u8,
    /// Whether metrics are sent.
    pub metrics: bool,
    /// Between two pages of metrics.
    pub interval: Duration,
    /// For a message with all its tries.
    pub timeout: Duration,
}

/// The data plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate; `None`: plain HTTP.
    pub tls: Option<ServerTls>,
    /// Networks of the proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins that may read answers, as browsers send them; empty: no CORS.
    pub allowed_origins: Vec<String>,
    /// Connections open at once, 1 to 65,536.
    pub max_connections: usize,
    /// Downloads open at once, 1 to 65,536.
    pub max_downloads: usize,
    /// For a request's head, and for an idle connection.
    pub header_timeout: Duration,
    /// No progress in writing to the client for so long ends the connection.
    pub client_stall_timeout: Duration,
    /// How the process ends.
    pub drain: Drain,
}

/// How the process ends after SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// From "not ready" to the closing of the listener.
    pub delay: Duration,
    /// From then on for running downloads to end.
    pub timeout: Duration,
}

/// The admin plane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate; `None`: plain HTTP.
    pub tls: Option<ServerTls>,
}

/// The gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Host and port of each URL, each once; at least one.
    pub urls: Vec<Authority>,
    /// Where the sessions of each node live.
    pub nodes: BTreeMap<NodeName, Authority>,
    /// Trust, identity, and the deadlines of connecting and of the response head.
    pub client: ClientConfig,
    /// Silence inside a body for so long ends the download.
    pub idle_timeout: Duration,
}

impl Upstream {
    /// The configuration of its client.
    pub fn gateway(&self) -> upstream::Config {
        let (urls, nodes) = (self.urls.clone(), self.nodes.clone());
        upstream::Config { urls, nodes, client: self.client.clone(), idle_timeout: self.idle_timeout }
    }

    /// What stands for the upstream where several processes share sessions: the first URL's host and port.
    pub fn name(&self) -> String {
        self.urls.first().map(ToString::to_string).unwrap_or_default()
    }
}

impl From<Algorithm> for authn::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::ES256 => Self::ES256,
            Algorithm::ES384 => Self::ES384,
            Algorithm::RS256 => Self::RS256,
            Algorithm::RS384 => Self::RS384,
            Algorithm::RS512 => Self::RS512,
            Algorithm::PS256 => Self::PS256,
            Algorithm::PS384 => Self::PS384,
            Algorithm::PS512 => Self::PS512,
            Algorithm::EdDSA => Self::EdDSA,
        }
    }
}

/// The agents' sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// Folder of the account files.
    pub accounts_dir: PathBuf,
    /// How agents are signed in.
    pub sign_in: SignIn,
    /// How a session is kept.
    pub keep_alive: KeepAlive,
    /// Who receives events; there when `keep_alive` is [`KeepAlive::Heartbeat`].
    pub callback: Option<Callback>,
    /// Between two heartbeats.
    pub keep_alive_interval: Duration,
    /// A session without a download for so long is signed out.
    pub idle_sign_out: Duration,
    /// How long a request waits for a session.
    pub lease_timeout: Duration,
    /// Requests that wait for one agent's session, 1 to 65,536.
    pub waiters_max: usize,
    /// Agents signed in at once, 1 to 1,000,000.
    pub agents_max: usize,
    /// Where sessions are kept.
    pub store: Store,
    /// How fast agents are signed in.
    pub sign_ins: SignIns,
    /// Whether agents' own apps may sign in through ccgate.
    pub pass_through: bool,
}

/// How fast agents are signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignIns {
    /// Unanswered sign-ins of this process at once, 1 to 1,024.
    pub at_once: usize,
    /// Sign-ins a second over all replicas that share a store, 1 to 10,000.
    pub per_second: u32,
}

/// Where sessions are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// In this process, and where there is a state file, over its crash too.
    Memory(Option<StateFile>),
    /// In Redis or Valkey.
    Redis(Redis),
}

/// What is needed to pick sessions up again after a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile {
    /// The file; made where there is none.
    pub file: PathBuf,
    /// File with the keys that seal it: one a line, base64 of 32 bytes; the first seals, all open.
    pub key_file: PathBuf,
}

/// A Redis or Valkey server, shared by all replicas with the same `prefix`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// File with the server's URL, which may hold a password; [`read_secret`](super::read_secret) reads it.
    pub url_file: PathBuf,
    /// File with the keys that seal what is kept there, as that of [`StateFile`].
    pub key_file: PathBuf,
    /// Certificates to trust for `rediss://`; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// First part of every key's name: 1 to 64 letters, digits, `.`, `_`, `-` and `:`.
    pub prefix: String,
    /// How long a replica keeps what it owns without a renewal, 1 s to 60 s, at least three times `timeout`.
    pub lease: Duration,
    /// For each call, 50 ms to 10 s.
    pub timeout: Duration,
}

impl Redis {
    /// As the store itself takes it.
    pub fn store(&self, sign_ins: &SignIns) -> crate::session::store::redis::Config {
        crate::session::store::redis::Config {
            url_file: self.url_file.clone(),
            key_file: self.key_file.clone(),
            ca_file: self.ca_file.clone(),
            prefix: self.prefix.clone(),
            lease: self.lease,
            timeout: self.timeout,
            sign_ins_per_second: sign_ins.per_second,
        }
    }
}

impl From<SignIn> for crate::session::SignIn {
    fn from(sign_in: SignIn) -> Self {
        match sign_in {
            SignIn::Platform => Self::Platform,
            SignIn::Full => Self::Full,
        }
    }
}

/// Who receives the gateway's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// The receiver's address.
    pub uri: String,
    /// File with the token that the gateway shows there; [`read_secret`](super::read_secret) reads it.
    pub service_token_file: PathBuf,
}

/// The audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    /// Folder of the log.
    pub dir: PathBuf,
    /// Key that signs the log.
    pub signing_key_file: PathBuf,
    /// Verifier keys that signed before.
    pub verifier_keys_file: Option<PathBuf>,
    /// The log's name; `None`: the folder's.
    pub origin: Option<String>,
    /// Between two checkpoints, at least.
    pub checkpoint_interval: Duration,
    /// Keys that turn subjects and recordings into pseudonyms: another file than the signing key's, and not in `dir`.
    pub pseudonym_key_file: Option<PathBuf>,
    /// How long a request waits for its record to be durable.
    pub write_timeout: Duration,
    /// Entries open at once: `server.max_downloads`.
    pub entries_max: usize,
    /// Digest of the bytes handed to the client.
    pub digest: Digest,
    /// A new segment is begun at this size, in bytes.
    pub segment_bytes_max: u64,
    /// A new segment is begun at this age.
    pub segment_age_max: Duration,
    /// Older segments are removed; `None`: never.
    pub retention: Option<Duration>,
    /// With fewer free bytes no new entry is opened.
    pub free_bytes_min: u64,
    /// When a download may begin.
    pub durability: Durability,
    /// Where the records are sent.
    pub ship: Ship,
    /// Who cosigns the log's checkpoints; at most 8, no two with one key.
    pub witnesses: Vec<crate::ship::witness::Witness>,
}

/// Where the audit log's records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ship {
    /// Nowhere.
    None,
    /// Standard output.
    Stdout,
    /// A NATS JetStream stream.
    Nats(crate::ship::Server),
}

impl Audit {
    /// What the log itself is to know; `pseudonyms` are what `pseudonym_key_file` holds.
    pub fn log(&self, pseudonyms: Option<audit::Pseudonyms>) -> audit::Config {
        audit::Config {
            dir: self.dir.clone(),
            signing_key_file: self.signing_key_file.clone(),
            verifier_keys_file: self.verifier_keys_file.clone(),
            origin: self.origin.clone(),
            checkpoint_interval: self.checkpoint_interval,
            write_timeout: self.write_timeout,
            entries_max: self.entries_max,
            digest: self.digest.into(),
            segment_bytes_max: self.segment_bytes_max,
            segment_age_max: self.segment_age_max,
            retention: self.retention,
            free_bytes_min: self.free_bytes_min,
            pseudonyms,
            durability: match self.durability {
                Durability::Local => audit::Durability::Local,
                Durability::Shipped => audit::Durability::Shipped,
            },
            ships: self.ship != Ship::None,
        }
    }
}

impl From<Digest> for audit::Digest {
    fn from(digest: Digest) -> Self {
        match digest {
            Digest::Sha256 => Self::Sha256,
            Digest::Blake3 => Self::Blake3,
            Digest::None => Self::None,
        }
    }
}

/// The program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least severe lines that are written.
    pub level: Level,
    /// How lines look.
    pub format: Format,
}
