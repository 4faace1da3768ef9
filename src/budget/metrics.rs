//! What budgets count. Label values come from the enums of `limits`; none names a person.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::limits::{Budget, Limit};

/// The counters of budgets. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: IntCounterVec,
    subjects: IntGauge,
}

/// In place of a limit, where none stands in the way.
const NO_LIMIT: &str = "none";

impl Metrics {
    /// Makes the metrics and adds them to a registry.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let decisions = Opts::new(
            "ccgate_budget_decisions_total",
            "Downloads that budgets let through (allow) or refused (refuse), and budgets that are nearly used up (alert).",
        );
        let decisions = IntCounterVec::new(decisions, &["limit", "decision"])?;
        let subjects = IntGauge::new("ccgate_budget_subjects", "Persons whose use is remembered.")?;
        registry.register(Box::new(decisions.clone()))?;
        registry.register(Box::new(subjects.clone()))?;
        let metrics = Self { decisions, subjects };
        // Series that exist from the start can be alerted on before the first event.
        metrics.decisions.with_label_values(&[NO_LIMIT, "allow"]).inc_by(0);
        for limit in Limit::ALL {
            metrics.decisions.with_label_values(&[limit.as_str(), "refuse"]).inc_by(0);
        }
        for budget in Budget::ALL {
            metrics.decisions.with_label_values(&[budget.as_str(), "alert"]).inc_by(0);
        }
        Ok(metrics)
    }

    pub(super) fn allowed(&self) {
        self.decisions.with_label_values(&[NO_LIMIT, "allow"]).inc();
    }

    pub(super) fn refused(&self, limit: Limit) {
        self.decisions.with_label_values(&[limit.as_str(), "refuse"]).inc();
    }

    pub(super) fn alerted(&self, budget: Budget) {
        self.decisions.with_label_values(&[budget.as_str(), "alert"]).inc();
    }

    pub(super) fn subjects(&self, count: usize) {
        self.subjects.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub(super) fn decided(&self, limit: &str, decision: &str) -> u64 {
        self.decisions.with_label_values(&[limit, decision]).get()
    }
}
