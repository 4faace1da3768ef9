//! What becomes of a configuration, a page and a full queue, without a collector.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts};

use super::metrics::{Times, metric};
use super::*;
use crate::route::TraceParent;
use crate::serve::{RequestSpan, SpanSink, Steps};

fn config(endpoint: &str) -> Otlp {
    Otlp {
        endpoint: endpoint.parse().expect("a URL"),
        ca_file: None,
        headers_file: None,
        traces: true,
        sample_percent: 100,
        metrics: true,
        interval: Duration::from_mins(1),
        timeout: Duration::from_secs(1),
    }
}

fn collector(endpoint: &str) -> Collector {
    let mut config = config(endpoint);
    // A trust that is there on any machine.
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca =
        rcgen::CertificateParams::new(vec!["ca".to_owned()]).expect("a name").self_signed(&key).expect("a certificate");
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), ca.pem()).expect("written");
    config.ca_file = Some(file.path().to_owned());
    Collector::new(&config).expect("a collector")
}

#[test]
fn a_signals_path_is_added_to_the_endpoints() {
    for (endpoint, url) in [
        ("https://collector.example:4318", "https://collector.example:4318/v1/traces"),
        ("https://collector.example:4318/", "https://collector.example:4318/v1/traces"),
        ("http://127.0.0.1:4318/tenant/7/", "http://127.0.0.1:4318/tenant/7/v1/traces"),
    ] {
        assert_eq!(collector(endpoint).url("/v1/traces").expect("a URL").to_string(), url);
    }
}

#[test]
fn each_kind_of_metric_has_its_form() {
    let registry = Registry::new();
    let counter = IntCounterVec::new(Opts::new("c_total", "Help."), &["kind"]).expect("a counter");
    let gauge = IntGauge::new("g", "Help.").expect("a gauge");
    let opts = HistogramOpts::new("h_seconds", "Help.").buckets(vec![1.0, 2.0]);
    let histogram = Histogram::with_opts(opts).expect("a histogram");
    registry.register(Box::new(counter.clone())).expect("new");
    registry.register(Box::new(gauge.clone())).expect("new");
    registry.register(Box::new(histogram.clone())).expect("new");
    counter.with_label_values(&["a"]).inc_by(3);
    gauge.set(-4);
    for value in [0.5, 1.5, 1.7, 9.0] {
        histogram.observe(value);
    }
    let times = Times { since: 1, now: 2 };
    let metrics: Vec<_> = registry.gather().iter().filter_map(|family| metric(family, times)).collect();
    let told = format!("{metrics:?}");
    let names: Vec<_> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["c_total", "g", "h_seconds"]);
    for part in [
        "AsDouble(3.0)",
        "AsDouble(-4.0)",
        "bucket_counts: [1, 2, 1]",
        "explicit_bounds: [1.0, 2.0]",
        "count: 4",
        "StringValue(\"a\")",
        "start_time_unix_nano: 1, time_unix_nano: 2",
    ] {
        assert!(told.contains(part), "{part} in {told}");
    }
}

#[test]
fn r14_a_full_queue_drops_and_counts() {
    let registry = Registry::new();
    let counts = Metrics::register(&registry).expect("metrics");
    let origin = Arc::new(Origin { resource: resource("x"), scope: scope() });
    let (sink, _exporter) = spans::channel(collector("http://127.0.0.1:1"), origin, counts);
    let trace = TraceParent::begin(true);
    let request = RequestSpan {
        trace: &trace,
        at: "2026-11-22T12:00:00Z".parse().expect("a time"),
        took: Duration::from_millis(3),
        steps: Steps::default(),
        route: "other",
        method: "GET",
        status: Some(404),
        code: "not_found",
        outcome: "answered",
        bytes: 0,
        request_id: "r",
        entry: None,
    };
    (0..2_050).for_each(|_| sink.ended(&request));
    let families = registry.gather();
    let spans = families.iter().find(|family| family.name() == "ccgate_otlp_spans_total").expect("a family");
    let dropped =
        spans.get_metric().iter().find(|metric| metric.get_label()[0].value() == "dropped").expect("a series");
    assert!((dropped.get_counter().get_value() - 2.0).abs() < 0.1);
}
