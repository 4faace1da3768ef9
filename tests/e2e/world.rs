//! The world of a test: a simulated CC-Gateway, an issuer, and ccgate between them. One line a fact:
//!
//! ```text
//! let world = World::new().agents([1001]).sim(|sim| sim.ranges = true).config(|c| c["audit"]["digest"] = "none".into()).start().await;
//! ```
//!
//! ccgate runs in the test's own process, or ([`Builder::start_process`]) as the real binary where memory, signals or a
//! kill -9 matter. A world cleans up after itself; a process that it started is killed when it is dropped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ccgate::app::{App, Ended, Signals};
use ccgate::clock::Clock;
use ccgate::sim::{self, Simulator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{self, Answer, Open};
use crate::issuer::{AUDIENCE, ISSUER, Issuer};

/// The password of every simulated agent.
pub const PASSWORD: &str = "Planted-Passw0rd";
/// The call that tests download when it does not matter which.
pub const CALL: &str = "1621413752-2011";

/// What a world is made of.
pub struct Builder {
    dir: TempDir,
    sim: sim::Config,
    config: Value,
    issuer: Issuer,
    env: Vec<(String, String)>,
}

/// A running world.
pub struct World {
    pub sim: Simulator,
    pub issuer: Issuer,
    dir: TempDir,
    config_file: PathBuf,
    env: Vec<(String, String)>,
    gateway: Option<Gateway>,
}

enum Gateway {
    Here { server: SocketAddr, admin: SocketAddr, signals: Signals, run: JoinHandle<Ended> },
    Process(Process),
}

/// The real binary, running.
pub struct Process {
    pub child: Child,
    server: SocketAddr,
    admin: SocketAddr,
    log: Arc<Mutex<String>>,
    _reader: JoinSet<()>,
}

impl World {
    /// A simulator that knows every agent, and accounts for 1001 and 1002.
    #[allow(clippy::new_ret_no_self, reason = "a test says what world it wants before it has one")]
    pub fn new() -> Builder {
        let dir = TempDir::new().unwrap();
        for folder in ["accounts", "audit"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("audit.key"), signing_key()).unwrap();
        let config = json!({
            "version": 1,
            "server": { "listen": "127.0.0.1:0", "drain": { "delay": "0s", "timeout": "10s" } },
            "admin": { "listen": "127.0.0.1:0" },
            "upstream": { "url": "https://127.0.0.1:1", "ca_file": "upstream-ca.pem" },
            "auth": { "issuers": [{
                "issuer": ISSUER, "audiences": [AUDIENCE], "algorithms": ["ES256"], "jwks_file": "jwks.json",
            }] },
            "sessions": { "accounts_dir": "accounts" },
            "audit": { "dir": "audit", "signing_key_file": "audit.key" },
            "log": { "level": "trace" },
        });
        let sim = sim::Config {
            agents: sim::AgentSource::Any { password: PASSWORD.to_owned() },
            ranges: true,
            ..sim::Config::default()
        };
        let world = Builder { dir, sim, config, issuer: Issuer::new("k1"), env: Vec::new() };
        world.agents([1001, 1002])
    }
}

/// Whether a file of an audit log holds records.
pub fn is_segment(name: &str) -> bool {
    ccgate::trail::first_seq(name).is_some()
}

/// A new key for an audit log, as `openssl genpkey -algorithm ed25519` makes one.
pub fn signing_key() -> String {
    rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()
}

impl Builder {
    /// Writes account files for these agents.
    pub fn agents(self, agents: impl IntoIterator<Item = u32>) -> Self {
        for agent in agents {
            let file = self.dir.path().join(format!("accounts/{agent}.yaml"));
            std::fs::write(file, format!("password: {PASSWORD}\n")).unwrap();
        }
        self
    }

    /// Changes the simulator.
    pub fn sim(mut self, change: impl FnOnce(&mut sim::Config)) -> Self {
        change(&mut self.sim);
        self
    }

    /// Changes the configuration; YAML is a superset of JSON.
    pub fn config(mut self, change: impl FnOnce(&mut Value)) -> Self {
        change(&mut self.config);
        self
    }

    /// Writes a file beside the configuration.
    pub fn file(self, name: &str, text: &str) -> Self {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Trusts this issuer instead of one with a fresh key.
    pub fn issuer(mut self, issuer: Issuer) -> Self {
        self.issuer = issuer;
        self
    }

    /// Sets a variable of the process's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the simulator and writes the configuration, but no ccgate yet.
    pub async fn without_gateway(mut self) -> World {
        let sim = Simulator::start(self.sim).await.unwrap();
        let path = self.dir.path();
        std::fs::write(path.join("upstream-ca.pem"), sim.ca_pem()).unwrap();
        std::fs::write(path.join("jwks.json"), self.issuer.jwks().to_string()).unwrap();
        if self.config["upstream"]["url"] == "https://127.0.0.1:1" {
            self.config["upstream"]["url"] = sim.url().into();
        }
        let config_file = path.join("ccgate.yaml");
        std::fs::write(&config_file, serde_json::to_string_pretty(&self.config).unwrap()).unwrap();
        World { sim, issuer: self.issuer, dir: self.dir, config_file, env: self.env, gateway: None }
    }

    /// Starts everything, ccgate in this process, and waits until it is ready.
    pub async fn start(self) -> World {
        let mut world = self.without_gateway().await;
        world.run_here().await;
        world.until_ready().await;
        world
    }

    /// Starts everything, ccgate as the real binary, and waits until it is ready.
    pub async fn start_process(self) -> World {
        let mut world = self.without_gateway().await;
        world.run_process().await;
        world.until_ready().await;
        world
    }
}

impl World {
    /// Runs ccgate in this process.
    pub async fn run_here(&mut self) {
        let loaded = ccgate::config::load(&self.config_file, &ccgate::config::Overrides::default()).unwrap();
        let app = App::start(&loaded, Clock::system()).await.unwrap();
        let addresses = app.addresses();
        let signals = Signals::default();
        #[allow(clippy::disallowed_methods, reason = "the world owns it")]
        let run = tokio::spawn(app.run(signals.clone()));
        self.gateway = Some(Gateway::Here { server: addresses.server, admin: addresses.admin, signals, run });
    }

    /// Runs ccgate as the real binary.
    pub async fn run_process(&mut self) {
        self.run_process_under(&[]).await;
    }

    /// Runs ccgate as the real binary, started by another command that takes its place (`sh -c '... exec "$0" "$@"'`).
    pub async fn run_process_under(&mut self, wrapper: &[&str]) {
        let process = Process::start(&self.config_file, &self.env, wrapper).await;
        self.gateway = Some(Gateway::Process(process));
    }

    /// Starts a ccgate that is to refuse: its exit code, and what it told, with this world's folder as `DIR`.
    pub async fn refused_start(&self) -> (Option<i32>, String) {
        let mut command = Process::command(&self.config_file, &self.env, &[]);
        let ended =
            tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end in time").unwrap();
        let text = String::from_utf8(ended.stderr).unwrap();
        let told: Vec<_> = text.lines().filter(|line| !line.starts_with('{')).collect();
        (ended.status.code(), told.join("\n").replace(self.dir.path().to_str().unwrap(), "DIR"))
    }

    /// Starts a process and kills it after a while, wherever its start has come to by then.
    pub async fn start_and_kill(&self, after: Duration) {
        let mut child = Process::command(&self.config_file, &self.env, &[]).stderr(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(after).await;
        child.kill().await.unwrap();
    }

    /// Starts a process that does not come to serve by itself.
    pub fn starting(&self) -> Child {
        Process::command(&self.config_file, &self.env, &[]).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) {
        self.process().child.kill().await.unwrap();
        self.gateway = None;
    }

    /// Sends the process a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        match self.gateway.as_ref().expect("a gateway") {
            Gateway::Process(process) => process.signal(name),
            Gateway::Here { .. } => panic!("ccgate runs in the test's process"),
        }
    }

    /// Waits for the process's end: its exit code.
    pub async fn exited(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(Duration::from_mins(1), self.process().child.wait()).await;
        self.gateway = None;
        ended.expect("an end in time").unwrap().code()
    }

    /// Waits until `/readyz` says yes.
    pub async fn until_ready(&self) {
        until("ready", || async { client::get(self.admin(), "/readyz", &[]).await.status == 200 }).await;
    }

    /// Drains and waits for the end: whether it ended well.
    pub async fn shut_down(&mut self) -> bool {
        match self.gateway.take().expect("a gateway") {
            Gateway::Here { signals, run, .. } => {
                signals.drain.cancel();
                run.await.unwrap().every_entry_closed
            }
            Gateway::Process(mut process) => {
                process.signal("TERM");
                process.child.wait().await.unwrap().success()
            }
        }
    }

    /// The process, where ccgate is one.
    pub fn process(&mut self) -> &mut Process {
        match self.gateway.as_mut().expect("a gateway") {
            Gateway::Process(process) => process,
            Gateway::Here { .. } => panic!("ccgate runs in the test's process"),
        }
    }

    /// The data plane.
    pub fn server(&self) -> SocketAddr {
        match self.gateway.as_ref().expect("a gateway") {
            Gateway::Here { server, .. } => *server,
            Gateway::Process(process) => process.server(),
        }
    }

    /// The admin plane.
    pub fn admin(&self) -> SocketAddr {
        match self.gateway.as_ref().expect("a gateway") {
            Gateway::Here { admin, .. } => *admin,
            Gateway::Process(process) => process.admin(),
        }
    }

    /// The folder of all files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration.
    pub fn config_file(&self) -> &Path {
        &self.config_file
    }

    /// GETs a target with a token.
    pub async fn get(&self, target: &str, token: &str) -> Answer {
        self.get_with(target, token, &[]).await
    }

    /// GETs a target with a token and more headers.
    pub async fn get_with(&self, target: &str, token: &str, headers: &[(&str, &str)]) -> Answer {
        client::whole(self.open(target, token, headers).await).await
    }

    /// GETs a target and leaves the body to the test.
    pub async fn open(&self, target: &str, token: &str, headers: &[(&str, &str)]) -> Open {
        let bearer = format!("Bearer {token}");
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend_from_slice(headers);
        client::open(self.server(), target, &all).await
    }

    /// Asks for a fault in the next `times` calls of a kind.
    pub fn fault(&self, what: sim::Kind, calls: sim::Scope, times: u32) {
        self.sim.fault(sim::Fault { what, calls, agent: None, times });
    }

    /// Polls are not answered from now on, so that no keep-alive sees a loss before a request does.
    pub fn hold_polls(&self) {
        self.fault(sim::Kind::HangBeforeHead, sim::Scope::Poll, u32::MAX);
    }

    /// How many downloads have reached the simulator, refused ones included.
    pub fn asked(&self) -> usize {
        self.sim.requests().iter().filter(|seen| seen.target.contains("file/")).count()
    }

    /// One metric's value by the start of its line, as in `ccgate_downloads_total{kind="audio",outcome="finished"}`.
    pub async fn metric(&self, start: &str) -> Option<f64> {
        metric_of(self.admin(), start).await
    }

    /// All audit records that are whole lines by now, in the order of the log.
    pub fn records(&self) -> Vec<Value> {
        records_in(&self.dir.path().join("audit"))
    }

    /// The records of one event.
    pub fn events(&self, event: &str) -> Vec<Value> {
        self.records().into_iter().filter(|record| record["event"] == event).collect()
    }

    /// The end of an entry, by the `Ccgate-Audit-Id` of its answer; waits until it is written.
    pub async fn end_of(&self, entry: &str) -> Value {
        let find = || {
            let ends = ["finished", "aborted", "failed", "unknown"];
            self.records()
                .into_iter()
                .find(|record| record["entry"] == entry && ends.iter().any(|end| record["event"] == *end))
        };
        until("the entry's end", || async { find().is_some() }).await;
        find().unwrap()
    }
}

impl Process {
    fn command(config: &Path, env: &[(String, String)], wrapper: &[&str]) -> Command {
        // Another build of the same program, where one is named: with counters in it, or as it is shipped.
        let other = std::env::var("PROCESS_UNDER_TEST").ok();
        let binary = other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_ccgate"));
        let words: Vec<_> = wrapper.iter().copied().chain([binary, "run", "--config"]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg(config).stderr(Stdio::piped()).stdin(Stdio::null()).kill_on_drop(true);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts one with this configuration and waits until it serves.
    pub async fn start(config: &Path, env: &[(String, String)], wrapper: &[&str]) -> Self {
        let mut child = Self::command(config, env, wrapper).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let serving = loop {
            let line = lines.next_line().await.unwrap().unwrap_or_else(|| panic!("no start: {}", log.lock().unwrap()));
            log.lock().unwrap().extend([line.as_str(), "\n"]);
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["message"] == "serving" {
                break line;
            }
        };
        let address = |name: &str| serving[name].as_str().unwrap().parse().unwrap();
        let (server, admin, kept) = (address("server"), address("admin"), Arc::clone(&log));
        let mut reader = JoinSet::new();
        reader.spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                kept.lock().unwrap().extend([line.as_str(), "\n"]);
            }
        });
        Self { child, server, admin, log, _reader: reader }
    }

    /// The data plane.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// The admin plane.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The same, as it grows.
    pub fn log_handle(&self) -> Arc<Mutex<String>> {
        Arc::clone(&self.log)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("running")
    }

    /// Sends a signal, by the name that `kill` knows.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap();
        assert!(sent.success());
    }
}

/// One metric of a process by the start of its line.
pub async fn metric_of(admin: SocketAddr, start: &str) -> Option<f64> {
    let page = client::get(admin, "/metrics", &[]).await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(start)?.strip_prefix(' ').map(str::to_owned));
    line.map(|value| value.parse().unwrap())
}

/// All records of an audit folder that are whole lines by now, in the order of the log.
pub fn records_in(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(is_segment));
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Waits until a condition holds, at most 20 s.
pub async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// SHA-256 in hex.
pub fn hex_sha256(bytes: &[u8]) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The target of an audio download by call id.
pub fn call(agent: u32, call_id: &str) -> String {
    format!("/agentgateway/resource/recordfile/{agent}/recordfiledownloadEx?callId={call_id}")
}

/// The target of a download from the mounted file server.
pub fn recording(agent: u32, path: &str) -> String {
    format!("/agentgateway/resource/recordfile/{agent}?recordId={path}")
}
