//! What budgets count. Label values come from the enums of `limits`; none names a person.

use prometheus::{IntGauge, Opts, Registry};

use super::limits::{Budget, Limit};
use crate::series::Counters;

/// The counters of budgets. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: Counters<2>,
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
        let decisions = Counters::register(registry, decisions, ["limit", "decision"])?;
        let subjects = IntGauge::new("ccgate_budget_subjects", "Persons whose use is remembered.")?;
        registry.register(Box::new(subjects.clone()))?;
        let metrics = Self { decisions, subjects };
        // Series that exist from the start can be alerted on before the first event.
        metrics.decisions.show([NO_LIMIT, "allow"]);
        for limit in Limit::ALL {
            metrics.decisions.show([limit.as_str(), "refuse"]);
        }
        for budget in Budget::ALL {
            metrics.decisions.show([budget.as_str(), "alert"]);
        }
        Ok(metrics)
    }

    pub(super) fn allowed(&self) {
        self.decisions.inc([NO_LIMIT, "allow"]);
    }

    pub(super) fn refused(&self, limit: Limit) {
        self.decisions.inc([limit.as_str(), "refuse"]);
    }

    pub(super) fn alerted(&self, budget: Budget) {
        self.decisions.inc([budget.as_str(), "alert"]);
    }

    pub(super) fn subjects(&self, count: usize) {
        self.subjects.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    #[cfg(test)]
    pub(super) fn decided(&self, limit: &'static str, decision: &'static str) -> u64 {
        self.decisions.count([limit, decision])
    }
}
