//! A real log and a witness that knows nothing of this program's proofs.

#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "metrics are small whole numbers")]

mod fake;
mod runs;
mod trouble;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Metrics, Witness, Witnessing};
use crate::audit::{self, Log};
use crate::clock::Clock;
use crate::ready::Ready;
use crate::trail::verify::{Report, Witnesses, verify_witnessed};
use crate::trail::{KEYS_FILE, WITNESSED_FILE, WitnessedLine, read_keys, witnessed_lines};
use fake::Fake;

const INTERVAL: Duration = Duration::from_millis(60);
const TIMEOUT: Duration = Duration::from_secs(2);

/// A log that is witnessed.
struct World {
    dir: Arc<TempDir>,
    config: audit::Config,
    registry: Registry,
    log: Log,
    fakes: Vec<Fake>,
    witnessing: Option<Witnessing>,
}

impl World {
    /// A log that the witnesses know.
    async fn new(fakes: &[Fake]) -> Self {
        let dir = Arc::new(TempDir::new().expect("a directory"));
        let config = audit::test_config(dir.path());
        let log = open(&config).await;
        let mut world = Self { dir, config, registry: Registry::new(), log, fakes: fakes.to_vec(), witnessing: None };
        world.fakes.iter().for_each(|fake| fake.know(&world.key()));
        world.witness();
        world
    }

    /// The log's own verifier key.
    fn key(&self) -> String {
        read_keys(&self.path(KEYS_FILE)).expect("keys").first().expect("a key").to_string()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Asks the witnesses, again where that was ended.
    fn witness(&mut self) {
        let witness = |fake: &Fake| Witness {
            url: fake.url.parse().expect("a URL"),
            key: fake.key().parse().expect("a key"),
            ca_file: None,
            interval: INTERVAL,
            timeout: fake.timeout,
        };
        let witnesses = self.fakes.iter().map(witness).collect();
        self.registry = Registry::new();
        let metrics = Metrics::register(&self.registry).expect("metrics");
        let dir = self.dir.path().to_path_buf();
        let started = Witnessing::start(dir, witnesses, &self.log, &Clock::system(), metrics);
        self.witnessing = Some(started.expect("it starts"));
    }

    /// The process ends in order.
    async fn stop(&mut self) {
        self.log.shut_down(Duration::from_secs(5)).await;
        if let Some(witnessing) = self.witnessing.take() {
            witnessing.stop().await;
        }
    }

    /// Another process over the same directory, after `change` there. Without an order before, the last one was killed.
    async fn restart(self, change: impl FnOnce(&Path)) -> Self {
        let Self { dir, config, log, fakes, witnessing, .. } = self;
        drop((log, witnessing));
        // Until the last process is gone.
        drop(open(&config).await);
        change(dir.path());
        let log = open(&config).await;
        let mut world = Self { dir, config, registry: Registry::new(), log, fakes, witnessing: None };
        world.witness();
        world
    }

    /// Writes records and waits until they are signed.
    async fn write(&self, count: u64) {
        let durable = self.log.progress().borrow().durable;
        for _ in 0..count {
            self.log.note(audit::Event::Started { version: "0.0.0", config_hash: "ab".repeat(32) });
        }
        let mut progress = self.log.progress();
        let signed = progress.wait_for(|progress| {
            let size = progress.checkpoint.as_ref().map_or(0, |signed| signed.size);
            progress.durable >= durable + count && size >= durable + count
        });
        tokio::time::timeout(Duration::from_secs(10), signed).await.expect("in time").expect("a log");
    }

    fn size(&self) -> u64 {
        self.log.progress().borrow().checkpoint.as_ref().map_or(0, |signed| signed.size)
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap_or_else(|| panic!("no {name}"));
        family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum()
    }

    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !so(self) {
            assert!(Instant::now() < deadline, "never: {what}; {:?}", self.fakes[0].requests());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Until all that is signed is witnessed by all.
    async fn witnessed(&self) {
        self.until("all is witnessed", |world| {
            world.metric("ccgate_audit_witnessed_size") == world.size() as f64
                && world.metric("ccgate_audit_witness_up") == 1.0
        })
        .await;
    }

    fn lines(&self) -> Vec<WitnessedLine> {
        let lines = witnessed_lines(&self.path(WITNESSED_FILE)).expect("lines");
        lines.filter_map(|line| line.expect("a line").1).collect()
    }

    /// As `ccgate audit verify --witness` does.
    fn verify(&self) -> Report {
        let keys = read_keys(&self.path(KEYS_FILE)).expect("keys");
        let witnesses = self.fakes.iter().map(|fake| fake.key().parse().expect("a key")).collect();
        let witnesses = Witnesses { keys: witnesses, files: Vec::new() };
        verify_witnessed(self.dir.path(), &keys, &witnesses, &mut |_, _| {}).expect("a log")
    }
}

/// Opens the log as soon as nobody else has it.
async fn open(config: &audit::Config) -> Log {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let metrics = audit::Metrics::register(&Registry::new()).expect("metrics");
        match Log::start(config, Clock::system(), Ready::new().register("audit"), metrics) {
            Ok(log) => return log,
            Err(audit::StartError::Locked { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// What somebody does who has the key and wants another past: takes away the log, and what it said of it.
fn forget(dir: &Path, but: &[&str]) {
    for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let name = entry.file_name().into_string().expect("text");
        if but.contains(&name.as_str()) || name == KEYS_FILE || name == "audit.lock" {
            continue;
        }
        if entry.path().is_dir() {
            std::fs::remove_dir_all(entry.path()).expect("removed");
        } else {
            std::fs::remove_file(entry.path()).expect("removed");
        }
    }
}
