//! The world of the log's tests, and the plain way through it.

mod bounds;
mod crash;
mod faults;
mod mounted;
mod orders;
mod pseudonyms;
mod records;
mod replay;
mod signed;
mod storm;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::faulty::{Faulty, Plan};
use super::{
    Class, Config, Delivery, Digest, End, Ended, Error, Log, Metrics, OpenEntry, Outcome, SessionUse, StartError,
    UpstreamAnswer, Why,
};
use crate::authn::{Caller, Inspects};
use crate::budget::Budgeted;
use crate::cc::{AgentId, FileRef, Guid, GuidTagKey, Retcode};
use crate::clock::Clock;
use crate::policy::Authorized;
use crate::ready::Ready;
use crate::route::{Arrival, ClientCertificate, Download, RequestId, Source, TraceParent};
use crate::trail::{first_seq, segment_name};

/// A log in a directory of its own, with what can be seen of it from outside.
struct World {
    dir: Arc<TempDir>,
    config: Config,
    registry: Registry,
    ready: Ready,
    log: Log,
    plan: Arc<Plan>,
}

impl World {
    fn new() -> Self {
        Self::with(Plan::never(), |_| {})
    }

    fn with(plan: Arc<Plan>, change: impl FnOnce(&mut Config)) -> Self {
        let dir = Arc::new(TempDir::new().expect("a directory"));
        let mut config = config(dir.path());
        change(&mut config);
        Self::start(dir, config, plan).expect("it starts")
    }

    fn start(dir: Arc<TempDir>, config: Config, plan: Arc<Plan>) -> Result<Self, StartError> {
        let (registry, ready) = (Registry::new(), Ready::new());
        let metrics = Metrics::register(&registry).expect("metrics");
        let storage = Faulty::open(&config.dir, Arc::clone(&plan))?;
        let log = Log::start_with(storage, &config, Clock::system(), ready.register("audit"), metrics)?;
        Ok(Self { dir, config, registry, ready, log, plan })
    }

    /// The process dies: nothing is closed in order, and the next one starts in the same directory.
    async fn killed_and_started_again(self) -> Self {
        let Self { dir, config, log, .. } = self;
        drop(log);
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            // The old writer thread gives the lock back a moment after its last handle is gone.
            match Self::start(Arc::clone(&dir), config.clone(), Plan::never()) {
                Err(StartError::Locked { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                world => return world.expect("it starts again"),
            }
        }
    }

    async fn open(&self) -> Result<OpenEntry, Error> {
        self.log.open(budgeted("req-1"), session()).await
    }

    async fn stop(&self) -> Ended {
        self.log.shut_down(Duration::from_secs(5)).await
    }

    fn lines(&self) -> Vec<Value> {
        lines(self.dir.path())
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).expect("a metric of that name");
        family.get_metric().iter().map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
    }

    /// Waits until something is so, which it must be soon.
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !so(self) {
            assert!(Instant::now() < deadline, "never: {what}; {:?}; {:#?}", self.ready.report(), self.lines());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

use super::test_config as config;

/// What a start finds in a directory.
fn found(dir: &Path) -> Result<super::recover::Recovered, StartError> {
    begun(dir);
    super::recover::recover(dir, &super::keys::Keys::read(&config(dir))?, false)
}

/// Signs the directory before its first record, as the start of an empty log does.
fn begun(dir: &Path) {
    let keys = super::keys::Keys::read(&config(dir)).expect("keys");
    let (origin, root) = (keys.signer.verifier().name().to_owned(), crate::tlog::Hash::empty_root());
    let note = crate::tlog::Checkpoint { origin, size: 0, root }.sign(&keys.signer);
    std::fs::write(dir.join(crate::trail::CHECKPOINT_FILE), note.to_string()).expect("written");
}

/// What is not as it was signed, of all records.
fn losses(dir: &Path) -> super::recover::Losses {
    let keys = super::keys::Keys::read(&config(dir)).expect("keys");
    super::recover::recover(dir, &keys, true).expect("it is read").losses
}

fn new_key() -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, super::new_key_pem().as_bytes()).expect("written");
    file
}

fn agent(number: u32) -> AgentId {
    AgentId::try_from(number).expect("an agent")
}

fn session() -> SessionUse {
    let guid = Guid::from_text("279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0").expect("a Guid");
    SessionUse { agent: agent(4977), tag: GuidTagKey::random().tag(&guid), kind: "own" }
}

fn arrival(request_id: &str) -> Arrival {
    Arrival {
        at: "2026-11-22T12:00:00Z".parse().expect("a time"),
        source: Source { peer: "10.1.2.3:40000".parse().expect("an address"), forwarded: None, certificate: None },
        request_id: RequestId::from_caller(request_id).expect("an id"),
        trace: TraceParent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    }
}

fn download() -> Download {
    let file = FileRef::RecordingEx {
        call_id: "1621413752-2011".parse().expect("a call id"),
        file: Some("Y:/90/0/20210519/4977/1642329.mp4".parse().expect("a path")),
        work_no: None,
    };
    Download::for_test(agent(4977), file, Some("Beschwerde 4711".parse().expect("a purpose")))
}

fn caller() -> Caller {
    Caller::for_test(Some(agent(4977)), &["agent"], Inspects::default(), &[])
}

fn authorized(request_id: &str) -> Authorized {
    Authorized::for_test(caller(), download(), arrival(request_id))
}

fn budgeted(request_id: &str) -> Budgeted {
    Budgeted::for_test(authorized(request_id))
}

fn finished() -> End {
    let answer = UpstreamAnswer { status: 200, retcode: Retcode::parse("0"), message: String::new() };
    let delivery = Delivery {
        class: Class::Media,
        upstream_bytes: 1_642_329,
        client_bytes: 1_642_329,
        complete: true,
        digest: Some((Digest::Sha256, [0xab; 32])),
        first_byte: Some(Duration::from_millis(12)),
        ..Delivery::nothing(Duration::from_millis(345))
    };
    End { outcome: Outcome::Finished, upstream: Some(answer), delivery }
}

/// All records in the order of the files, as objects.
fn lines(dir: &Path) -> Vec<Value> {
    let text = segments(dir).into_values().collect::<String>();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The segments' texts by their first sequence number.
fn segments(dir: &Path) -> BTreeMap<u64, String> {
    let files = std::fs::read_dir(dir).expect("the directory").map(|entry| entry.expect("an entry"));
    let texts = files.filter_map(|file| {
        let first = first_seq(file.file_name().to_str()?)?;
        match std::fs::read_to_string(file.path()) {
            // A try to mend that failed takes its segment back.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            text => Some((first, text.expect("text"))),
        }
    });
    texts.collect()
}

fn events(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["event"].as_str().expect("an event")).collect()
}

/// What must hold of every log that a start has recovered: numbers go up, holes are explained, one end an entry.
fn check(lines: &[Value]) {
    let mut entries: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut last = 0;
    for line in lines {
        let seq = line["seq"].as_u64().expect("a number");
        let explained = line["event"] == "audit.gap" && line["void"]["first"].as_u64().is_some_and(|at| at <= last + 1)
            || line["missing"]["first"].as_u64().is_some_and(|at| at <= last + 1);
        assert!(seq == last + 1 || (seq > last && explained), "{seq} after {last}: {lines:#?}");
        last = seq;
        assert_eq!(line["v"], 1);
        assert_eq!(line["salt"].as_str().map(str::len), Some(32));
        if let Some(entry) = line["entry"].as_str() {
            let seen = entries.entry(entry).or_default();
            match line["event"].as_str() {
                Some("authorized") => seen.0 += 1,
                _ => seen.1 += 1,
            }
        }
    }
    for (entry, seen) in entries {
        assert_eq!(seen, (1, 1), "entry {entry}: {lines:#?}");
    }
}

#[tokio::test]
async fn an_entry_is_authorized_then_ended_and_the_stop_says_that_none_is_open() {
    let world = World::new();
    let entry = world.open().await.expect("an entry");
    // Durable before `open` returned: it can be read now.
    assert_eq!(events(&world.lines()), ["audit.opened", "authorized"]);
    assert_eq!(world.lines()[1]["entry"], entry.id().to_string());
    entry.close(finished());
    assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true });
    let lines = world.lines();
    assert_eq!(events(&lines), ["audit.opened", "authorized", "finished", "stopped"]);
    check(&lines);
    assert!((world.metric("ccgate_audit_records_total") - 4.0).abs() < 0.1);
    assert!(world.metric("ccgate_audit_open_entries").abs() < 0.1);
}

#[tokio::test]
async fn the_real_disk_is_locked_readable_for_the_group_only_and_given_back() {
    use std::os::unix::fs::PermissionsExt;
    let dir = TempDir::new().expect("a directory");
    let start = || {
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        Log::start(&config(dir.path()), Clock::system(), Ready::new().register("audit"), metrics)
    };
    for _ in 0..2 {
        let log = start().expect("it starts");
        assert!(matches!(start(), Err(StartError::Locked { .. })));
        let mut entry = log.open(budgeted("req-1"), session()).await.expect("an entry");
        assert_eq!((entry.agent(), entry.download()), (agent(4977), &download()));
        entry.asking(tokio_util::sync::CancellationToken::new());
        drop(entry);
        assert!(log.shut_down(Duration::from_secs(5)).await.complete);
        assert!(!log.is_writable());
        assert!(!log.shut_down(Duration::from_secs(5)).await.complete, "a second time there is nothing to end");
    }
    check(&lines(dir.path()));
    assert_eq!(events(&lines(dir.path()))[1..4], ["authorized", "aborted", "stopped"]);
    let mode = std::fs::metadata(dir.path().join(segment_name(1))).expect("a segment").permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_openers_share_a_sync_and_the_numbers_have_no_hole() {
    let world = Arc::new(World::with(Plan::never(), |config| {
        config.segment_bytes_max = 64 << 10;
        // On a busy machine they wait for one another.
        config.write_timeout = Duration::from_secs(30);
    }));
    let mut openers = tokio::task::JoinSet::new();
    for number in 0..512 {
        let log = world.log.clone();
        openers.spawn(async move {
            let entry = log.open(budgeted(&format!("req-{number}")), session()).await.expect("an entry");
            entry.close(finished());
        });
    }
    while let Some(done) = openers.join_next().await {
        done.expect("no panic");
    }
    assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true });
    check(&world.lines());
    assert_eq!(world.lines().len(), 1 + 2 * 512 + 1);
    let syncs = world.plan.syncs.load(std::sync::atomic::Ordering::SeqCst);
    assert!(syncs < 512, "{syncs} syncs for 1,024 records: there are batches");
    // One for each tile, or one for several where a batch was large.
    assert!(segments(world.dir.path()).len() > 1, "segments are rotated by size");
}

#[tokio::test]
async fn numbers_go_on_over_restarts_and_segments_are_named_after_their_first() {
    let mut world = World::new();
    for _ in 0..3 {
        world.open().await.expect("an entry").close(finished());
        world.stop().await;
        world = world.killed_and_started_again().await;
    }
    check(&world.lines());
    assert_eq!(segments(world.dir.path()).into_keys().collect::<Vec<_>>(), [1, 5, 9, 13]);
}

#[tokio::test]
async fn as_many_entries_as_allowed_and_one_more_is_refused_in_time() {
    let world = World::with(Plan::never(), |config| {
        config.entries_max = 2;
        config.write_timeout = Duration::from_millis(200);
    });
    let (one, two) = (world.open().await.expect("one"), world.open().await.expect("two"));
    assert_eq!(world.open().await.expect_err("a third"), Error::Unavailable(Why::Full));
    one.close(finished());
    world.open().await.expect("there is room again").close(finished());
    two.close(finished());
    world.stop().await;
    check(&world.lines());
    let refused = world.lines().into_iter().find(|line| line["event"] == "denied").expect("the refusal is recorded");
    assert_eq!(refused["code"], "audit_unavailable");
    assert_eq!(refused["who"]["subject"], "alice");
}

#[tokio::test]
async fn a_start_that_cannot_be_names_the_path_and_the_next_step() {
    let world = World::new();
    let dir = world.dir.path();
    let metrics = || Metrics::register(&Registry::new()).expect("metrics");
    let start = |path: &Path| {
        let condition = Ready::new().register("audit");
        Log::start(&config(path), Clock::system(), condition, metrics()).expect_err("it does not start")
    };
    std::fs::write(dir.join("file"), "").expect("a file");
    let table = [
        (dir.join("nowhere"), "does not exist: create it"),
        (dir.join("file"), "is not a directory: set audit.dir"),
        (dir.to_path_buf(), "is locked by another process: stop it"),
    ];
    for (path, expected) in table {
        let error = start(&path).to_string();
        assert!(error.contains(expected) && error.contains(&path.display().to_string()), "{error}");
    }
    let kinds = [
        (std::io::ErrorKind::ReadOnlyFilesystem, "is read-only for this process: mount"),
        (std::io::ErrorKind::PermissionDenied, "is read-only for this process: mount"),
        (std::io::ErrorKind::StorageFull, "is full: free space"),
    ];
    for (kind, expected) in kinds {
        let dir = Arc::new(TempDir::new().expect("a directory"));
        let plan = Plan::new(super::faulty::Form::Fail(kind), 2, 1);
        let config = config(dir.path());
        let error = World::start(Arc::clone(&dir), config, plan).err().expect("it does not start").to_string();
        assert!(error.contains(expected) && error.contains(&dir.path().display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn outside_a_runtime_it_does_not_start() {
    let dir = TempDir::new().expect("a directory");
    let outside = std::thread::spawn(move || {
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        Log::start(&config(dir.path()), Clock::system(), Ready::new().register("audit"), metrics).map(drop)
    });
    assert!(matches!(outside.join().expect("no panic"), Err(StartError::Thread(_))));
}
