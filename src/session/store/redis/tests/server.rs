//! A real server on a free loopback port, processes' stores on it, and what their watchers heard.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::ready::{Condition, Ready};

pub(super) const GUID: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
pub(super) const UPSTREAM: &str = "gateway.example:8043";
pub(super) const LEASE: Duration = Duration::from_millis(1_500);
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);
const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
pub(super) const OTHER_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

/// A `redis-server` of the system, ended with this value, by its own id.
pub(super) struct Server {
    pub(super) port: u16,
    pub(super) folder: TempDir,
    child: Child,
    args: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        let port = free_port();
        Self::start_with(port, vec!["--port".into(), port.to_string()])
    }

    pub(super) fn start_with(port: u16, args: Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let child = spawn(folder.path(), &args);
        let server = Self { port, folder, child, args };
        server.wait();
        std::fs::write(server.file("url"), format!("redis://127.0.0.1:{port}/0\n")).expect("written");
        std::fs::write(server.file("key"), KEY).expect("written");
        server
    }

    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// Starts it again, empty.
    pub(super) fn restart(&mut self) {
        self.child = spawn(self.folder.path(), &self.args);
        self.wait();
    }

    /// `STOP` or `CONT`.
    pub(super) fn signal(&self, name: &str) {
        let done = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(done.expect("kill").success());
    }

    fn wait(&self) {
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("redis-server does not listen");
    }

    pub(super) fn config(&self) -> Config {
        Config {
            url_file: self.file("url"),
            key_file: self.file("key"),
            ca_file: None,
            prefix: "test".to_owned(),
            lease: LEASE,
            timeout: TIMEOUT,
            sign_ins_per_second: 5,
        }
    }

    /// A process's store whose tenure is not renewed.
    pub(super) async fn connect(&self) -> Arc<Redis> {
        connect(&self.config()).await.expect("connected")
    }

    /// A process's store, when owners can be made.
    pub(super) async fn process(&self) -> Process {
        let process = Process::start(self.connect().await);
        self.settled(&process).await;
        process
    }

    /// Waits until the time after a start or a wipe is over.
    pub(super) async fn settled(&self, process: &Process) {
        let probe = agent(999_999);
        eventually("it settles", async || match process.store.seek(probe, 0).await {
            Ok(_) => true,
            Err(Error::Unavailable { .. }) => false,
            Err(error) => panic!("{error}"),
        })
        .await;
    }

    /// Sends a command as an operator would.
    pub(super) async fn command(&self, words: &[&str]) -> ::redis::Value {
        let client = ::redis::Client::open(("127.0.0.1", self.port)).expect("a client");
        let mut connection = client.get_multiplexed_async_connection().await.expect("connected");
        let mut command = ::redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.expect("answered")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Fails where the test has ended it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, args: &[String]) -> Child {
    Command::new("redis-server")
        .args(args)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", "--dir"])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed")
}

pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

pub(super) async fn connect(config: &Config) -> Result<Arc<Redis>, ConnectError> {
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
    Redis::connect_within(Duration::from_secs(2), config, UPSTREAM, metrics, condition()).await
}

/// What a watcher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Changed(AgentId),
    LostSight,
    Reconfirm,
    Rejected(AgentId, Version, LossCause),
}

#[derive(Default)]
struct Ear(Mutex<Vec<Told>>);

impl Ear {
    fn hear(&self, told: Told) {
        self.0.lock().expect("whole").push(told);
    }
}

impl Watcher for Ear {
    fn changed(&self, agent: AgentId) {
        self.hear(Told::Changed(agent));
    }

    fn lost_sight(&self) {
        self.hear(Told::LostSight);
    }

    fn reconfirm(&self) {
        self.hear(Told::Reconfirm);
    }

    fn rejected(&self, agent: AgentId, version: Version, cause: LossCause) {
        self.hear(Told::Rejected(agent, version, cause));
    }
}

/// A store that runs, as in a process.
pub(super) struct Process {
    pub(super) store: Arc<Redis>,
    ear: Arc<Ear>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Process {
    pub(super) fn start(store: Arc<Redis>) -> Self {
        let (ear, stop, mut tasks) = (Arc::<Ear>::default(), CancellationToken::new(), JoinSet::new());
        tasks.spawn(Arc::clone(&store).run(Arc::clone(&ear) as Arc<dyn Watcher>, stop.clone()));
        Self { store, ear, stop, tasks }
    }

    /// As `kill -9` does.
    pub(super) async fn crash(&mut self) {
        self.tasks.shutdown().await;
    }

    pub(super) async fn end(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.expect("a task").expect("no panic");
    }

    pub(super) fn told(&self) -> Vec<Told> {
        self.ear.0.lock().expect("whole").clone()
    }

    pub(super) fn forget(&self) {
        self.ear.0.lock().expect("whole").clear();
    }

    pub(super) async fn hears(&self, told: Told) {
        eventually(&format!("{told:?}"), async || self.told().contains(&told)).await;
    }

    pub(super) async fn owns(&self, number: u32) -> (u64, Option<Left>) {
        match self.store.seek(agent(number), 0).await.expect("found") {
            Found::Owned { fence, left } => (fence, left),
            found @ Found::Theirs { .. } => panic!("{found:?}"),
        }
    }

    pub(super) async fn writes(&self, number: u32) -> u64 {
        let (fence, _) = self.owns(number).await;
        self.store.write(agent(number), fence, live()).await.expect("written");
        fence
    }

    /// The owner's fence and what it wrote.
    pub(super) async fn borrows(&self, number: u32) -> (u64, Option<Left>) {
        match self.store.seek(agent(number), 0).await.expect("found") {
            Found::Theirs { fence, entry } => (fence, entry),
            found @ Found::Owned { .. } => panic!("{found:?}"),
        }
    }
}

/// Tries every 20 ms for 8 s.
pub(super) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(8);
    while !holds().await {
        assert!(Instant::now() < end, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn agent(number: u32) -> AgentId {
    AgentId::try_from(number).expect("an agent")
}

pub(super) fn live() -> Entry {
    Entry::Live(Live {
        guid: Guid::from_text(GUID).expect("a Guid"),
        rotation: 3,
        form: SignInForm::Platform,
        kind: Kind::Own,
        decides: false,
        alive_ago: Duration::ZERO,
        issued_ago: Duration::from_secs(5),
        rotates_every: None,
        poll_takes: Duration::ZERO,
    })
}

/// Whether it is the session that [`live`] tells of.
pub(super) fn is_live(left: Option<&Left>) -> bool {
    let guid = Guid::from_text(GUID).expect("a Guid");
    matches!(left, Some(Left { entry: Some(Entry::Live(live)), .. }) if live.guid.same_as(&guid) && live.rotation == 3)
}

/// A condition of readiness that nobody looks at.
pub(super) fn condition() -> Condition {
    Ready::new().register("session store")
}
