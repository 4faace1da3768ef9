//! What is counted of the calls to the gateway. Every label is of a closed set.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use tokio::time::Instant;

use super::{Error, Rest};

/// Which call it is, for labels.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    SignIn,
    Poll,
    Heartbeat,
    SignOut,
    Download,
}

/// Counts and durations of the calls, and whether the gateway is left alone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    breaker: BreakerGauges,
}

/// Shows what is left alone.
#[derive(Debug, Clone)]
pub(super) struct BreakerGauges(IntGaugeVec);

impl BreakerGauges {
    pub(super) fn of(&self, rest: Rest) -> IntGauge {
        self.0.with_label_values(&[match rest {
            Rest::Unanswered => "unanswered",
            Rest::Switching => "switching",
        }])
    }
}

impl Metrics {
    /// Registers `ccgate_upstream_requests_total`, `ccgate_upstream_request_duration_seconds` and
    /// `ccgate_upstream_breaker_open`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new("ccgate_upstream_requests_total", "Calls to CC-Gateway, by what was called and how it ended."),
            &["operation", "outcome"],
        )?;
        let duration = HistogramVec::new(
            HistogramOpts::new(
                "ccgate_upstream_request_duration_seconds",
                "Time of a call: to the whole answer, of a download to its first piece.",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            &["operation"],
        )?;
        let breaker = IntGaugeVec::new(
            Opts::new(
                "ccgate_upstream_breaker_open",
                "1 while CC-Gateway is left alone: by all but downloads (unanswered) or by sign-ins only (switching).",
            ),
            &["reason"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(duration.clone()))?;
        registry.register(Box::new(breaker.clone()))?;
        let breaker = BreakerGauges(breaker);
        for rest in [Rest::Unanswered, Rest::Switching] {
            breaker.of(rest).set(0);
        }
        Ok(Self { requests, duration, breaker })
    }

    pub(super) fn breaker(&self) -> BreakerGauges {
        self.breaker.clone()
    }

    /// A call that was not made: it has no duration.
    pub(super) fn left_out(&self, operation: Operation, error: &Error) {
        self.requests.with_label_values(&[operation.label(), error.label()]).inc();
    }

    pub(super) fn observe<T>(&self, operation: Operation, start: Instant, outcome: &Result<T, Error>) {
        let outcome = match outcome {
            Ok(_) => "ok",
            Err(error) => error.label(),
        };
        self.count(operation, start, outcome);
    }

    /// As [`Metrics::observe`], with the word for the outcome.
    pub(super) fn count(&self, operation: Operation, start: Instant, outcome: &'static str) {
        self.requests.with_label_values(&[operation.label(), outcome]).inc();
        self.duration.with_label_values(&[operation.label()]).observe(start.elapsed().as_secs_f64());
    }
}

impl Operation {
    const fn label(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::Poll => "poll",
            Self::Heartbeat => "heartbeat",
            Self::SignOut => "sign_out",
            Self::Download => "download",
        }
    }
}

impl Error {
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "unreachable",
            Self::Untrusted { .. } => "untrusted",
            Self::Timeout => "timeout",
            Self::Closed { .. } => "closed",
            Self::Truncated { .. } => "truncated",
            Self::Protocol(_) => "protocol",
            Self::Status(_) => "status",
            Self::Refused { .. } => "refused",
            Self::Resting { .. } => "resting",
        }
    }
}
