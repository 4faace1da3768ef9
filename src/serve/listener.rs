//! Connections: accepted up to a bound, each with its own deadlines, ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Metrics;
use super::arrival::Peer;
use super::crowd::Place;
use super::ending::Ending;
use super::in_force::{InForce, Manners, Swap};
use super::observe::{ResponseBody, tell_refused};
use super::refusal::{Reason, Transport};
use super::stall::StallGuard;
use crate::clock::Clock;
use crate::{net, room};

/// What the system keeps for a client that has not taken it yet, in bytes; it grants twice that for its own needs. Left to itself
/// it keeps 4 MiB and more, which a slow client makes us fetch and never reads, and of which the system has not enough for
/// thousands. Over 50 ms to a client it allows for 5 MiB a second.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// How many connections the system keeps that are not accepted yet, within its own bound (`net.core.somaxconn`, as a rule
/// 4,096): a crowd that comes at once, as after a restart, is not made to wait a second for its next try.
const BACKLOG: u32 = 1_024;

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
    door: Door,
}

/// What a listener brings to every connection, whatever configuration is in force.
#[derive(Debug)]
pub struct Door {
    /// Counts handshakes.
    pub handshakes: net::Handshakes,
    /// Says when a client's certificate ends.
    pub clock: Clock,
    /// Counts connections.
    pub metrics: Arc<Metrics>,
    /// When to stop what.
    pub stop: Stop,
}

/// What a connection is told from outside.
enum Order {
    /// It ends now.
    BreakOff,
    /// It ends after the request under way.
    Finish,
    /// Somebody else needs its place.
    MakeRoom,
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
    /// Binds the listener, inside a runtime. Nothing is accepted before [`Server::run`].
    ///
    /// # Errors
    ///
    /// [`Error::Bind`].
    pub fn bind(listen: SocketAddr, first: InForce, door: Door) -> Result<Self, Error> {
        let bind = |source| Error::Bind { address: listen, source };
        let listener = bind_to(listen).map_err(bind)?;
        Ok(Self {
            address: listener.local_addr().map_err(bind)?,
            listener,
            connection: Arc::new(Connections { current: Swap::new(first), door }),
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

    /// Accepts until [`Stop::accepting`]. A connection over the bound takes the place of one that waits for its client;
    /// where none waits, it and those behind it stay in the system's queue.
    pub async fn run(self) {
        let stop = self.connection.door.stop.accepting.clone();
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
        let Some(place) = self.connection.current.crowd().enter(peer.ip()) else {
            self.connection.tell(Ending::PeerLimit, peer, &"its peer has as many as one peer may");
            return;
        };
        let slot = tokio::select! {
            () = self.connection.door.stop.accepting.cancelled() => return,
            slot = self.slot() => slot,
        };
        place.waits();
        let connection = Arc::clone(&self.connection);
        drop(self.tasks.spawn(async move {
            connection.serve(stream, peer, place).await;
            drop(slot);
        }));
    }

    async fn slot(&self) -> room::Place {
        let swap = &self.connection.current;
        if let Some(slot) = swap.connections().try_enter() {
            return slot;
        }
        loop {
            swap.crowd().make_room();
            if let Ok(slot) = tokio::time::timeout(ROOM_PAUSE, swap.connections().enter()).await {
                return slot;
            }
        }
    }
}

impl Connections {
    async fn serve(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        self.door.metrics.connection_opened();
        let _open = OnDrop(|| self.door.metrics.connection_closed());
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
        }
        // By what is in force now, for as long as the connection lives; each request is by what is in force then.
        let manners = self.current.load().manners();
        let Some(tls) = &manners.tls else {
            let stream = StallGuard::new(stream, manners.demands);
            return self.http(stream, Peer { address: peer, certificate: None }, &place, &manners).await;
        };
        let handshake = tokio::select! {
            // Nothing has been asked yet, so nothing is lost.
            () = self.door.stop.accepting.cancelled() => return self.tell(Ending::Shutdown, peer, &"draining"),
            () = place.wanted() => return self.tell(Ending::MadeRoom, peer, &"in its TLS handshake"),
            handshake = shake(&self.door.handshakes, tls, stream, &manners) => handshake,
        };
        match handshake {
            Ok(net::Accepted { stream, certificate }) => {
                self.http(stream, Peer { address: peer, certificate }, &place, &manners).await;
            }
            Err(error @ net::HandshakeError::Timeout) => self.tell(Ending::TlsTimeout, peer, &error),
            Err(net::HandshakeError::Failed(cause)) => self.tell(Ending::TlsFailed, peer, &cause),
        }
    }

    async fn http(&self, stream: impl AsyncRead + AsyncWrite + Unpin, peer: Peer, place: &Place, manners: &Manners) {
        let address = peer.address;
        let io = TokioIo::new(Transport::new(stream, place));
        let service =
            service_fn(|request| async { Ok::<_, std::convert::Infallible>(self.answer(request, &peer, place).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(manners.header_timeout)
            .max_headers(HEADERS_MAX)
            .max_header_size(BUFFER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES_MAX)
            .serve_connection(io, service);
        tokio::pin!(connection);
        let mut orders = self.orders(&peer, place, &manners.retired);
        loop {
            // The set polls what was woken, and nothing else: most of the connection's own wake-ups are none of its concern.
            let order = tokio::select! {
                biased;
                Some(order) = orders.next() => order,
                ended = connection.as_mut() => return self.ended(ended, address, place),
            };
            match order {
                Order::BreakOff => {
                    self.refused(address, place);
                    return self.tell(Ending::Shutdown, address, &"broken off");
                }
                // Said twice, it is the same.
                Order::Finish => connection.as_mut().graceful_shutdown(),
                Order::MakeRoom => {
                    // It may have asked for something since it was chosen; then it stays.
                    if let Poll::Ready(ended) = futures_util::poll!(connection.as_mut()) {
                        return self.ended(ended, address, place);
                    }
                    if place.progress().goes() {
                        self.refused(address, place);
                        return self.tell(Ending::MadeRoom, address, &"it waited longest");
                    }
                    orders.push(Box::pin(place.wanted().map(|()| Order::MakeRoom)));
                }
            }
        }
    }

    /// What a connection can be told from outside.
    fn orders<'c>(
        &'c self,
        peer: &'c Peer,
        place: &'c Place,
        retired: &'c CancellationToken,
    ) -> FuturesUnordered<BoxFuture<'c, Order>> {
        let stop = &self.door.stop;
        let orders = FuturesUnordered::new();
        orders.push(stop.connections.cancelled().map(|()| Order::BreakOff).boxed());
        orders.push(stop.accepting.cancelled().map(|()| Order::Finish).boxed());
        orders.push(self.certificate_ends(peer, retired).map(|()| Order::Finish).boxed());
        orders.push(place.wanted().map(|()| Order::MakeRoom).boxed());
        orders
    }

    async fn answer(&self, request: Request<Incoming>, peer: &Peer, place: &Place) -> Response<ResponseBody> {
        let turn = place.turn(!request.body().is_end_stream());
        // A preflight is answered without a token, so it proves nothing.
        let proves = request.method() != Method::OPTIONS;
        let mut response = self.current.load().edge().handle(peer, request).await;
        if self.door.stop.draining.is_cancelled() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let good = !response.status().is_client_error() && !response.status().is_server_error();
        if good && proves {
            place.served();
        }
        response.map(|body| body.with_turn(turn.answered(good && proves)))
    }

    /// Counts and tells how the library ended a connection.
    fn ended(&self, ended: hyper::Result<()>, peer: SocketAddr, place: &Place) {
        let Err(error) = ended else { return self.tell(Ending::Closed, peer, &"in order") };
        // A refusal is one though its client was gone before it could be written.
        let refused = self.refused(peer, place);
        let ending = refused.map_or_else(|| Ending::of(&error, place.progress().has_begun()), Ending::Refused);
        self.tell(ending, peer, &error);
    }

    /// Counts and tells the refusal of a head, if there was one; once, when its connection ends, whatever ends it.
    fn refused(&self, peer: SocketAddr, place: &Place) -> Option<Reason> {
        let refused = place.progress().refused().get()?;
        self.door.metrics.head_refused(refused.reason.status());
        tell_refused(refused, peer);
        Some(refused.reason)
    }

    fn tell(&self, ending: Ending, peer: SocketAddr, why: &dyn std::fmt::Display) {
        self.door.metrics.ended_for(ending);
        tracing::debug!(%peer, reason = ending.as_str(), %why, "a connection ended");
    }

    /// Waits for the end of the client's certificate, if it has one, or until other authorities or revocation lists, or any
    /// at all, decide who is let in (`retired`): who has no good one any more, or needs one now, shall not go on asking over a
    /// connection of before.
    async fn certificate_ends(&self, peer: &Peer, retired: &CancellationToken) {
        match &peer.certificate {
            None => retired.cancelled().await,
            Some(certificate) => {
                let left = certificate.not_after().duration_since(self.door.clock.now());
                let ends = tokio::time::sleep(Duration::try_from(left).unwrap_or_default());
                tokio::select! {
                    () = ends => {}
                    () = retired.cancelled() => {}
                }
            }
        }
    }
}

/// The handshake. The guard stays below TLS, which keeps up to 64 KiB: what counts as progress is what the system takes.
async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    handshakes: &net::Handshakes,
    tls: &Arc<rustls::ServerConfig>,
    stream: S,
    manners: &Manners,
) -> Result<net::Accepted<StallGuard<S>>, net::HandshakeError> {
    handshakes.accept(tls, StallGuard::new(stream, manners.demands), manners.header_timeout).await
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("door", &self.door).finish_non_exhaustive()
    }
}

/// Listens; what is set here holds for each connection that is accepted.
fn bind_to(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart finds the port free though connections of the process before are not quite over.
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Runs a closure when it is dropped, a panic included.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[cfg(test)]
mod tests;
