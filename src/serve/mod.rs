//! The data plane: connections in, requests through the flow, files, envelopes or problems out. It reads no file.

mod arrival;
mod crowd;
mod edge;
mod ending;
mod failure;
mod in_force;
mod listener;
mod metrics;
mod observe;
mod pipeline;
mod problem;
mod refusal;
mod seat;
mod spans;
mod stall;

pub use in_force::{InForce, Swap};
pub use listener::{Door, Error, Server, Stop};
pub use metrics::Metrics;
pub use observe::ResponseBody;
pub use spans::{RequestSpan, SpanSink, Step, Steps, Tracing};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;

use crate::audit;
use crate::authn::{self, Authenticator};
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::net::ServerTls;
use crate::policy::Policy;
use crate::relay::Relay;
use crate::room::Room;
use crate::session::Sessions;
use crate::upstream::Gateway;

/// Where and how to listen.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address.
    pub listen: SocketAddr,
    /// Our certificate; without it plain HTTP.
    pub tls: Option<ServerTls>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Origins whose pages may read answers; empty: no CORS.
    pub allowed_origins: Vec<HeaderValue>,
    /// Connections open at once. For one more, the connection goes that has waited longest for its client; where none
    /// waits, it stays in the system's queue.
    pub max_connections: usize,
    /// Of these from one peer; more are closed. Loopback and `trusted_proxies` are not counted.
    pub max_connections_per_peer: usize,
    /// For the TLS handshake, for a request's head, and between two requests of a connection.
    pub header_timeout: Duration,
    /// No progress in writing to a client for so long ends its connection.
    pub client_stall_timeout: Duration,
    /// Fewer bytes a second, over five minutes of waiting for a client, end its connection; 0: any number will do.
    pub client_min_rate: u64,
}

/// What the flow uses; one set for the whole of each request, whatever is put in force meanwhile.
pub struct Live {
    /// The time.
    pub clock: Clock,
    /// Tokens to callers.
    pub authenticator: Arc<Authenticator>,
    /// Callers and downloads to permissions.
    pub policy: Arc<Policy>,
    /// Permissions to room for a download.
    pub budgets: Budgets,
    /// Counts the decisions.
    pub decisions: authn::Metrics,
    /// Places for open downloads.
    pub downloads: Room,
    /// Agents' sessions.
    pub sessions: Sessions,
    /// The record.
    pub audit: audit::Log,
    /// The upstream.
    pub gateway: Gateway,
    /// Its name among sessions: another configuration's may be at another gateway.
    pub upstream: String,
    /// The transfer.
    pub relay: Relay,
    /// Whom ended requests are told as spans; `None`: nobody, and no trace is begun here.
    pub tracing: Option<Tracing>,
    /// Whether agents' own apps sign in, poll and sign out through us; otherwise there is nothing at those paths.
    pub pass_through: bool,
}
