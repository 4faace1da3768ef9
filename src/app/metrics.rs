//! The registry, the metrics of all modules, registered once, and those that belong to the process as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::config::{self, Config};
use crate::{authn, net, policy, relay, serve, session, upstream};

/// The revision that this was built from, where the build says so.
const REVISION: &str = match option_env!("CCGATE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The metrics of what a configuration replaces: what takes its place goes on counting.
#[derive(Clone)]
pub(super) struct Metrics {
    pub(super) policy: policy::Metrics,
    pub(super) authn: authn::Metrics,
    pub(super) upstream: upstream::Metrics,
    pub(super) session: session::Metrics,
    pub(super) serve: Arc<serve::Metrics>,
    pub(super) relay: Arc<relay::Metrics>,
    pub(super) process: Process,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            policy: policy::Metrics::register(registry)?,
            authn: authn::Metrics::register(registry)?,
            upstream: upstream::Metrics::register(registry)?,
            session: session::Metrics::register(registry)?,
            serve: Arc::new(serve::Metrics::register(registry)?),
            relay: Arc::new(relay::Metrics::register(registry)?),
            process: Process::register(registry)?,
        })
    }
}

/// What runs, by which configuration, and when the certificates end.
#[derive(Clone)]
pub(super) struct Process {
    reloaded: IntGauge,
    reloaded_at: IntGauge,
    generation: IntGauge,
    info: IntGaugeVec,
    certificates: IntGaugeVec,
    revocation_lists: IntGaugeVec,
}

impl Process {
    /// Registers `process_*`, `ccgate_build_info`, `ccgate_config_*` and the certificates' ends.
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        registry.register(Box::new(ProcessCollector::for_self()))?;
        let build = Opts::new("ccgate_build_info", "What runs; always 1.");
        let build = IntGaugeVec::new(build, &["version", "revision"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION]).set(1);
        registry.register(Box::new(build))?;
        let info = Opts::new(
            "ccgate_config_info",
            "The configuration that is in force, by the hash of its file and the files that it names; always 1.",
        );
        let ends =
            Opts::new("ccgate_tls_certificate_expiry_timestamp_seconds", "When the first certificate of a file ends.");
        let lists = Opts::new(
            "ccgate_tls_revocation_list_expiry_timestamp_seconds",
            "When the first revocation list of a file is out of date, and clients are refused.",
        );
        let process = Self {
            reloaded: IntGauge::new(
                "ccgate_config_last_reload_successful",
                "Whether the newest configuration is in force.",
            )?,
            reloaded_at: IntGauge::new(
                "ccgate_config_last_reload_success_timestamp_seconds",
                "When the configuration came into force.",
            )?,
            generation: IntGauge::new(
                "ccgate_config_generation",
                "How many configurations have been in force, this one included.",
            )?,
            info: IntGaugeVec::new(info, &["hash"])?,
            certificates: IntGaugeVec::new(ends, &["name"])?,
            revocation_lists: IntGaugeVec::new(lists, &["name"])?,
        };
        registry.register(Box::new(process.reloaded.clone()))?;
        registry.register(Box::new(process.reloaded_at.clone()))?;
        registry.register(Box::new(process.generation.clone()))?;
        registry.register(Box::new(process.info.clone()))?;
        registry.register(Box::new(process.certificates.clone()))?;
        registry.register(Box::new(process.revocation_lists.clone()))?;
        Ok(process)
    }

    /// A configuration is in force since `at`, in seconds since the epoch, as the certificates' ends are.
    pub(super) fn in_force(&self, hash: &str, generation: u64, at: i64, ends: &Ends) {
        self.reloaded.set(1);
        self.reloaded_at.set(at);
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        // One series, however often it changes.
        self.info.reset();
        self.info.with_label_values(&[hash]).set(1);
        for (gauges, ends) in
            [(&self.certificates, &ends.certificates), (&self.revocation_lists, &ends.revocation_lists)]
        {
            gauges.reset();
            for (name, end) in ends {
                gauges.with_label_values(&[name]).set(*end);
            }
        }
    }

    /// A newer configuration was refused.
    pub(super) fn refused(&self) {
        self.reloaded.set(0);
    }
}

/// When what a configuration names ends, in seconds since the epoch; of several files with one name the first.
#[derive(Debug, Clone, Default)]
pub(super) struct Ends {
    certificates: BTreeMap<&'static str, i64>,
    revocation_lists: BTreeMap<&'static str, i64>,
}

impl Ends {
    /// Reads the files. One that can't be read is left out; using it says why.
    pub(super) fn of(config: &Config) -> Self {
        let mut ends = Self::default();
        for (name, file) in files(config) {
            earliest(&mut ends.certificates, name, net::certificate_expiry(file).ok());
        }
        for (name, tls) in [("server", &config.server.tls), ("admin", &config.admin.tls)] {
            let file = tls.as_ref().and_then(|tls| tls.client_crl_file.as_deref());
            let end = file.and_then(|file| net::revocation_expiry(file).ok().flatten());
            earliest(&mut ends.revocation_lists, name, end);
        }
        ends
    }

    /// The same after a reload: of what is read at a start only, what it was then is still in use.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.certificates.retain(|name, _| !AT_START.contains(name));
        let kept = before.certificates.iter().filter(|(name, _)| AT_START.contains(*name));
        self.certificates.extend(kept.map(|(name, end)| (*name, *end)));
        self
    }
}

/// Certificates that are read at a start only. Those of `audit.ship` are read again with each connection.
const AT_START: [&str; 3] = ["store_ca", "witness_ca", "otlp_ca"];

fn earliest(ends: &mut BTreeMap<&'static str, i64>, name: &'static str, end: Option<Timestamp>) {
    if let Some(end) = end.map(Timestamp::as_second) {
        ends.entry(name).and_modify(|first| *first = end.min(*first)).or_insert(end);
    }
}

/// Every file with certificates that a configuration names, under a name of a closed set.
fn files<'c>(config: &'c Config) -> Vec<(&'static str, &'c Path)> {
    let mut files = Vec::new();
    let mut add = |name, file: Option<&'c PathBuf>| files.extend(file.map(|file| (name, file.as_path())));
    for (own, authority, tls) in
        [("server", "server_client_ca", &config.server.tls), ("admin", "admin_client_ca", &config.admin.tls)]
    {
        add(own, tls.as_ref().map(|tls| &tls.cert_file));
        add(authority, tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref()));
    }
    let upstream = &config.upstream.client.tls;
    add("upstream_ca", upstream.ca_file.as_ref());
    add("upstream_client", upstream.client_cert.as_ref().map(|(cert, _key)| cert));
    for issuer in &config.auth.issuers {
        add("issuer_ca", issuer.ca_file.as_ref());
    }
    if let config::Store::Redis(redis) = &config.sessions.store {
        add("store_ca", redis.ca_file.as_ref());
    }
    if let config::Ship::Nats(nats) = &config.audit.ship {
        add("ship_ca", nats.tls.ca_file.as_ref());
        add("ship_client", nats.tls.client_cert.as_ref().map(|(cert, _key)| cert));
    }
    for witness in &config.audit.witnesses {
        add("witness_ca", witness.ca_file.as_ref());
    }
    add("otlp_ca", config.otlp.as_ref().and_then(|otlp| otlp.ca_file.as_ref()));
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_a_start_only_ends_when_it_did_then() {
        let ends =
            |all: &[(&'static str, i64)]| Ends { certificates: all.iter().copied().collect(), ..Ends::default() };
        let before = ends(&[("store_ca", 1), ("otlp_ca", 2), ("server", 3), ("ship_ca", 4), ("upstream_ca", 5)]);
        let now = ends(&[("store_ca", 11), ("witness_ca", 12), ("server", 13), ("ship_ca", 14)]).after(&before);
        let wanted = ends(&[("store_ca", 1), ("otlp_ca", 2), ("server", 13), ("ship_ca", 14)]);
        assert_eq!(now.certificates, wanted.certificates);
    }
}
