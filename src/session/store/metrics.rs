//! What a session store counts. Label values come from the enums of this file; none names an agent.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// The counters of the session store of a process. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    /// Of the sessions' own connection.
    up: Option<IntGauge>,
}

/// What the store was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Beat,
    Seek,
    Write,
    Retire,
    Release,
    Reject,
    AdmitSignIn,
    Leave,
    Budgets,
}

impl Operation {
    const ALL: [Self; 9] = [
        Self::Beat,
        Self::Seek,
        Self::Write,
        Self::Retire,
        Self::Release,
        Self::Reject,
        Self::AdmitSignIn,
        Self::Leave,
        Self::Budgets,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Beat => "beat",
            Self::Seek => "seek",
            Self::Write => "write",
            Self::Retire => "retire",
            Self::Release => "release",
            Self::Reject => "reject",
            Self::AdmitSignIn => "admit_sign_in",
            Self::Leave => "leave",
            Self::Budgets => "budgets",
        }
    }
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// The fence was not the newest.
    Superseded,
    /// The store is there, but not to be believed yet.
    Settling,
    Timeout,
    Unreachable,
    /// It answered with an error, or with what cannot be read.
    Refused,
    /// Not asked, as it had failed several times in a row.
    Skipped,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Superseded => "superseded",
            Self::Settling => "settling",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Skipped => "skipped",
        }
    }
}

impl Metrics {
    /// Makes the metrics and adds them to a registry.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "ccgate_session_store_requests_total",
                "Requests to the session store, by what was asked and how it went.",
            ),
            &["operation", "outcome"],
        )?;
        let up =
            IntGauge::new("ccgate_session_store_up", "Whether the session store answered when it was last asked.")?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(up.clone()))?;
        let metrics = Self { requests, up: Some(up) };
        // Series that exist from the start can be alerted on before the first event.
        for operation in Operation::ALL {
            metrics.requests.with_label_values(&[operation.label(), Outcome::Ok.label()]).inc_by(0);
        }
        Ok(metrics)
    }

    pub(super) fn asked(&self, operation: Operation, outcome: Outcome) {
        self.requests.with_label_values(&[operation.label(), outcome.label()]).inc();
    }

    /// For a connection beside that of the sessions, whose trouble is not theirs.
    pub(super) fn beside(self) -> Self {
        Self { up: None, ..self }
    }

    pub(super) fn up(&self, up: bool) {
        if let Some(gauge) = &self.up {
            gauge.set(i64::from(up));
        }
    }

    #[cfg(test)]
    pub(super) fn is_up(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.get() == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_a_connection_beside_is_not_told_of_the_sessions() {
        let metrics = Metrics::register(&Registry::new()).expect("fresh names");
        metrics.up(true);
        metrics.clone().beside().up(false);
        assert!(metrics.is_up());
        metrics.up(false);
        metrics.clone().beside().up(true);
        assert!(!metrics.is_up());
    }
}
