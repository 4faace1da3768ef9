//! What an operator sees and may do, as the admin plane offers it. It knows rows and words; whose sessions they are is the
//! implementation's.

use std::borrow::Cow;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::audit::{ErasureOrder, Reading};
use super::control::{ConfigShown, LevelOrder, LevelShown};
use crate::cc::AgentId;

/// One agent's session: a row of `GET /sessions`. No Guid stands in it, not even a fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Whose session.
    #[serde(deserialize_with = "agent")]
    pub agent: AgentId,
    /// What happens to it, in the words of `ccgate_sessions{state}`.
    pub state: Cow<'static, str>,
    /// Who signed it in: `own` or `desk`; `None`: nobody is signed in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Cow<'static, str>>,
    /// Whether this process owns it; another one does otherwise, or nobody.
    pub owned: bool,
    /// How often its Guid was replaced since it is owned here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotations: Option<u64>,
    /// Downloads that use it now.
    pub in_use: usize,
    /// Requests that wait for it.
    pub waiting: usize,
    /// Since when it lives, as far as this process knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When the account's password ends, as far as a sign-in has told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_expires: Option<Timestamp>,
}

fn agent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AgentId, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// Who asks: nobody is known by name here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// SHA-256 of the certificate that it showed and that was verified, in hex.
    pub certificate: Option<String>,
}

/// What was asked for, for the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// All sessions were looked at, or one agent's.
    Read(Option<AgentId>),
    /// An agent is about to be signed out.
    SignOut(AgentId),
    /// Another log level was set, or the configured one again: which one it is now. `None`: the order was refused.
    LogLevel(Option<&'static str>),
}

/// How a sign-out ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignOut {
    /// The session is gone.
    Done,
    /// Nothing is known of the agent.
    Unknown,
    /// It was not done, and why.
    Refused(String),
}

/// Whoever has the sessions, the audit log and the configuration.
pub trait Operator: Send + Sync + 'static {
    /// All agents that this process knows anything of, by agent.
    fn list(&self) -> BoxFuture<'_, Vec<SessionRow>>;

    /// One agent; `None`: nothing is known of it.
    fn show(&self, agent: AgentId) -> BoxFuture<'_, Option<SessionRow>>;

    /// Signs an agent out. What has begun goes on where the future is dropped.
    fn sign_out(&self, agent: AgentId) -> BoxFuture<'_, SignOut>;

    /// Writes down who asks for what, before it is done. Must not block.
    fn record(&self, asker: &Asker, deed: Deed);

    /// Writes down that somebody reads the audit log. Gives the record's number when it is durable, else why it is not.
    fn read_audit(&self, asker: &Asker, reading: Reading) -> BoxFuture<'_, Result<u64, String>>;

    /// The configuration that is in force.
    fn config(&self) -> ConfigShown;

    /// How much of the program's own log is written.
    fn log_level(&self) -> LevelShown;

    /// Writes more or less of it, or with `None` as much as is configured; else why not.
    fn set_log_level(&self, order: Option<LevelOrder>) -> Result<LevelShown, String>;

    /// Erases records of the audit log. Gives the number of the order's record, else why nothing was done or what is left.
    fn erase(&self, asker: &Asker, order: ErasureOrder) -> BoxFuture<'_, Result<u64, String>>;
}
