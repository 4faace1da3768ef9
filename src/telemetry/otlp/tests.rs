//! What becomes of a configuration, a page and a full queue, without a collector.

use std::sync::atomic::{AtomicUsize, Ordering};

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts};
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

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
    let request = request(&trace);
    (0..2_050).for_each(|_| sink.ended(&request));
    assert_eq!(spans(&registry, "dropped"), 2);
}

fn request(trace: &TraceParent) -> RequestSpan<'_> {
    RequestSpan {
        trace,
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
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn count(registry: &Registry, name: &str, outcome: &str) -> usize {
    let families = registry.gather();
    let Some(family) = families.iter().find(|family| family.name() == name) else { return 0 };
    let series = family.get_metric().iter().find(|metric| metric.get_label()[0].value() == outcome);
    series.map_or(0, |metric| metric.get_counter().get_value() as usize)
}

fn spans(registry: &Registry, outcome: &str) -> usize {
    count(registry, "ccgate_otlp_spans_total", outcome)
}

/// Answers each post with this, and closes; without one it never answers. Counts the posts.
async fn answering(answer: Option<Vec<u8>>) -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let posts = Arc::new(AtomicUsize::new(0));
    let (counted, mut task) = (Arc::clone(&posts), JoinSet::new());
    task.spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = Vec::new();
            // The head tells the length of what follows.
            let whole = |read: &[u8]| {
                let text = String::from_utf8_lossy(read);
                let (head, _) = text.split_once("\r\n\r\n")?;
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
                Some(head.len() + 4 + length.parse::<usize>().ok()? <= read.len())
            };
            while whole(&read) != Some(true) {
                stream.read_buf(&mut read).await.expect("a request");
            }
            counted.fetch_add(1, Ordering::Relaxed);
            match &answer {
                Some(answer) => stream.write_all(answer).await.expect("answered"),
                None => open.push(stream),
            }
        }
    });
    (endpoint, posts, task)
}

/// Tells of ten requests and ends: what was counted.
async fn told(answer: Option<Vec<u8>>, config: impl Fn(Otlp) -> Otlp) -> (Registry, usize) {
    let answer_comes = answer.is_some();
    let (endpoint, posts, _task) = answering(answer).await;
    let registry = Registry::new();
    let exporting = Exporting::start(&config(self::config(&endpoint)), "x", &registry, &Clock::system());
    let exporting = exporting.expect("a collector");
    let trace = TraceParent::begin(true);
    if let Some(tracing) = exporting.tracing() {
        (0..10).for_each(|_| tracing.sink.ended(&request(&trace)));
    }
    exporting.stop(if answer_comes { Duration::from_secs(10) } else { Duration::from_millis(700) }).await;
    (registry, posts.load(Ordering::Relaxed))
}

fn traces(config: Otlp) -> Otlp {
    Otlp { metrics: false, ..config }
}

fn pages(config: Otlp) -> Otlp {
    Otlp { traces: false, ..config }
}

fn ok(body: &[u8], length: usize) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes(), body].concat()
}

#[tokio::test]
async fn what_a_collector_rejects_of_a_message_is_not_counted_as_sent() {
    let partial = ExportTracePartialSuccess { rejected_spans: 4, error_message: "too old".to_owned() };
    let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (registry, posts) = told(Some(ok(&answer, answer.len())), traces).await;
    assert_eq!((spans(&registry, "sent"), spans(&registry, "failed"), posts), (6, 4, 1));
    let partial = ExportMetricsPartialSuccess { rejected_data_points: 1, error_message: String::new() };
    let answer = ExportMetricsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let (registry, _) = told(Some(ok(&answer, answer.len())), pages).await;
    assert_eq!(count(&registry, "ccgate_otlp_metrics_total", "sent"), 0);
    assert!(count(&registry, "ccgate_otlp_metrics_total", "failed") > 0);
}

#[tokio::test]
async fn what_was_taken_is_not_sent_again_though_the_answer_breaks_off() {
    for answer in [ok(b"abc", 100), ok(b"\xff\xff", 2)] {
        let (registry, posts) = told(Some(answer), traces).await;
        assert_eq!((spans(&registry, "sent"), spans(&registry, "failed"), posts), (10, 0, 1));
    }
}

#[tokio::test]
async fn r14_what_is_left_at_the_end_is_dropped_and_counted() {
    let (registry, _) = told(None, |config| Otlp { timeout: Duration::from_secs(10), ..traces(config) }).await;
    assert_eq!((spans(&registry, "sent"), spans(&registry, "dropped")), (0, 10));
    let (registry, _) = told(None, |config| Otlp { timeout: Duration::from_secs(10), ..pages(config) }).await;
    assert_eq!(count(&registry, "ccgate_otlp_metrics_total", "failed"), 1);
}
