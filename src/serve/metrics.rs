//! What is counted of requests. Every label is of a closed set, whatever a client sends.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

use super::ending::Ending;
use crate::series::{Counters, Histograms};

/// Statuses whose series are looked up once: a status has a constant text only where it lies in a constant place.
static USUAL: [StatusCode; 18] = [
    StatusCode::OK,
    StatusCode::PARTIAL_CONTENT,
    StatusCode::BAD_REQUEST,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::CONFLICT,
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::URI_TOO_LONG,
    StatusCode::RANGE_NOT_SATISFIABLE,
    StatusCode::EXPECTATION_FAILED,
    StatusCode::TOO_MANY_REQUESTS,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    StatusCode::INTERNAL_SERVER_ERROR,
    StatusCode::BAD_GATEWAY,
    StatusCode::SERVICE_UNAVAILABLE,
    StatusCode::GATEWAY_TIMEOUT,
];

/// Counts and durations of requests and connections.
#[derive(Debug)]
pub struct Metrics {
    requests: Counters<3>,
    head: Histograms<1>,
    whole: Histogram,
    in_flight: IntGauge,
    bytes: IntCounter,
    connections: IntGauge,
    closed: Counters<1>,
}

impl Metrics {
    /// Registers the `ccgate_http_*` metrics.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = vec![0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let longer = vec![0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0];
        let metrics = Self {
            requests: Counters::register(
                registry,
                Opts::new("ccgate_http_requests_total", "Requests that got a response head."),
                ["route", "method", "code"],
            )?,
            head: Histograms::register(
                registry,
                HistogramOpts::new(
                    "ccgate_http_request_duration_seconds",
                    "From a request's head to the response's head.",
                )
                .buckets(seconds),
                ["route"],
            )?,
            whole: Histogram::with_opts(
                HistogramOpts::new("ccgate_http_response_duration_seconds", "From a request's head to the last byte.")
                    .buckets(longer),
            )?,
            in_flight: IntGauge::new("ccgate_http_requests_in_flight", "Requests whose last byte is not out yet.")?,
            bytes: IntCounter::new("ccgate_http_response_bytes_total", "Bytes of response bodies handed to clients.")?,
            connections: IntGauge::new("ccgate_http_connections", "Open connections of clients.")?,
            closed: Counters::register(
                registry,
                Opts::new("ccgate_http_connections_closed_total", "Connections of clients, by why they ended."),
                ["reason"],
            )?,
        };
        registry.register(Box::new(metrics.whole.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.bytes.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        for ending in Ending::ALL {
            metrics.closed.show([ending.as_str()]);
        }
        Ok(metrics)
    }

    pub(super) fn connection_opened(&self) {
        self.connections.inc();
    }

    pub(super) fn connection_closed(&self) {
        self.connections.dec();
    }

    pub(super) fn ended_for(&self, ending: Ending) {
        self.closed.inc([ending.as_str()]);
    }

    /// A head that was refused before it was a request is counted among the requests all the same.
    pub(super) fn head_refused(&self, status: StatusCode) {
        let Labels { route, method } = Labels::REFUSED;
        self.count(route, method, status);
    }

    pub(super) fn started(&self) {
        self.in_flight.inc();
    }

    pub(super) fn head_sent(&self, labels: Labels, status: StatusCode, elapsed: Duration) {
        self.count(labels.route, labels.method, status);
        self.head.observe([labels.route], elapsed.as_secs_f64());
    }

    fn count(&self, route: &'static str, method: &'static str, status: StatusCode) {
        match USUAL.iter().find(|usual| **usual == status) {
            Some(usual) => self.requests.inc([route, method, usual.as_str()]),
            None => self.requests.inc_any([route, method, status.as_str()]),
        }
    }

    pub(super) fn handed_over(&self, bytes: u64) {
        self.bytes.inc_by(bytes);
    }

    pub(super) fn ended(&self, elapsed: Duration) {
        self.in_flight.dec();
        self.whole.observe(elapsed.as_secs_f64());
    }
}

/// The labels of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Labels {
    pub(super) route: &'static str,
    pub(super) method: &'static str,
}

impl Labels {
    /// Of a head that was never a request.
    pub(super) const REFUSED: Self = Self { route: "other", method: "other" };

    /// Any path that is not served is `other`, and so is any method but the common ones.
    pub(super) fn of(route: Option<&'static str>, method: &Method) -> Self {
        let method = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH"]
            .into_iter()
            .find(|known| *known == method.as_str())
            .unwrap_or("other");
        Self { route: route.unwrap_or("other"), method }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cc::Operation;

    #[test]
    fn every_status_has_its_series() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("metrics");
        for status in [StatusCode::OK, StatusCode::IM_A_TEAPOT, StatusCode::OK] {
            metrics.head_sent(Labels::of(None, &Method::GET), status, Duration::ZERO);
        }
        metrics.head_refused(StatusCode::BAD_REQUEST);
        assert_eq!(metrics.requests.count(["other", "GET", "200"]), 2);
        assert_eq!(metrics.requests.count(["other", "GET", "418"]), 1);
        assert_eq!(metrics.requests.count(["other", "other", "400"]), 1);
        assert_eq!(metrics.requests.count(["other", "GET", "400"]), 0);
    }

    #[test]
    fn r23_labels_are_of_closed_sets() {
        let odd = Method::from_bytes(b"X7231").expect("a method");
        assert_eq!(Labels::of(None, &odd), Labels { route: "other", method: "other" });
        assert_eq!(Labels::of(Some(Operation::Chat.as_str()), &Method::GET).route, "webmsgrecordfiledownloadex");
    }
}
