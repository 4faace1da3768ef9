//! What can be seen of the witnesses: one number for all of them, the worst. No witness's name is a label.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntGauge, Registry};

/// The witnesses' metrics.
#[derive(Debug, Clone)]
pub struct Metrics {
    up: IntGauge,
    refused: IntGauge,
    last_success: IntGauge,
    size: IntGauge,
}

/// How it stands with one witness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its last answer was a cosignature.
    pub(super) up: bool,
    /// Its last answer was that this is not the log that it has cosigned.
    pub(super) refused: bool,
    /// When it cosigned last, in seconds since 1970; 0: never.
    pub(super) last_success: i64,
    /// Records that it has cosigned.
    pub(super) size: u64,
}

/// How it stands with all of them. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Board {
    metrics: Metrics,
    standings: Arc<Mutex<Vec<Standing>>>,
}

impl Metrics {
    /// Makes the metrics and registers them.
    ///
    /// # Errors
    /// One of the names is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            up: gauge("ccgate_audit_witness_up", "Whether every witness has cosigned what it was asked for last.")?,
            refused: gauge(
                "ccgate_audit_witness_refused",
                "Whether a witness says that this is not the audit log that it has cosigned before.",
            )?,
            last_success: gauge(
                "ccgate_audit_witness_last_success_timestamp_seconds",
                "When the witness that has been silent for longest cosigned last.",
            )?,
            size: gauge("ccgate_audit_witnessed_size", "Audit records that every witness has cosigned.")?,
        })
    }
}

impl Board {
    pub(super) fn new(metrics: Metrics, standings: Vec<Standing>) -> Self {
        let board = Self { metrics, standings: Arc::new(Mutex::new(standings)) };
        board.change(usize::MAX, |_| {});
        board
    }

    /// Changes the standing of the witness with this place in the configuration.
    pub(super) fn change(&self, witness: usize, change: impl FnOnce(&mut Standing)) {
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(standing) = standings.get_mut(witness) {
            change(standing);
        }
        self.metrics.up.set(i64::from(standings.iter().all(|standing| standing.up)));
        self.metrics.refused.set(i64::from(standings.iter().any(|standing| standing.refused)));
        self.metrics.last_success.set(standings.iter().map(|standing| standing.last_success).min().unwrap_or(0));
        let size = standings.iter().map(|standing| standing.size).min().unwrap_or(0);
        self.metrics.size.set(i64::try_from(size).unwrap_or(i64::MAX));
    }
}
