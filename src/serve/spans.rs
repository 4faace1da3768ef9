//! A request as spans of its trace: which steps it went through and how long each took. It knows nobody who collects them.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::route::TraceParent;

/// Whom ended requests are told, and which traces are begun here.
#[derive(Debug, Clone)]
pub struct Tracing {
    /// Takes the spans.
    pub sink: Arc<dyn SpanSink>,
    /// Of the requests that bring no trace, the share whose new one is recorded; 0 to 1. One that a caller brings is
    /// recorded where that caller says so.
    pub sample: f64,
}

/// Takes spans of requests. It must not wait: a request's end calls it.
pub trait SpanSink: std::fmt::Debug + Send + Sync {
    /// A request whose trace is recorded has ended.
    fn ended(&self, request: &RequestSpan<'_>);
}

/// One request that has ended. It holds nobody's name, and nothing of what was asked for but its kind.
#[derive(Debug, Clone, Copy)]
pub struct RequestSpan<'a> {
    /// The trace, and this request's ids in it.
    pub trace: &'a TraceParent,
    /// When its head had been read.
    pub at: Timestamp,
    /// From then to the last byte.
    pub took: Duration,
    /// When each step was over.
    pub steps: Steps,
    /// What was asked for, as in the metrics.
    pub route: &'static str,
    /// The method, as in the metrics.
    pub method: &'static str,
    /// Of the answer; `None`: there was none.
    pub status: Option<u16>,
    /// The problem's code; empty for a file.
    pub code: &'a str,
    /// How it ended, as in the access line.
    pub outcome: &'static str,
    /// Body bytes handed to the client.
    pub bytes: u64,
    /// Its id.
    pub request_id: &'a str,
    /// The audit entry.
    pub entry: Option<crate::audit::EntryId>,
}

/// A step of a download, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The token.
    Authenticate,
    /// The policy.
    Authorize,
    /// Waiting for the agent's session.
    Session,
    /// Waiting for the audit entry to be durable.
    Audit,
    /// The calls to the gateway, to the head of its answer.
    Upstream,
}

impl Step {
    /// All, in their order.
    pub const ALL: [Self; 5] = [Self::Authenticate, Self::Authorize, Self::Session, Self::Audit, Self::Upstream];

    /// Its name as a span.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Authenticate => "authenticate",
            Self::Authorize => "authorize",
            Self::Session => "session",
            Self::Audit => "audit",
            Self::Upstream => "upstream",
        }
    }
}

/// When each step of a request was over, counted from the request's begin. A step that refused has no time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps([Option<Duration>; Step::ALL.len()]);

impl Steps {
    /// The step is over.
    pub(super) fn over(&mut self, step: Step, at: Duration) {
        if let Some(over) = self.0.get_mut(step as usize) {
            *over = Some(at);
        }
    }

    /// Those that were gone through, with the begin and the end of each.
    pub fn passed(self) -> impl Iterator<Item = (Step, Duration, Duration)> {
        let mut begin = Duration::ZERO;
        Step::ALL.into_iter().zip(self.0).filter_map(move |(step, end)| {
            let end = end?;
            Some((step, std::mem::replace(&mut begin, end), end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_begins_where_the_one_before_ended() {
        let mut steps = Steps::default();
        assert_eq!(steps.passed().count(), 0);
        for (step, at) in [(Step::Authenticate, 3), (Step::Authorize, 4), (Step::Upstream, 9)] {
            steps.over(step, Duration::from_millis(at));
        }
        let passed: Vec<_> = steps.passed().map(|(step, from, to)| (step, from.as_millis(), to.as_millis())).collect();
        assert_eq!(passed, [(Step::Authenticate, 0, 3), (Step::Authorize, 3, 4), (Step::Upstream, 4, 9)]);
    }
}
