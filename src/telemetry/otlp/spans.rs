//! Requests that have ended, as spans: a bounded queue and the task that empties it. Who puts a request there never waits.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::{Collector, End, Metrics, Origin, attribute, text};
use crate::route::TraceParent;
use crate::serve::{RequestSpan, SpanSink, Step, Steps};

/// Requests that wait to be sent; about 1 KiB each. More are dropped.
const QUEUE_MAX: usize = 2_048;
/// Requests in one message: seven spans each, some 700 KiB.
const BATCH_MAX: usize = 512;
/// The longest that a request waits for others to be sent with.
const DELAY: Duration = Duration::from_secs(2);

/// Where OTLP's receivers take spans.
const PATH: &str = "/v1/traces";

/// The end of the queue at the requests.
#[derive(Debug)]
pub(super) struct Sink {
    queue: mpsc::Sender<Ended>,
    /// A whole message waits.
    full: Arc<Notify>,
    counts: Metrics,
}

/// The end at the collector.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Receiver<Ended>,
    full: Arc<Notify>,
    collector: Collector,
    origin: Arc<Origin>,
    counts: Metrics,
    /// Spans in the message that is being sent.
    under_way: usize,
}

/// What is kept of a request until it is sent.
#[derive(Debug)]
struct Ended {
    trace: TraceParent,
    begin: Timestamp,
    took: Duration,
    steps: Steps,
    route: &'static str,
    method: &'static str,
    status: Option<u16>,
    code: String,
    outcome: &'static str,
    bytes: u64,
    request_id: String,
    audit_id: Option<String>,
}

pub(super) fn channel(collector: Collector, origin: Arc<Origin>, counts: Metrics) -> (Sink, Exporter) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let full = Arc::new(Notify::new());
    let sink = Sink { queue: sender, full: Arc::clone(&full), counts: counts.clone() };
    (sink, Exporter { queue: receiver, full, collector, origin, counts, under_way: 0 })
}

impl SpanSink for Sink {
    fn ended(&self, request: &RequestSpan<'_>) {
        let ended = Ended {
            trace: request.trace.clone(),
            begin: request.at,
            took: request.took,
            steps: request.steps,
            route: request.route,
            method: request.method,
            status: request.status,
            code: request.code.to_owned(),
            outcome: request.outcome,
            bytes: request.bytes,
            request_id: request.request_id.to_owned(),
            audit_id: request.entry.map(|entry| entry.to_string()),
        };
        if let Err(left) = self.queue.try_send(ended) {
            self.counts.spans_dropped(spans_of(&left.into_inner()));
        } else if QUEUE_MAX - self.queue.capacity() >= BATCH_MAX {
            self.full.notify_one();
        }
    }
}

impl Exporter {
    /// Sends until it is stopped, and then what is left, as long as that is waited for.
    pub(super) async fn run(mut self, end: End) {
        tokio::select! {
            biased;
            () = self.send_all(&end.stop) => {}
            () = end.give_up.cancelled() => {}
        }
        let mut left = self.under_way;
        while let Ok(ended) = self.queue.try_recv() {
            left += spans_of(&ended);
        }
        self.counts.spans_dropped(left);
    }

    async fn send_all(&mut self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(DELAY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopped = tokio::select! {
                biased;
                () = stop.cancelled() => true,
                () = self.full.notified() => false,
                _ = ticks.tick() => false,
            };
            while self.send_some().await == BATCH_MAX {}
            if stopped {
                return;
            }
        }
    }

    /// Sends what waits, at most one message of it; the number of requests in it.
    async fn send_some(&mut self) -> usize {
        let mut batch = Vec::new();
        while batch.len() < BATCH_MAX
            && let Ok(ended) = self.queue.try_recv()
        {
            batch.push(ended);
        }
        if batch.is_empty() {
            return 0;
        }
        let spans: Vec<Span> = batch.iter().flat_map(spans).collect();
        let count = spans.len();
        self.under_way = count;
        let failed = match self.collector.send::<ExportTraceServiceResponse>(PATH, &self.message(spans)).await {
            Ok(answer) => {
                let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_spans);
                let rejected = usize::try_from(rejected).unwrap_or(0).min(count);
                if rejected > 0 {
                    tracing::warn!(rejected, spans = count, "the collector did not take all spans");
                }
                rejected
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, spans = count, "spans are lost");
                count
            }
        };
        self.under_way = 0;
        self.counts.spans_sent(count - failed, failed);
        batch.len()
    }

    fn message(&self, spans: Vec<Span>) -> ExportTraceServiceRequest {
        let scope = ScopeSpans { scope: Some(self.origin.scope.clone()), spans, ..ScopeSpans::default() };
        let of_us = ResourceSpans {
            resource: Some(self.origin.resource.clone()),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest { resource_spans: vec![of_us] }
    }
}

fn spans_of(ended: &Ended) -> usize {
    1 + ended.steps.passed().count()
}

/// A request's span first, then one for each of its steps.
fn spans(ended: &Ended) -> Vec<Span> {
    let mut spans = vec![server(ended)];
    spans.extend(ended.steps.passed().map(|(step, begin, end)| {
        // The calls' id went to the gateway, whose own spans hang below it.
        let id = if step == Step::Upstream { ended.trace.call() } else { fastrand::u64(1..) };
        let kind = if step == Step::Upstream { SpanKind::Client } else { SpanKind::Internal };
        let span = Span { name: step.as_str().to_owned(), kind: kind as i32, ..span(ended, id, begin, end) };
        Span { parent_span_id: ended.trace.span().to_be_bytes().to_vec(), ..span }
    }));
    spans
}

fn server(ended: &Ended) -> Span {
    let failed = ended.status.is_none_or(|status| status >= 500) || matches!(ended.outcome, "failed" | "aborted");
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    Span {
        name: format!("{} {}", ended.method, ended.route),
        kind: SpanKind::Server as i32,
        parent_span_id: ended.trace.parent().map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        attributes: attributes(ended),
        status: Some(Status { code: code as i32, message: ended.code.clone() }),
        ..span(ended, ended.trace.span(), Duration::ZERO, ended.took)
    }
}

/// Names of OpenTelemetry's semantic conventions for HTTP where there is one.
fn attributes(ended: &Ended) -> Vec<KeyValue> {
    let number = |value: u64| Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX));
    let mut attributes = vec![
        text("http.request.method", ended.method),
        text("http.route", ended.route),
        attribute("http.response.body.size", number(ended.bytes)),
        text("ccgate.outcome", ended.outcome),
        text("ccgate.request_id", &ended.request_id),
    ];
    if let Some(status) = ended.status {
        attributes.push(attribute("http.response.status_code", number(status.into())));
    }
    if !ended.code.is_empty() {
        attributes.push(text("error.type", &ended.code));
    }
    if let Some(id) = &ended.audit_id {
        attributes.push(text("ccgate.audit_id", id));
    }
    attributes
}

fn span(ended: &Ended, id: u64, begin: Duration, end: Duration) -> Span {
    let trace = u128::from_str_radix(ended.trace.trace_id(), 16).unwrap_or_default();
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        start_time_unix_nano: nanoseconds(ended.begin, begin),
        end_time_unix_nano: nanoseconds(ended.begin, end),
        ..Span::default()
    }
}

/// Nanoseconds since 1970; 0 before that and after 2554.
fn nanoseconds(begin: Timestamp, later: Duration) -> u64 {
    let later = i128::try_from(later.as_nanos()).unwrap_or_default();
    u64::try_from(begin.as_nanosecond() + later).unwrap_or_default()
}
