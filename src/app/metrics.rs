//! The registry, the metrics of all modules, registered once, and those that belong to the process as a whole.

use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::config::Config;
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
        let ends = Opts::new("ccgate_tls_certificate_expiry_timestamp_seconds", "When a certificate ends.");
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
        };
        registry.register(Box::new(process.reloaded.clone()))?;
        registry.register(Box::new(process.reloaded_at.clone()))?;
        registry.register(Box::new(process.generation.clone()))?;
        registry.register(Box::new(process.info.clone()))?;
        registry.register(Box::new(process.certificates.clone()))?;
        Ok(process)
    }

    /// A configuration is in force since `at`, in seconds since the epoch, as the certificates' ends are.
    pub(super) fn in_force(&self, hash: &str, generation: u64, at: i64, certificates: &[(&'static str, i64)]) {
        self.reloaded.set(1);
        self.reloaded_at.set(at);
        self.generation.set(i64::try_from(generation).unwrap_or(i64::MAX));
        // One series, however often it changes.
        self.info.reset();
        self.info.with_label_values(&[hash]).set(1);
        self.certificates.reset();
        for (name, end) in certificates {
            self.certificates.with_label_values(&[name]).set(*end);
        }
    }

    /// A newer configuration was refused.
    pub(super) fn refused(&self) {
        self.reloaded.set(0);
    }
}

/// When each certificate that we are given ends, in seconds since the epoch. One that can't be read is left out; using it says
/// why. Reads them.
pub(super) fn certificates(config: &Config) -> Vec<(&'static str, i64)> {
    let upstream = &config.upstream.client.tls;
    let files = [
        ("server", config.server.tls.as_ref().map(|tls| &tls.cert_file)),
        ("server_client_ca", config.server.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref())),
        ("admin", config.admin.tls.as_ref().map(|tls| &tls.cert_file)),
        ("admin_client_ca", config.admin.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref())),
        ("upstream_ca", upstream.ca_file.as_ref()),
        ("upstream_client", upstream.client_cert.as_ref().map(|(cert, _key)| cert)),
    ];
    let ends = files.into_iter().filter_map(|(name, file)| Some((name, net::certificate_expiry(file?).ok()?)));
    ends.map(|(name, end)| (name, end.as_second())).collect()
}
