//! What is counted of the calls to the gateway. Every label is of a closed set.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::{HistogramOpts, IntGauge, IntGaugeVec, Opts, Registry};

use super::{Error, Rest};
use crate::series::{Counters, Histograms};

/// Which call it is, for labels.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    SignIn,
    Poll,
    Heartbeat,
    SignOut,
    Download,
}

/// Counts and durations of the calls, and who is left alone. Clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Counters<2>,
    duration: Histograms<1>,
    breaker: IntGaugeVec,
    healthy: IntGaugeVec,
}

/// Shows which URLs are left alone: each by itself, and whether all are. Only of the gateway in force: one that is built and
/// then refused, and one that has been replaced and ends its last calls, show nothing.
#[derive(Debug)]
pub(super) struct Lights {
    breaker: IntGaugeVec,
    healthy: IntGaugeVec,
    /// How many URLs take sign-ins: the first ones.
    entrances: usize,
    /// Locked for a pass over it, never across a wait.
    board: Mutex<Board>,
}

#[derive(Debug)]
struct Board {
    lit: bool,
    /// Who is left alone, and why.
    open: Vec<Open>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Open {
    unanswered: bool,
    switching: bool,
}

impl Lights {
    /// Takes down whether a URL is left alone for this reason.
    pub(super) fn show(&self, index: usize, rest: Rest, open: bool) {
        let mut board = self.board();
        let Some(one) = board.open.get_mut(index) else { return };
        match rest {
            Rest::Unanswered => one.unanswered = open,
            Rest::Switching => one.switching = open,
        }
        let one = *one;
        // Under the lock: two changes must be shown in their order.
        if board.lit {
            self.show_one(index, one);
            self.show_all(&board.open);
        }
    }

    /// Shows from now on what is known.
    pub(super) fn light(&self) {
        let mut board = self.board();
        board.lit = true;
        for (index, one) in board.open.iter().enumerate() {
            self.show_one(index, *one);
        }
        self.show_all(&board.open);
    }

    /// Takes the place of others: they show nothing any more, and what they showed of URLs beyond ours is gone.
    pub(super) fn replace(&self, before: &Self) {
        let count = {
            let mut before = before.board();
            before.lit = false;
            before.open.len()
        };
        self.light();
        for index in self.board().open.len()..count {
            // It may never have been shown.
            let _ = self.healthy.remove_label_values(&[&index.to_string()]);
        }
    }

    fn show_one(&self, index: usize, one: Open) {
        self.healthy.with_label_values(&[&index.to_string()]).set(i64::from(!one.unanswered));
    }

    fn show_all(&self, open: &[Open]) {
        let entrances = open.iter().take(self.entrances);
        let whole = entrances.clone().all(|one| one.unanswered || one.switching);
        let (unanswered, switching) =
            (entrances.clone().any(|one| one.unanswered), entrances.clone().any(|one| one.switching));
        self.gauge(Rest::Unanswered).set(i64::from(whole && unanswered));
        self.gauge(Rest::Switching).set(i64::from(whole && switching));
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn gauge(&self, rest: Rest) -> IntGauge {
        self.breaker.with_label_values(&[rest.label()])
    }
}

impl Rest {
    const fn label(self) -> &'static str {
        match self {
            Self::Unanswered => "unanswered",
            Self::Switching => "switching",
        }
    }
}

impl Metrics {
    /// Registers `ccgate_upstream_requests_total`, `ccgate_upstream_request_duration_seconds`,
    /// `ccgate_upstream_breaker_open` and `ccgate_upstream_healthy`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = Counters::register(
            registry,
            Opts::new("ccgate_upstream_requests_total", "Calls to CC-Gateway, by what was called and how it ended."),
            ["operation", "outcome"],
        )?;
        let duration = Histograms::register(
            registry,
            HistogramOpts::new(
                "ccgate_upstream_request_duration_seconds",
                "Time of a call: to the whole answer, of a download to its first piece.",
            )
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]),
            ["operation"],
        )?;
        let breaker = IntGaugeVec::new(
            Opts::new(
                "ccgate_upstream_breaker_open",
                "1 while CC-Gateway is left alone, at every URL of it: by all but downloads (unanswered) or by sign-ins only (switching).",
            ),
            &["reason"],
        )?;
        let healthy = IntGaugeVec::new(
            Opts::new(
                "ccgate_upstream_healthy",
                "0 while one URL of CC-Gateway is left alone as it does not answer; by its place in upstream.urls, then upstream.nodes.",
            ),
            &["upstream"],
        )?;
        registry.register(Box::new(breaker.clone()))?;
        registry.register(Box::new(healthy.clone()))?;
        Ok(Self { requests, duration, breaker, healthy })
    }

    /// For so many URLs, the first `entrances` of which take sign-ins. All answer as far as is known; nothing is shown yet.
    pub(super) fn lights(&self, count: usize, entrances: usize) -> Lights {
        let board = Mutex::new(Board { lit: false, open: vec![Open::default(); count] });
        Lights { breaker: self.breaker.clone(), healthy: self.healthy.clone(), entrances, board }
    }

    /// A call that was not made: it has no duration.
    pub(super) fn left_out(&self, operation: Operation, error: &Error) {
        self.requests.inc([operation.label(), error.label()]);
    }

    /// A call that was made, with the word for its outcome.
    pub(super) fn count(&self, operation: Operation, took: Duration, outcome: &'static str) {
        self.requests.inc([operation.label(), outcome]);
        self.duration.observe([operation.label()], took.as_secs_f64());
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
