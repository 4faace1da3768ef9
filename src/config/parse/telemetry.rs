//! The collector of traces and metrics. It asks nobody.

use super::{Parser, grammar, raw};
use crate::config::sections::Otlp;

impl Parser<'_> {
    pub(super) fn otlp(&mut self, raw: raw::Otlp) -> Option<Otlp> {
        const ENDPOINT: &str = "telemetry.otlp.endpoint";
        let endpoint = self.required(ENDPOINT, raw.endpoint, "as in https://collector.example:4318");
        let endpoint = endpoint.and_then(|text| self.read(ENDPOINT, &text, grammar::collector));
        if !raw.traces && !raw.metrics {
            self.warn("telemetry.otlp", "neither traces nor metrics are sent", "leave the group out");
        }
        Some(Otlp {
            endpoint: endpoint?,
            ca_file: raw.ca_file.map(|file| self.file("telemetry.otlp.ca_file", file)),
            headers_file: raw.headers_file.map(|file| self.file("telemetry.otlp.headers_file", file)),
            traces: raw.traces,
            sample_percent: u8::try_from(raw.sample_percent).unwrap_or(100),
            metrics: raw.metrics,
            interval: raw.interval.get(),
            timeout: raw.timeout.get(),
        })
    }
}
