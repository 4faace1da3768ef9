//! What a person writes about sessions; the rules of `raw` hold here too.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Duration;

/// The agents' sessions at the gateway.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Sessions {
    /// Folder with one account file an agent, `<agentid>.yaml`: `password_file` or `password`, `phone_number` (needed for `full`), `takeover` (false). A Secret mount works as it is.
    pub(in crate::config) accounts_dir: PathBuf,
    /// How agents are signed in: `platform` takes no licence, `full` signs in as busy.
    pub(in crate::config) sign_in: SignIn,
    /// How a session is kept: `poll` for events, or `heartbeat`, the gateway's push mode, which needs `callback`.
    pub(in crate::config) keep_alive: KeepAlive,
    /// Who receives the gateway's events; for `keep_alive: heartbeat` only.
    pub(in crate::config) callback: Option<Callback>,
    /// Between two heartbeats; polls follow each other after 200 to 500 ms. Two fit into the gateway's time-out of 120 s.
    #[schemars(extend("x-min" = "100ms", "x-max" = "55s"))]
    pub(in crate::config) keep_alive_interval: Duration,
    /// A session without a download for so long is signed out.
    #[schemars(extend("x-min" = "100ms", "x-max" = "24h"))]
    pub(in crate::config) idle_sign_out: Duration,
    /// How long a request waits for its agent's session.
    #[schemars(extend("x-min" = "100ms", "x-max" = "5m"))]
    pub(in crate::config) lease_timeout: Duration,
    /// Requests that wait for one agent's session at once; more get 503.
    #[schemars(range(min = 1, max = 65_536))]
    pub(in crate::config) max_waiters: u32,
    /// Agents signed in at once; for more there is 503.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(in crate::config) max_agents: u32,
    /// Where sessions are kept: `memory`, for one replica, or `redis` (Redis or Valkey), shared by several.
    pub(in crate::config) store: Store,
    /// File that keeps living sessions over a crash of the only replica, sealed; for `store: memory`, together with `state_key_file`.
    pub(in crate::config) state_file: Option<PathBuf>,
    /// File with the keys that seal `state_file`: one a line, base64 of 32 bytes. The first seals, all open.
    #[schemars(extend("x-secret" = true))]
    pub(in crate::config) state_key_file: Option<PathBuf>,
    /// How fast agents are signed in.
    pub(in crate::config) sign_ins: SignIns,
    /// Whether agents' own apps may sign in, poll and beat through ccgate, with their token.
    pub(in crate::config) pass_through: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            accounts_dir: PathBuf::from("/etc/ccgate/accounts"),
            sign_in: SignIn::Platform,
            keep_alive: KeepAlive::Poll,
            callback: None,
            keep_alive_interval: Duration::from_secs(30),
            idle_sign_out: Duration::from_secs(15 * 60),
            lease_timeout: Duration::from_secs(30),
            max_waiters: 1024,
            max_agents: 10_000,
            store: Store::Memory,
            state_file: None,
            state_key_file: None,
            sign_ins: SignIns::default(),
            pass_through: false,
        }
    }
}

/// How fast agents are signed in.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct SignIns {
    /// Sign-ins of this process that are unanswered at once; more wait.
    #[schemars(range(min = 1, max = 1024))]
    pub(in crate::config) at_once: u32,
    /// Sign-ins a second, over all replicas that share a store.
    #[schemars(range(min = 1, max = 10_000))]
    pub(in crate::config) per_second: u32,
}

impl Default for SignIns {
    fn default() -> Self {
        Self { at_once: 16, per_second: 50 }
    }
}

/// How agents are signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignIn {
    /// To the platform only (`loginex`): no licence is taken.
    Platform,
    /// In full, as busy: takes a licence.
    Full,
}

/// How a session is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeepAlive {
    /// By polling for events.
    Poll,
    /// By heartbeats, in the gateway's push mode.
    Heartbeat,
}

/// Where sessions are kept.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::config) enum Store {
    /// In this process: for one replica.
    Memory,
    /// In Redis or Valkey: shared by all replicas with the same `prefix`.
    Redis(Redis),
}

/// In Redis or Valkey: shared by all replicas with the same `prefix`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Redis {
    /// File with the server's URL on one line, `rediss://user:password@host:6379/0`; `redis://` is without TLS. Required.
    #[schemars(extend("x-secret" = true))]
    pub(in crate::config) url_file: Option<PathBuf>,
    /// File with the keys that seal what is kept there: one a line, base64 of 32 bytes (`openssl rand -base64 32`). The first seals, all open. Required.
    #[schemars(extend("x-secret" = true))]
    pub(in crate::config) key_file: Option<PathBuf>,
    /// File with the certificates to trust, PEM, for `rediss://`; without it the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
    /// The first part of every key's name: one for each CC-Gateway that shares a server.
    #[schemars(length(min = 1, max = 64))]
    pub(in crate::config) prefix: String,
    /// After so long without a word of a replica the others take over its sessions; at least three times `timeout`.
    #[schemars(extend("x-min" = "1s", "x-max" = "60s"))]
    pub(in crate::config) lease: Duration,
    /// For each call to the server.
    #[schemars(extend("x-min" = "50ms", "x-max" = "10s"))]
    pub(in crate::config) timeout: Duration,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url_file: None,
            key_file: None,
            ca_file: None,
            prefix: "ccgate".to_owned(),
            lease: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
        }
    }
}

/// Who receives the gateway's events.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Callback {
    /// The receiver's address, which the gateway must reach; https or http.
    #[schemars(required, length(min = 1, max = 2048))]
    pub(in crate::config) uri: Option<String>,
    /// File with the token that the gateway shows there, on one line of at most 4096 bytes.
    #[schemars(required, extend("x-secret" = true))]
    pub(in crate::config) service_token_file: Option<PathBuf>,
}
