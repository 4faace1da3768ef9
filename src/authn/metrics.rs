//! What is counted of tokens and keys. No label ever comes from a token.

use prometheus::{IntGaugeVec, Opts, Registry};

use crate::series::Counters;

/// The counters of this module. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    decisions: Counters<2>,
    keys: IntGaugeVec,
    last_success: IntGaugeVec,
}

/// Whether somebody was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Let through.
    Allow,
    /// Turned away.
    Deny,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let decisions = Counters::register(
            registry,
            Opts::new("ccgate_auth_decisions_total", "Decisions about tokens and downloads."),
            ["decision", "reason"],
        )?;
        let keys = IntGaugeVec::new(Opts::new("ccgate_jwks_keys", "Usable keys of an issuer."), &["issuer"])?;
        let last_success = IntGaugeVec::new(
            Opts::new("ccgate_jwks_last_success_timestamp_seconds", "When an issuer's keys were last confirmed."),
            &["issuer"],
        )?;
        registry.register(Box::new(keys.clone()))?;
        registry.register(Box::new(last_success.clone()))?;
        Ok(Self { decisions, keys, last_success })
    }

    /// Counts a decision. `reason` is a code of a closed set: of [`Error::code`](super::Error::code), of policy, or `ok`.
    pub fn decision(&self, decision: Decision, reason: &'static str) {
        let decision = match decision {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
        };
        self.decisions.inc([decision, reason]);
    }

    /// From now on there are these issuers, and no others.
    pub(super) fn issuers(&self, names: &[&str]) {
        self.keys.reset();
        self.last_success.reset();
        for name in names {
            self.keys.with_label_values(&[name]).set(0);
            self.last_success.with_label_values(&[name]).set(0);
        }
    }

    /// An issuer's keys were read; `at` in seconds since the epoch.
    pub(super) fn loaded(&self, issuer: &str, keys: usize, at: i64) {
        self.keys.with_label_values(&[issuer]).set(i64::try_from(keys).unwrap_or(i64::MAX));
        self.last_success.with_label_values(&[issuer]).set(at);
    }
}
