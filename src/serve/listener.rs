//! Connections: accepted up to a bound, each with its own deadlines, ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::arrival::Peer;
use super::edge::Edge;
use super::stall::StallGuard;
use super::{Config, Live, Metrics};
use crate::clock::Clock;
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
    slots: Arc<Semaphore>,
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
    tls: Option<Arc<rustls::ServerConfig>>,
    handshakes: net::Handshakes,
    clock: Clock,
    metrics: Arc<Metrics>,
    header_timeout: Duration,
    client_stall_timeout: Duration,
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
    pub async fn bind(
        config: &Config,
        live: Live,
        metrics: Metrics,
        handshakes: net::Handshakes,
        stop: Stop,
    ) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(net::ServerTls::build).transpose()?;
        let bind = |source| Error::Bind { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(bind)?;
        let metrics = Arc::new(metrics);
        Ok(Self {
            address: listener.local_addr().map_err(bind)?,
            listener,
            connection: Arc::new(Connections {
                clock: live.clock.clone(),
                edge: Edge::new(config, Arc::new(live), Arc::clone(&metrics)),
                tls: tls.map(Arc::new),
                handshakes,
                metrics,
                header_timeout: config.header_timeout,
                client_stall_timeout: config.client_stall_timeout,
                stop,
            }),
            slots: Arc::new(Semaphore::new(config.max_connections)),
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

    /// Accepts until [`Stop::accepting`]. A connection over the bound waits in the system's queue.
    pub async fn run(self) {
        let stop = self.connection.stop.accepting.clone();
        loop {
            let next = async {
                // The semaphore is never closed.
                let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
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
        let Some(tls) = &self.tls else {
            return self.http(stream, Peer { address: peer, certificate: None }).await;
        };
        let handshake = tokio::select! {
            // Nothing has been asked yet, so nothing is lost.
            () = self.stop.accepting.cancelled() => return,
            handshake = self.handshakes.accept(tls, stream, self.header_timeout) => handshake,
        };
        match handshake {
            Ok(net::Accepted { stream, certificate }) => self.http(stream, Peer { address: peer, certificate }).await,
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::debug!(%peer, %error, cause, "no connection");
            }
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer) {
        let certificate_ends = self.certificate_ends(&peer);
        tokio::pin!(certificate_ends);
        let io = TokioIo::new(StallGuard::new(stream, self.client_stall_timeout));
        let service =
            service_fn(|request| async { Ok::<_, std::convert::Infallible>(self.edge.handle(&peer, request).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
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
                () = &mut certificate_ends, if !draining => {
                    draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(peer = %peer.address, %error, "the connection ended early");
                    }
                    break;
                }
            }
        }
    }
}

impl Connections {
    /// Waits for the end of the client's certificate: who has none any more shall not go on asking over a connection of
    /// before. Never for a client without one.
    async fn certificate_ends(&self, peer: &Peer) {
        match &peer.certificate {
            None => std::future::pending().await,
            Some(certificate) => {
                let left = certificate.not_after().duration_since(self.clock.now());
                tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
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
