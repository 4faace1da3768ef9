//! From the whole configuration to each module's own: one function a module, no other logic.

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use prometheus::Registry;

use super::StartError;
use super::journal::AuditJournal;
use crate::authn::Authenticator;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::policy::Policy;
use crate::ready::Ready;
use crate::session::Sessions;
use crate::session::store::redis::ConnectError;
use crate::session::store::{self, Store};
use crate::telemetry::otlp;
use crate::upstream::Gateway;
use crate::{audit, authn, policy, serve, session, ship, upstream};

/// Loads the policy.
pub(super) fn policy(config: &Config, registry: &Registry) -> Result<Policy, StartError> {
    let metrics = policy::Metrics::register(registry)?;
    Ok(Policy::load(&config.policy)?.with_metrics(metrics))
}

/// Builds the authenticator; reads key files.
pub(super) fn authenticator(
    config: &Config,
    clock: Clock,
    ready: &Ready,
    registry: &Registry,
) -> Result<(Arc<Authenticator>, authn::Metrics), StartError> {
    let metrics = authn::Metrics::register(registry)?;
    let authenticator = Authenticator::new(&config.auth, clock, ready, metrics.clone())?;
    Ok((Arc::new(authenticator), metrics))
}

/// Builds the client of the upstream.
pub(super) fn gateway(config: &Config, registry: &Registry) -> Result<Gateway, StartError> {
    Gateway::new(&config.upstream.gateway(), upstream::Metrics::register(registry)?).map_err(StartError::Upstream)
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

/// Opens the store of the sessions: reads its files, and connects where it is shared.
pub(super) async fn session_store(
    config: &Config,
    clock: Clock,
    ready: &Ready,
    registry: &Registry,
) -> Result<Arc<dyn Store>, StartError> {
    let section = &config.sessions;
    let (context, per_second) = (config.upstream.name(), section.sign_ins.per_second);
    match &section.store {
        config::Store::Memory(None) => Ok(store::Memory::new(clock, per_second)),
        config::Store::Memory(Some(state)) => {
            let keys = store::Keys::read(&state.key_file).map_err(StartError::StateKeys)?;
            let state = store::StateFile { path: state.file.clone(), keys };
            let store = store::Memory::with_file(clock, per_second, state, &context);
            Ok(store.map_err(|source| StartError::StateFile(Box::new(source)))?)
        }
        config::Store::Redis(redis) => {
            let redis = redis.store(&section.sign_ins);
            let metrics = store::Metrics::register(registry)?;
            let store = store::Redis::connect(&redis, &context, metrics, ready.register("session store")).await;
            Ok(store.map_err(|source| {
                let key = key_of(&source, &redis);
                StartError::SessionStore { key, source: Box::new(source) }
            })?)
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

/// Sets up the sessions; nothing is signed in yet.
#[allow(clippy::too_many_arguments, reason = "the parts that sessions are made of, each once")]
pub(super) fn sessions(
    config: &Config,
    store: Arc<dyn Store>,
    gateway: Gateway,
    audit: &audit::Log,
    clock: Clock,
    registry: &Registry,
) -> Result<Sessions, StartError> {
    let section = &config.sessions;
    require_folder(&section.accounts_dir)?;
    let sessions = session::Config {
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
    };
    let journal = Arc::new(AuditJournal(audit.clone()));
    Ok(Sessions::new(sessions, store, gateway, journal, clock, session::Metrics::register(registry)?))
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
pub(super) fn server_config(server: &config::Server) -> Result<serve::Config, StartError> {
    let origin = |origin: &String| HeaderValue::from_str(origin).map_err(|_| StartError::Origin);
    Ok(serve::Config {
        listen: server.listen,
        tls: server.tls.clone(),
        trusted_proxies: server.trusted_proxies.clone(),
        allowed_origins: server.allowed_origins.iter().map(origin).collect::<Result<_, _>>()?,
        max_connections: server.max_connections,
        header_timeout: server.header_timeout,
        client_stall_timeout: server.client_stall_timeout,
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
