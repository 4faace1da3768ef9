//! From the whole configuration to each module's own: one function a module, no other logic.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::journal::AuditJournal;
use super::metrics::{Ends, Metrics};
use crate::authn::Authenticator;
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::policy::Policy;
use crate::ready::Ready;
use crate::room::Room;
use crate::session::Sessions;
use crate::session::store::redis::ConnectError;
use crate::session::store::{self, Store};
use crate::telemetry::otlp;
use crate::upstream::Gateway;
use crate::{audit, net, relay, serve, session, ship, upstream};

/// What a configuration makes beside the listener: all of it, or nothing.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) policy: Arc<Policy>,
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) gateway: Gateway,
    pub(super) sessions: session::Config,
    pub(super) server: serve::Config,
    pub(super) admin_tls: Option<rustls::ServerConfig>,
    /// When each certificate ends.
    pub(super) ends: Ends,
}

/// What outlives a configuration: state, and who counts.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) sessions: Sessions,
    pub(super) audit: audit::Log,
    /// What everybody has taken; limits come from the configuration.
    pub(super) budgets: Budgets,
    /// Places for open downloads.
    pub(super) downloads: Room,
    /// Whom ended requests are told as spans.
    pub(super) tracing: Option<serve::Tracing>,
    /// Breaks transfers off at the end.
    pub(super) cut: CancellationToken,
}

/// Which files hold something else than before.
pub(super) struct Touched {
    /// Keys that name one.
    pub(super) keys: BTreeSet<String>,
    pub(super) paths: BTreeSet<PathBuf>,
}

impl Touched {
    /// Whether one is named in this group of keys.
    fn within(&self, group: &str) -> bool {
        self.keys.iter().any(|key| key.strip_prefix(group).is_some_and(|rest| rest.starts_with('.')))
    }
}

impl Parts {
    /// Of the first configuration. Reads the files that it names.
    pub(super) fn first(config: &Config, clock: Clock, ready: &Ready, metrics: &Metrics) -> Result<Self, StartError> {
        let policy = Arc::new(policy(config, metrics)?);
        let authenticator = Authenticator::new(&config.auth, clock, ready, metrics.authn.clone())?;
        let gateway = gateway(config, metrics)?;
        // Nothing was in force before it.
        gateway.show();
        Self::with(config, policy, Arc::new(authenticator), gateway)
    }

    /// Of a configuration that comes after another. What did not change goes on: keys, connections to the gateway and the
    /// judgement on it. Reads the files that it names, and changes nothing outside.
    pub(super) fn next(
        &self,
        before: &Config,
        config: &Config,
        touched: &Touched,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let policy = if before.policy == config.policy && !touched.within("policy") {
            Arc::clone(&self.policy)
        } else {
            Arc::new(policy(config, metrics)?)
        };
        let authenticator = if before.auth == config.auth && !touched.within("auth") {
            Arc::clone(&self.authenticator)
        } else {
            Arc::new(self.authenticator.next(&config.auth, |path| !touched.paths.contains(path))?)
        };
        let gateway = if before.upstream == config.upstream && !touched.within("upstream") {
            self.gateway.clone()
        } else {
            gateway(config, metrics)?
        };
        let parts = Self::with(config, policy, authenticator, gateway)?;
        Ok(Self { ends: parts.ends.after(&self.ends), ..parts })
    }

    fn with(
        config: &Config,
        policy: Arc<Policy>,
        authenticator: Arc<Authenticator>,
        gateway: Gateway,
    ) -> Result<Self, StartError> {
        let admin_tls = config.admin.tls.as_ref().map(net::ServerTls::build).transpose();
        Ok(Self {
            policy,
            authenticator,
            gateway,
            sessions: session_config(config)?,
            server: server_config(&config.server)?,
            admin_tls: admin_tls.map_err(StartError::AdminTls)?,
            ends: Ends::of(config),
        })
    }

    /// The data plane by them; reads its TLS files.
    pub(super) fn in_force(&self, config: &Config, ground: &Ground) -> Result<serve::InForce, StartError> {
        let live = serve::Live {
            clock: ground.clock.clone(),
            authenticator: Arc::clone(&self.authenticator),
            policy: Arc::clone(&self.policy),
            budgets: ground.budgets.with_limits(config.budgets.clone()),
            decisions: ground.metrics.authn.clone(),
            downloads: ground.downloads.clone(),
            sessions: ground.sessions.clone(),
            audit: ground.audit.clone(),
            gateway: self.gateway.clone(),
            upstream: self.sessions.upstream.clone(),
            relay: relay::Relay {
                idle_timeout: config.upstream.idle_timeout,
                digest: config.audit.digest.into(),
                stop: ground.cut.clone(),
                metrics: Arc::clone(&ground.metrics.relay),
            },
            tracing: ground.tracing.clone(),
            pass_through: config.sessions.pass_through,
        };
        Ok(serve::InForce::new(&self.server, live, Arc::clone(&ground.metrics.serve))?)
    }
}

fn policy(config: &Config, metrics: &Metrics) -> Result<Policy, StartError> {
    Ok(Policy::load(&config.policy)?.with_metrics(metrics.policy.clone()))
}

fn gateway(config: &Config, metrics: &Metrics) -> Result<Gateway, StartError> {
    Gateway::new(&config.upstream.gateway(), metrics.upstream.clone()).map_err(StartError::Upstream)
}

/// Recovers the audit log and starts its writer.
pub(super) fn audit(
    config: &Config,
    clock: Clock,
    ready: &Ready,
    registry: &Registry,
) -> Result<audit::Log, StartError> {
    let pseudonyms = config.audit.pseudonym_key_file.as_deref().map(audit::Pseudonyms::read).transpose();
    let log = config.audit.log(pseudonyms.map_err(StartError::Pseudonyms)?);
    Ok(audit::Log::start(&log, clock, ready.register("audit"), audit::Metrics::register(registry)?)?)
}

/// Starts shipping the audit log, where that is asked for.
pub(super) fn ship(
    config: &Config,
    log: &audit::Log,
    clock: Clock,
    registry: &Registry,
) -> Result<Option<ship::Shipping>, StartError> {
    let ship = &config.audit.ship;
    if *ship == config::Ship::None {
        return Ok(None);
    }
    let origin = log.origin().to_owned();
    let (log, metrics) = (log.clone(), ship::Metrics::register(registry)?);
    let shipped = ship::Config { dir: config.audit.dir.clone(), origin: origin.clone() };
    let shipping = match ship {
        config::Ship::None => return Ok(None),
        config::Ship::Stdout => {
            let sink = ship::Stdout::new(&origin).map_err(ship::StartError::Thread)?;
            ship::Shipping::start(shipped, sink, log, clock, &metrics)?
        }
        config::Ship::Nats(server) => {
            let sink = ship::Nats::new(server.clone(), &origin).map_err(ship::StartError::Sink)?;
            ship::Shipping::start(shipped, sink, log, clock, &metrics)?
        }
    };
    Ok(Some(shipping))
}

/// Starts sending traces and metrics, where there is a collector.
pub(super) fn otlp(
    config: &Config,
    log: &audit::Log,
    clock: &Clock,
    registry: &Registry,
) -> Result<Option<otlp::Exporting>, StartError> {
    let Some(collector) = &config.otlp else { return Ok(None) };
    Ok(Some(otlp::Exporting::start(collector, log.origin(), registry, clock)?))
}

/// Starts asking the witnesses of the audit log, where there are some.
pub(super) fn witness(
    config: &Config,
    log: &audit::Log,
    clock: &Clock,
    registry: &Registry,
) -> Result<Option<ship::witness::Witnessing>, StartError> {
    let section = &config.audit;
    if section.witnesses.is_empty() {
        return Ok(None);
    }
    let metrics = ship::witness::Metrics::register(registry)?;
    let witnesses = section.witnesses.clone();
    Ok(Some(ship::witness::Witnessing::start(section.dir.clone(), witnesses, log, clock, metrics)?))
}

/// Where sessions are kept, and the way to the other replicas' counts where they share it.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) budgets: Option<Arc<store::redis::SharedBudgets>>,
}

/// Opens the store of the sessions: reads its files, and connects where it is shared. `replica` names this one.
pub(super) async fn session_store(
    config: &Config,
    clock: Clock,
    ready: &Ready,
    registry: &Registry,
    replica: &str,
) -> Result<Shared, StartError> {
    let alone = |store| Shared { store, budgets: None };
    let section = &config.sessions;
    let (context, per_second) = (config.upstream.name(), section.sign_ins.per_second);
    match &section.store {
        config::Store::Memory(None) => Ok(alone(store::Memory::new(clock, per_second))),
        config::Store::Memory(Some(state)) => {
            let keys = store::Keys::read(&state.key_file).map_err(StartError::StateKeys)?;
            let state = store::StateFile { path: state.file.clone(), keys };
            let store = store::Memory::with_file(clock, per_second, state, &context);
            Ok(alone(store.map_err(|source| StartError::StateFile(Box::new(source)))?))
        }
        config::Store::Redis(redis) => {
            let redis = redis.store(&section.sign_ins);
            let metrics = store::Metrics::register(registry)?;
            let failed = |source| {
                let key = key_of(&source, &redis);
                StartError::SessionStore { key, source: Box::new(source) }
            };
            let budgets = store::redis::SharedBudgets::new(&redis, replica, metrics.clone()).map_err(failed)?;
            let store = store::Redis::connect(&redis, &context, metrics, ready.register("session store")).await;
            Ok(Shared { store: store.map_err(failed)?, budgets: Some(budgets) })
        }
    }
}

/// Which key of the configuration an error is about.
fn key_of(error: &ConnectError, redis: &store::redis::Config) -> &'static str {
    match error {
        ConnectError::Unreadable { path, .. } | ConnectError::Malformed { path, .. } if *path == redis.url_file => {
            "sessions.store.redis.url_file"
        }
        ConnectError::Unreadable { .. } | ConnectError::Malformed { .. } => "sessions.store.redis.ca_file",
        ConnectError::Keys(_) => "sessions.store.redis.key_file",
        ConnectError::Prefix | ConnectError::Foreign { .. } => "sessions.store.redis.prefix",
        ConnectError::Unavailable(_) => "sessions.store.redis",
    }
}

/// By which rules sessions live; reads the callback's token.
fn session_config(config: &Config) -> Result<session::Config, StartError> {
    let section = &config.sessions;
    require_folder(&section.accounts_dir)?;
    Ok(session::Config {
        upstream: config.upstream.name(),
        accounts_dir: section.accounts_dir.clone(),
        sign_in: section.sign_in.into(),
        keep_alive: match section.keep_alive {
            config::KeepAlive::Poll => session::KeepAlive::Poll,
            config::KeepAlive::Heartbeat => session::KeepAlive::Heartbeat,
        },
        callback: section.callback.as_ref().map(callback).transpose()?,
        keep_alive_interval: section.keep_alive_interval,
        idle_sign_out: section.idle_sign_out,
        lease_timeout: section.lease_timeout,
        waiters_max: section.waiters_max,
        agents_max: section.agents_max,
        sign_ins_at_once: section.sign_ins.at_once,
    })
}

/// Sets up the sessions; nothing is signed in yet.
pub(super) fn sessions(
    parts: &Parts,
    store: Arc<dyn Store>,
    audit: &audit::Log,
    clock: Clock,
    metrics: session::Metrics,
) -> Sessions {
    let journal = Arc::new(AuditJournal(audit.clone()));
    Sessions::new(parts.sessions.clone(), store, parts.gateway.clone(), journal, clock, metrics)
}

/// An account that is not there yet is no fault, but a mount that is missing would be found by the first request only.
fn require_folder(accounts_dir: &Path) -> Result<(), StartError> {
    match std::fs::read_dir(accounts_dir) {
        Ok(_) => Ok(()),
        Err(source) => Err(StartError::Accounts { path: accounts_dir.to_owned(), source }),
    }
}

fn callback(callback: &config::Callback) -> Result<upstream::Callback, StartError> {
    let service_token = config::read_secret(&callback.service_token_file);
    let service_token = service_token.map_err(|error| StartError::ServiceToken(Box::new(error)))?;
    Ok(upstream::Callback { uri: callback.uri.clone(), service_token })
}

/// The data plane's own configuration.
fn server_config(server: &config::Server) -> Result<serve::Config, StartError> {
    let origin = |origin: &String| HeaderValue::from_str(origin).map_err(|_| StartError::Origin);
    Ok(serve::Config {
        listen: server.listen,
        tls: server.tls.clone(),
        trusted_proxies: server.trusted_proxies.clone(),
        allowed_origins: server.allowed_origins.iter().map(origin).collect::<Result<_, _>>()?,
        max_connections: server.max_connections,
        max_connections_per_peer: server.max_connections_per_peer,
        header_timeout: server.header_timeout,
        client_stall_timeout: server.client_stall_timeout,
        client_min_rate: server.client_min_rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_that_cannot_be_read_stop_the_start_and_are_named() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(require_folder(dir.path()).is_ok(), "empty is no fault");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("a file");
        for path in [dir.path().join("missing"), file] {
            let error = require_folder(&path).expect_err("no folder");
            let told = format!("sessions.accounts_dir {} cannot be read", path.display());
            assert_eq!(error.to_string(), told);
            assert!(std::error::Error::source(&error).is_some(), "and why");
        }
    }
}
