//! The registry, and the metrics that belong to the process as a whole.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use crate::clock::Clock;
use crate::config::Config;
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
    registry.register(Box::new(certificates(config)?))?;
    Ok(registry)
}

/// When each certificate that we were given ends. One that can't be read has no series; using it says why.
fn certificates(config: &Config) -> Result<IntGaugeVec, prometheus::Error> {
    let ends = Opts::new("ccgate_tls_certificate_expiry_timestamp_seconds", "When a certificate ends.");
    let ends = IntGaugeVec::new(ends, &["name"])?;
    let upstream = &config.upstream.client.tls;
    let files = [
        ("server", config.server.tls.as_ref().map(|tls| &tls.cert_file)),
        ("server_client_ca", config.server.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref())),
        ("admin", config.admin.tls.as_ref().map(|tls| &tls.cert_file)),
        ("admin_client_ca", config.admin.tls.as_ref().and_then(|tls| tls.client_ca_file.as_ref())),
        ("upstream_ca", upstream.ca_file.as_ref()),
        ("upstream_client", upstream.client_cert.as_ref().map(|(cert, _key)| cert)),
    ];
    for (name, file) in files {
        if let Some(Ok(end)) = file.map(|file| net::certificate_expiry(file)) {
            ends.with_label_values(&[name]).set(end.as_second());
        }
    }
    Ok(ends)
}
