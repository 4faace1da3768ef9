//! An HTTP/1.1 client with a bounded pool, own deadlines for connecting and for the response head, and no redirects.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use super::connector::{ConnectError, Connector};
use super::line::{self, Line, Lines};
use super::resolve::{Names, Resolve, SystemResolver};
use super::stream::PIECE_FAST;
use super::tls::trust_nobody;
use super::{ClientTls, TlsError, Untrusted};

#[cfg(test)]
mod tests;

/// How long a connection is kept for reuse. Shorter than the 20 s after which Tomcat closes an idle one, so that a
/// request seldom meets a connection that is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Connections kept for reuse, per server: 10,000 sessions that poll leave some 350 idle at any time, and a new one costs a
/// TLS handshake. About 30 KiB each.
const POOL_IDLE_MAX: usize = 512;

/// Age of a connection to a name after which it carries no further request, or up to a fifth sooner: so a change of the
/// name's addresses is followed within that time, or when the last body that runs has ended.
const AGE_MAX: Duration = Duration::from_mins(5);

/// Interim answers (1xx) taken before the answer itself. The gateway has no reason to send any.
const INTERIM_MAX: u32 = 8;

/// How often a request gets a new connection, where the one before was closed when not a byte of it was written.
const UNWRITTEN_MAX: u32 = 3;

/// Header fields taken in a response head; more is a broken answer.
const RESPONSE_HEADERS_MAX: usize = 64;

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
    lines: Arc<Lines>,
    connect_timeout: Duration,
    deadline: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made, so nothing was sent.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The server's certificate does not verify, or the TLS handshake failed otherwise.
    #[error("the server is not trusted")]
    Untrusted(#[source] Untrusted),
    /// No response head, or no whole document, in time.
    #[error("no answer in time")]
    Timeout,
    /// The connection was closed before a whole head of an answer.
    #[error("the connection was closed before an answer")]
    Closed {
        /// What the connection says.
        source: legacy::Error,
        /// It had carried requests before, and not a byte of an answer to this one came: the server most likely closed it
        /// for its age, and the request may be sent again if it changes nothing (RFC 9112 section 9.3.1).
        stale: bool,
    },
    /// What came is no HTTP/1.1 answer.
    #[error("the answer is not HTTP")]
    Protocol(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// One interim answer (1xx) after the other.
    #[error("there are more than {INTERIM_MAX} interim answers")]
    Interim,
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

impl Error {
    /// Whether it is certain that no byte of the request was sent.
    pub const fn is_unsent(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            // An alert can come after the handshake, in answer to our certificate: the request may be under way by then.
            Self::Untrusted(error) => !matches!(error, Untrusted::Refused(_)),
            _ => false,
        }
    }
}

/// Why no connection is waited for any longer.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("no connection within {0:?}")]
    Slow(Duration),
    #[error("each connection was closed before the request could be written")]
    Closing,
}

impl Client {
    /// Builds a client; reads the TLS files.
    pub fn new(config: &ClientConfig) -> Result<Self, TlsError> {
        Self::sharing(config, 1)
    }

    /// As [`Client::new`], where so many servers share `connect_timeout` ([`Client::send_connected_within`]): all addresses of a
    /// name are tried within one's share.
    pub fn sharing(config: &ClientConfig, servers: u32) -> Result<Self, TlsError> {
        Self::build(config, Arc::new(SystemResolver), AGE_MAX, servers)
    }

    /// As [`Client::new`], with a resolver of one's own.
    pub fn with_resolver(config: &ClientConfig, resolver: Arc<dyn Resolve>) -> Result<Self, TlsError> {
        Self::build(config, resolver, AGE_MAX, 1)
    }

    /// Builds a client for `http` on loopback, where a machine without trusted certificates will do: over TLS it trusts nobody.
    pub fn plain(connect_timeout: Duration, response_timeout: Duration) -> Result<Self, TlsError> {
        let config = ClientConfig { tls: ClientTls::default(), connect_timeout, response_timeout };
        let (tls, names) = (Arc::new(trust_nobody()?), Names(Arc::new(SystemResolver)));
        Ok(Self::over(Connector::new(tls, None, connect_timeout, names, AGE_MAX), &config))
    }

    fn build(
        config: &ClientConfig,
        resolver: Arc<dyn Resolve>,
        age_max: Duration,
        servers: u32,
    ) -> Result<Self, TlsError> {
        let (tls, names) = (Arc::new(config.tls.build()?), Names(resolver));
        let connector = Connector::new(tls, config.tls.name()?, config.connect_timeout, names, age_max);
        Ok(Self::over(connector.sharing(servers), config))
    }

    fn over(connector: Connector, config: &ClientConfig) -> Self {
        let inner = legacy::Client::builder(TrackedExecutor::default())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .http1_max_headers(RESPONSE_HEADERS_MAX)
            // A bound only: the stream gives out less to whoever is slow, and hyper's buffer shrinks with what comes.
            .http1_max_buf_size(PIECE_FAST)
            .build(connector);
        let (connect_timeout, lines) = (config.connect_timeout, Arc::default());
        let deadline = connect_timeout.saturating_add(config.response_timeout);
        Self { inner, lines, connect_timeout, deadline }
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
        request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<Response<Incoming>, Error> {
        self.send_connected_within(request, self.connect_timeout, deadline).await
    }

    /// As [`Client::send_within`], with less time than `connect_timeout` for having a connection: where somebody else can
    /// be asked instead ([`Error::Unreachable`]).
    pub async fn send_connected_within(
        &self,
        request: Request<Full<Bytes>>,
        connect: Duration,
        deadline: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let work = async {
            for _ in 0..UNWRITTEN_MAX {
                if let Some(answer) = self.try_once(request.clone(), connect).await {
                    return answer;
                }
            }
            Err(Error::Unreachable(Box::new(GivenUp::Closing)))
        };
        tokio::time::timeout(deadline, work).await.unwrap_or(Err(Error::Timeout))
    }

    /// `None`: the connection ended before a byte of the request was written.
    async fn try_once(
        &self,
        mut request: Request<Full<Bytes>>,
        connect: Duration,
    ) -> Option<Result<Response<Incoming>, Error>> {
        self.lines.sweep(Instant::now());
        let server = request.uri().authority().cloned();
        let interim = count_interim(&mut request);
        let connection = capture_connection(&mut request);
        let answer = match answered(self.inner.request(request), &connection, &interim, connect).await {
            Ok(answer) => answer,
            Err(Unanswered::Flooded) => {
                line::give_up(&connection);
                return Some(Err(Error::Interim));
            }
            Err(Unanswered::Unconnected) => {
                return Some(Err(Error::Unreachable(Box::new(GivenUp::Slow(connect)))));
            }
        };
        let line = line_of(&connection);
        let mut answer = match answer.map_err(|error| classify(error, line.as_deref())) {
            Err(Error::Closed { .. }) if line.as_ref().is_some_and(|line| line.begun() == 0) => return None,
            Err(error) => {
                if matches!(error, Error::Closed { stale: true, .. }) {
                    self.lines.retire(server.as_ref());
                }
                return Some(Err(error));
            }
            // It may have come together with what was before it.
            Ok(_) if interim.is_flooded() => {
                line::give_up(&connection);
                return Some(Err(Error::Interim));
            }
            Ok(answer) => answer,
        };
        if answer.version() != Version::HTTP_11 {
            // Whether an older server keeps a connection is a matter of taste (RFC 9112 section 9.3).
            line::give_up(&connection);
        }
        if is_framed_twice(answer.headers()) {
            // hyper takes one of the two; the other end could make the rest of the body somebody else's answer.
            line::give_up(&connection);
            return Some(Err(Error::Framing));
        }
        if let Some(line) = line.filter(|line| line.begun() == 1) {
            self.lines.watch(line, server.as_ref(), connection.clone());
        }
        answer.extensions_mut().insert(Carried(connection));
        Some(Ok(answer))
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

/// Over which connection an answer came.
#[derive(Clone)]
struct Carried(CaptureConnection);

/// The connection that an answer came over carries no further request: whoever answers like that could have more in store.
pub fn give_up(answer: &http::Extensions) {
    if let Some(Carried(connection)) = answer.get() {
        line::give_up(connection);
    }
}

fn line_of(connection: &CaptureConnection) -> Option<Arc<Line>> {
    let mut extensions = http::Extensions::new();
    if let Some(connected) = connection.connection_metadata().as_ref() {
        connected.get_extras(&mut extensions);
    }
    extensions.remove()
}

/// How many interim answers have come: hyper passes over any number of them.
#[derive(Default)]
struct Interim {
    seen: AtomicU32,
    waker: AtomicWaker,
}

impl Interim {
    fn is_flooded(&self) -> bool {
        self.seen.load(Ordering::Acquire) > INTERIM_MAX
    }
}

fn count_interim(request: &mut Request<Full<Bytes>>) -> Arc<Interim> {
    let interim = Arc::new(Interim::default());
    let told = Arc::clone(&interim);
    hyper::ext::on_informational(request, move |_interim| {
        if told.seen.fetch_add(1, Ordering::AcqRel) >= INTERIM_MAX {
            told.waker.wake();
        }
    });
    interim
}

/// Why no answer is waited for any longer.
enum Unanswered {
    Flooded,
    Unconnected,
}

/// Waits for the answer's head; not for a flood of interim ones, nor longer than `patience` for a connection. Over a kept
/// connection no timer is set for that.
async fn answered<F: Future>(
    request: F,
    connection: &CaptureConnection,
    interim: &Interim,
    patience: Duration,
) -> Result<F::Output, Unanswered> {
    let (mut request, begun) = (pin!(request), Instant::now());
    let mut unconnected = pin!(None::<Sleep>);
    poll_fn(|cx| {
        // Registered before the count is looked at, so that none is missed.
        interim.waker.register(cx.waker());
        if let Poll::Ready(answer) = request.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        if interim.is_flooded() {
            return Poll::Ready(Err(Unanswered::Flooded));
        }
        if connection.connection_metadata().is_some() {
            return Poll::Pending;
        }
        if unconnected.is_none() {
            unconnected.set(Some(tokio::time::sleep_until(begun + patience)));
        }
        unconnected
            .as_mut()
            .as_pin_mut()
            .map_or(Poll::Pending, |timer| timer.poll(cx))
            .map(|()| Err(Unanswered::Unconnected))
    })
    .await
}

fn classify(error: legacy::Error, line: Option<&Line>) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(source) = cause {
        if let Some(connect) = source.downcast_ref::<ConnectError>() {
            return match connect {
                ConnectError::Tls(tls) => Error::Untrusted(tls.clone().into()),
                _ => Error::Unreachable(Box::new(error)),
            };
        }
        if let Some(http) = source.downcast_ref::<hyper::Error>() {
            if let Some(tls) = tls_error(http) {
                // In TLS 1.3 a server refuses our certificate after the handshake. Whatever else breaks then says nothing
                // of who is there, nor that the request was not read before.
                let alert = matches!(tls, rustls::Error::AlertReceived(_));
                return if alert || line.is_none_or(|line| line.begun() == 0) {
                    Error::Untrusted(tls.into())
                } else {
                    Error::Closed { source: error, stale: false }
                };
            }
            if line.is_some_and(Line::spoke_first) {
                return Error::Protocol(Box::new(error));
            }
            let stale = line.is_some_and(|line| line.begun() > 1 && line.is_unanswered());
            return if is_closed(http) {
                Error::Closed { source: error, stale }
            } else {
                Error::Protocol(Box::new(error))
            };
        }
        cause = source.source();
    }
    Error::Unreachable(Box::new(error))
}

fn tls_error(error: &hyper::Error) -> Option<rustls::Error> {
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
