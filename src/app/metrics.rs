//! The registry, and the metrics that belong to the process as a whole.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::net;

/// The revision that this was built from, where the build says so.
const REVISION: &str = match option_env!("CCGATE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Makes the registry with `process_*`, `ccgate_build_info`, the state of the configuration and the certificates' ends.
pub(super) fn registry(config: &Config, clock: &Clock) -> Result<Registry, prometheus::Error> {
    let registry = Registry::new();
    registry.register(Box::new(ProcessCollector::for_self()))?;
    let build = Opts::new("ccgate_build_info", "What runs; always 1.");
    let build = IntGaugeVec::new(build, &["version", "revision"])?;
    build.with_label_values(&[env!("CARGO_PKG_VERSION"), REVISION]).set(1);
    registry.register(Box::new(build))?;
    let reloaded =
        IntGauge::new("ccgate_config_last_reload_successful", "Whether the newest configuration is in force.")?;
    reloaded.set(1);
    registry.register(Box::new(reloaded))?;
    let at = IntGauge::new(
        "ccgate_config_last_reload_success_timestamp_seconds",
        "When the configuration came into force.",
    )?;
    at.set(clock.now().as_second());
    registry.register(Box::new(at))?;
    CertificateEnds::register(&registry)?.update(config);
    Ok(registry)
}

/// When each certificate that is in force ends. Clones share the gauges.
#[derive(Debug, Clone)]
pub(super) struct CertificateEnds {
    certificates: IntGaugeVec,
    revocation_lists: IntGaugeVec,
}

impl CertificateEnds {
    /// Registers `ccgate_tls_certificate_expiry_timestamp_seconds` and `ccgate_tls_revocation_list_expiry_timestamp_seconds`.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["name"]);
        let help = "When the first certificate of a file ends.";
        let certificates = gauge("ccgate_tls_certificate_expiry_timestamp_seconds", help)?;
        let help = "When the first revocation list of a file is out of date, and clients are refused.";
        let revocation_lists = gauge("ccgate_tls_revocation_list_expiry_timestamp_seconds", help)?;
        registry.register(Box::new(certificates.clone()))?;
        registry.register(Box::new(revocation_lists.clone()))?;
        Ok(Self { certificates, revocation_lists })
    }

    /// Reads the files of a configuration that has come into force, each time one does. One that can't be read has no
    /// series; using it says why.
    pub(super) fn update(&self, config: &Config) {
        self.certificates.reset();
        self.revocation_lists.reset();
        for (name, file) in files(config) {
            earliest(&self.certificates, name, net::certificate_expiry(file).ok());
        }
        for (name, tls) in [("server", &config.server.tls), ("admin", &config.admin.tls)] {
            let file = tls.as_ref().and_then(|tls| tls.client_crl_file.as_deref());
            let end = file.and_then(|file| net::revocation_expiry(file).ok().flatten());
            earliest(&self.revocation_lists, name, end);
        }
    }
}

/// Sets the series, or keeps an earlier end that shares the name.
fn earliest(gauges: &IntGaugeVec, name: &str, end: Option<Timestamp>) {
    let Some(end) = end.map(Timestamp::as_second) else { return };
    let gauge = gauges.with_label_values(&[name]);
    if gauge.get() == 0 || end < gauge.get() {
        gauge.set(end);
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
