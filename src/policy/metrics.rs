//! What the policy counts. Refusals are counted where they are answered; here only what must never happen.

use prometheus::{IntCounter, Registry};

/// The policy's metrics. Clones share the counters, so that a reloaded policy goes on counting.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(super) evaluation_errors: IntCounter,
}

impl Metrics {
    /// Makes and registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let evaluation_errors = IntCounter::new(
            "ccgate_policy_evaluation_errors_total",
            "Decisions that were refused because a rule could not be evaluated",
        )?;
        registry.register(Box::new(evaluation_errors.clone()))?;
        Ok(Self { evaluation_errors })
    }
}
