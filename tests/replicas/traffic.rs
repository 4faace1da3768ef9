//! Downloads on all replicas all the time, and a record of how each ended.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ccgate::sim;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client;
use crate::fleet::Fleet;
use crate::world::call;

/// Size of every file.
pub const SIZE: u64 = 32 * 1024;
/// Downloads of a replica at once.
const WORKERS: usize = 3;
/// Within this all replicas serve again, whatever has happened.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two downloads of a worker.
const PAUSE: Duration = Duration::from_millis(40);

/// How a download ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All of the file came.
    Whole,
    /// Another answer: its code.
    Refused(String),
    /// No answer, or a body that broke off or was another.
    Broken(String),
}

/// One download.
#[derive(Debug, Clone)]
pub struct Download {
    pub replica: usize,
    pub from: Instant,
    pub to: Instant,
    pub end: End,
}

/// Running downloads; they end when it is dropped.
pub struct Traffic {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
}

struct Shared {
    /// Where each replica is; `None`: nowhere.
    servers: Vec<Mutex<Option<SocketAddr>>>,
    /// When each replica was not there, from and to.
    outages: Mutex<Vec<(usize, Instant, Option<Instant>)>>,
    done: Mutex<Vec<Download>>,
    number: AtomicU32,
    stop: CancellationToken,
    agent: u32,
    token: String,
}

impl Traffic {
    /// Starts downloads of one agent's calls from all replicas.
    pub fn start(fleet: &Fleet, agent: u32) -> Self {
        let shared = Arc::new(Shared {
            servers: (0..fleet.len()).map(|replica| Mutex::new(fleet.server(replica))).collect(),
            outages: Mutex::default(),
            done: Mutex::default(),
            number: AtomicU32::new(0),
            stop: CancellationToken::new(),
            agent,
            token: fleet.world.issuer.agent(agent),
        });
        let mut workers = JoinSet::new();
        for replica in (0..fleet.len()).flat_map(|replica| [replica; WORKERS]) {
            workers.spawn(work(Arc::clone(&shared), replica));
        }
        Self { shared, workers }
    }

    /// A replica is about to go, or to be stopped.
    pub fn goes(&self, replica: usize) {
        self.shared.outages.lock().unwrap().push((replica, Instant::now(), None));
    }

    /// It is back, at this address.
    pub fn is_back(&self, replica: usize, server: SocketAddr) {
        *self.shared.servers[replica].lock().unwrap() = Some(server);
        let mut outages = self.shared.outages.lock().unwrap();
        let outage = outages.iter_mut().rev().find(|outage| outage.0 == replica).expect("an outage");
        outage.2 = Some(Instant::now());
    }

    /// Waits until so many downloads that begin from now on are whole on each of these replicas; what is wrong otherwise.
    pub async fn until_whole(&self, replicas: &[usize], count: usize) -> Result<(), String> {
        let from = Instant::now();
        let enough = |replica: usize| {
            let done = self.shared.done.lock().unwrap();
            let whole = |done: &&Download| done.replica == replica && done.from >= from && done.end == End::Whole;
            done.iter().filter(whole).count() >= count
        };
        let waited = async {
            while !replicas.iter().all(|replica| enough(*replica)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, waited).await.is_ok() {
            return Ok(());
        }
        let tell = |replica: &usize| {
            let serves = enough(*replica);
            let done = self.shared.done.lock().unwrap();
            let last = done.iter().rev().find(|download| download.replica == *replica).map(|last| last.end.clone());
            format!("replica {replica} serves: {serves}; its last: {last:?}\n")
        };
        Err(replicas.iter().map(tell).collect())
    }

    /// Ends all workers; every download of a replica that was there all the time, and how many others there were.
    pub async fn stop(&mut self) -> (Vec<Download>, usize) {
        self.shared.stop.cancel();
        while let Some(ended) = self.workers.join_next().await {
            ended.unwrap();
        }
        let done = self.shared.done.lock().unwrap().clone();
        let outages = self.shared.outages.lock().unwrap().clone();
        let was_away = |done: &Download| {
            let overlaps = |from: Instant, to: Option<Instant>| from <= done.to && to.is_none_or(|to| done.from <= to);
            outages.iter().any(|(replica, from, to)| *replica == done.replica && overlaps(*from, *to))
        };
        let (away, there): (Vec<_>, Vec<_>) = done.into_iter().partition(was_away);
        (there, away.len())
    }
}

async fn work(shared: Arc<Shared>, replica: usize) {
    while !shared.stop.is_cancelled() {
        let server = *shared.servers[replica].lock().unwrap();
        if let Some(server) = server {
            let from = Instant::now();
            let end = shared.download(server).await;
            shared.done.lock().unwrap().push(Download { replica, from, to: Instant::now(), end });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Shared {
    async fn download(&self, server: SocketAddr) -> End {
        let call_id = format!("1621413752-{}", self.number.fetch_add(1, Ordering::Relaxed));
        let bearer = format!("Bearer {}", self.token);
        let asked =
            client::try_request(server, "GET", &call(self.agent, &call_id), &[("authorization", &bearer)]).await;
        let open = match asked {
            Ok(open) => open,
            Err(error) => return End::Broken(error.to_string()),
        };
        if open.status != 200 {
            return End::Refused(client::whole(open).await.code());
        }
        let read = open.read(Duration::ZERO).await;
        if read == (client::Read { bytes: SIZE, sha256: sim::body_sha256(&call_id, SIZE), whole: true }) {
            End::Whole
        } else {
            End::Broken(format!("{} bytes, whole: {}", read.bytes, read.whole))
        }
    }
}
