//! What a person writes about traces and metrics for a collector.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::units::Duration;

/// Traces and metrics for a collector.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Telemetry {
    /// An OpenTelemetry collector; without it nothing is sent, and `/metrics` is there all the same.
    pub(in crate::config) otlp: Option<Otlp>,
}

/// An OpenTelemetry collector: OTLP over HTTP, binary protobuf.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Otlp {
    /// Where it is, https (http on loopback): `/v1/traces` and `/v1/metrics` are added.
    #[schemars(required, length(min = 1, max = 2048))]
    pub(in crate::config) endpoint: Option<String>,
    /// File with the certificates to trust, PEM; without it the system's.
    pub(in crate::config) ca_file: Option<PathBuf>,
    /// File with header fields of each request, one `Name: value` a line; at most 16.
    #[schemars(extend("x-secret" = true))]
    pub(in crate::config) headers_file: Option<PathBuf>,
    /// Whether each request is sent as spans.
    pub(in crate::config) traces: bool,
    /// Of the requests without a `traceparent`, how many of a hundred are recorded; one with it, as it says.
    #[schemars(range(min = 0, max = 100))]
    pub(in crate::config) sample_percent: u32,
    /// Whether what `/metrics` shows is sent.
    pub(in crate::config) metrics: bool,
    /// Between two times that metrics are sent.
    #[schemars(extend("x-min" = "1s", "x-max" = "1h"))]
    pub(in crate::config) interval: Duration,
    /// For a message with all its tries.
    #[schemars(extend("x-min" = "100ms", "x-max" = "60s"))]
    pub(in crate::config) timeout: Duration,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca_file: None,
            headers_file: None,
            traces: true,
            sample_percent: 100,
            metrics: true,
            interval: Duration::from_secs(60),
            timeout: Duration::from_secs(10),
        }
    }
}
