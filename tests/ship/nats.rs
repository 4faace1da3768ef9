//! A real `nats-server` with JetStream for one test: on loopback, its store in a folder of its own, which outlives a kill.
//! Its process is killed when this is dropped.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt as _;
use tempfile::TempDir;

/// Below the range that the kernel gives to outgoing connections, so that nobody takes the port while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// How often it is asked whether it has started, and how long after the last time.
const TRIES: u32 = 1_000;
const BETWEEN_TRIES: Duration = Duration::from_millis(10);
/// How long ids are known again.
const WINDOW: Duration = Duration::from_mins(2);

/// The subject that tests ship to.
pub const SUBJECT: &str = "ccgate.audit";

/// A running (or killed) server.
pub struct Nats {
    dir: TempDir,
    address: SocketAddr,
    more: Vec<String>,
    options: ConnectOptions,
    child: Option<Child>,
}

/// What a stream holds: the messages in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub subject: String,
    pub id: String,
    pub origin: String,
    pub seq: Option<u64>,
    pub event: String,
    pub payload: String,
}

impl Nats {
    /// Starts one on a free port, with nothing in it.
    pub async fn start() -> Self {
        Self::with("", ConnectOptions::new()).await
    }

    /// Starts one with a configuration file; `options` are those of the test's own client.
    pub async fn with(config: &str, options: ConnectOptions) -> Self {
        let dir = TempDir::new().unwrap();
        let mut more = Vec::new();
        if !config.is_empty() {
            let file = dir.path().join("nats.conf");
            std::fs::write(&file, config).unwrap();
            more.extend(["-c".to_owned(), file.display().to_string()]);
        }
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut nats = Self { dir, address: nowhere, more, options, child: None };
        for _ in 0..20 {
            nats.address.set_port(fastrand::u16(PORTS));
            // It does not start where somebody else was quicker.
            if TcpListener::bind(nats.address).is_ok() && nats.run().await {
                return nats;
            }
        }
        panic!("no nats-server starts");
    }

    async fn run(&mut self) -> bool {
        let port = self.address.port().to_string();
        let spawned = Command::new("nats-server")
            .args(["-js", "-a", "127.0.0.1", "-p", &port, "-sd"])
            .arg(self.dir.path())
            .args(&self.more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("nats-server (Debian package of that name): {error}"));
        for _ in 0..TRIES {
            if child.try_wait().unwrap().is_some() {
                return false;
            }
            // Of a subject that no stream takes JetStream says so when it is up.
            if let Ok(client) = self.options.clone().connect(self.url("")).await
                && let Err(none) = jetstream::new(client).stream_by_subject("nobody.takes.this").await
                && none.kind() == GetStreamByNameErrorKind::NotFound
            {
                self.child = Some(child);
                return true;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    /// Its URL, with something before the address: `user:password@`.
    pub fn url(&self, user: &str) -> String {
        format!("nats://{user}{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file with its URL.
    pub fn url_file(&self, user: &str) -> PathBuf {
        let file = self.dir.path().join("url");
        std::fs::write(&file, self.url(user) + "\n").unwrap();
        file
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again on the same port, with what its store held.
    pub async fn restart(&mut self) {
        self.kill();
        assert!(self.run().await, "nats-server does not start again on {}", self.address);
    }

    /// Its JetStream.
    pub async fn jetstream(&self) -> jetstream::Context {
        jetstream::new(self.options.clone().connect(self.url("")).await.unwrap())
    }

    /// Makes the stream that records are shipped to.
    pub async fn create_stream(&self) {
        let config = stream::Config {
            name: "AUDIT".to_owned(),
            subjects: vec![SUBJECT.to_owned(), format!("{SUBJECT}.>")],
            duplicate_window: WINDOW,
            ..stream::Config::default()
        };
        self.jetstream().await.create_stream(config).await.unwrap();
    }

    /// Every message in the stream, in order.
    pub async fn messages(&self) -> Vec<Message> {
        let mut stream = self.jetstream().await.get_stream("AUDIT").await.unwrap();
        let count = stream.info().await.unwrap().state.messages;
        let config = consumer::pull::OrderedConfig::default();
        let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
        let mut found = Vec::new();
        for _ in 0..count {
            let next = tokio::time::timeout(Duration::from_secs(10), messages.next()).await;
            let message = next.expect("in time").expect("a message").unwrap();
            let header = |name: &str| {
                let header = message.headers.as_ref().and_then(|headers| headers.get(name));
                header.map(ToString::to_string).unwrap_or_default()
            };
            found.push(Message {
                subject: message.subject.to_string(),
                id: header("Nats-Msg-Id"),
                origin: header("Ccgate-Origin"),
                seq: header("Ccgate-Seq").parse().ok(),
                event: header("Ccgate-Event"),
                payload: String::from_utf8(message.payload.to_vec()).unwrap(),
            });
        }
        found
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The records among messages by (origin, seq), as whoever reads the stream takes duplicates out; and how many were.
pub fn without_duplicates(messages: &[Message]) -> (BTreeMap<(String, u64), String>, usize) {
    let (mut kept, mut twice) = (BTreeMap::new(), 0);
    for message in messages.iter().filter(|message| message.subject == SUBJECT) {
        let seq = message.seq.expect("a number");
        let json: serde_json::Value = serde_json::from_str(&message.payload).expect("a record");
        assert_eq!(json["seq"], seq, "the header says what the record says");
        assert_eq!(message.id, format!("{}/{seq}", message.origin));
        if let Some(before) = kept.insert((message.origin.clone(), seq), message.payload.clone()) {
            assert_eq!(before, message.payload);
            twice += 1;
        }
    }
    (kept, twice)
}
