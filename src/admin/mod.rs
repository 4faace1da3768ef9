//! The admin plane: metrics, liveness, readiness, a page for people, sessions and the configuration for operators. It knows nothing of any request
//! for a recording.

mod audit;
mod control;
mod operator;
mod page;
mod places;
mod sessions;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::Registry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::net::{Accepted, Handshakes};
use crate::ready::Ready;
use places::{Body, Places, Visit};

pub use audit::{AUDIT_PATH, ErasureOrder, Reading, Recorded};
pub use control::{CONFIG_PATH, ConfigShown, LOG_LEVEL_PATH, LevelOrder, LevelShown, RefusalShown};
pub use operator::{Asker, Deed, Operator, SessionRow, SignOut};
pub use sessions::{ADMIN_HEADER, SESSIONS_PATH};

/// Connections of scrapers, probes and people at once; for one more, who has been quiet for longest goes.
const CONNECTIONS_MAX: usize = 64;

/// For a request's head, for an event's body, and for an idle connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection lives, but for a request that is being answered: one that reads or sends nothing must not keep its
/// place from the probes.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(1);

/// Where CC-Gateway may push events to in push mode; they are taken and dropped.
pub const EVENTS_PATH: &str = "/events";

/// Longest pushed event, in bytes.
const EVENT_BYTES_MAX: usize = 64 * 1024;

/// The admin plane's listener, bound and not yet serving.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    tls: TlsSwap,
    handshakes: Handshakes,
    state: Arc<State>,
}

struct State {
    registry: Registry,
    ready: Ready,
    operator: OnceLock<Arc<dyn Operator>>,
}

/// With which certificate the admin plane answers; clones are one place. Connections that are open go on with theirs.
#[derive(Clone)]
pub struct TlsSwap(Arc<ArcSwapOption<rustls::ServerConfig>>);

impl TlsSwap {
    /// From now on handshakes are made so; `None`: plain HTTP is spoken.
    pub fn put(&self, tls: Option<rustls::ServerConfig>) {
        self.0.store(tls.map(Arc::new));
    }
}

/// Offers sessions and the configuration to operators, once there are some.
#[derive(Clone)]
pub struct Desk(Arc<State>);

impl Desk {
    /// From now on there is somebody to ask; until then such requests get 503. The first call counts.
    pub fn open(&self, operator: Arc<dyn Operator>) {
        // An error: it is open.
        let _ = self.0.operator.set(operator);
    }
}

impl Admin {
    /// Binds the listener; with `tls` nothing but TLS is spoken on it, and who shows a certificate has had it verified.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<rustls::ServerConfig>,
        handshakes: Handshakes,
        registry: Registry,
        ready: Ready,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let tls = TlsSwap(Arc::new(ArcSwapOption::from_pointee(tls)));
        let state = Arc::new(State { registry, ready, operator: OnceLock::new() });
        Ok(Self { listener, address, tls, handshakes, state })
    }

    /// Where operators' requests are answered.
    pub fn desk(&self) -> Desk {
        Desk(Arc::clone(&self.state))
    }

    /// Where another certificate is put in force.
    pub fn tls(&self) -> TlsSwap {
        self.tls.clone()
    }

    /// The address that is listened on.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; connections end with it.
    pub async fn run(self, stop: CancellationToken) {
        let (tasks, places) = (TaskTracker::new(), Places::new(CONNECTIONS_MAX));
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            let Ok((stream, peer)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let place = tokio::select! {
                () = stop.cancelled() => break,
                place = places.enter() => place,
            };
            let (state, tls, stop) = (Arc::clone(&self.state), self.tls.0.load_full(), stop.clone());
            let handshakes = self.handshakes.clone();
            drop(tasks.spawn(async move {
                let visit = place.visit();
                let grows_old = async {
                    tokio::time::sleep(CONNECTION_LIFETIME).await;
                    visit.shall_leave();
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = grows_old => {}
                    () = visit.leaves() => {}
                    () = serve(state, tls.as_ref(), &handshakes, stream, (peer, &visit)) => {}
                }
                drop(place);
            }));
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// One connection: the handshake where TLS is spoken, then its requests. An error of either is the client's to see.
async fn serve(
    state: Arc<State>,
    tls: Option<&Arc<rustls::ServerConfig>>,
    handshakes: &Handshakes,
    stream: TcpStream,
    (peer, visit): (SocketAddr, &Arc<Visit>),
) {
    let Some(tls) = tls else {
        return http(state, stream, Asker { peer, certificate: None }, visit).await;
    };
    match handshakes.accept(tls, stream, HEADER_TIMEOUT).await {
        Ok(Accepted { stream, certificate }) => {
            let certificate = certificate.map(|certificate| certificate.sha256_hex());
            http(state, stream, Asker { peer, certificate }, visit).await;
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            tracing::debug!(%peer, %error, cause, "no connection");
        }
    }
}

async fn http(state: Arc<State>, stream: impl AsyncRead + AsyncWrite + Unpin, asker: Asker, visit: &Arc<Visit>) {
    let service = service_fn(async |request: Request<Incoming>| {
        let asking = visit.asks();
        answer(&state, &asker, request.map(|incoming| asking.body(incoming))).await
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(peer = %asker.peer, %error, "the connection ended early");
    }
}

async fn answer(state: &State, asker: &Asker, request: Request<Body>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let verbose = head.uri.query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("verbose")));
    let get = head.method == Method::GET || head.method == Method::HEAD;
    let operator = state.operator.get().map(|operator| &**operator);
    Ok(match head.uri.path() {
        "/metrics" if get => metrics(state),
        "/livez" if get => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if get => readiness(&state.ready, verbose),
        "/" if get => html(page::page(&state.ready)),
        EVENTS_PATH if head.method == Method::POST => event(body).await,
        "/metrics" | "/livez" | "/readyz" | "/" => not_allowed("GET, HEAD"),
        EVENTS_PATH => not_allowed("POST"),
        CONFIG_PATH | LOG_LEVEL_PATH => control::answer(operator, asker, &head, body).await,
        path => match (path.strip_prefix(SESSIONS_PATH), path.strip_prefix(AUDIT_PATH)) {
            (Some(rest), _) if rest.is_empty() || rest.starts_with('/') => {
                sessions::answer(operator, asker, &head, rest).await
            }
            (_, Some(rest)) if rest.starts_with('/') => audit::answer(operator, asker, &head, body, rest).await,
            _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
        },
    })
}

fn metrics(state: &State) -> Response<Full<Bytes>> {
    match prometheus::TextEncoder::new().encode_to_string(&state.registry.gather()) {
        Ok(page) => typed(StatusCode::OK, prometheus::TEXT_FORMAT, page),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// The form of Kubernetes' own endpoints: one line a check, then a verdict.
fn readiness(ready: &Ready, verbose: bool) -> Response<Full<Bytes>> {
    let status = if ready.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if status == StatusCode::OK && !verbose {
        return text(status, "ok\n".to_owned());
    }
    let mut lines: Vec<String> = ready
        .report()
        .into_iter()
        .map(|(name, reason)| match reason {
            None => format!("[+] {name} ok"),
            Some(reason) => format!("[-] {name} not ready: {reason}"),
        })
        .collect();
    lines.push(if status == StatusCode::OK { "readyz check passed\n" } else { "readyz check failed\n" }.to_owned());
    text(status, lines.join("\n"))
}

/// A pushed event is read, bounded, acknowledged as the gateway's own answers are, and dropped.
async fn event(body: Body) -> Response<Full<Bytes>> {
    match tokio::time::timeout(HEADER_TIMEOUT, Limited::new(body, EVENT_BYTES_MAX).collect()).await {
        Ok(Ok(_dropped)) => typed(StatusCode::OK, "application/json", r#"{"retcode":"0","message":""}"#.to_owned()),
        Ok(Err(_too_long_or_broken)) => text(StatusCode::PAYLOAD_TOO_LARGE, "too long\n".to_owned()),
        // A body that does not come must not keep a place from the probes.
        Err(_elapsed) => text(StatusCode::REQUEST_TIMEOUT, "too slow\n".to_owned()),
    }
}

fn html(page: String) -> Response<Full<Bytes>> {
    typed(StatusCode::OK, "text/html; charset=utf-8", page)
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    typed(status, "text/plain; charset=utf-8", text)
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n".to_owned());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn typed(status: StatusCode, media: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(response: Response<Full<Bytes>>) -> String {
        let read = response.into_body().collect();
        let read = futures_util::FutureExt::now_or_never(read).expect("whole").expect("infallible");
        String::from_utf8(read.to_bytes().to_vec()).expect("text")
    }

    #[test]
    fn readiness_names_what_is_missing() {
        let ready = Ready::new();
        let (keys, _audit) = (ready.register("keys"), ready.register("audit"));
        keys.holds();
        let response = readiness(&ready, false);
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body(response), "[-] audit not ready: starting\n[+] keys ok\nreadyz check failed\n");
    }

    #[test]
    fn a_page_escapes_what_it_shows() {
        let ready = Ready::new();
        ready.register("keys").wait_for("<script>");
        let held = ready.register("audit");
        held.wait_for("<script>");
        let page = page::page(&ready);
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
    }
}
