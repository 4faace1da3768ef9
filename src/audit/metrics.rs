//! What the log counts. Label values come from closed sets; no record's content is ever one.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

use crate::series::Counters;

/// The log's metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    records: Counters<2>,
    write_duration: Histogram,
    pub(super) open_entries: IntGauge,
    records_lost: IntCounter,
    pub(super) disk_free: IntGauge,
    pub(super) checkpoint_time: IntGauge,
    pub(super) checkpoint_failures: IntCounter,
    pub(super) unsigned: IntGauge,
    pub(super) writable: IntGauge,
    pub(super) entries_max: IntGauge,
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is durable.
    Written,
    /// Its opener was refused, so it does not count.
    Refused,
    /// It is gone.
    Lost,
}

/// The class of an event, as metrics show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Authorized,
    Finished,
    Aborted,
    Failed,
    Unknown,
    Denied,
    Session,
    Config,
    Audit,
    Process,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let records = Opts::new("ccgate_audit_records_total", "Audit records by event and by what became of them.");
        // Upper bounds around what a disk takes for one fdatasync: 0.3 ms when idle, tens of ms when others write.
        let write = HistogramOpts::new("ccgate_audit_write_duration_seconds", "Time to make one batch durable.")
            .buckets(vec![0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]);
        let metrics = Self {
            records: Counters::register(registry, records, ["event", "outcome"])?,
            write_duration: Histogram::with_opts(write)?,
            open_entries: IntGauge::new("ccgate_audit_open_entries", "Durable entries without a durable end.")?,
            records_lost: IntCounter::new("ccgate_audit_records_lost_total", "Audit records that are gone.")?,
            disk_free: IntGauge::new("ccgate_audit_disk_free_bytes", "Free space of the audit volume.")?,
            checkpoint_time: IntGauge::new(
                "ccgate_audit_checkpoint_timestamp_seconds",
                "When all that was durable had last been signed.",
            )?,
            checkpoint_failures: IntCounter::new(
                "ccgate_audit_checkpoint_failures_total",
                "Checkpoints that could not be written; the next one is over the same records.",
            )?,
            unsigned: IntGauge::new("ccgate_audit_unsigned_records", "Durable records that no checkpoint is over.")?,
            writable: IntGauge::new("ccgate_audit_writable", "Whether the log takes entries, as far as is known.")?,
            entries_max: IntGauge::new("ccgate_audit_open_entries_max", "Entries that may be open at once.")?,
        };
        registry.register(Box::new(metrics.checkpoint_time.clone()))?;
        registry.register(Box::new(metrics.checkpoint_failures.clone()))?;
        registry.register(Box::new(metrics.unsigned.clone()))?;
        registry.register(Box::new(metrics.writable.clone()))?;
        registry.register(Box::new(metrics.entries_max.clone()))?;
        // A series that exists from the start can be alerted on before the first event.
        metrics.records.show([Kind::Authorized.as_str(), Fate::Refused.as_str()]);
        registry.register(Box::new(metrics.write_duration.clone()))?;
        registry.register(Box::new(metrics.open_entries.clone()))?;
        registry.register(Box::new(metrics.records_lost.clone()))?;
        registry.register(Box::new(metrics.disk_free.clone()))?;
        Ok(metrics)
    }

    pub(super) fn record(&self, kind: Kind, fate: Fate) {
        self.records.inc([kind.as_str(), fate.as_str()]);
        if fate == Fate::Lost {
            self.records_lost.inc();
        }
    }

    pub(super) fn wrote(&self, duration: Duration) {
        self.write_duration.observe(duration.as_secs_f64());
    }
}

impl Fate {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Refused => "refused",
            Self::Lost => "lost",
        }
    }
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Authorized => "authorized",
            Self::Finished => "finished",
            Self::Aborted => "aborted",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Denied => "denied",
            Self::Session => "session",
            Self::Config => "config",
            Self::Audit => "audit",
            Self::Process => "process",
        }
    }

    /// The class of an event by its name.
    pub(super) fn of(event: &'static str) -> Self {
        match event.split_once('.').map_or(event, |(class, _)| class) {
            "authorized" => Self::Authorized,
            "finished" => Self::Finished,
            "aborted" => Self::Aborted,
            "failed" => Self::Failed,
            "unknown" => Self::Unknown,
            "denied" => Self::Denied,
            "session" => Self::Session,
            "config" => Self::Config,
            "audit" => Self::Audit,
            _ => Self::Process,
        }
    }
}
