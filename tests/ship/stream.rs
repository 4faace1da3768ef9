//! A real log into a real stream, while server, shipper and files come and go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::ConnectOptions;
use ccgate::audit::{self, Durability, Event, Log};
use ccgate::clock::Clock;
use ccgate::net::ClientTls;
use ccgate::ready::Ready;
use ccgate::ship::{Config, Metrics, Nats as Sink, Server, Shipping};
use ccgate::trail;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::nats::{Nats, SUBJECT, without_duplicates};

const ORIGIN: &str = "ccgate.audit/00112233445566aa";
const TIMEOUT: Duration = Duration::from_secs(2);

struct Shipped {
    dir: TempDir,
    ready: Ready,
    log: Log,
    server: Server,
    shipping: Option<Shipping>,
    registry: Registry,
}

impl Shipped {
    fn start(url_file: PathBuf, tls: ClientTls) -> Self {
        let dir = TempDir::new().unwrap();
        let signing_key_file = dir.path().join("audit.key");
        std::fs::write(&signing_key_file, crate::world::signing_key()).unwrap();
        let config = audit::Config {
            dir: dir.path().to_path_buf(),
            signing_key_file,
            verifier_keys_file: None,
            origin: Some(ORIGIN.to_owned()),
            checkpoint_interval: Duration::from_millis(250),
            write_timeout: Duration::from_secs(2),
            entries_max: 1_024,
            digest: audit::Digest::None,
            segment_bytes_max: 256 * 1_024,
            segment_age_max: Duration::from_hours(24),
            retention: None,
            free_bytes_min: 0,
            pseudonyms: None,
            durability: Durability::Local,
            ships: true,
        };
        let ready = Ready::new();
        let metrics = audit::Metrics::register(&Registry::new()).unwrap();
        let log = Log::start(&config, Clock::system(), ready.register("audit"), metrics).unwrap();
        let server = Server { url_file, subject: SUBJECT.to_owned(), tls, timeout: TIMEOUT };
        let mut shipped = Self { dir, ready, log, server, shipping: None, registry: Registry::new() };
        shipped.ship();
        shipped
    }

    fn ship(&mut self) {
        self.registry = Registry::new();
        let metrics = Metrics::register(&self.registry).unwrap();
        let config = Config { dir: self.dir.path().to_path_buf(), origin: ORIGIN.to_owned() };
        let sink = Sink::new(self.server.clone(), ORIGIN).unwrap();
        self.shipping = Some(Shipping::start(config, sink, self.log.clone(), Clock::system(), &metrics).unwrap());
    }

    /// Writes so many records, a batch at a time, and waits until they are durable.
    async fn write(&self, count: u64) {
        for batch in 0..count.div_ceil(500) {
            let some = 500.min(count - batch * 500);
            let durable = self.durable();
            for _ in 0..some {
                self.log.note(Event::Started { version: "0.0.0", config_hash: "ab".repeat(200) });
            }
            let mut progress = self.log.progress();
            progress.wait_for(|progress| progress.durable >= durable + some).await.unwrap();
        }
    }

    fn durable(&self) -> u64 {
        self.log.progress().borrow().durable
    }

    fn shipped(&self) -> u64 {
        *self.log.shipping().borrow()
    }

    async fn until_shipped(&self, seq: u64) {
        let mut shipping = self.log.shipping();
        let all = tokio::time::timeout(Duration::from_mins(1), shipping.wait_for(|shipped| *shipped >= seq)).await;
        assert!(all.is_ok(), "{} of {seq} are shipped; up: {}", self.shipped(), self.metric("ccgate_audit_ship_up"));
    }

    async fn stop(&mut self) {
        self.log.shut_down(Duration::from_secs(5)).await;
        self.shipping.take().unwrap().stop().await;
        assert_eq!(self.shipped(), self.durable());
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        family.get_metric().iter().map(|of| of.get_counter().get_value() + of.get_gauge().get_value()).sum()
    }
}

/// All lines of a log's segments, in order.
fn lines(dir: &Path) -> Vec<String> {
    let segments = trail::segments(dir).unwrap();
    let text = segments.iter().map(|segment| std::fs::read_to_string(&segment.path).unwrap());
    text.collect::<String>().lines().map(str::to_owned).collect()
}

/// The stream must hold these lines under the numbers from 1 on, and the server alone must have sorted duplicates out.
async fn assert_complete(nats: &Nats, lines: &[String]) {
    let messages = nats.messages().await;
    let (kept, twice) = without_duplicates(&messages);
    assert_eq!(twice, 0, "the stream knows ids again");
    let numbers: Vec<u64> = kept
        .keys()
        .map(|(origin, seq)| {
            assert_eq!(origin, ORIGIN);
            *seq
        })
        .collect();
    assert_eq!(numbers, (1..=lines.len() as u64).collect::<Vec<_>>(), "nothing missing");
    assert!(kept.values().zip(lines).all(|(kept, line)| kept == line), "byte for byte");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_in_mid_stream_loses_nothing_and_gets_nothing_twice() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut nats = Nats::start().await;
    nats.create_stream().await;
    let mut world = Shipped::start(nats.url_file(""), ClientTls::default());
    let begun = Instant::now();
    let (mut rounds, mut kills) = (0, 0);
    while kills < 3 {
        rounds += 1;
        assert!(rounds <= 12, "killed {kills} times in mid-stream");
        world.write(5_000).await;
        // In mid-stream: some of the round is there, not all of it. On a busy machine the kill may come too late for that.
        world.until_shipped(world.durable() - 4_000).await;
        nats.kill();
        kills += u32::from(world.shipped() < world.durable());
        world.write(1_000).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        nats.restart().await;
    }
    world.until_shipped(world.durable()).await;
    world.stop().await;
    let records = world.durable();
    let again = world.metric("ccgate_audit_shipped_records_total") - records as f64;
    println!(
        "{records} records through {kills} kills in {:?}; sent in vain or known to the stream: {again}",
        begun.elapsed()
    );
    assert!(again > 0.0, "nothing was under way when the server was killed");
    assert_complete(&nats, &lines(world.dir.path())).await;
}

/// The shipper is killed again and again; files that are shipped are removed meanwhile, as retention does.
#[tokio::test(flavor = "multi_thread")]
async fn a_shipper_that_is_killed_while_files_are_removed_loses_nothing() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let nats = Nats::start().await;
    nats.create_stream().await;
    let mut world = Shipped::start(nats.url_file(""), ClientTls::default());
    let mut removed = Vec::new();
    for _ in 0..6 {
        world.write(2_000).await;
        world.until_shipped(world.durable() - 1_500).await;
        world.shipping = None;
        let segments = trail::segments(world.dir.path()).unwrap();
        for pair in segments.windows(2).filter(|pair| pair[1].first <= world.shipped()) {
            removed.push(std::fs::read_to_string(&pair[0].path).unwrap());
            std::fs::remove_file(&pair[0].path).unwrap();
        }
        world.ship();
    }
    world.until_shipped(world.durable()).await;
    world.stop().await;
    assert!(removed.len() > 5, "{} files were removed", removed.len());
    let mut all: Vec<String> = removed.concat().lines().map(str::to_owned).collect();
    all.extend(lines(world.dir.path()));
    assert_complete(&nats, &all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_stream_it_says_so_and_begins_when_there_is_one() {
    let nats = Nats::start().await;
    let mut world = Shipped::start(nats.url_file(""), ClientTls::default());
    world.write(10).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!((world.shipped(), world.metric("ccgate_audit_ship_up")), (0, 0.0));
    let error = ccgate::ship::probe(&world.server).await.expect_err("no stream");
    assert_eq!(error.to_string(), "no stream takes the subject ccgate.audit: create one");
    assert!(world.ready.is_ready(), "local durability does not care");
    nats.create_stream().await;
    ccgate::ship::probe(&world.server).await.expect("a stream");
    world.until_shipped(world.durable()).await;
    world.stop().await;
    assert_complete(&nats, &lines(world.dir.path())).await;
}

/// TLS with a CA of its own and a password in the URL; a stream that refuses more is told of and gets the rest later.
#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_password_to_a_stream_that_is_full_for_a_while() {
    let keys = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let files = TempDir::new().unwrap();
    let file = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let cert = file("cert.pem", keys.cert.pem());
    let key = file("key.pem", keys.signing_key.serialize_pem());
    let config = format!(
        "authorization {{ user: ccgate, password: \"p@ss:word\" }}\ntls {{ cert_file: {cert:?}, key_file: {key:?} }}\n"
    );
    let options = ConnectOptions::with_user_and_password("ccgate".to_owned(), "p@ss:word".to_owned())
        .add_root_certificates(cert.clone())
        .require_tls(true);
    let nats = Nats::with(&config, options).await;
    nats.create_stream().await;
    let url_file = nats.url_file("ccgate:p%40ss%3Aword@");

    let trusting = |ca_file: Option<PathBuf>| ClientTls { ca_file, ..ClientTls::default() };
    let server = |tls| Server { url_file: url_file.clone(), subject: SUBJECT.to_owned(), tls, timeout: TIMEOUT };
    let other = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let stranger = file("stranger.pem", other.cert.pem());
    let error = ccgate::ship::probe(&server(trusting(Some(stranger)))).await.expect_err("not trusted");
    assert_eq!(error.to_string(), "no connection");

    let mut world = Shipped::start(url_file.clone(), trusting(Some(cert.clone())));
    world.write(100).await;
    world.until_shipped(world.durable()).await;

    let jetstream = nats.jetstream().await;
    let info = jetstream.get_stream("AUDIT").await.unwrap().cached_info().clone();
    let mut config = info.config;
    // Room for some more: checkpoints come as well, and a stream that holds more than it may would throw away the oldest.
    config.max_messages = i64::try_from(info.state.messages).unwrap() + 50;
    config.discard = async_nats::jetstream::stream::DiscardPolicy::New;
    jetstream.update_stream(&config).await.unwrap();
    world.write(100).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.shipped() < world.durable(), "the stream is full");
    assert!(world.metric("ccgate_audit_ship_up") < 0.5);
    config.max_messages = -1;
    jetstream.update_stream(&config).await.unwrap();
    world.until_shipped(world.durable()).await;
    world.stop().await;
    assert_complete(&nats, &lines(world.dir.path())).await;
}
