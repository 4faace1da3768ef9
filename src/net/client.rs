//! An HTTP/1.1 client with a bounded pool, own deadlines for connecting and for the response head, and no redirects.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::TokioTimer;
use tokio_util::task::TaskTracker;

use super::connector::{ConnectError, Connector};
use super::tls::trust_nobody;
use super::{ClientTls, TlsError, Untrusted};

/// How long a connection is kept for reuse. Shorter than the 20 s after which Tomcat closes an idle one, so that a
/// request seldom meets a connection that is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections kept for reuse, per server: 10,000 sessions that poll leave some 350 idle at any time, and a new one costs a
/// TLS handshake. About 30 KiB each.
const POOL_IDLE_MAX: usize = 512;

/// Header fields taken in a response head; more is a broken answer.
const RESPONSE_HEADERS_MAX: usize = 64;

/// Largest read buffer, and so the largest piece of a body, in bytes. It bounds the memory of a stream whose client is
/// slow: one piece waits here and one in the server's write buffer.
const READ_BUFFER_BYTES_MAX: usize = 32 * 1024;

/// How to reach a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Trust and identity.
    pub tls: ClientTls,
    /// For name lookup, TCP and TLS together.
    pub connect_timeout: Duration,
    /// To the response head. It is added to `connect_timeout`, so a request on a kept connection has a little longer.
    pub response_timeout: Duration,
}

/// The client; clones share one pool. Its connections end when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
    deadline: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server's certificate does not verify, or the TLS handshake failed otherwise.
    #[error("the server is not trusted")]
    Untrusted(#[source] Untrusted),
    /// No response head, or no whole document, in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection was closed before a whole head of an answer: the request may be sent again, if it changes nothing.
    #[error("the connection was closed before an answer")]
    Closed(#[source] legacy::Error),
    /// What came is no HTTP/1.1 answer.
    #[error("the answer is not HTTP")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer's length is given in more than one way, so where it ends is a guess (RFC 9112 section 6.3).
    #[error("the answer is framed in more than one way")]
    Framing,
    /// A document was asked for and another status than 200 came.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The document is longer than allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

impl Client {
    /// Builds a client; reads the TLS files.
    pub fn new(config: &ClientConfig) -> Result<Self, TlsError> {
        let connector = Connector::new(Arc::new(config.tls.build()?), config.tls.name()?, config.connect_timeout);
        Ok(Self::over(connector, config))
    }

    /// Builds a client for `http` on loopback, where a machine without trusted certificates will do: over TLS it trusts nobody.
    pub fn plain(connect_timeout: Duration, response_timeout: Duration) -> Result<Self, TlsError> {
        let config = ClientConfig { tls: ClientTls::default(), connect_timeout, response_timeout };
        Ok(Self::over(Connector::new(Arc::new(trust_nobody()?), None, connect_timeout), &config))
    }

    fn over(connector: Connector, config: &ClientConfig) -> Self {
        let inner = legacy::Client::builder(TrackedExecutor::default())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            .http1_max_buf_size(READ_BUFFER_BYTES_MAX)
            .build(connector);
        Self { inner, deadline: config.connect_timeout.saturating_add(config.response_timeout) }
    }

    /// Sends a request and waits for the response head; the body is the caller's to read, and to stop reading.
    ///
    /// Cancel safe in the sense that dropping the future closes the connection; whether the server acted is unknown.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        self.send_within(request, self.deadline).await
    }

    /// As [`Client::send`], with a deadline of the call's own: for an answer that is slow by design.
    pub async fn send_within(
        &self,
        mut request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let connection = capture_connection(&mut request);
        let answer = match tokio::time::timeout(deadline, self.inner.request(request)).await {
            Ok(answer) => answer.map_err(classify)?,
            Err(_elapsed) => return Err(Error::Timeout),
        };
        if is_framed_twice(answer.headers()) {
            // hyper takes one of the two; the other end could make the rest of the body somebody else's answer.
            give_up(&connection);
            return Err(Error::Framing);
        }
        Ok(answer)
    }

    /// How long [`Client::send`] waits, from the request to the response head.
    pub const fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Gets a small document: status 200, at most `bytes_max` bytes, no redirect followed; `https`, or `http` on
    /// loopback. The whole of it has to be there within the deadline of a response head.
    pub async fn get(&self, url: &Uri, bytes_max: usize) -> Result<Bytes, Error> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url.clone();
        let read = async {
            let response = self.send(request).await?;
            if response.status() != StatusCode::OK {
                return Err(Error::Status(response.status()));
            }
            read_document(response.into_body(), bytes_max).await
        };
        tokio::time::timeout(self.deadline, read).await.unwrap_or(Err(Error::Timeout))
    }
}

/// Reads a whole body of at most `bytes_max` bytes.
pub async fn read_document(body: Incoming, bytes_max: usize) -> Result<Bytes, Error> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(Error::TooLarge(bytes_max)),
        Err(error) => Err(Error::Protocol(error)),
    }
}

/// Whether a length is given beside chunks, or either more than once, or in a coding that is not `chunked` alone.
fn is_framed_twice(headers: &HeaderMap) -> bool {
    let lengths = headers.get_all(CONTENT_LENGTH).iter().count();
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => lengths > 1,
        (Some(coding), None) => lengths > 0 || !coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => true,
    }
}

/// The connection carries no further request.
fn give_up(connection: &CaptureConnection) {
    if let Some(connection) = connection.connection_metadata().as_ref() {
        connection.poison();
    }
}

fn classify(error: legacy::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(source) = cause {
        if let Some(connect) = source.downcast_ref::<ConnectError>() {
            return match connect {
                ConnectError::Tls(tls) => Error::Untrusted(tls.clone().into()),
                _ => Error::Unreachable(Box::new(error)),
            };
        }
        if let Some(http) = source.downcast_ref::<hyper::Error>() {
            // In TLS 1.3 a server refuses our certificate after the handshake.
            if let Some(tls) = tls_alert(http) {
                return Error::Untrusted(tls.into());
            }
            return if is_closed(http) { Error::Closed(error) } else { Error::Protocol(Box::new(error)) };
        }
        cause = source.source();
    }
    Error::Unreachable(Box::new(error))
}

fn tls_alert(error: &hyper::Error) -> Option<rustls::Error> {
    let io = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
    io.get_ref()?.downcast_ref::<rustls::Error>().cloned()
}

/// Whether the connection ended before a whole head of an answer: closed, reset, or never used for this request.
fn is_closed(error: &hyper::Error) -> bool {
    let by_io = |error: &std::io::Error| {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    };
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || source.is_some_and(by_io)
}

/// Runs the pool's connections on a tracker of the client's own.
#[derive(Clone, Default)]
struct TrackedExecutor(TaskTracker);

impl<F> hyper::rt::Executor<F> for TrackedExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn r12_a_length_given_in_more_than_one_way_is_seen() {
        let twice = |pairs: &[(HeaderName, &'static str)]| {
            let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
            is_framed_twice(&pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            }))
        };
        let (length, coding) = (CONTENT_LENGTH, TRANSFER_ENCODING);
        assert!(!twice(&[]) && !twice(&[(length.clone(), "5")]) && !twice(&[(coding.clone(), "Chunked")]));
        assert!(twice(&[(length.clone(), "5"), (coding.clone(), "chunked")]));
        assert!(twice(&[(length.clone(), "5"), (length, "5")]));
        assert!(twice(&[(coding.clone(), "chunked"), (coding.clone(), "chunked")]));
        for odd in ["gzip, chunked", "chunked, chunked", "identity", ""] {
            assert!(twice(&[(coding.clone(), odd)]), "{odd:?}");
        }
    }
}
