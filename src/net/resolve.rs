//! Names to addresses, anew for each connection: nothing is kept, so a change is seen by the next one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tower::Service;

/// Looks names up. The system's own way is the default; a test has its own.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, in the order in which they are to be tried.
    ///
    /// The caller bounds the wait; dropping the future gives the look-up up.
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) })
    }
}

/// A resolver in the form that the connector wants.
#[derive(Clone)]
pub(super) struct Names(pub(super) Arc<dyn Resolve>);

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let addresses = self.0.addresses(name.as_str());
        Box::pin(async move {
            // The port is the URL's.
            let all: Vec<_> = addresses.await?.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(all.into_iter())
        })
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}
