//! What shipping counts. Label values come from closed sets; no record's content is ever one.

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::sink::Kind;

/// Shipping's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    records: IntCounterVec,
    lag_records: IntGauge,
    lag_seconds: Gauge,
    up: IntGaugeVec,
    last_ack: IntGauge,
}

/// The metrics of one sink.
#[derive(Debug, Clone)]
pub(super) struct SinkMetrics {
    /// Acknowledged, and new to the sink.
    pub(super) acknowledged: IntCounter,
    /// Acknowledged, and known to the sink before.
    pub(super) duplicate: IntCounter,
    /// Sent in vain; each is sent again.
    pub(super) failed: IntCounter,
    /// Gone from the log before they could be sent.
    pub(super) missing: IntCounter,
    /// Lines that are no records any more; they are left out.
    pub(super) unreadable: IntCounter,
    pub(super) lag_records: IntGauge,
    pub(super) lag_seconds: Gauge,
    pub(super) up: IntGauge,
    pub(super) last_ack: IntGauge,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// One of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let records =
            Opts::new("ccgate_audit_shipped_records_total", "Audit records by sink and by what became of them.");
        let up = Opts::new("ccgate_audit_ship_up", "Whether the sink takes records.");
        let last = "When the sink acknowledged a record last.";
        let metrics = Self {
            records: IntCounterVec::new(records, &["sink", "outcome"])?,
            lag_records: IntGauge::new("ccgate_audit_ship_lag_records", "Durable records that are not shipped yet.")?,
            lag_seconds: Gauge::new(
                "ccgate_audit_ship_lag_seconds",
                "Age of the oldest record that is not shipped yet.",
            )?,
            up: IntGaugeVec::new(up, &["sink"])?,
            last_ack: IntGauge::new("ccgate_audit_ship_last_ack_timestamp_seconds", last)?,
        };
        registry.register(Box::new(metrics.records.clone()))?;
        registry.register(Box::new(metrics.lag_records.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.last_ack.clone()))?;
        Ok(metrics)
    }

    pub(super) fn of(&self, kind: Kind) -> SinkMetrics {
        let records = |outcome| self.records.with_label_values(&[kind.as_str(), outcome]);
        SinkMetrics {
            acknowledged: records("acknowledged"),
            duplicate: records("duplicate"),
            failed: records("failed"),
            missing: records("missing"),
            unreadable: records("unreadable"),
            lag_records: self.lag_records.clone(),
            lag_seconds: self.lag_seconds.clone(),
            up: self.up.with_label_values(&[kind.as_str()]),
            last_ack: self.last_ack.clone(),
        }
    }
}
