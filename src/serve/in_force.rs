//! What a configuration decides about the data plane, as one value that takes another's place as a whole. It decides nothing
//! and reads no file but those of TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;

use super::edge::Edge;
use super::{Config, Error, Live, Metrics};
use crate::net;
use crate::room::Room;

/// The data plane by one configuration.
pub struct InForce {
    edge: Edge,
    connections_max: usize,
    manners: Manners,
}

/// How a connection is treated, from its first byte to its last. It keeps nothing else of what was in force then.
#[derive(Clone)]
pub(super) struct Manners {
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) header_timeout: Duration,
    pub(super) client_stall_timeout: Duration,
}

/// Where the data plane finds what is in force; clones are one place. Nobody waits for anybody here.
#[derive(Clone)]
pub struct Swap {
    current: Arc<ArcSwap<InForce>>,
    connections: Room,
}

impl InForce {
    /// Builds it; reads the files of TLS. `live.downloads` is one room for all that follow each other.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`].
    pub fn new(config: &Config, live: Live, metrics: Arc<Metrics>) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(net::ServerTls::build).transpose()?;
        Ok(Self {
            edge: Edge::new(config, live, metrics),
            connections_max: config.max_connections,
            manners: Manners {
                tls: tls.map(|tls| TlsAcceptor::from(Arc::new(tls))),
                header_timeout: config.header_timeout,
                client_stall_timeout: config.client_stall_timeout,
            },
        })
    }

    pub(super) const fn edge(&self) -> &Edge {
        &self.edge
    }

    pub(super) fn manners(&self) -> Manners {
        self.manners.clone()
    }
}

impl Swap {
    pub(super) fn new(first: InForce) -> Self {
        let connections = Room::new(first.connections_max);
        Self { current: Arc::new(ArcSwap::from_pointee(first)), connections }
    }

    /// Puts it in force: for each request that begins from now on, and for the handshake and the deadlines of each
    /// connection that is accepted from now on. Requests and connections that are under way go on with what they have.
    pub fn put(&self, next: InForce) {
        self.connections.resize(next.connections_max);
        self.current.store(Arc::new(next));
    }

    pub(super) fn load(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Places for connections.
    pub(super) const fn connections(&self) -> &Room {
        &self.connections
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce").field("connections_max", &self.connections_max).finish_non_exhaustive()
    }
}

impl fmt::Debug for Swap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swap").field("connections", &self.connections).finish_non_exhaustive()
    }
}
