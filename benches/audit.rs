//! What the audit log does: durable records a second, how long an opener waits, memory, the time of a start and of a
//! verification.
//!
//! `make parts` runs it. It writes to the target directory, or to the one that `AUDIT_BENCH_DIR` names, and says what file
//! system that is: figures of a file system in memory say nothing. `AUDIT_BENCH_RUNS` (5) and `AUDIT_BENCH_RECORDS`
//! (1,000,000) make it shorter.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "a benchmark's figures")]
#![allow(clippy::cast_precision_loss, reason = "rates and sizes here are far below 2^52")]
#![allow(unreachable_pub, dead_code, reason = "the issuer of the tests is included as it is")]

#[path = "../tests/e2e/issuer.rs"]
mod issuer;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use ccgate::audit::{self, Class, Delivery, Digest, Durability, End, Log, Outcome, SessionUse, UpstreamAnswer};
use ccgate::authn::{Algorithm, Authenticator, Caller, Claims, Config, IssuerConfig, KeySource};
use ccgate::budget::{self, Budgeted, Budgets, Limits};
use ccgate::cc::{AgentId, Guid, GuidTagKey, Retcode};
use ccgate::clock::Clock;
use ccgate::policy::{Authorized, Policy};
use ccgate::ready::Ready;
use ccgate::route::{self, Arrival, Download, RequestId, Source};
use ccgate::trail;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::Instant;

const TARGET: &str = "/agentgateway/resource/recordfile/4977/recordfiledownloadEx\
    ?callId=1621413752-2011&hwFileName=Y%3A%2F90%2F0%2F20210519%2F4977%2F1642329.mp4";

/// Permissions that are made before they are measured with, at most: each takes a decision of the policy.
const AHEAD: usize = 50_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let bench = Bench::new(&runtime);
    println!("{}", surroundings(&bench.dir));
    let runs = number("AUDIT_BENCH_RUNS", 5);
    for (writers, entries) in [(64, 30_000), (512, AHEAD)] {
        let mut rates: Vec<_> = (0..runs).map(|_| bench.rate(&runtime, writers, entries)).collect();
        rates.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
        let median = &rates[rates.len() / 2];
        println!("{writers} writers, median of {runs}: {median}");
    }
    bench.million(&runtime, number("AUDIT_BENCH_RECORDS", 1_000_000));
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// What the figures depend on.
fn surroundings(dir: &Path) -> String {
    let kind = match rustix::fs::statfs(dir).unwrap().f_type {
        0xEF53 => "ext4",
        0x0102_1994 => "a file system in memory",
        0x5846_5342 => "xfs",
        _ => "another file system",
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{} on {kind}, {cores} cores, load {}", dir.display(), load.trim())
}

/// One run.
struct Rate {
    per_second: f64,
    median: Duration,
    p99: Duration,
    max: Duration,
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { per_second, median, p99, max } = self;
        write!(
            f,
            "{per_second:.0} durable records/s, an opener waits {median:.2?} (median), {p99:.2?} (p99), {max:.2?}"
        )
    }
}

struct Bench {
    dir: PathBuf,
    _key: tempfile::NamedTempFile,
    key_file: PathBuf,
    policy: Policy,
    caller: Caller,
    download: Download,
    session: SessionUse,
}

impl Bench {
    fn new(runtime: &Runtime) -> Self {
        let dir = std::env::var_os("AUDIT_BENCH_DIR").unwrap_or_else(|| env!("CARGO_TARGET_TMPDIR").into());
        let key = key();
        let issuer = issuer::Issuer::new("k1");
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("localhost:8080"));
        let token = format!("Bearer {}", issuer.agent(4977));
        headers.insert("authorization", HeaderValue::from_str(&token).unwrap());
        let download = route::parse(Version::HTTP_11, &Method::GET, &Uri::from_static(TARGET), &headers).unwrap();
        let guid = Guid::from_text("279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0").unwrap();
        let tag = GuidTagKey::random().tag(&guid);
        Self {
            dir: dir.into(),
            key_file: key.path().to_owned(),
            _key: key,
            policy: Policy::builtin().unwrap(),
            caller: caller(runtime, &issuer, &headers),
            download,
            session: SessionUse { agent: AgentId::try_from(4977).unwrap(), tag, kind: "own" },
        }
    }

    fn authorized(&self) -> Authorized {
        let arrival = Arrival {
            at: Clock::system().now(),
            source: Source { peer: SocketAddr::from(([127, 0, 0, 1], 40_000)), forwarded: None, certificate: None },
            request_id: RequestId::random(),
            trace: None,
        };
        self.policy.authorize(self.caller.clone(), self.download.clone(), arrival).unwrap()
    }

    fn start(&self, dir: &Path) -> Log {
        let config = audit::Config {
            dir: dir.to_path_buf(),
            signing_key_file: self.key_file.clone(),
            verifier_keys_file: None,
            origin: Some("ccgate.example/bench".to_owned()),
            checkpoint_interval: Duration::from_secs(1),
            write_timeout: Duration::from_secs(30),
            entries_max: 4_096,
            digest: Digest::Sha256,
            segment_bytes_max: 256 << 20,
            segment_age_max: Duration::from_hours(24),
            retention: None,
            free_bytes_min: 0,
            pseudonyms: None,
            durability: Durability::Local,
            ships: false,
        };
        let metrics = audit::Metrics::register(&prometheus::Registry::new()).unwrap();
        Log::start(&config, Clock::system(), Ready::new().register("audit"), metrics).unwrap()
    }

    /// As many tasks as `writers` open and close entries one after the other, each waiting for each `authorized`. The end
    /// of the last entry is durable when the time is taken.
    fn load(&self, runtime: &Runtime, log: &Log, writers: usize, entries: usize) -> (Duration, Vec<Duration>) {
        let budgets = unlimited(log);
        let mut hands: Vec<Vec<Budgeted>> = (0..writers).map(|_| Vec::new()).collect();
        for entry in 0..entries {
            hands[entry % writers].push(budgets.reserve(self.authorized()).unwrap());
        }
        let session = self.session;
        let mut progress = log.progress();
        let end = progress.borrow().durable + 2 * entries as u64;
        runtime.block_on(async {
            let (begun, mut tasks) = (Instant::now(), JoinSet::new());
            for hand in hands {
                let log = log.clone();
                tasks.spawn(async move {
                    let mut waits = Vec::with_capacity(hand.len());
                    for budgeted in hand {
                        let asked = Instant::now();
                        let entry = log.open(budgeted, session).await.unwrap();
                        waits.push(asked.elapsed());
                        entry.close(finished());
                    }
                    waits
                });
            }
            let waits = tasks.join_all().await.concat();
            progress.wait_for(|progress| progress.durable >= end).await.unwrap();
            (begun.elapsed(), waits)
        })
    }

    fn rate(&self, runtime: &Runtime, writers: usize, entries: usize) -> Rate {
        let dir = tempfile::tempdir_in(&self.dir).unwrap();
        let log = self.start(dir.path());
        let (took, mut waits) = self.load(runtime, &log, writers, entries);
        assert!(runtime.block_on(log.shut_down(Duration::from_secs(5))).complete);
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
        let per_second = 2.0 * entries as f64 / took.as_secs_f64();
        let rate = Rate { per_second, median: at(50), p99: at(99), max: at(100) };
        println!("  {writers} writers: {rate}");
        rate
    }

    /// Memory while so many records are written; then how long a start and a verification take.
    fn million(&self, runtime: &Runtime, records: usize) {
        let dir = tempfile::tempdir_in(&self.dir).unwrap();
        let log = self.start(dir.path());
        let (mut left, mut took, mut resident) = (records / 2, Duration::ZERO, Vec::new());
        while left > 0 {
            let entries = left.min(AHEAD);
            took += self.load(runtime, &log, 512, entries).0;
            left -= entries;
            resident.push(memory("VmRSS:"));
        }
        let (first, last) = (resident[0] >> 20, resident[resident.len() - 1] >> 20);
        println!(
            "{records} records in {took:.1?}: {first} MiB resident after the first {}, {last} MiB in the end",
            2 * AHEAD
        );
        // As a killed process leaves it: no stop record, no last checkpoint.
        let killed = tempfile::tempdir_in(&self.dir).unwrap();
        copy(dir.path(), killed.path());
        assert!(runtime.block_on(log.shut_down(Duration::from_secs(5))).complete);
        drop(log);
        for (what, dir) in [("stopped", dir.path()), ("killed", killed.path())] {
            let begun = Instant::now();
            let log = self.start(dir);
            println!("{what}: a start on them takes {:.2?}", begun.elapsed());
            assert!(runtime.block_on(log.shut_down(Duration::from_secs(5))).complete);
        }
        let keys = trail::read_keys(&dir.path().join(trail::KEYS_FILE)).unwrap();
        let begun = Instant::now();
        let report = trail::verify::verify(dir.path(), &keys, &mut |_, _| {}).unwrap();
        let took = begun.elapsed();
        assert!(report.is_sound(), "{report:?}");
        let (lines, bytes) = (report.counts.lines, report.counts.bytes);
        let (rate, length) = (lines as f64 / took.as_secs_f64(), bytes / lines);
        println!("a verification of {lines} records of {length} bytes takes {took:.2?}: {rate:.0} records/s");
    }
}

fn caller(runtime: &Runtime, issuer: &issuer::Issuer, headers: &HeaderMap) -> Caller {
    let jwks = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(jwks.path(), issuer.jwks().to_string()).unwrap();
    let trusted = IssuerConfig {
        issuer: issuer::ISSUER.to_owned(),
        audiences: vec![issuer::AUDIENCE.to_owned()],
        algorithms: vec![Algorithm::ES256],
        keys: KeySource::File(jwks.path().to_owned()),
        ca_file: None,
        certificate_bound: false,
        claims: Claims::default(),
    };
    let (leeway, max_token_lifetime) = (Duration::from_secs(30), Duration::from_hours(24));
    let config = Config { leeway, max_token_lifetime, issuers: vec![trusted] };
    let metrics = ccgate::authn::Metrics::register(&prometheus::Registry::new()).unwrap();
    let authenticator = Authenticator::new(&config, Clock::system(), &Ready::new(), metrics).unwrap();
    runtime.block_on(authenticator.authenticate(headers, None)).unwrap()
}

/// Budgets that let everything through.
fn unlimited(log: &Log) -> Budgets {
    let metrics = budget::Metrics::register(&prometheus::Registry::new()).unwrap();
    let key = budget::Key::random().unwrap();
    Budgets::new(Limits::default(), key, std::sync::Arc::new(log.clone()), Clock::system(), metrics)
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

/// A signing key of this run alone.
fn key() -> tempfile::NamedTempFile {
    let random = aws_lc_rs::rand::SystemRandom::new();
    let der = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let base64 = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n")).unwrap();
    file
}

/// Bytes of this process's memory.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_name() != "audit.lock" {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
