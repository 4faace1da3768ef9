//! Connections: accepted up to a bound, each with its own deadlines, ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crowd::{Crowd, Place};
use super::edge::Edge;
use super::ending::Ending;
use super::observe::{ResponseBody, tell_refused};
use super::refusal::{Refused, Transport};
use super::stall::{Demands, StallGuard};
use super::{Config, Live, Metrics};
use crate::net;
use crate::route::RequestId;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// A request's head in bytes, and what is buffered for a client that reads slowly. A token has 8 KiB at the most.
const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// How long a newcomer waits for those to go who were asked, before more are asked.
const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Pause after an accept that failed: mostly for want of file descriptors, and then at once would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The data plane's listener, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    connection: Arc<Connections>,
    slots: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    tasks: TaskTracker,
}

/// When to stop what. Each is cancelled once, in this order.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// No new connections; each open one ends after the request under way.
    pub accepting: CancellationToken,
    /// Every connection ends now.
    pub connections: CancellationToken,
}

/// What all connections share.
struct Connections {
    edge: Edge,
    tls: Option<TlsAcceptor>,
    metrics: Arc<Metrics>,
    header_timeout: Duration,
    demands: Demands,
    stop: Stop,
}

/// The listener can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address can't be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The certificate, key or client authority can't be used.
    #[error("the listener's TLS files cannot be used")]
    Tls(#[from] net::TlsError),
}

impl Server {
    /// Binds the listener. Nothing is accepted before [`Server::run`].
    pub async fn bind(config: &Config, live: Live, metrics: Metrics, stop: Stop) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(net::ServerTls::build).transpose()?;
        let bind = |source| Error::Bind { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let metrics = Arc::new(metrics);
        Ok(Self {
            address: listener.local_addr().map_err(bind)?,
            listener,
            connection: Arc::new(Connections {
                edge: Edge::new(config, Arc::new(live), Arc::clone(&metrics)),
                tls: tls.map(|tls| TlsAcceptor::from(Arc::new(tls))),
                metrics,
                header_timeout: config.header_timeout,
                demands: Demands { stall_timeout: config.client_stall_timeout, min_rate: config.client_min_rate },
                stop,
            }),
            slots: Arc::new(Semaphore::new(config.max_connections)),
            crowd: Crowd::new(config.max_connections_per_peer, config.trusted_proxies.clone()),
            tasks: TaskTracker::new(),
        })
    }

    /// The address that is listened on, with the port that the system chose where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The connections, to be waited for.
    pub fn connections(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Accepts until [`Stop::accepting`]. A connection over the bound takes the place of one that waits for its client;
    /// where none waits, it and those behind it stay in the system's queue.
    pub async fn run(self) {
        let stop = self.connection.stop.accepting.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Losing this race loses a connection at most that the client sees refused, as after the stop.
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.tasks.close();
    }

    /// Gives a connection its task, when there is a place for it.
    async fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(place) = self.crowd.enter(peer.ip()) else {
            self.connection.tell(Ending::PeerLimit, peer, &"its peer has as many as one peer may");
            return;
        };
        let slot = tokio::select! {
            () = self.connection.stop.accepting.cancelled() => return,
            slot = self.slot() => slot,
        };
        place.waits();
        let connection = Arc::clone(&self.connection);
        drop(self.tasks.spawn(async move {
            connection.serve(stream, peer, place).await;
            drop(slot);
        }));
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            return Some(slot);
        }
        loop {
            self.crowd.make_room();
            // The semaphore is never closed.
            let slot = Arc::clone(&self.slots).acquire_owned();
            if let Ok(slot) = tokio::time::timeout(ROOM_PAUSE, slot).await {
                return slot.ok();
            }
        }
    }
}

impl Connections {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        self.metrics.connection_opened();
        let _open = OnDrop(|| self.metrics.connection_closed());
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        let Some(tls) = &self.tls else { return self.http(stream, peer, &place).await };
        let handshake = tokio::select! {
            // Nothing has been asked yet, so nothing is lost.
            () = self.stop.accepting.cancelled() => return self.tell(Ending::Shutdown, peer, &"draining"),
            () = place.wanted() => return self.tell(Ending::MadeRoom, peer, &"in its TLS handshake"),
            handshake = tokio::time::timeout(self.header_timeout, tls.accept(stream)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.http(stream, peer, &place).await,
            Ok(Err(error)) => self.tell(Ending::TlsFailed, peer, &error),
            Err(elapsed) => self.tell(Ending::TlsTimeout, peer, &elapsed),
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, place: &Place) {
        let io = TokioIo::new(Transport::new(StallGuard::new(stream, self.demands), place));
        let service =
            service_fn(
                |request| async move { Ok::<_, std::convert::Infallible>(self.answer(request, peer, place).await) },
            );
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_headers(HEADERS_MAX)
            .max_header_size(BUFFER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(io, service);
        tokio::pin!(connection);
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = self.stop.connections.cancelled() => return self.tell(Ending::Shutdown, peer, &"broken off"),
                () = self.stop.accepting.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => return self.ended(ended, peer, place),
                () = place.wanted() => {
                    // It may have asked for something since it was chosen; then it stays.
                    if place.progress().goes() {
                        return self.tell(Ending::MadeRoom, peer, &"it waited longest");
                    }
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr, place: &Place) -> Response<ResponseBody> {
        let turn = place.turn(!request.body().is_end_stream());
        // A preflight is answered without a token, so it proves nothing.
        let proves = request.method() != Method::OPTIONS;
        let response = self.edge.handle(peer, request).await;
        let good = !response.status().is_client_error() && !response.status().is_server_error();
        if good && proves {
            place.served();
        }
        response.map(|body| body.with_turn(turn.answered(good)))
    }

    /// Counts and tells how the library ended a connection.
    fn ended(&self, ended: hyper::Result<()>, peer: SocketAddr, place: &Place) {
        let Err(error) = ended else { return self.tell(Ending::Closed, peer, &"in order") };
        let progress = place.progress();
        let mut ending = Ending::of(&error, progress.has_begun());
        if let Ending::Refused(reason) = ending {
            // Not told by the transport: the library's own answer went out behind another one.
            let refused =
                progress.refused().get_or_init(|| Refused { reason, request_id: RequestId::random(), bytes: 0 });
            ending = Ending::Refused(refused.reason);
            self.metrics.head_refused(refused.reason.status());
            tell_refused(refused, peer);
        }
        self.tell(ending, peer, &error);
    }

    fn tell(&self, ending: Ending, peer: SocketAddr, why: &dyn std::fmt::Display) {
        self.metrics.ended_for(ending);
        tracing::debug!(%peer, reason = ending.as_str(), %why, "a connection ended");
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("stop", &self.stop).finish_non_exhaustive()
    }
}

/// Runs a closure when it is dropped, a panic included.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
