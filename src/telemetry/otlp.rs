//! Traces and metrics to an OpenTelemetry collector: OTLP over HTTP with binary protobuf. It keeps no request waiting: what a
//! collector does not take in time is dropped and counted.
//!
//! The messages are the library's; queue and sending are ours, because the SDK's bring a thread, an HTTP client with a trust of
//! its own, and drops that nobody can count.

mod metrics;
mod spans;

pub use metrics::Metrics;

use std::sync::Arc;
use std::time::Duration;

use backon::Retryable as _;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::{HeadersError, Otlp, read_headers};
use crate::net::{self, ClientConfig, ClientTls};
use crate::serve::Tracing;

/// Longest answer of a collector that is read, in bytes; it is empty, or says what was wrong with a part.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How long an answer is waited for whose head says that the message was taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Tries of one message, the first included.
const TRIES_MAX: usize = 3;

/// Why nothing is exported.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The TLS files can't be used.
    #[error("the connection to the collector cannot be set up")]
    Tls(#[from] net::TlsError),
    /// The file with headers can't be used.
    #[error("telemetry.otlp.headers_file cannot be used")]
    Headers(#[from] HeadersError),
    /// A metric can't be registered.
    #[error("a metric cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Why a message was not taken.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the collector cannot be asked")]
    Net(#[source] net::Error),
    #[error("the collector has not answered within {0:?}")]
    Timeout(Duration),
    #[error("the collector answers {0}")]
    Status(StatusCode),
    #[error("the address has no such form")]
    Address,
}

impl Error {
    /// OTLP specification, "Failures": these may pass.
    const fn may_pass(&self) -> bool {
        match self {
            Self::Net(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            Self::Timeout(_) | Self::Address => false,
        }
    }
}

/// When exporting ends.
#[derive(Debug, Clone, Default)]
struct End {
    /// What is left is sent.
    stop: CancellationToken,
    /// No longer: what is left is counted as dropped.
    give_up: CancellationToken,
}

/// What exports, until it is stopped.
#[derive(Debug)]
pub struct Exporting {
    tasks: TaskTracker,
    end: End,
    tracing: Option<Tracing>,
}

impl Exporting {
    /// Starts what the configuration asks for. `instance` names this process among its replicas. Reads files; asks nobody yet.
    ///
    /// # Errors
    /// A file that can't be used.
    pub fn start(config: &Otlp, instance: &str, registry: &Registry, clock: &Clock) -> Result<Self, StartError> {
        let counts = Metrics::register(registry)?;
        let origin = Arc::new(Origin { resource: resource(instance), scope: scope() });
        let (tasks, end) = (TaskTracker::new(), End::default());
        let collector = Collector::new(config)?;
        let tracing = config.traces.then(|| {
            let (sink, exporter) = spans::channel(collector.clone(), Arc::clone(&origin), counts.clone());
            drop(tasks.spawn(exporter.run(end.clone())));
            Tracing { sink: Arc::new(sink), sample: f64::from(config.sample_percent) / 100.0 }
        });
        if config.metrics {
            let exporter = metrics::Exporter::new(collector, origin, counts, registry.clone(), clock.clone());
            drop(tasks.spawn(exporter.run(config.interval, end.clone())));
        }
        tasks.close();
        Ok(Self { tasks, end, tracing })
    }

    /// Where requests tell their spans; `None`: nowhere.
    pub fn tracing(&self) -> Option<Tracing> {
        self.tracing.clone()
    }

    /// Sends what is left, for at most `timeout`; drops and counts the rest.
    pub async fn stop(self, timeout: Duration) {
        self.end.stop.cancel();
        if tokio::time::timeout(timeout, self.tasks.wait()).await.is_err() {
            tracing::warn!(?timeout, "the collector does not take the last spans and metrics: they are dropped");
            self.end.give_up.cancel();
            self.tasks.wait().await;
        }
    }
}

/// Who speaks, in every message.
#[derive(Debug)]
struct Origin {
    resource: Resource,
    scope: InstrumentationScope,
}

fn resource(instance: &str) -> Resource {
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [("service.name", "ccgate"), ("service.version", version), ("service.instance.id", instance)];
    Resource { attributes: attributes.map(|(key, value)| text(key, value)).to_vec(), ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: "ccgate".to_owned(), version, ..InstrumentationScope::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// The way to the collector.
#[derive(Debug, Clone)]
struct Collector {
    client: net::Client,
    endpoint: Uri,
    /// Of every request; values are marked sensitive.
    headers: HeaderMap,
    timeout: Duration,
}

impl Collector {
    fn new(config: &Otlp) -> Result<Self, StartError> {
        let mut headers = config.headers_file.as_deref().map(read_headers).transpose()?.unwrap_or_default();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = if config.endpoint.scheme() == Some(&Scheme::HTTP) {
            net::Client::plain(config.timeout, config.timeout)?
        } else {
            let tls = ClientTls { ca_file: config.ca_file.clone(), ..ClientTls::default() };
            net::Client::new(&ClientConfig { tls, connect_timeout: config.timeout, response_timeout: config.timeout })?
        };
        Ok(Self { client, endpoint: config.endpoint.clone(), headers, timeout: config.timeout })
    }

    /// Hands a message over, with all tries, within the time-out. The answer says what was not taken of it; one that can't be
    /// read says nothing, and the message was taken all the same.
    async fn send<A: prost::Message + Default>(&self, path: &str, message: &impl prost::Message) -> Result<A, Error> {
        let (url, body) = (self.url(path)?, Bytes::from(message.encode_to_vec()));
        let backoff = backon::ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(500))
            .with_max_times(TRIES_MAX - 1)
            .with_jitter();
        let post = || self.post(&url, body.clone());
        let tries = post.retry(backoff).sleep(tokio::time::sleep).when(Error::may_pass);
        let taken = tokio::time::timeout(self.timeout, tries).await.unwrap_or(Err(Error::Timeout(self.timeout)))?;
        let read = tokio::time::timeout(ANSWER_TIMEOUT, net::read_document(taken, ANSWER_BYTES_MAX)).await;
        Ok(read.ok().and_then(Result::ok).and_then(|read| A::decode(read).ok()).unwrap_or_default())
    }

    /// Posts it once; the rest of the answer where it is taken.
    async fn post(&self, url: &Uri, body: Bytes) -> Result<Incoming, Error> {
        let mut request = Request::post(url).body(Full::new(body)).map_err(|_| Error::Address)?;
        *request.headers_mut() = self.headers.clone();
        let answer = self.client.send(request).await.map_err(Error::Net)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer.into_body());
        }
        // Read to its end, so that the connection can be used again.
        drop(net::read_document(answer.into_body(), ANSWER_BYTES_MAX).await);
        Err(Error::Status(status))
    }

    /// OTLP/HTTP: the signal's path is added to the endpoint's.
    fn url(&self, path: &str) -> Result<Uri, Error> {
        let mut parts = self.endpoint.clone().into_parts();
        let joined = format!("{}{path}", self.endpoint.path().trim_end_matches('/'));
        parts.path_and_query = Some(PathAndQuery::try_from(joined).map_err(|_| Error::Address)?);
        Uri::from_parts(parts).map_err(|_| Error::Address)
    }
}

#[cfg(test)]
mod tests;
