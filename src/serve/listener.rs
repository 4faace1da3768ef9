//! Connections: accepted up to a bound, each with its own deadlines, ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::in_force::{InForce, Manners, Swap};
use super::stall::StallGuard;
use super::{Metrics, ResponseBody};
use crate::net;

/// Header fields of a request.
const HEADERS_MAX: usize = 64;

/// A request's head in bytes, and what is buffered for a client that reads slowly. A token has 8 KiB at the most.
const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// Pause after an accept that failed: mostly for want of file descriptors, and then at once would fail again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The data plane's listener, bound and not yet serving.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    connection: Arc<Connections>,
    tasks: TaskTracker,
}

/// When to stop what. Each is cancelled once, in this order.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Each answer from now on is the last of its connection, so that clients go elsewhere while they still can.
    pub draining: CancellationToken,
    /// No new connections; each open one ends after the request under way.
    pub accepting: CancellationToken,
    /// Every connection ends now.
    pub connections: CancellationToken,
}

/// What all connections share.
struct Connections {
    current: Swap,
    metrics: Arc<Metrics>,
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
    pub async fn bind(listen: SocketAddr, first: InForce, metrics: Arc<Metrics>, stop: Stop) -> Result<Self, Error> {
        let bind = |source| Error::Bind { address: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(bind)?;
        Ok(Self {
            address: listener.local_addr().map_err(bind)?,
            listener,
            connection: Arc::new(Connections { current: Swap::new(first), metrics, stop }),
            tasks: TaskTracker::new(),
        })
    }

    /// The address that is listened on, with the port that the system chose where 0 was asked for.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where another configuration is put in force.
    pub fn swap(&self) -> Swap {
        self.connection.current.clone()
    }

    /// The connections, to be waited for.
    pub fn connections(&self) -> TaskTracker {
        self.tasks.clone()
    }

    /// Accepts until [`Stop::accepting`]. A connection over the bound waits in the system's queue.
    pub async fn run(self) {
        let stop = self.connection.stop.accepting.clone();
        loop {
            let next = async {
                let slot = self.connection.current.connections().enter().await;
                (slot, self.listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                // Losing this race loses a connection at most that the client sees refused, as after the stop.
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let connection = Arc::clone(&self.connection);
                    drop(self.tasks.spawn(async move {
                        connection.serve(stream, peer).await;
                        drop(slot);
                    }));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        self.tasks.close();
    }
}

impl Connections {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        self.metrics.connection_opened();
        let _open = OnDrop(|| self.metrics.connection_closed());
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        // By what is in force now, for as long as the connection lives; each request is by what is in force then.
        let manners = self.current.load().manners();
        let Some(tls) = &manners.tls else { return self.http(stream, peer, &manners).await };
        let handshake = tokio::select! {
            // Nothing has been asked yet, so nothing is lost.
            () = self.stop.accepting.cancelled() => return,
            handshake = tokio::time::timeout(manners.header_timeout, tls.accept(stream)) => handshake,
        };
        match handshake {
            Ok(Ok(stream)) => self.http(stream, peer, &manners).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "the TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(%peer, "the TLS handshake took too long"),
        }
    }

    async fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> Response<ResponseBody> {
        let mut response = self.current.load().edge().handle(peer, request).await;
        if self.stop.draining.is_cancelled() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: SocketAddr, manners: &Manners) {
        let io = TokioIo::new(StallGuard::new(stream, manners.client_stall_timeout));
        let service =
            service_fn(|request| async move { Ok::<_, std::convert::Infallible>(self.answer(peer, request).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(manners.header_timeout)
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(io, service);
        tokio::pin!(connection);
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = self.stop.connections.cancelled() => break,
                () = self.stop.accepting.cancelled(), if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%peer, %error, "the connection ended early");
                    }
                    break;
                }
            }
        }
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
