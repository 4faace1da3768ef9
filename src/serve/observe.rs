//! One request's story: counted at its head and at its last byte, told in one line of the log at its end.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tokio::time::Instant;

use super::crowd::Turn;
use super::metrics::{Labels, Metrics};
use super::refusal::Refused;
use super::spans::{RequestSpan, Steps, Tracing};
use crate::audit::EntryId;
use crate::cc::AgentId;
use crate::relay::{Broken, RelayBody};
use crate::room::Place;
use crate::route::{Arrival, TraceParent};

/// What is sent: a whole document, or a recording on its way.
pub(super) enum Content {
    /// A document.
    Whole(Full<Bytes>),
    /// A recording, and the place of one among the open downloads.
    File(Box<RelayBody>, Place),
}

impl Default for Content {
    fn default() -> Self {
        Self::Whole(Full::default())
    }
}

/// A response body that tells the end of its request when it is dropped.
pub struct ResponseBody {
    content: Content,
    story: Story,
    turn: Option<Turn>,
}

/// What the line at the end says. It is told when it is dropped, so a request that is given up is told, too.
#[derive(Debug)]
pub(super) struct Story {
    labels: Labels,
    arrival: Arrival,
    start: Instant,
    status: Option<StatusCode>,
    facts: Facts,
    outcome: &'static str,
    bytes: u64,
    metrics: Arc<Metrics>,
    tracing: Option<Tracing>,
}

/// What is known of a request when it has been answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    /// The problem's code; empty for a file.
    pub(super) code: String,
    /// The audit entry.
    pub(super) entry: Option<EntryId>,
    /// The agent whose session was asked for.
    pub(super) agent: Option<AgentId>,
    /// The steps that it went through.
    pub(super) steps: Steps,
}

impl Story {
    /// Begins a story: one more request is in flight.
    pub(super) fn begin(
        labels: Labels,
        arrival: Arrival,
        start: Instant,
        metrics: Arc<Metrics>,
        tracing: Option<Tracing>,
    ) -> Self {
        metrics.started();
        let (facts, outcome) = (Facts::default(), "client_gone");
        Self { labels, arrival, start, status: None, facts, outcome, bytes: 0, metrics, tracing }
    }

    /// The response's head is decided.
    pub(super) fn head(&mut self, status: StatusCode, facts: Facts) {
        self.metrics.head_sent(self.labels, status, self.start.elapsed());
        self.status = Some(status);
        self.facts = facts;
        self.outcome = "answered";
    }

    fn tell_spans(&self, took: Duration) {
        let sampled = self.arrival.trace.as_ref().filter(|trace| trace.is_sampled());
        let (Some(tracing), Some(trace)) = (&self.tracing, sampled) else { return };
        tracing.sink.ended(&RequestSpan {
            trace,
            at: self.arrival.at,
            took,
            steps: self.facts.steps,
            route: self.labels.route,
            method: self.labels.method,
            status: self.status.map(|status| status.as_u16()),
            code: &self.facts.code,
            outcome: self.outcome,
            bytes: self.bytes,
            request_id: self.arrival.request_id.as_str(),
            entry: self.facts.entry,
        });
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let elapsed = self.start.elapsed();
        self.metrics.ended(elapsed);
        self.tell_spans(elapsed);
        tracing::info!(
            target: "ccgate::access",
            request_id = %self.arrival.request_id,
            trace_id = self.arrival.trace.as_ref().map(TraceParent::trace_id),
            peer = %self.arrival.source.peer,
            route = self.labels.route,
            method = self.labels.method,
            status = self.status.map(|status| status.as_u16()),
            code = %self.facts.code,
            outcome = self.outcome,
            agent = self.facts.agent.map(AgentId::get),
            audit_id = self.facts.entry.map(tracing::field::display),
            bytes = self.bytes,
            duration_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// The line of a head that was refused before it was a request. Nothing that was sent is repeated.
pub(super) fn tell_refused(refused: &Refused, peer: SocketAddr) {
    tracing::info!(
        target: "ccgate::access",
        request_id = %refused.request_id,
        peer = %peer,
        route = Labels::REFUSED.route,
        method = Labels::REFUSED.method,
        status = refused.reason.status().as_u16(),
        code = refused.reason.code(),
        outcome = "refused",
        bytes = refused.bytes,
        "request"
    );
}

impl ResponseBody {
    pub(super) const fn new(content: Content, story: Story) -> Self {
        Self { content, story, turn: None }
    }

    /// Ends the connection's turn when it is dropped itself.
    pub(super) fn with_turn(mut self, turn: Turn) -> Self {
        self.turn = Some(turn);
        self
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let body = self.get_mut();
        let frame = match &mut body.content {
            Content::Whole(whole) => Pin::new(whole).poll_frame(cx).map_err(|never| match never {}),
            Content::File(file, _permit) => Pin::new(file.as_mut()).poll_frame(cx),
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(piece) = frame.data_ref()
        {
            let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            body.story.bytes = body.story.bytes.saturating_add(length);
            body.story.metrics.handed_over(length);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(whole) => whole.is_end_stream(),
            Content::File(file, _permit) => file.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(whole) => whole.size_hint(),
            Content::File(file, _permit) => file.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Content::File(file, _permit) = &self.content {
            self.story.outcome = file.outcome().unwrap_or("aborted");
        }
    }
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").field("story", &self.story).finish_non_exhaustive()
    }
}
