//! The data plane: connections in, requests through the flow, files, envelopes or problems out. It reads no file.

mod arrival;
mod edge;
mod failure;
mod listener;
mod metrics;
mod observe;
mod pipeline;
mod problem;
mod seat;
mod spans;
mod stall;

pub use listener::{Error, Server, Stop};
pub use metrics::Metrics;
pub use observe::ResponseBody;
pub use spans::{RequestSpan, SpanSink, Step, Steps, Tracing};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use tokio::sync::Semaphore;

use crate::audit;
use crate::authn::{self, Authenticator};
use crate::clock::Clock;
use crate::net::ServerTls;
use crate::policy::Policy;
use crate::relay::Relay;
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
    /// Connections open at once; more wait in the system's queue.
    pub max_connections: usize,
    /// For the TLS handshake, for a request's head, and between two requests of a connection.
    pub header_timeout: Duration,
    /// No progress in writing to a client for so long ends its connection.
    pub client_stall_timeout: Duration,
}

/// What the flow uses; one set for the whole of each request.
pub struct Live {
    /// The time.
    pub clock: Clock,
    /// Tokens to callers.
    pub authenticator: Arc<Authenticator>,
    /// Callers and downloads to permissions.
    pub policy: Arc<Policy>,
    /// Counts the decisions.
    pub decisions: authn::Metrics,
    /// Places for open downloads.
    pub downloads: Arc<Semaphore>,
    /// Agents' sessions.
    pub sessions: Sessions,
    /// The record.
    pub audit: audit::Log,
    /// The upstream.
    pub gateway: Gateway,
    /// The transfer.
    pub relay: Relay,
    /// Whom ended requests are told as spans; `None`: nobody, and no trace is begun here.
    pub tracing: Option<Tracing>,
    /// Whether agents' own apps sign in, poll and sign out through us; otherwise there is nothing at those paths.
    pub pass_through: bool,
}
