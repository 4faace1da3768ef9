//! From a request's headers to its [`Caller`], in one place. There is no way around it and no mode without it.

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use http::HeaderMap;
use jiff::Timestamp;
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
    ready: Condition,
    /// Held by [`Authenticator::refresh`]: a second owner would fetch beside the first.
    owner: tokio::sync::Mutex<()>,
}

struct Issuer {
    name: Arc<str>,
    audiences: Vec<String>,
    algorithms: Vec<Algorithm>,
    certificate_bound: bool,
    claims: Claims,
    keys: Keys,
}

/// What an authenticator is given beside its configuration.
pub(super) struct Surroundings<'r> {
    pub(super) clock: Clock,
    pub(super) ready: &'r Ready,
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
        surroundings: Surroundings<'_>,
        source_of: impl Fn(&IssuerConfig) -> Result<Source, ConfigError>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        self_test()?;
        let Surroundings { clock, ready, metrics, timing } = surroundings;
        let issuer = |issuer: &IssuerConfig| Issuer::new(issuer, source_of(issuer)?, timing);
        let issuers = config.issuers.iter().map(issuer).collect::<Result<Vec<_>, _>>()?;
        // Nothing outside is touched before everything inside is sound.
        metrics.issuers(&issuers.iter().map(|issuer| &*issuer.name).collect::<Vec<_>>());
        let authenticator = Self {
            issuers,
            tolerance: Tolerance::new(config.leeway, config.max_token_lifetime),
            verified: Verified::new(),
            clock,
            metrics,
            ready: ready.register("keys"),
            owner: tokio::sync::Mutex::new(()),
        };
        for issuer in &authenticator.issuers {
            if let Some(loaded) = &issuer.keys.view.load().loaded {
                authenticator.note(issuer, Ok(&loaded.set));
            }
        }
        authenticator.report();
        Ok(authenticator)
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
        join_all(self.issuers.iter().map(|issuer| {
            issuer.keys.keep_fresh(&stop, |ended| {
                self.note(issuer, ended);
                self.report();
            })
        }))
        .await;
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
        let caller = Caller::new(facts.map_err(Error::Claims)?);
        let binding = binding::of(&token.payload).map_err(Error::Binding)?;
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
        Ok(Self {
            name: Arc::from(config.issuer.as_str()),
            audiences: config.audiences.clone(),
            algorithms: config.algorithms.clone(),
            certificate_bound: config.certificate_bound,
            claims: config.claims.clone(),
            keys,
        })
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
