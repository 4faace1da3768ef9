//! Traces and metrics at a collector: what arrives, what hangs below what, and that nobody waits for a collector that is not
//! there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::world::{Builder, CALL, World, call, until};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector on loopback that keeps what it is sent.
struct Collector {
    endpoint: String,
    seen: Arc<Mutex<Seen>>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    /// Refusals with 503 that are still to come.
    busy: usize,
    posts: Vec<(String, Option<String>, Bytes)>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}/otlp/", listener.local_addr().unwrap());
        let (seen, mut accepting) = (Arc::<Mutex<Seen>>::default(), JoinSet::new());
        let shared = Arc::clone(&seen);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _peer)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(|request| take(Arc::clone(&shared), request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { endpoint, seen, _accepting: accepting }
    }

    fn posts(&self, path: &str) -> Vec<Bytes> {
        let seen = self.seen.lock().unwrap();
        seen.posts.iter().filter(|(at, ..)| at == path).map(|(.., body)| body.clone()).collect()
    }

    fn spans(&self) -> Vec<Span> {
        let messages =
            self.posts("/otlp/v1/traces").into_iter().map(|body| ExportTraceServiceRequest::decode(body).unwrap());
        let of_services = messages.flat_map(|message| message.resource_spans);
        of_services.flat_map(|of| of.scope_spans).flat_map(|of| of.spans).collect()
    }
}

async fn take(seen: Arc<Mutex<Seen>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let secret = request.headers().get("x-secret").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await?.to_bytes();
    let mut seen = seen.lock().unwrap();
    let mut response = Response::new(Full::default());
    if seen.busy > 0 {
        seen.busy -= 1;
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    } else {
        seen.posts.push((path, secret, body));
    }
    Ok(response)
}

fn told(endpoint: &str) -> Builder {
    let otlp = json!({ "endpoint": endpoint, "headers_file": "otlp-headers", "interval": "1s", "timeout": "5s" });
    World::new()
        .file("otlp-headers", "# for the collector\nX-Secret: Planted-Header\n\n")
        .config(|config| config["telemetry"] = json!({ "otlp": otlp }))
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.clone()
}

fn string(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_with_its_steps_and_the_gateways_call_hangs_below_it() {
    let collector = Collector::start().await;
    collector.seen.lock().unwrap().busy = 1;
    let mut world = told(&collector.endpoint).start().await;
    let token = world.issuer.agent(1001);
    let target = call(1001, CALL);
    let answer = world.get_with(&target, &token, &[("traceparent", TRACE), ("x-request-id", "web-7")]).await;
    assert_eq!(answer.status, 200);
    let refused = world.get_with(&target, "no.token.this", &[]).await;
    assert_eq!(refused.status, 401);
    until("both are told, though the collector was busy once", || async { collector.spans().len() >= 7 }).await;
    let spans = collector.spans();
    let server: Vec<&Span> = spans.iter().filter(|span| span.kind == 2).collect();
    assert_eq!(server.len(), 2, "{spans:#?}");

    let ours = server.iter().find(|span| attribute(span, "ccgate.request_id") == Some(string("web-7"))).unwrap();
    assert_eq!(
        u128::from_be_bytes(ours.trace_id.clone().try_into().unwrap()),
        0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736
    );
    assert_eq!(ours.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert!(ours.name.starts_with("GET "), "{}", ours.name);
    assert_eq!(attribute(ours, "http.response.status_code"), Some(Value::IntValue(200)));
    assert_eq!(
        attribute(ours, "http.response.body.size"),
        Some(Value::IntValue(answer.body.len().try_into().unwrap()))
    );
    assert_eq!(attribute(ours, "ccgate.outcome"), Some(string("finished")));
    assert_eq!(attribute(ours, "ccgate.audit_id"), Some(string(answer.header("ccgate-audit-id"))));
    let steps: Vec<&Span> = spans.iter().filter(|span| span.parent_span_id == ours.span_id).collect();
    let names: Vec<&str> = steps.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["authenticate", "authorize", "session", "audit", "upstream"]);
    for pair in steps.windows(2) {
        assert_eq!(pair[0].end_time_unix_nano, pair[1].start_time_unix_nano);
    }
    assert!(steps[0].start_time_unix_nano == ours.start_time_unix_nano);
    assert!(steps[4].end_time_unix_nano <= ours.end_time_unix_nano);
    let sent = world.sim.requests().into_iter().find_map(|seen| seen.header("traceparent").map(str::to_owned)).unwrap();
    let call = u64::from_be_bytes(steps[4].span_id.clone().try_into().unwrap());
    assert_eq!(sent, format!("00-4bf92f3577b34da6a3ce929d0e0e4736-{call:016x}-01"));

    let other = server.iter().find(|span| span.span_id != ours.span_id).unwrap();
    assert!(other.parent_span_id.is_empty(), "its trace began here");
    assert_eq!(attribute(other, "error.type"), Some(string("token_malformed")));
    assert!(!format!("{spans:?}").contains(&token), "R17: no token");

    assert!(world.shut_down().await);
    let seen = collector.seen.lock().unwrap();
    assert!(seen.posts.iter().all(|(_, secret, _)| secret.as_deref() == Some("Planted-Header")));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_those_of_the_page_and_the_last_ones_are_sent_at_the_end() {
    let collector = Collector::start().await;
    let mut world = told(&collector.endpoint).start().await;
    let token = world.issuer.agent(1001);
    assert_eq!(world.get(&call(1001, CALL), &token).await.status, 200);
    assert!(world.shut_down().await);
    let last = ExportMetricsServiceRequest::decode(collector.posts("/otlp/v1/metrics").pop().unwrap()).unwrap();
    let [of_us] = &last.resource_metrics[..] else { panic!("one resource: {last:?}") };
    let service = of_us.resource.as_ref().unwrap().attributes.iter().find(|it| it.key == "service.name").unwrap();
    assert_eq!(service.value.as_ref().unwrap().value, Some(string("ccgate")));
    let metrics = &of_us.scope_metrics[0].metrics;
    let find = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().data.clone().unwrap();
    let Data::Sum(requests) = find("ccgate_http_requests_total") else { panic!("a counter") };
    assert!(requests.is_monotonic && requests.aggregation_temporality == 2);
    assert_eq!(requests.data_points.len(), 1);
    let labels: Vec<&str> = requests.data_points[0].attributes.iter().map(|label| label.key.as_str()).collect();
    assert_eq!(labels, ["code", "method", "route"]);
    let Data::Histogram(head) = find("ccgate_http_request_duration_seconds") else { panic!("a histogram") };
    let point = &head.data_points[0];
    assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (1, 1));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert!(matches!(find("ccgate_build_info"), Data::Gauge(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_collector_that_is_not_there_keeps_nobody_waiting() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // It takes connections and never answers.
    let mut world = told(&format!("http://{}", listener.local_addr().unwrap())).start().await;
    let token = world.issuer.agent(1001);
    for _ in 0..20 {
        assert_eq!(world.get(&call(1001, CALL), &token).await.status, 200);
    }
    let failed = r#"ccgate_otlp_spans_total{outcome="failed"}"#;
    until("it is told", || async { world.metric(failed).await.is_some_and(|count| count >= 6.0) }).await;
    let begun = tokio::time::Instant::now();
    assert!(world.shut_down().await, "every entry has its end");
    assert!(begun.elapsed() < Duration::from_secs(30), "the wait for it is bounded: {:?}", begun.elapsed());
}
