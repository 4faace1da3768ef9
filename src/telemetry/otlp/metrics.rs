//! The metrics page, sent instead of scraped: the same families, names and labels. It measures nothing of its own but what was
//! exported.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, metric::Data, number_data_point::Value};
use prometheus::proto::{Metric, MetricFamily, MetricType};
use prometheus::{IntCounterVec, Opts, Registry};

use super::{Collector, End, Origin, text};
use crate::clock::Clock;

/// Where OTLP's receivers take metrics.
const PATH: &str = "/v1/metrics";

/// What was exported, and what was not.
#[derive(Debug, Clone)]
pub struct Metrics {
    spans: IntCounterVec,
    pages: IntCounterVec,
}

impl Metrics {
    /// Registers `ccgate_otlp_*`.
    ///
    /// # Errors
    /// They are registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let spans = Opts::new(
            "ccgate_otlp_spans_total",
            "Spans for the collector: sent, failed (not taken), dropped (queue full, or left at the end).",
        );
        let pages = Opts::new(
            "ccgate_otlp_metrics_total",
            "Metrics pages for the collector: sent, or failed (not taken, or not as a whole).",
        );
        let (spans, pages) = (IntCounterVec::new(spans, &["outcome"])?, IntCounterVec::new(pages, &["outcome"])?);
        registry.register(Box::new(spans.clone()))?;
        registry.register(Box::new(pages.clone()))?;
        for outcome in ["sent", "failed", "dropped"] {
            spans.with_label_values(&[outcome]);
        }
        Ok(Self { spans, pages })
    }

    pub(super) fn spans_dropped(&self, count: usize) {
        self.spans.with_label_values(&["dropped"]).inc_by(count as u64);
    }

    pub(super) fn spans_sent(&self, taken: usize, failed: usize) {
        self.spans.with_label_values(&["sent"]).inc_by(taken as u64);
        self.spans.with_label_values(&["failed"]).inc_by(failed as u64);
    }

    fn page_sent(&self, whole: bool) {
        self.pages.with_label_values(&[if whole { "sent" } else { "failed" }]).inc();
    }
}

/// Sends the page in turn.
#[derive(Debug)]
pub(super) struct Exporter {
    collector: Collector,
    origin: Arc<Origin>,
    counts: Metrics,
    registry: Registry,
    clock: Clock,
    since: Timestamp,
}

impl Exporter {
    pub(super) fn new(
        collector: Collector,
        origin: Arc<Origin>,
        counts: Metrics,
        registry: Registry,
        clock: Clock,
    ) -> Self {
        let since = clock.now();
        Self { collector, origin, counts, registry, clock, since }
    }

    /// Sends each `interval` until it is stopped, and a last time then.
    pub(super) async fn run(self, interval: Duration, end: End) {
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let stopped = tokio::select! {
                biased;
                () = end.stop.cancelled() => true,
                _ = ticks.tick() => false,
            };
            let message = self.message();
            let sent = tokio::select! {
                sent = self.collector.send::<ExportMetricsServiceResponse>(PATH, &message) => sent,
                () = end.give_up.cancelled() => return self.counts.page_sent(false),
            };
            match sent {
                Ok(answer) => {
                    let rejected = answer.partial_success.map_or(0, |partial| partial.rejected_data_points);
                    self.counts.page_sent(rejected <= 0);
                    if rejected > 0 {
                        tracing::warn!(rejected, "the collector did not take all metrics");
                    }
                }
                Err(error) => {
                    self.counts.page_sent(false);
                    tracing::warn!(error = &error as &dyn std::error::Error, "the collector did not get the metrics");
                }
            }
            if stopped {
                return;
            }
        }
    }

    fn message(&self) -> ExportMetricsServiceRequest {
        let times = Times { since: nanoseconds(self.since), now: nanoseconds(self.clock.now()) };
        let metrics = self.registry.gather().iter().filter_map(|family| metric(family, times)).collect();
        let scope =
            otlp::ScopeMetrics { scope: Some(self.origin.scope.clone()), metrics, ..otlp::ScopeMetrics::default() };
        let of_us = otlp::ResourceMetrics {
            resource: Some(self.origin.resource.clone()),
            scope_metrics: vec![scope],
            ..otlp::ResourceMetrics::default()
        };
        ExportMetricsServiceRequest { resource_metrics: vec![of_us] }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) since: u64,
    pub(super) now: u64,
}

fn nanoseconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_nanosecond()).unwrap_or_default()
}

/// OpenTelemetry's mapping of Prometheus' kinds, the other way round; a summary has none here, and we have no summary.
pub(super) fn metric(family: &MetricFamily, times: Times) -> Option<otlp::Metric> {
    let (points, cumulative) = (family.get_metric(), AggregationTemporality::Cumulative as i32);
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(otlp::Sum {
            data_points: points.iter().map(|point| number(point, point.get_counter().get_value(), times)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(otlp::Gauge {
            data_points: points.iter().map(|point| number(point, point.get_gauge().get_value(), times)).collect(),
        }),
        MetricType::HISTOGRAM => Data::Histogram(otlp::Histogram {
            data_points: points.iter().map(|point| histogram(point, times)).collect(),
            aggregation_temporality: cumulative,
        }),
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    let (name, description) = (family.name().to_owned(), family.help().to_owned());
    Some(otlp::Metric { name, description, data: Some(data), ..otlp::Metric::default() })
}

fn labels(point: &Metric) -> Vec<KeyValue> {
    point.get_label().iter().map(|label| text(label.name(), label.value())).collect()
}

fn number(point: &Metric, value: f64, times: Times) -> otlp::NumberDataPoint {
    otlp::NumberDataPoint {
        attributes: labels(point),
        start_time_unix_nano: times.since,
        time_unix_nano: times.now,
        value: Some(Value::AsDouble(value)),
        ..otlp::NumberDataPoint::default()
    }
}

/// Prometheus counts all below a bound, OTLP those between two; the last bucket of both is for all above.
fn histogram(point: &Metric, times: Times) -> otlp::HistogramDataPoint {
    let histogram = point.get_histogram();
    let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
    let (mut bounds, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
    for bucket in finite {
        bounds.push(bucket.upper_bound());
        counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    counts.push(histogram.get_sample_count().saturating_sub(below));
    otlp::HistogramDataPoint {
        attributes: labels(point),
        start_time_unix_nano: times.since,
        time_unix_nano: times.now,
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: counts,
        explicit_bounds: bounds,
        ..otlp::HistogramDataPoint::default()
    }
}
