//! One of the two processes: its files, its lives one after the other, and what everybody may know of it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::authority::Authority;
use crate::client;
use crate::program_log::LogCounts;
use crate::world::{Process, World, signing_key};

/// How long a start or a stop may take, on a machine with other work.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often `/readyz` is asked.
const WATCHED: Duration = Duration::from_millis(100);

/// A process that runs.
#[derive(Debug, Clone, Copy)]
pub struct Live {
    pub server: SocketAddr,
    pub admin: SocketAddr,
    pub pid: u32,
    /// From 0 on.
    pub life: u32,
    pub since: Instant,
    /// A SIGTERM was sent.
    pub is_leaving: bool,
}

pub struct Gate {
    pub number: usize,
    pub folder: PathBuf,
    live: Mutex<Option<Live>>,
    ready: AtomicBool,
    /// What the policy says to the agent that it is closed to at times, and how often that has begun to change.
    closed: Mutex<(u64, Option<bool>)>,
    /// Held by whoever changes the files or ends the process.
    pub inside: tokio::sync::Mutex<Inside>,
}

/// What belongs to whoever changes something.
pub struct Inside {
    process: Option<Process>,
    pub files: Files,
    /// `ccgate_config_generation` as it must be.
    pub generation: u32,
    /// Configurations that were taken up, and refused, over all lives.
    pub taken_up: u32,
    pub refused: u32,
    /// Exit codes.
    pub exits: Vec<Option<i32>>,
    pub log: LogCounts,
}

/// The configuration's files as they should be.
pub struct Files {
    pub config: Value,
    pub is_closed: bool,
    /// Certificate and key, in PEM.
    pub certificate: (String, String),
    pub authority: Arc<Authority>,
    /// How often the certificates' folder was swapped.
    swaps: u32,
}

impl Gate {
    /// Writes the files. What both share is named by its whole path.
    pub fn prepare(number: usize, world: &World, redis: SocketAddr, authority: Arc<Authority>) -> Self {
        let (shared, folder) = (world.dir(), world.dir().join(format!("gate-{number}")));
        for name in ["audit", "policy", "tls"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let mut config: Value = serde_json::from_str(&fs::read_to_string(world.config_file()).unwrap()).unwrap();
        fs::write(folder.join("audit.key"), signing_key()).unwrap();
        fs::copy(shared.join("jwks.json"), folder.join("jwks.json")).unwrap();
        fs::write(folder.join("redis-url"), format!("redis://{redis}/0\n")).unwrap();
        fs::write(shared.join("redis-keys"), format!("{}=\n", "A".repeat(43))).unwrap();
        for (name, text) in [
            ("own.cedar", include_str!("../../config/policy/own.cedar")),
            ("inspect.cedar", include_str!("../../config/policy/inspect.cedar")),
            ("closed.cedar", Files::closed_text(false)),
        ] {
            fs::write(folder.join("policy").join(name), text).unwrap();
        }
        let path = |name: &str| Value::from(shared.join(name).to_str().unwrap());
        config["upstream"]["ca_file"] = path("upstream-ca.pem");
        config["sessions"]["accounts_dir"] = path("accounts");
        config["sessions"]["store"] = json!({ "redis": {
            "url_file": "redis-url", "key_file": path("redis-keys"), "prefix": "soak", "lease": "5s", "timeout": "1s",
        } });
        let certificate = authority.issue();
        let mut files = Files { config, is_closed: false, certificate, authority, swaps: 0 };
        files.write_config(&folder);
        let pair = files.certificate.clone();
        files.swap_certificate(&folder, &pair);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(format!("..data/{name}"), folder.join("tls").join(name)).unwrap();
        }
        let inside = Inside {
            process: None,
            files,
            generation: 0,
            taken_up: 0,
            refused: 0,
            exits: Vec::new(),
            log: LogCounts::default(),
        };
        Self {
            number,
            folder,
            live: Mutex::new(None),
            ready: AtomicBool::new(false),
            closed: Mutex::new((0, Some(false))),
            inside: tokio::sync::Mutex::new(inside),
        }
    }

    /// Starts a process, and waits until the load may come.
    pub async fn start(&self, inside: &mut Inside) {
        let process = Process::start(&self.folder.join("ccgate.yaml"), &[], &[]).await;
        let life = u32::try_from(inside.exits.len()).unwrap();
        let (server, admin, pid) = (process.server(), process.admin(), process.pid());
        inside.process = Some(process);
        inside.generation = 1;
        let live = Live { server, admin, pid, life, since: Instant::now(), is_leaving: false };
        *self.live.lock().unwrap() = Some(live);
        self.within("ready", async || self.is_ready()).await;
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn stop(&self, inside: &mut Inside) {
        let mut process = inside.process.take().expect("a process");
        self.live.lock().unwrap().as_mut().expect("a process").is_leaving = true;
        process.signal("TERM");
        let ended = tokio::time::timeout(PATIENCE, process.child.wait()).await;
        *self.live.lock().unwrap() = None;
        inside.exits.push(ended.expect("an end in time").unwrap().code());
        // What it wrote last may still be on its way through the pipe.
        let mut length = 0;
        self.within("the whole log", async || {
            let read = process.log().len();
            tokio::time::sleep(WATCHED * 2).await;
            std::mem::replace(&mut length, read) == read
        })
        .await;
        inside.log.add(&process.log());
    }

    /// The process that runs.
    pub fn live(&self) -> Option<Live> {
        *self.live.lock().unwrap()
    }

    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Asks `/readyz` again and again, as a load balancer does.
    pub async fn watch(self: Arc<Self>) {
        loop {
            let ready = match self.live() {
                None => false,
                Some(live) => {
                    client::try_request(live.admin, "GET", "/readyz", &[]).await.is_ok_and(|got| got.status == 200)
                }
            };
            self.ready.store(ready, Ordering::Relaxed);
            tokio::time::sleep(WATCHED).await;
        }
    }

    /// A mark to ask with afterwards what the policy said all the time.
    pub fn policy_mark(&self) -> u64 {
        self.closed.lock().unwrap().0
    }

    /// Whether the policy was closed since the mark; `None`: it may have changed.
    pub fn was_closed(&self, mark: u64) -> Option<bool> {
        let (now, closed) = *self.closed.lock().unwrap();
        closed.filter(|_| now == mark)
    }

    /// The policy is about to change (`None`), or has. A request that began before either does not count.
    pub fn policy_changes(&self, to: Option<bool>) {
        let mut closed = self.closed.lock().unwrap();
        *closed = (closed.0 + 1, to);
    }

    /// One metric of the running process.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        crate::world::metric_of(self.live()?.admin, name).await
    }

    /// Waits for something, and says which process it was about where it does not come.
    pub async fn within(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let wait = async {
            while !condition().await {
                tokio::time::sleep(WATCHED).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "gate {}: not in time: {what}", self.number);
    }

    pub fn audit(&self) -> PathBuf {
        self.folder.join("audit")
    }
}

impl Inside {
    /// Sends the process a signal.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("a process").signal(name);
    }
}

impl Files {
    /// The rule that closes the recordings to one agent, or none.
    pub const fn closed_text(closed: bool) -> &'static str {
        if closed {
            "@id(\"closed\")\n@reason(\"closed_today\")\nforbid (principal, action == Action::\"download\", resource)\n\
             when { principal has agent && principal.agent == Agent::\"1041\" };\n"
        } else {
            "// Open.\n"
        }
    }

    pub fn write_config(&self, folder: &Path) {
        put(&folder.join("ccgate.yaml"), &serde_json::to_string_pretty(&self.config).unwrap());
    }

    /// Certificate and key at once, by one rename, as Kubernetes does it.
    pub fn swap_certificate(&mut self, folder: &Path, (certificate, key): &(String, String)) {
        let tls = folder.join("tls");
        self.swaps += 1;
        let name = format!("..{}", self.swaps);
        fs::create_dir(tls.join(&name)).unwrap();
        fs::write(tls.join(&name).join("tls.crt"), certificate).unwrap();
        fs::write(tls.join(&name).join("tls.key"), key).unwrap();
        std::os::unix::fs::symlink(&name, tls.join("..next")).unwrap();
        fs::rename(tls.join("..next"), tls.join("..data")).unwrap();
    }
}

/// Puts another file in a file's place, whole.
pub fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}
