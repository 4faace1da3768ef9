//! The composition root: builds every part, owns every task, ends them in order. It decides nothing.
//!
//! Start: admin plane, policy, keys, gateway, audit log (recovered), sessions, listener. No download is accepted before the
//! log can write. A changed configuration is taken up by `reload`. Stop: see [`App::run`].

mod budgets;
mod error;
mod journal;
mod log_level;
mod metrics;
mod operator;
mod parts;
mod reload;

pub use error::StartError;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::Registry;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::budget;
use crate::clock::Clock;
use crate::config::{Contents, Loaded, Salt};
use crate::ready::{Condition, Ready};
use crate::room::Room;
use crate::serve::{self, Server};
use crate::telemetry::{Levels, otlp};
use crate::{audit, net, ship};

use log_level::LogLevel;
use metrics::Metrics;
use parts::{Ground, Parts};
use reload::{Board, InForce, Places, Reloader};

/// After the drain's deadline: time for each transfer to break off and its end to be written down.
const CUT_TIMEOUT: Duration = Duration::from_secs(1);
/// For signing every session out.
const SIGN_OUT_TIMEOUT: Duration = Duration::from_secs(3);
/// For the last spans and metrics.
const OTLP_TIMEOUT: Duration = Duration::from_secs(2);
/// For the audit log to write what is queued.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A gateway that is set up and has not accepted anything yet but on its admin plane.
pub struct App {
    addresses: Addresses,
    starting: Condition,
    server: Server,
    admin: AdminPlane,
    reloader: Reloader,
    loaded: Arc<ArcSwap<Loaded>>,
    log_level: Arc<LogLevel>,
    ground: Ground,
    replicas: Option<Arc<dyn budget::Exchange>>,
    shipping: Option<ship::Shipping>,
    witnessing: Option<ship::witness::Witnessing>,
    otlp: Option<otlp::Exporting>,
    stop: serve::Stop,
}

/// The admin plane at work: from before the start's first long step to the very end. Dropped, it ends at once.
struct AdminPlane {
    task: JoinSet<()>,
    stop: CancellationToken,
}

/// Where it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The data plane.
    pub server: SocketAddr,
    /// The admin plane.
    pub admin: SocketAddr,
}

/// What a running gateway is told.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// Drain, then end.
    pub drain: CancellationToken,
    /// Do not wait any longer.
    pub hurry: CancellationToken,
    /// Look at the configuration's files now.
    pub reload: Arc<Notify>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Whether every audit entry got its end.
    pub every_entry_closed: bool,
}

impl App {
    /// Builds everything that the configuration names. Reads files, binds both listeners, recovers the audit log. The admin
    /// plane answers from the beginning: alive, and not ready.
    pub async fn start(loaded: &Loaded, clock: Clock) -> Result<Self, StartError> {
        let config = &loaded.config;
        let ready = Ready::new();
        let starting = ready.register("start");
        let registry = Registry::new();
        let metrics = Metrics::register(&registry)?;
        let handshakes = net::HandshakeMetrics::register(&registry)?;
        let tls = config.admin.tls.as_ref().map(net::ServerTls::build).transpose().map_err(StartError::AdminTls)?;
        let admin_handshakes = handshakes.of(net::Plane::Admin);
        let admin = Admin::bind(config.admin.listen, tls, admin_handshakes, registry.clone(), ready.clone()).await;
        let admin = admin.map_err(|source| StartError::Admin { address: config.admin.listen, source })?;
        let (desk, admin_tls, admin_address) = (admin.desk(), admin.tls(), admin.address());
        let admin = AdminPlane::start(admin);
        // Before anything is made of the files: what changes later is seen at the first look.
        let (salt, contents) = first_look(loaded);
        let parts = Parts::first(config, clock.clone(), &ready, &metrics)?;
        let audit = parts::audit(config, clock.clone(), &ready, &registry)?;
        let shipping = parts::ship(config, &audit, clock.clone(), &registry)?;
        let witnessing = parts::witness(config, &audit, &clock, &registry)?;
        let otlp = parts::otlp(config, &audit, &clock, &registry)?;
        let shared = parts::session_store(config, clock.clone(), &ready, &registry, audit.origin()).await?;
        let sessions = parts::sessions(&parts, shared.store, &audit, clock.clone(), metrics.session.clone());
        let key = shared.budgets.as_ref().map_or_else(budget::Key::random, |shared| Ok(shared.key()))?;
        let budgets = budgets::budgets(config, key, &audit, clock.clone(), &registry)?;
        let downloads = Room::new(config.server.max_downloads);
        let (tracing, cut) = (otlp.as_ref().and_then(otlp::Exporting::tracing), CancellationToken::new());
        let ground = Ground { clock, metrics, sessions, audit, budgets, downloads, tracing, cut };
        let stop = serve::Stop::default();
        let first = parts.in_force(config, &ground)?;
        let (counts, handshakes) = (Arc::clone(&ground.metrics.serve), handshakes.of(net::Plane::Server));
        let door = serve::Door { handshakes, clock: ground.clock.clone(), metrics: counts, stop: stop.clone() };
        let server = Server::bind(config.server.listen, first, door)?;
        let (version, hash, since) = (env!("CARGO_PKG_VERSION"), contents.hash(), ground.clock.now());
        ground.audit.note(audit::Event::Started { version, config_hash: hash.to_owned() });
        ground.metrics.process.in_force(hash, 1, since.as_second(), &parts.ends);
        let addresses = Addresses { server: server.address(), admin: admin_address };
        let loaded = Arc::new(loaded.clone());
        let places = Places {
            server: server.swap(),
            admin_tls,
            log_level: Arc::new(LogLevel::new(config.log.level, ground.clock.clone())),
            loaded: Arc::new(ArcSwap::new(Arc::clone(&loaded))),
            board: Arc::new(Board::new(&loaded, contents.clone(), since)),
            ground: ground.clone(),
        };
        desk.open(Arc::new(operator::Desk {
            sessions: ground.sessions.clone(),
            audit: ground.audit.clone(),
            board: Arc::clone(&places.board),
            log_level: Arc::clone(&places.log_level),
        }));
        let (current, log_level) = (Arc::clone(&places.loaded), Arc::clone(&places.log_level));
        let now = InForce { loaded, contents, parts: Arc::new(parts), generation: 1 };
        let reloader = Reloader::new(now, salt, places);
        Ok(Self {
            addresses,
            starting,
            server,
            admin,
            reloader,
            loaded: current,
            log_level,
            ground,
            replicas: shared.budgets.map(|budgets| budgets as Arc<dyn budget::Exchange>),
            shipping,
            witnessing,
            otlp,
            stop,
        })
    }

    /// The log whose level operators and a changed configuration set; without it they can't.
    #[must_use]
    pub fn with_log(self, levels: Levels) -> Self {
        self.log_level.attach(levels);
        self
    }

    /// Where it listens, with the ports that the system chose where 0 was asked for.
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Serves until it is told to drain, then ends in order:
    ///
    /// 1. not ready, but still serving, each answer the last of its connection, for `drain.delay`;
    /// 2. no new connections, each open one ends after its request, for at most `drain.timeout`;
    /// 3. what still runs is broken off and recorded as `aborted`;
    /// 4. sessions are signed out; the audit log writes its last record, which is shipped and witnessed; the admin plane
    ///    ends last.
    ///
    /// [`Signals::hurry`] goes on with 3 at once. The order is what ownership demands: the log outlives all who write.
    pub async fn run(self, signals: Signals) -> Ended {
        let (tasks, background) = (TaskTracker::new(), CancellationToken::new());
        let connections = self.server.connections();
        let reloading = tasks.spawn(self.reloader.run(Arc::clone(&signals.reload), background.clone()));
        let (log_level, stop) = (Arc::clone(&self.log_level), background.clone());
        let level = tasks.spawn(async move { log_level.run(stop).await });
        let clock = tasks.spawn(follow_system_clock(self.ground.clock.clone(), background.clone()));
        let counting = tasks.spawn(self.ground.budgets.clone().run(self.replicas, background.clone()));
        let accepting = tasks.spawn(self.server.run());
        tracing::info!(server = %self.addresses.server, admin = %self.addresses.admin, "serving");
        self.starting.holds();
        signals.drain.cancelled().await;

        let drain = self.loaded.load().config.server.drain;
        self.starting.wait_for("shutting down");
        tracing::info!(delay = ?drain.delay, timeout = ?drain.timeout, "draining");
        self.stop.draining.cancel();
        within(drain.delay, &signals.hurry, std::future::pending::<()>()).await;
        self.stop.accepting.cancel();
        join(accepting).await;
        if within(drain.timeout, &signals.hurry, connections.wait()).await.is_none() {
            tracing::warn!(connections = connections.len(), "the drain's time is over: breaking off what still runs");
        }
        self.ground.cut.cancel();
        let _ = tokio::time::timeout(CUT_TIMEOUT, connections.wait()).await;
        self.stop.connections.cancel();
        connections.wait().await;
        background.cancel();
        join(reloading).await;
        join(level).await;
        join(clock).await;
        join(counting).await;
        self.ground.sessions.shut_down(SIGN_OUT_TIMEOUT).await;
        let ended = self.ground.audit.shut_down(AUDIT_TIMEOUT).await;
        end(self.shipping, self.witnessing).await;
        if let Some(otlp) = self.otlp {
            otlp.stop(OTLP_TIMEOUT).await;
        }
        tracing::info!("ended");
        self.admin.end().await;
        Ended { every_entry_closed: ended.complete && ended.entries_without_end == 0 }
    }
}

impl AdminPlane {
    fn start(admin: Admin) -> Self {
        let (mut task, stop) = (JoinSet::new(), CancellationToken::new());
        task.spawn(admin.run(stop.clone()));
        Self { task, stop }
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.task.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the admin plane ended by a panic");
            }
        }
    }
}

/// What the files hold at the start.
fn first_look(loaded: &Loaded) -> (Salt, Contents) {
    let salt = Salt::random();
    let contents = Contents::of(loaded, &salt);
    for problem in contents.problems(&loaded.named()) {
        tracing::warn!(problem = %loaded.located(problem), "no change of this file will be seen");
    }
    (salt, contents)
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
