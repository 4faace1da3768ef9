//! From a request's headers to its [`Caller`], in one place. There is no way around it and no mode without it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::bearer::Bearer;
use super::binding;
use super::claims::{Lifetime, Tolerance, facts};
use super::config::{Claims, ConfigError, IssuerConfig, KeySource};
use super::jwks::KeySet;
use super::key::self_test;
use super::keys::{Absent, Keys};
use super::refresh::chain;
use super::source::{KeysError, Source, read_file};
use super::token::Token;
use super::verified::{Entry, Verified};
use super::{Algorithm, Caller, Config, Decision, Error, Metrics, Timing, Untrusted};
use crate::clock::Clock;
use crate::net;
use crate::ready::{Condition, Ready};

/// Verifies tokens against the keys of the configured issuers.
pub struct Authenticator {
    issuers: Vec<Issuer>,
    tolerance: Tolerance,
    verified: Verified,
    clock: Clock,
    metrics: Metrics,
    timing: Timing,
    /// One condition for all that follow each other ([`Authenticator::next`]).
    ready: Arc<Condition>,
    /// Held by [`Authenticator::refresh`]: a second owner would fetch beside the first.
    owner: tokio::sync::Mutex<()>,
}

struct Issuer {
    name: Arc<str>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    certificate_bound: bool,
    claims: Claims,
    keys: Arc<Keys>,
    /// What `keys` are made of.
    origin: Origin,
    /// `keys` go on from an authenticator before, whose task may be fetching them still.
    goes_on: bool,
}

/// What an issuer's keys are made of: where nothing of it changes, they go on.
#[derive(PartialEq, Eq)]
struct Origin {
    issuer: String,
    source: KeySource,
    ca_file: Option<PathBuf>,
    algorithms: Vec<Algorithm>,
}

/// What an authenticator is given beside its configuration.
pub(super) struct Surroundings<R> {
    pub(super) clock: Clock,
    pub(super) ready: R,
    pub(super) metrics: Metrics,
    pub(super) timing: Timing,
}

impl Authenticator {
    /// Checks the configuration and the cryptography, and reads the key files. Keys that come over the network are
    /// fetched by [`Authenticator::refresh`]; the condition `keys` does not hold before all are there.
    pub fn new(config: &Config, clock: Clock, ready: &Ready, metrics: Metrics) -> Result<Self, ConfigError> {
        Self::with_timing(config, clock, ready, metrics, Timing::default())
    }

    /// As [`Authenticator::new`], with other intervals.
    pub fn with_timing(
        config: &Config,
        clock: Clock,
        ready: &Ready,
        metrics: Metrics,
        timing: Timing,
    ) -> Result<Self, ConfigError> {
        Self::build(config, Surroundings { clock, ready, metrics, timing }, |issuer| source(issuer, &timing))
    }

    pub(super) fn build(
        config: &Config,
        surroundings: Surroundings<&Ready>,
        source_of: impl Fn(&IssuerConfig) -> Result<Source, ConfigError>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        self_test()?;
        let Surroundings { clock, ready, metrics, timing } = surroundings;
        let issuer = |issuer: &IssuerConfig| Issuer::new(issuer, source_of(issuer)?, timing);
        let issuers = config.issuers.iter().map(issuer).collect::<Result<Vec<_>, _>>()?;
        // Nothing outside is touched before everything inside is sound.
        let ready = Arc::new(ready.register("keys"));
        let authenticator = Self::of(issuers, config, Surroundings { clock, ready, metrics, timing });
        authenticator.take_up();
        Ok(authenticator)
    }

    fn of(issuers: Vec<Issuer>, config: &Config, surroundings: Surroundings<Arc<Condition>>) -> Self {
        let Surroundings { clock, ready, metrics, timing } = surroundings;
        Self {
            issuers,
            tolerance: Tolerance::new(config.leeway, config.max_token_lifetime),
            verified: Verified::new(),
            clock,
            metrics,
            timing,
            ready,
            owner: tokio::sync::Mutex::new(()),
        }
    }

    /// The one that comes after this, by another configuration; nothing is changed by making it. Keys go on where their
    /// issuer, its source, its algorithms and its `ca_file` stayed the same and `unchanged` says so of the files that these
    /// name; other key files are read here. No token is remembered, so none gets in by what held before.
    ///
    /// To be put in force so: end this one's [`Authenticator::refresh`], call the next one's [`Authenticator::take_up`] and
    /// its `refresh`.
    ///
    /// # Errors
    ///
    /// As [`Authenticator::new`].
    pub fn next(&self, config: &Config, unchanged: impl Fn(&Path) -> bool) -> Result<Self, ConfigError> {
        config.check()?;
        let issuers = config.issuers.iter().map(|issuer| {
            let origin = Origin::of(issuer);
            match self.issuers.iter().find(|before| before.origin == origin && origin.files().all(&unchanged)) {
                Some(before) => Ok(Issuer { goes_on: true, ..Issuer::with(issuer, Arc::clone(&before.keys)) }),
                None => Issuer::new(issuer, source(issuer, &self.timing)?, self.timing),
            }
        });
        let issuers = issuers.collect::<Result<Vec<_>, _>>()?;
        let surroundings = Surroundings {
            clock: self.clock.clone(),
            ready: Arc::clone(&self.ready),
            metrics: self.metrics.clone(),
            timing: self.timing,
        };
        Ok(Self::of(issuers, config, surroundings))
    }

    /// Says in metrics and readiness what is known of the keys: from now on these issuers count.
    pub fn take_up(&self) {
        self.metrics.issuers(&self.issuers.iter().map(|issuer| &*issuer.name).collect::<Vec<_>>());
        for issuer in &self.issuers {
            if let Some(loaded) = &issuer.keys.view.load().loaded {
                // Keys that go on are as old as they are: a reload confirms nothing.
                let at = self.clock.now().saturating_sub(loaded.at.elapsed()).map_or(0, Timestamp::as_second);
                self.metrics.loaded(&issuer.name, loaded.set.len(), at);
            }
        }
        self.report();
    }

    /// Fetches the key sets of new issuers, all at the same time, and returns which did not come and why. Before it is in
    /// force: readiness and metrics are left alone. Waits at most [`Timing::fetch_timeout`].
    ///
    /// Cancel safe: a set that has come by then is kept.
    pub async fn load_new(&self) -> Vec<(String, KeysError)> {
        let missing = self.issuers.iter().filter(|issuer| !issuer.goes_on && issuer.keys.view.load().loaded.is_none());
        let fetched = join_all(missing.map(|issuer| async {
            let ended = issuer.keys.fetch().await;
            ended.err().map(|error| (issuer.name.to_string(), error))
        }));
        fetched.await.into_iter().flatten().collect()
    }

    /// The caller that the request's token proves, over a connection whose client has shown `certificate` and proved in the
    /// handshake to hold its key. Counts the decision.
    ///
    /// Waits only where the token names a key that is not known yet, and then at most [`Timing::wait_max`]. Cancel safe.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        certificate: Option<&net::ClientCertificate>,
    ) -> Result<Caller, Error> {
        let result = self.verify(headers, certificate).await;
        match &result {
            Ok(_) => self.metrics.decision(Decision::Allow, "ok"),
            Err(error) => self.metrics.decision(Decision::Deny, error.code()),
        }
        result
    }

    /// Keeps every issuer's keys fresh until `stop`. To be spawned once by whoever owns the tasks; without it no key
    /// that comes over the network is ever there. A second call waits for the first to end.
    pub async fn refresh(&self, stop: CancellationToken) {
        let _owner = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            owner = self.owner.lock() => owner,
        };
        let fresh = join_all(self.issuers.iter().map(|issuer| {
            issuer.keys.keep_fresh(&stop, |ended| {
                self.note(issuer, ended);
                self.report();
            })
        }));
        // Ends with the others, which end at `stop`.
        tokio::select! {
            _ = fresh => {}
            () = self.watch_age() => {}
        }
    }

    /// Says it at once when a key set gets too old: the next fetch may be minutes away, or hang.
    async fn watch_age(&self) {
        loop {
            let ends = self.issuers.iter().filter_map(|issuer| issuer.keys.stale_at());
            let next = ends.filter(|end| *end > Instant::now()).min();
            // Where no set is there to get too old: one that comes lives for at least so long.
            sleep_until(next.unwrap_or_else(|| Instant::now() + self.timing.stale_max)).await;
            self.report();
        }
    }

    /// Fetches every key set that comes over the network once, all at the same time, and returns which did not come and
    /// why. For a command that verifies one token and ends; waits at most [`Timing::fetch_timeout`].
    ///
    /// Cancel safe: a set that has come by then is in use.
    pub async fn refresh_once(&self) -> Vec<(String, KeysError)> {
        let _owner = self.owner.lock().await;
        let remote = self.issuers.iter().filter(|issuer| !issuer.keys.source.is_file());
        let fetched = join_all(remote.map(|issuer| async {
            let ended = issuer.keys.fetch().await;
            self.note(issuer, ended.as_ref().map(Arc::as_ref));
            ended.err().map(|error| (issuer.name.to_string(), error))
        }));
        let failed = fetched.await;
        self.report();
        failed.into_iter().flatten().collect()
    }

    async fn verify(&self, headers: &HeaderMap, certificate: Option<&net::ClientCertificate>) -> Result<Caller, Error> {
        let bearer = Bearer::from_headers(headers)?;
        let digest = bearer.digest();
        let entry = match self.verified.find(&digest, |entry| self.still_holds(entry)) {
            Some(entry) => entry,
            None => self.prove(bearer, digest).await?,
        };
        // Of this connection, so never remembered.
        let required = self.issuers.get(entry.issuer).is_none_or(|issuer| issuer.certificate_bound);
        binding::check(&entry.binding, required, certificate).map_err(Error::Binding)?;
        Ok(entry.caller.clone())
    }

    /// Verifies all of a token that does not depend on the connection, and remembers it.
    async fn prove(&self, bearer: Bearer<'_>, digest: [u8; 32]) -> Result<Arc<Entry>, Error> {
        let token = Token::read(bearer)?;
        let named = |issuer: &&Issuer| *issuer.name == *token.registered.issuer;
        let position = self.issuers.iter().position(|issuer| named(&issuer));
        let (position, issuer) = position
            .and_then(|position| Some((position, self.issuers.get(position)?)))
            .ok_or(Error::Untrusted(Untrusted::Issuer))?;
        let key_print = issuer.check_signature(&token).await?;
        // The time is taken after the wait for a key.
        let lifetime = Lifetime::of(&token.registered);
        lifetime.check(self.clock.now(), self.tolerance)?;
        issuer.check_audience(&token)?;
        let facts = facts(&issuer.name, &issuer.claims, &token.registered, &token.payload);
        let (identity, of_token) = facts.map_err(Error::Claims)?;
        let binding = binding::of(&token.payload).map_err(Error::Binding)?;
        // Nothing can refuse the token any more: what is not verified reaches no memory.
        let caller = Caller::new(self.verified.person(identity), of_token);
        let entry = Arc::new(Entry { caller, issuer: position, key_id: token.key_id, key_print, lifetime, binding });
        self.verified.insert(digest, Arc::clone(&entry));
        Ok(entry)
    }

    /// Whether what made a token good is still so: its time, and the very key in a set that is not too old.
    fn still_holds(&self, entry: &Entry) -> bool {
        let now: Timestamp = self.clock.now();
        let key = self.issuers.get(entry.issuer).and_then(|issuer| issuer.keys.current(&entry.key_id));
        key.is_some_and(|key| key.print() == entry.key_print) && entry.lifetime.check(now, self.tolerance).is_ok()
    }

    fn note(&self, issuer: &Issuer, ended: Result<&KeySet, &KeysError>) {
        match ended {
            Ok(set) => {
                self.metrics.loaded(&issuer.name, set.len(), self.clock.now().as_second());
                tracing::debug!(issuer = &*issuer.name, keys = set.len(), left_out = set.left_out, "keys confirmed");
            }
            Err(error) => tracing::warn!(issuer = &*issuer.name, error = chain(error), "no new keys"),
        }
    }

    fn report(&self) {
        let trouble = |issuer: &Issuer| Some(format!("{}: {}", issuer.name, issuer.keys.trouble()?));
        let troubles: Vec<_> = self.issuers.iter().filter_map(trouble).collect();
        if troubles.is_empty() {
            self.ready.holds();
        } else {
            self.ready.wait_for(troubles.join("; "));
        }
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> u64 {
        self.verified.len()
    }

    #[cfg(test)]
    pub(super) fn remembered_persons(&self) -> u64 {
        self.verified.persons()
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.issuers.iter().map(|issuer| &issuer.name).collect();
        f.debug_struct("Authenticator").field("issuers", &names).finish_non_exhaustive()
    }
}

impl Issuer {
    fn new(config: &IssuerConfig, source: Source, timing: Timing) -> Result<Self, ConfigError> {
        let keys = Keys::new(source, config.algorithms.clone(), timing);
        if let KeySource::File(path) = &config.keys {
            let read = read_file(path).and_then(|text| keys.take_over(&text));
            read.map_err(|source| ConfigError::Keys { issuer: config.issuer.clone(), source })?;
        }
        Ok(Self::with(config, Arc::new(keys)))
    }

    fn with(config: &IssuerConfig, keys: Arc<Keys>) -> Self {
        Self {
            name: Arc::from(config.issuer.as_str()),
            audiences: config.audiences.clone(),
            algorithms: config.algorithms.clone(),
            certificate_bound: config.certificate_bound,
            claims: config.claims.clone(),
            keys,
            origin: Origin::of(config),
            goes_on: false,
        }
    }

    /// Verifies the signature with the issuer's key of exactly the token's key id, and returns that key's print.
    async fn check_signature(&self, token: &Token<'_>) -> Result<[u8; 32], Error> {
        // Before the key is looked for: a token that can't be good must not cause a fetch.
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Error::Untrusted(Untrusted::Algorithm));
        }
        let key = self.keys.find(&token.key_id).await.map_err(|absent| match absent {
            Absent::Unknown => Error::Untrusted(Untrusted::Key),
            Absent::Unavailable { retry_after } => Error::KeysUnavailable { retry_after },
        })?;
        if !key.accepts(token.algorithm) {
            return Err(Error::Untrusted(Untrusted::Algorithm));
        }
        if !key.verify(token.algorithm, token.signed.as_bytes(), &token.signature) {
            return Err(Error::Untrusted(Untrusted::Signature));
        }
        Ok(key.print())
    }

    fn check_audience(&self, token: &Token<'_>) -> Result<(), Error> {
        let ours = token.registered.audiences.iter().any(|audience| self.audiences.contains(audience));
        if ours { Ok(()) } else { Err(Error::Untrusted(Untrusted::Audience)) }
    }
}

impl Origin {
    fn of(config: &IssuerConfig) -> Self {
        let IssuerConfig { issuer, keys, ca_file, algorithms, audiences: _, claims: _, certificate_bound: _ } =
            config.clone();
        Self { issuer, source: keys, ca_file, algorithms }
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let keys = match &self.source {
            KeySource::File(path) => Some(path.as_path()),
            KeySource::Url(_) | KeySource::Discovery => None,
        };
        keys.into_iter().chain(self.ca_file.as_deref())
    }
}

/// Where an issuer's keys come from, with a client of its own where they come over the network.
fn source(config: &IssuerConfig, timing: &Timing) -> Result<Source, ConfigError> {
    let client = || {
        let tls = net::ClientTls { ca_file: config.ca_file.clone(), ..net::ClientTls::default() };
        let whole = timing.fetch_timeout;
        net::Client::new(&net::ClientConfig { tls, connect_timeout: whole, response_timeout: whole })
            .map_err(|source| ConfigError::Tls { issuer: config.issuer.clone(), source })
    };
    Ok(match &config.keys {
        KeySource::File(path) => Source::File(path.clone()),
        KeySource::Url(url) => Source::Url { client: client()?, url: url.clone() },
        KeySource::Discovery => Source::Discovery { client: client()?, issuer: config.issuer.clone() },
    })
}
