//! What a configuration decides about the data plane, as one value that takes another's place as a whole. It decides nothing
//! and reads no file but those of TLS.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use super::crowd::Crowd;
use super::edge::Edge;
use super::stall::Demands;
use super::{Config, Error, Live, Metrics};
use crate::net;
use crate::room::Room;

/// The data plane by one configuration.
pub struct InForce {
    edge: Edge,
    connections_max: usize,
    per_peer_max: usize,
    proxies: Vec<IpNet>,
    manners: Manners,
    /// What decides which clients' certificates are good.
    let_in: Option<[u8; 32]>,
}

/// How a connection is treated, from its first byte to its last. It keeps nothing else of what was in force then.
#[derive(Clone)]
pub(super) struct Manners {
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) header_timeout: Duration,
    pub(super) demands: Demands,
    /// Cancelled when other authorities or revocation lists decide which clients are let in.
    pub(super) retired: CancellationToken,
}

/// Where the data plane finds what is in force; clones are one place. Nobody waits for anybody here.
#[derive(Clone)]
pub struct Swap {
    current: Arc<ArcSwap<InForce>>,
    connections: Room,
    crowd: Arc<Crowd>,
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
            per_peer_max: config.max_connections_per_peer,
            proxies: config.trusted_proxies.clone(),
            manners: Manners {
                tls: tls.map(Arc::new),
                header_timeout: config.header_timeout,
                demands: Demands { stall_timeout: config.client_stall_timeout, min_rate: config.client_min_rate },
                retired: CancellationToken::new(),
            },
            let_in: config.tls.as_ref().map(net::ServerTls::let_in).transpose()?.flatten(),
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
        let crowd = Crowd::new(first.per_peer_max, first.proxies.clone());
        Self { current: Arc::new(ArcSwap::from_pointee(first)), connections, crowd }
    }

    /// Puts it in force: for each request that begins from now on, and for the handshake and the deadlines of each
    /// connection that is accepted from now on. Requests and connections that are under way go on with what they have; but
    /// where others decide now which certificates are good, a connection that one let in ends after its request.
    pub fn put(&self, mut next: InForce) {
        let before = self.load();
        if before.let_in == next.let_in {
            next.manners.retired.clone_from(&before.manners.retired);
        }
        self.connections.resize(next.connections_max);
        self.crowd.limit(next.per_peer_max, next.proxies.clone());
        let retired = before.let_in != next.let_in;
        self.current.store(Arc::new(next));
        // Only now: whoever connects anew is judged by what is in force.
        if retired {
            before.manners.retired.cancel();
        }
    }

    pub(super) fn load(&self) -> Arc<InForce> {
        self.current.load_full()
    }

    /// Who is connected.
    pub(super) const fn crowd(&self) -> &Arc<Crowd> {
        &self.crowd
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
