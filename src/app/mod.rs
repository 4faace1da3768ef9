//! The composition root: builds every part, owns every task, ends them in order. It decides nothing.
//!
//! Start: admin plane, policy, keys, gateway, audit log (recovered), sessions, listener. Nothing is accepted before the
//! log can write. Stop: see [`App::run`].

mod error;
mod journal;
mod metrics;
mod operator;
mod parts;

pub use error::StartError;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::authn::Authenticator;
use crate::clock::Clock;
use crate::config::{Drain, Loaded};
use crate::ready::{Condition, Ready};
use crate::serve::{self, Server};
use crate::session::Sessions;
use crate::telemetry::otlp;
use crate::{audit, net, relay, ship};

/// After the drain's deadline: time for each transfer to break off and its end to be written down.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// For signing every session out.
const SIGN_OUT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the last spans and metrics.
const OTLP_TIMEOUT: Duration = Duration::from_secs(2);
/// For the audit log to write what is queued.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A gateway that is set up and has not accepted anything yet.
pub struct App {
    addresses: Addresses,
    drain: Drain,
    clock: Clock,
    starting: Condition,
    server: Server,
    admin: Admin,
    authenticator: Arc<Authenticator>,
    sessions: Sessions,
    audit: audit::Log,
    shipping: Option<ship::Shipping>,
    witnessing: Option<ship::witness::Witnessing>,
    otlp: Option<otlp::Exporting>,
    stop: serve::Stop,
    cut: CancellationToken,
}

/// Where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The data plane.
    pub server: SocketAddr,
    /// The admin plane.
    pub admin: SocketAddr,
}

/// What ends a running gateway.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Drain, then end.
    pub drain: CancellationToken,
    /// Do not wait any longer.
    pub hurry: CancellationToken,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether every audit entry got its end.
    pub every_entry_closed: bool,
}

impl App {
    /// Builds everything that the configuration names. Reads files, binds both listeners, recovers the audit log.
    pub async fn start(loaded: &Loaded, clock: Clock) -> Result<Self, StartError> {
        let config = &loaded.config;
        let ready = Ready::new();
        let starting = ready.register("start");
        let registry = metrics::registry(config, &clock)?;
        let tls = config.admin.tls.as_ref().map(net::ServerTls::build).transpose().map_err(StartError::AdminTls)?;
        let admin = Admin::bind(config.admin.listen, tls, registry.clone(), ready.clone()).await;
        let admin = admin.map_err(|source| StartError::Admin { address: config.admin.listen, source })?;
        let policy = parts::policy(config, &registry)?;
        let (authenticator, decisions) = parts::authenticator(config, clock.clone(), &ready, &registry)?;
        let gateway = parts::gateway(config, &registry)?;
        let audit = parts::audit(config, clock.clone(), &ready, &registry)?;
        let shipping = parts::ship(config, &audit, clock.clone(), &registry)?;
        let witnessing = parts::witness(config, &audit, &clock, &registry)?;
        let otlp = parts::otlp(config, &audit, &clock, &registry)?;
        let store = parts::session_store(config, clock.clone(), &ready, &registry).await?;
        let sessions = parts::sessions(config, store, gateway.clone(), &audit, clock.clone(), &registry)?;
        let admin = admin.with_operator(Arc::new(operator::Desk::new(sessions.clone(), audit.clone())));
        let cut = CancellationToken::new();
        let live = serve::Live {
            clock: clock.clone(),
            authenticator: Arc::clone(&authenticator),
            policy: Arc::new(policy),
            decisions,
            downloads: Arc::new(tokio::sync::Semaphore::new(config.server.max_downloads)),
            sessions: sessions.clone(),
            audit: audit.clone(),
            gateway,
            relay: relay::Relay {
                idle_timeout: config.upstream.idle_timeout,
                digest: config.audit.digest.into(),
                stop: cut.clone(),
                metrics: Arc::new(relay::Metrics::register(&registry)?),
            },
            tracing: otlp.as_ref().and_then(otlp::Exporting::tracing),
            pass_through: config.sessions.pass_through,
        };
        let stop = serve::Stop::default();
        let server = parts::server_config(&config.server)?;
        let server = Server::bind(&server, live, serve::Metrics::register(&registry)?, stop.clone()).await?;
        let version = env!("CARGO_PKG_VERSION");
        audit.note(audit::Event::Started { version, config_hash: loaded.hash.clone() });
        let addresses = Addresses { server: server.address(), admin: admin.address() };
        let drain = config.server.drain;
        Ok(Self {
            addresses,
            drain,
            clock,
            starting,
            server,
            admin,
            authenticator,
            sessions,
            audit,
            shipping,
            witnessing,
            otlp,
            stop,
            cut,
        })
    }

    /// Where it listens, with the ports that the system chose where 0 was asked for.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until it is told to drain, then ends in order:
    ///
    /// 1. not ready, but still serving, for `drain.delay`;
    /// 2. no new connections, each open one ends after its request, for at most `drain.timeout`;
    /// 3. what still runs is broken off and recorded as `aborted`;
    /// 4. sessions are signed out; the audit log writes its last record, which is shipped and witnessed; the admin plane
    ///    ends last.
    ///
    /// [`Signals::hurry`] goes on with 3 at once. The order is what ownership demands: the log outlives all who write.
    pub async fn run(self, signals: Signals) -> Ended {
        let (tasks, background) = (TaskTracker::new(), CancellationToken::new());
        let admin_stop = CancellationToken::new();
        let connections = self.server.connections();
        let admin = tasks.spawn(self.admin.run(admin_stop.clone()));
        let (authenticator, stop) = (Arc::clone(&self.authenticator), background.clone());
        let keys = tasks.spawn(async move { authenticator.refresh(stop).await });
        let clock = tasks.spawn(follow_system_clock(self.clock.clone(), background.clone()));
        let accepting = tasks.spawn(self.server.run());
        tracing::info!(server = %self.addresses.server, admin = %self.addresses.admin, "serving");
        self.starting.holds();
        signals.drain.cancelled().await;

        self.starting.wait_for("shutting down");
        tracing::info!(delay = ?self.drain.delay, timeout = ?self.drain.timeout, "draining");
        within(self.drain.delay, &signals.hurry, std::future::pending::<()>()).await;
        self.stop.accepting.cancel();
        join(accepting).await;
        if within(self.drain.timeout, &signals.hurry, connections.wait()).await.is_none() {
            tracing::warn!(connections = connections.len(), "the drain's time is over: breaking off what still runs");
        }
        self.cut.cancel();
        let _ = tokio::time::timeout(CUT_TIMEOUT, connections.wait()).await;
        self.stop.connections.cancel();
        connections.wait().await;
        background.cancel();
        join(keys).await;
        join(clock).await;
        self.sessions.shut_down(SIGN_OUT_TIMEOUT).await;
        let ended = self.audit.shut_down(AUDIT_TIMEOUT).await;
        end(self.shipping, self.witnessing).await;
        if let Some(otlp) = self.otlp {
            otlp.stop(OTLP_TIMEOUT).await;
        }
        tracing::info!("ended");
        admin_stop.cancel();
        join(admin).await;
        Ended { every_entry_closed: ended.complete && ended.entries_without_end == 0 }
    }
}

/// What the log has written is shipped and witnessed, side by side.
async fn end(shipping: Option<ship::Shipping>, witnessing: Option<ship::witness::Witnessing>) {
    let shipped = async {
        if let Some(shipping) = shipping {
            shipping.stop().await;
        }
    };
    let witnessed = async {
        if let Some(witnessing) = witnessing {
            witnessing.stop().await;
        }
    };
    tokio::join!(shipped, witnessed);
}

/// Waits for `done`, but no longer than `time` and not after `hurry`; `None`: it was not done.
async fn within<T>(time: Duration, hurry: &CancellationToken, done: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = done => Some(done),
        () = tokio::time::sleep(time) => None,
        () = hurry.cancelled() => None,
    }
}

/// Waits for a task of our own; a panic in it is told and does not spread.
async fn join(task: tokio::task::JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::error!(%error, "a task of the gateway ended by a panic");
    }
}

/// A step of the system's clock moves token expiry and timestamps with it, and is told.
async fn follow_system_clock(clock: Clock, stop: CancellationToken) {
    /// Smaller corrections are the daily work of a time daemon.
    const WORTH_TELLING_MICROS: i64 = 1_000_000;
    let mut ticks = tokio::time::interval(Clock::RESYNC_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {
                let off = clock.resync();
                if off.abs() > WORTH_TELLING_MICROS {
                    tracing::warn!(seconds = off / 1_000_000, "the system's clock was set");
                }
            }
        }
    }
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}
