//! An authenticator with its clock, readiness and metrics, for one test.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;
use prometheus::{Registry, TextEncoder};
use tempfile::NamedTempFile;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::issuer::{ISSUER, NOW, P256, set};
use super::script::{Answer, Script};
use crate::authn::authenticator::Surroundings;
use crate::authn::source::Source;
use crate::authn::{
    Algorithm, Authenticator, Caller, Claims, Config, ConfigError, Error, IssuerConfig, KeySource, Metrics, Timing,
};
use crate::clock::Clock;
use crate::ready::Ready;

pub(super) struct World {
    pub(super) authenticator: Arc<Authenticator>,
    pub(super) ready: Ready,
    pub(super) registry: Registry,
    tasks: JoinSet<()>,
    stops: Vec<DropGuard>,
}

impl World {
    /// One issuer with the key `k1` (P-256) in a file; every algorithm accepted.
    pub(super) fn simple() -> Self {
        Self::with_set(&set(&[P256.jwk("k1")]))
    }

    /// One issuer with this key set in a file.
    pub(super) fn with_set(text: &str) -> Self {
        let file = key_file(text);
        Self::with_config(&config(vec![issuer(ISSUER, KeySource::File(file.path().to_owned()))]))
            .expect("a good config")
    }

    pub(super) fn with_config(config: &Config) -> Result<Self, ConfigError> {
        Self::with_timing(config, Timing::default())
    }

    pub(super) fn with_timing(config: &Config, timing: Timing) -> Result<Self, ConfigError> {
        let (ready, registry) = (Ready::new(), Registry::new());
        let metrics = Metrics::register(&registry).unwrap();
        let authenticator = Arc::new(Authenticator::with_timing(config, clock(), &ready, metrics, timing)?);
        Ok(Self { authenticator, ready, registry, tasks: JoinSet::new(), stops: Vec::new() })
    }

    /// One issuer whose keys come from a script, or several; nothing runs yet.
    pub(super) fn scripted(config: &Config, scripts: &[(&str, &Arc<Script>)], timing: Timing) -> Self {
        let (ready, registry) = (Ready::new(), Registry::new());
        let metrics = Metrics::register(&registry).unwrap();
        let surroundings = Surroundings { clock: clock(), ready: &ready, metrics, timing };
        let authenticator = Authenticator::build(config, surroundings, |issuer| {
            let (_, script) = scripts.iter().find(|(name, _)| *name == issuer.issuer).unwrap();
            Ok(Source::Scripted(Arc::clone(script)))
        });
        let authenticator = Arc::new(authenticator.expect("a good config"));
        Self { authenticator, ready, registry, tasks: JoinSet::new(), stops: Vec::new() }
    }

    /// As a process runs it: one scripted issuer, its refreshing in a task; 1 s later.
    pub(super) async fn running(script: &Arc<Script>) -> Self {
        let mut world = Self::scripted(&scripted_config(), &[(ISSUER, script)], Timing::default());
        world.start();
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
    }

    /// Spawns refreshing; a second time: beside the first.
    pub(super) fn start(&mut self) {
        let stop = CancellationToken::new();
        let authenticator = Arc::clone(&self.authenticator);
        let stopped = stop.clone();
        self.tasks.spawn(async move { authenticator.refresh(stopped).await });
        self.stops.push(stop.drop_guard());
    }

    /// Stops refreshing and waits for its end.
    pub(super) async fn stop(&mut self) {
        self.stops.clear();
        self.tasks.join_next().await.expect("it was started").expect("no panic");
    }

    pub(super) async fn check(&self, token: &str) -> Result<Caller, Error> {
        self.authenticator.authenticate(&bearer(token), None).await
    }

    pub(super) async fn refusal(&self, token: &str) -> Error {
        match self.check(token).await {
            Ok(caller) => panic!("let through: {caller:?}"),
            Err(error) => error,
        }
    }

    pub(super) fn metrics(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }

    /// The reason why the condition `keys` does not hold.
    pub(super) fn not_ready(&self) -> Option<String> {
        let report = self.ready.report();
        report.into_iter().find(|(name, _)| *name == "keys").expect("the condition is there").1
    }
}

pub(super) fn clock() -> Clock {
    Clock::fixed(Timestamp::from_second(NOW).unwrap())
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers
}

pub(super) fn key_file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

pub(super) fn config(issuers: Vec<IssuerConfig>) -> Config {
    Config { leeway: Duration::from_secs(30), max_token_lifetime: Duration::from_hours(24), issuers }
}

pub(super) fn scripted_config() -> Config {
    config(vec![issuer(ISSUER, KeySource::Discovery)])
}

pub(super) fn issuer(name: &str, keys: KeySource) -> IssuerConfig {
    IssuerConfig {
        issuer: name.to_owned(),
        audiences: vec!["ccgate".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        keys,
        ca_file: None,
        certificate_bound: false,
        claims: Claims::default(),
    }
}

/// The scripted source with the set of the key `k1`.
pub(super) fn good_script() -> Arc<Script> {
    Arc::new(Script::new([Answer::Set(set(&[P256.jwk("k1")]))]))
}
