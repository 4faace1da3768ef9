//! Good clients: each fetches a recording again and again over connections of their own, and notes how long that took.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client;
use crate::world::{World, call};

/// Agents 1001 to 1004.
pub const CLIENTS: u32 = 4;
/// Between two requests of a client.
const PAUSE: Duration = Duration::from_millis(25);

/// Good clients at work.
pub struct Good {
    all: Arc<AtomicUsize>,
    took: Arc<Mutex<Vec<Duration>>>,
    failed: Arc<Mutex<Vec<String>>>,
    _clients: JoinSet<()>,
}

/// How long their requests took, from the connect to the last byte.
#[derive(Debug, Clone, Copy)]
pub struct Latency {
    pub count: usize,
    pub median: Duration,
    pub p99: Duration,
}

impl Good {
    pub fn start(world: &World) -> Self {
        let (took, failed) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let all = Arc::<AtomicUsize>::default();
        let mut clients = JoinSet::new();
        for agent in 1001..1001 + CLIENTS {
            let (server, target, bearer) = (world.server(), call(agent, "good"), world.issuer.agent(agent));
            let (all, took, failed) = (Arc::clone(&all), Arc::clone(&took), Arc::clone(&failed));
            clients.spawn(async move {
                let bearer = format!("Bearer {bearer}");
                loop {
                    all.fetch_add(1, Ordering::Relaxed);
                    let start = Instant::now();
                    match client::try_request(server, "GET", &target, &[("authorization", &bearer)]).await {
                        Ok(open) => {
                            let answer = client::whole(open).await;
                            if answer.status == 200 && answer.whole {
                                took.lock().unwrap().push(start.elapsed());
                            } else {
                                failed.lock().unwrap().push(format!("{answer:?}"));
                            }
                        }
                        Err(error) => failed.lock().unwrap().push(error.to_string()),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Self { all, took, failed, _clients: clients }
    }

    /// What was noted since the last look.
    pub fn take(&self) -> Latency {
        let mut took = std::mem::take(&mut *self.took.lock().unwrap());
        took.sort_unstable();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        Latency { count: took.len(), median: at(0.5), p99: at(0.99) }
    }

    /// How many requests there were in all.
    pub fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }

    /// What did not end with a whole recording.
    pub fn failed(&self) -> Vec<String> {
        self.failed.lock().unwrap().clone()
    }
}
