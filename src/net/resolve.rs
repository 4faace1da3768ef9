//! Names to addresses, anew for each connection: nothing is kept, so a change is seen by the next one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::vec;

use futures_util::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower::Service;

/// Names looked up at once in the whole process. Where the name server is silent a look-up can go on for half a minute after it
/// was given up, and each holds a thread.
static LOOK_UPS: Semaphore = Semaphore::const_new(32);

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
        Box::pin(bounded(&LOOK_UPS, move || {
            Ok((name.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
        }))
    }
}

/// Does blocking work, so much of it at once. It can't be given up once it has begun, so its place is free when it has
/// ended, not when nobody waits for it any more.
async fn bounded<T: Send + 'static>(
    places: &'static Semaphore,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let place = places.acquire().await.map_err(io::Error::other)?;
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn look_ups_that_were_given_up_hold_their_places() {
        static PLACES: Semaphore = Semaphore::const_new(2);
        let begun = Arc::new(AtomicUsize::new(0));
        let (end, ended): (Vec<_>, Vec<_>) = (0..5).map(|_| mpsc::channel::<()>()).unzip();
        let all = ended.into_iter().map(|ended| {
            let begun = Arc::clone(&begun);
            bounded(&PLACES, move || {
                begun.fetch_add(1, Ordering::Relaxed);
                Ok(ended.recv().is_ok())
            })
        });
        let two_begin = async {
            while begun.load(Ordering::Relaxed) < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        tokio::select! {
            _ = join_all(all) => unreachable!("none can end"),
            () = two_begin => {}
        }
        assert_eq!(begun.load(Ordering::Relaxed), 2);
        let next = tokio::time::timeout(Duration::from_millis(50), bounded(&PLACES, || Ok(()))).await;
        assert!(next.is_err(), "both go on");
        drop(end);
        assert!(bounded(&PLACES, || Ok(true)).await.unwrap(), "each place is given back");
    }

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let addresses = SystemResolver.addresses("localhost").await.unwrap();
        assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
    }
}
