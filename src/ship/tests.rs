//! The world of shipping's tests: a real log, a sink that does what it is told, and what can be seen of both.

#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "metrics are small whole numbers")]

mod cursors;
mod follower;
mod opens;
mod outputs;
mod sinks;

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::sink::{Ack, Error, Item, Kind, Receipt, Sink};
use super::{Config, Metrics, Shipping};
use crate::audit::{self, Durability, Log, SessionUse};
use crate::authn::{Caller, Inspects};
use crate::budget::Budgeted;
use crate::cc::{AgentId, FileRef, Guid, GuidTagKey};
use crate::clock::Clock;
use crate::policy::Authorized;
use crate::ready::Ready;
use crate::route::{Arrival, Download, RequestId, Source};

const ORIGIN: &str = "ccgate.audit/0123456789abcdef";
/// For an answer that does not come.
const PATIENCE: Duration = Duration::from_millis(200);
/// For one that comes, however slow the machine is.
const LONG_PATIENCE: Duration = Duration::from_secs(20);

/// What the sink does, and what it has been given.
#[derive(Debug, Default)]
struct Script {
    /// What connecting answers; `Ok` where nothing is left.
    connects: VecDeque<&'static str>,
    /// How many acknowledgements are given before one is kept back; `None`: all.
    acks_left: Option<usize>,
    /// How many items are taken before one is refused; `None`: all.
    taken_left: Option<usize>,
    /// Neither connecting nor handing over ever ends.
    hangs: bool,
    /// What it waits for an answer; `None`: [`LONG_PATIENCE`].
    patience: Option<Duration>,
    /// Between two acknowledgements.
    delay: Duration,
    /// When the last one of those that are under way comes.
    due: Option<Instant>,
    connected: usize,
    /// The ids of all items.
    ids: HashSet<String>,
    /// All items in the order in which they were handed over.
    items: Vec<Item>,
}

/// A sink over a script.
#[derive(Debug, Clone, Default)]
struct Fake(Arc<Mutex<Script>>);

impl Fake {
    fn with(change: impl FnOnce(&mut Script)) -> Self {
        let fake = Self::default();
        change(&mut fake.script());
        fake
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The numbers of the records in the order in which they came.
    fn seqs(&self) -> Vec<u64> {
        let of = |item: &Item| if let Item::Record { seq, .. } = item { Some(*seq) } else { None };
        self.script().items.iter().filter_map(of).collect()
    }

    /// The records as a stream keeps them that knows ids again: the first of each, in the order in which they came.
    fn kept(&self) -> Vec<(u64, String)> {
        let mut kept: Vec<(u64, String)> = Vec::new();
        let mut places = HashMap::new();
        for item in &self.script().items {
            if let Item::Record { seq, line, .. } = item {
                let line = String::from_utf8(line.to_vec()).expect("text");
                let place = *places.entry(*seq).or_insert(kept.len());
                match kept.get(place) {
                    Some((_, known)) => assert_eq!(*known, line, "one number, one line"),
                    None => kept.push((*seq, line)),
                }
            }
        }
        kept
    }
}

impl Sink for Fake {
    fn kind(&self) -> Kind {
        Kind::Nats
    }

    fn patience(&self) -> Duration {
        self.script().patience.unwrap_or(LONG_PATIENCE)
    }

    fn connect(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        let mut script = self.script();
        script.connected += 1;
        match script.connects.pop_front() {
            _ if script.hangs => std::future::pending().boxed(),
            None | Some("ok") => std::future::ready(Ok(())).boxed(),
            Some(why) => std::future::ready(Err(Error::NoStream(why.to_owned()))).boxed(),
        }
    }

    fn publish(&mut self, item: &Item) -> BoxFuture<'_, Result<Ack, Error>> {
        let mut script = self.script();
        if script.hangs {
            return std::future::pending().boxed();
        }
        if script.taken_left == Some(0) {
            script.taken_left = None;
            return std::future::ready(Err(Error::Lost)).boxed();
        }
        script.taken_left = script.taken_left.map(|left| left - 1);
        let known = !script.ids.insert(item.id(ORIGIN));
        script.items.push(item.clone());
        let receipt = if known { Receipt::Duplicate } else { Receipt::Kept };
        let kept_back = script.acks_left == Some(0);
        script.acks_left = if kept_back { None } else { script.acks_left.map(|left| left - 1) };
        let due = script.due.unwrap_or_else(Instant::now).max(Instant::now()) + script.delay;
        script.due = Some(due);
        let ack = async move {
            tokio::time::sleep_until(due).await;
            if kept_back { std::future::pending().await } else { Ok(receipt) }
        };
        std::future::ready(Ok(ack.boxed())).boxed()
    }
}

/// A log that is shipped to a fake.
struct World {
    dir: Arc<TempDir>,
    config: audit::Config,
    ready: Ready,
    registry: Registry,
    log: Log,
    fake: Fake,
    shipping: Option<Shipping>,
}

impl World {
    fn new(fake: Fake) -> Self {
        Self::with(fake, |_| {})
    }

    fn with(fake: Fake, change: impl FnOnce(&mut audit::Config)) -> Self {
        let dir = Arc::new(TempDir::new().expect("a directory"));
        let mut config = audit::test_config(dir.path());
        config.origin = Some(ORIGIN.to_owned());
        change(&mut config);
        let (registry, ready) = (Registry::new(), Ready::new());
        let metrics = audit::Metrics::register(&registry).expect("metrics");
        let log = Log::start(&config, Clock::system(), ready.register("audit"), metrics).expect("it starts");
        let mut world = Self { dir, config, ready, registry, log, fake, shipping: None };
        world.ship();
        world
    }

    /// Starts shipping, again where it was stopped or killed.
    fn ship(&mut self) {
        self.registry = Registry::new();
        let metrics = Metrics::register(&self.registry).expect("metrics");
        let config = Config { dir: self.config.dir.clone(), origin: ORIGIN.to_owned() };
        let shipping = Shipping::start(config, self.fake.clone(), self.log.clone(), Clock::system(), &metrics);
        self.shipping = Some(shipping.expect("it starts"));
    }

    /// The shipper dies: no last word.
    fn kill_shipping(&mut self) {
        self.shipping = None;
    }

    /// The process dies and comes back: another log over the same directory.
    async fn kill(self) -> Self {
        let Self { dir, config, fake, log, shipping, .. } = self;
        drop((log, shipping));
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let (registry, ready) = (Registry::new(), Ready::new());
            let metrics = audit::Metrics::register(&registry).expect("metrics");
            match Log::start(&config, Clock::system(), ready.register("audit"), metrics) {
                Ok(log) => {
                    let mut world = Self { dir, config, ready, registry, log, fake, shipping: None };
                    world.ship();
                    return world;
                }
                Err(audit::StartError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Writes records and waits until they are durable.
    async fn write(&self, count: u64) {
        let durable = self.log.progress().borrow().durable;
        for _ in 0..count {
            self.log.note(audit::Event::Started { version: "0.0.0", config_hash: "ab".repeat(32) });
        }
        let mut progress = self.log.progress();
        let all = progress.wait_for(|progress| progress.durable >= durable + count);
        tokio::time::timeout(Duration::from_secs(10), all).await.expect("in time").expect("a log");
    }

    fn durable(&self) -> u64 {
        self.log.progress().borrow().durable
    }

    /// Waits until all that is durable is shipped.
    async fn shipped(&self) {
        let durable = self.durable();
        let mut shipping = self.log.shipping();
        let all = shipping.wait_for(|shipped| *shipped >= durable);
        let waited = tokio::time::timeout(Duration::from_secs(20), all).await.is_ok();
        assert!(waited, "{durable} are durable, {} shipped; {:?}", *self.log.shipping().borrow(), self.ready.report());
    }

    /// Log and shipping end in order.
    async fn stop(&mut self) {
        self.log.shut_down(Duration::from_secs(5)).await;
        if let Some(shipping) = self.shipping.take() {
            shipping.stop().await;
        }
    }

    /// What the sink must have: every line of the log that counts, byte for byte, in order.
    fn assert_complete(&self) {
        let kept = self.fake.kept();
        let lines = lines(self.dir.path());
        assert_eq!(kept.iter().map(|(_, line)| line).collect::<Vec<_>>(), lines.iter().collect::<Vec<_>>());
    }

    /// The sum of a metric's series with this text among their labels' values.
    fn metric(&self, name: &str, label: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no {name}"));
        let wanted = |metric: &&prometheus::proto::Metric| {
            label.is_empty() || metric.get_label().iter().any(|pair| pair.value() == label)
        };
        let value =
            |metric: &prometheus::proto::Metric| metric.get_counter().get_value() + metric.get_gauge().get_value();
        family.get_metric().iter().filter(wanted).map(value).sum()
    }

    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !so(self) {
            assert!(Instant::now() < deadline, "never: {what}; {:?}", self.ready.report());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// All lines of the segments, in order.
fn lines(dir: &Path) -> Vec<String> {
    let segments = crate::trail::segments(dir).expect("the directory");
    let text = segments.iter().map(|segment| std::fs::read_to_string(&segment.path).expect("text"));
    text.collect::<String>().lines().map(str::to_owned).collect()
}

fn session() -> SessionUse {
    let guid = Guid::from_text("279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0").expect("a Guid");
    SessionUse { agent: agent(), tag: GuidTagKey::random().tag(&guid), kind: "own" }
}

fn agent() -> AgentId {
    AgentId::try_from(4977).expect("an agent")
}

fn authorized() -> Authorized {
    let arrival = Arrival {
        at: "2026-11-22T12:00:00Z".parse().expect("a time"),
        source: Source { peer: "10.1.2.3:40000".parse().expect("an address"), forwarded: None, certificate: None },
        request_id: RequestId::from_caller("req-1").expect("an id"),
        trace: None,
    };
    let file = FileRef::RecordingEx { call_id: "1621413752-2011".parse().expect("a call"), file: None, work_no: None };
    let caller = Caller::for_test(Some(agent()), &["agent"], Inspects::default(), &[]);
    Authorized::for_test(caller, Download::for_test(agent(), file, None), arrival)
}
