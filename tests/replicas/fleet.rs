//! Several ccgate processes before one simulated gateway, with one Redis behind them, each over a wire of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::client::{self, Answer};
use crate::redis::Redis;
use crate::wire::Wire;
use crate::world::{Builder, Process, World, metric_of, records_in, until};

/// After so long without a word of a replica the others take over.
pub const LEASE: Duration = Duration::from_secs(2);
/// A takeover is seen within the lease and this.
pub const TAKEOVER: Duration = LEASE.saturating_add(Duration::from_secs(1));

/// Replicas that share their sessions.
pub struct Fleet {
    /// The simulator, the issuer and the folder of all files; no gateway runs in it.
    pub world: World,
    pub redis: Redis,
    /// One to each replica.
    pub wires: Vec<Wire>,
    replicas: Vec<Replica>,
}

struct Replica {
    config: PathBuf,
    audit: PathBuf,
    process: Option<Process>,
    /// It got a SIGSTOP.
    paused: bool,
}

impl Fleet {
    /// Starts so many, and waits until they are ready.
    pub async fn start(world: Builder, replicas: usize) -> Self {
        let mut fleet = Self::configured(world, replicas).await;
        for replica in 0..replicas {
            fleet.run_unready(replica).await;
        }
        for replica in 0..replicas {
            fleet.until_ready(replica).await;
        }
        fleet
    }

    /// Everything but the replicas' processes.
    pub async fn configured(world: Builder, replicas: usize) -> Self {
        let (world, redis) = (world.without_gateway().await, Redis::start());
        let mut fleet = Self { world, redis, wires: Vec::new(), replicas: Vec::new() };
        secret(&fleet.world.dir().join("seal.keys"), &seal_key());
        for number in 0..replicas {
            let wire = Wire::to(fleet.redis.address()).await;
            let config = fleet.configure(&number.to_string(), wire.address(), |_| {});
            let audit = fleet.world.dir().join(format!("audit-{number}"));
            fleet.wires.push(wire);
            fleet.replicas.push(Replica { config, audit, process: None, paused: false });
        }
        fleet
    }

    /// Writes the configuration of a replica of this name with the store there.
    pub fn configure(&self, name: &str, store: SocketAddr, change: impl FnOnce(&mut Value)) -> PathBuf {
        let dir = self.world.dir();
        let text = std::fs::read_to_string(self.world.config_file()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let (audit, url) = (format!("audit-{name}"), format!("redis-{name}.url"));
        std::fs::create_dir_all(dir.join(&audit)).unwrap();
        secret(&dir.join(&url), &format!("redis://{store}/0\n"));
        config["audit"]["dir"] = audit.into();
        config["sessions"]["store"] = json!({ "redis": {
            "url_file": url, "key_file": "seal.keys", "prefix": "replicas",
            "lease": format!("{}ms", LEASE.as_millis()), "timeout": "500ms",
        } });
        change(&mut config);
        let path = dir.join(format!("ccgate-{name}.yaml"));
        std::fs::write(&path, serde_json::to_string_pretty(&config).unwrap()).unwrap();
        path
    }

    /// How many there are, running or not.
    pub fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Starts one, and waits until it is ready.
    pub async fn run(&mut self, replica: usize) {
        self.run_unready(replica).await;
        self.until_ready(replica).await;
    }

    /// Waits until one is ready: not before a store that was empty has settled.
    pub async fn until_ready(&self, replica: usize) {
        let admin = self.process(replica).admin();
        until("ready", || async { client::get(admin, "/readyz", &[]).await.status == 200 }).await;
    }

    /// Starts one, and waits until it serves, ready or not.
    pub async fn run_unready(&mut self, replica: usize) {
        let process = Process::start(&self.replicas[replica].config, &[], &[]).await;
        self.replicas[replica].process = Some(process);
    }

    /// Kills one with SIGKILL.
    pub async fn kill(&mut self, replica: usize) {
        let mut process = self.replicas[replica].process.take().expect("a process");
        process.child.kill().await.unwrap();
    }

    /// Drains one and waits for its end: whether it ended well.
    pub async fn drain(&mut self, replica: usize) -> bool {
        let mut process = self.replicas[replica].process.take().expect("a process");
        process.signal("TERM");
        let ended = tokio::time::timeout(Duration::from_mins(1), process.child.wait()).await;
        ended.expect("an end in time").unwrap().success()
    }

    /// Stops one where it is.
    pub fn pause(&mut self, replica: usize) {
        self.process(replica).signal("STOP");
        self.replicas[replica].paused = true;
    }

    /// Lets it go on.
    pub fn wake(&mut self, replica: usize) {
        self.process(replica).signal("CONT");
        self.replicas[replica].paused = false;
    }

    /// A running process.
    pub fn process(&self, replica: usize) -> &Process {
        self.replicas[replica].process.as_ref().expect("a process")
    }

    /// Its data plane, where it runs.
    pub fn server(&self, replica: usize) -> Option<SocketAddr> {
        self.replicas[replica].process.as_ref().map(Process::server)
    }

    /// GETs a target from one replica.
    pub async fn get(&self, replica: usize, target: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        client::get(self.process(replica).server(), target, &[("authorization", &bearer)]).await
    }

    /// How many agents are in this state at one replica.
    pub async fn agents(&self, replica: usize, state: &str) -> u64 {
        let name = format!("ccgate_sessions{{state=\"{state}\"}}");
        let found = metric_of(self.process(replica).admin(), &name).await;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
        found.map_or(0, |value| value as u64)
    }

    /// How a replica's calls to the store ended, as its metrics tell.
    pub async fn store_calls(&self, replica: usize) -> Vec<String> {
        let page = client::get(self.process(replica).admin(), "/metrics", &[]).await;
        let page = String::from_utf8(page.body.to_vec()).unwrap();
        let calls = page.lines().filter_map(|line| line.strip_prefix("ccgate_session_store_requests_total"));
        calls.map(str::to_owned).collect()
    }

    /// The replicas that run and answer.
    pub fn awake(&self) -> Vec<usize> {
        let awake = |replica: &Replica| replica.process.is_some() && !replica.paused;
        (0..self.len()).filter(|replica| awake(&self.replicas[*replica])).collect()
    }

    /// Those that hold a session as their own.
    pub async fn owners(&self) -> Vec<usize> {
        let mut owners = Vec::new();
        for replica in self.awake() {
            if self.agents(replica, "active").await > 0 {
                owners.push(replica);
            }
        }
        owners
    }

    /// The one that holds the only agent's session; waits for it.
    pub async fn owner(&self) -> usize {
        until("one owner", || async { self.owners().await.len() == 1 }).await;
        self.owners().await[0]
    }

    /// The audit records of an event, with the replica that wrote each.
    pub fn events(&self, event: &str) -> Vec<(usize, Value)> {
        self.events_of(event).into_iter().filter(|(_, record)| record["event"] == event).collect()
    }

    /// The audit records of all events that begin so, with the replica that wrote each.
    pub fn events_of(&self, start: &str) -> Vec<(usize, Value)> {
        let all = (0..self.len()).flat_map(|replica| {
            records_in(&self.replicas[replica].audit).into_iter().map(move |record| (replica, record))
        });
        all.filter(|(_, record)| record["event"].as_str().is_some_and(|event| event.starts_with(start))).collect()
    }

    /// Waits until a replica knows so many agents as owned by others.
    pub async fn until_borrowed(&self, replica: usize, agents: u64) {
        until("borrowed", || async { self.agents(replica, "borrowed").await == agents }).await;
    }
}

/// Starts a ccgate that is to refuse: its exit code and what it told, with `dir` as `DIR`, and how long that took.
pub async fn refused_start(config: &Path, dir: &Path) -> (Option<i32>, String, Duration) {
    let begun = tokio::time::Instant::now();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.args(["run", "--config"]).arg(config).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end in time").unwrap();
    let text = String::from_utf8(ended.stderr).unwrap();
    let told: Vec<_> = text.lines().filter(|line| !line.starts_with('{')).collect();
    (ended.status.code(), told.join("\n").replace(dir.to_str().unwrap(), "DIR"), begun.elapsed())
}

/// A fresh sealing key, as `openssl rand -base64 32` makes one.
pub fn seal_key() -> String {
    let key: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(32).collect();
    format!("{}\n", STANDARD.encode(key))
}

/// Writes a file that only its owner can read.
pub fn secret(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
