//! The audit log, verified by somebody else: the Go project's transparency log code (`sumdb/note`, `sumdb/tlog`) reads what
//! ccgate's format says, and comes to the same verdict as `ccgate audit verify`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(dead_code, reason = "the maker of logs is that of the unit tests, which need more of it")]

mod go;
#[path = "../../src/trail/sample.rs"]
mod sample;

// The maker of logs names them as the crate does.
use ccgate::{tlog, trail};

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ccgate::audit::{Config, Digest, Durability, Erasure, Event, Log, Metrics, Person};
use ccgate::clock::Clock;
use ccgate::ready::Ready;
use sample::Sample;

/// A log with all that a log can have: several segments, two levels of tiles, failed batches, an erasure, and retention.
fn make(dir: &Path) {
    let mut sample = Sample::begin(dir, 3);
    for number in 0..2_000 {
        sample.listening();
        if number % 40 == 0 {
            sample.sign();
        }
        if number % 512 == 511 {
            sample.rotate();
        }
        if number % 700 == 650 {
            sample.fail(3);
        }
    }
    sample.erase(1_500);
    sample.erase(3_999);
    sample.prune(1_026);
    sample.listening();
    sample.sign();
}

/// What `ccgate audit verify` says of a directory: whether it is sound, and the text.
fn ccgate(dir: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ccgate")).args(["audit", "verify"]).arg(dir).output().expect("ran");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => (true, text),
        Some(1) => (false, text),
        other => panic!("exit code {other:?}: {text}"),
    }
}

/// All of a log, by somebody else's code: every checkpoint, 1,000 inclusion and 100 consistency proofs.
fn check(dir: &Path) -> String {
    let (sound, text) = go::verify(dir);
    assert!(sound, "{text}");
    assert!(text.contains(" 1000 inclusion proofs, 100 consistency proofs"), "{text}");
    let (sound, own) = ccgate(dir);
    assert!(sound, "{own}");
    text
}

#[test]
fn go_proves_every_checkpoint_and_random_records_of_a_log() {
    let dir = tempfile::tempdir().expect("a directory");
    make(dir.path());
    let text = check(dir.path());
    // The first two segments are removed.
    assert!(text.starts_with("ok 4014 records, 1025 of them told by tiles, 54 checkpoints"), "{text}");
}

/// The same of a log that the log's own writer has written, over two starts, with an erasure.
#[tokio::test(flavor = "multi_thread")]
async fn go_proves_what_ccgate_itself_has_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("signing.key");
    fs::write(&key, rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key").serialize_pem())
        .expect("written");
    let log_dir = dir.path().join("audit");
    fs::create_dir(&log_dir).expect("a directory");
    let config = Config {
        dir: log_dir.clone(),
        signing_key_file: key,
        verifier_keys_file: None,
        origin: None,
        checkpoint_interval: Duration::from_millis(250),
        write_timeout: Duration::from_secs(5),
        entries_max: 16,
        digest: Digest::None,
        segment_bytes_max: 64 << 10,
        segment_age_max: Duration::from_hours(1),
        retention: None,
        free_bytes_min: 0,
        pseudonyms: None,
        durability: Durability::Local,
        ships: false,
    };
    for start in 0..2 {
        let metrics = Metrics::register(&prometheus::Registry::new()).expect("metrics");
        let ready = Ready::new().register("audit");
        let log = Log::start(&config, Clock::system(), ready, metrics).expect("it starts");
        for _ in 0..40 {
            let events = (0..50).map(|_| log.tell(Event::Started { version: "0", config_hash: "cd".repeat(32) }));
            let told = futures_util::future::join_all(events).await;
            assert!(told.iter().all(Result::is_ok), "durable");
        }
        let records = [17 + 1_000 * start].into();
        let erasure = Erasure { records, reason: "a request".to_owned(), by: Person::default() };
        log.erase(erasure).await.expect("erased");
        assert!(log.shut_down(Duration::from_secs(5)).await.complete);
    }
    let text = check(&log_dir);
    // Of each start: opened, 2,000 events, the order, stopped.
    assert!(text.starts_with("ok 4006 records, "), "{text}");
}

#[test]
fn go_and_ccgate_agree_on_a_log_with_one_changed_byte() {
    let dir = tempfile::tempdir().expect("a directory");
    let _ = Sample::write(dir.path(), 700, 512, 100);
    check(dir.path());
    for (file, from, to) in [
        ("audit-00000000000000000513.jsonl", "alice", "malice"),
        ("checkpoints.jsonl", r"audit\n300\n", r"audit\n302\n"),
        ("checkpoint", "audit\n700\n", "audit\n702\n"),
    ] {
        let path = dir.path().join(file);
        let sound = fs::read_to_string(&path).expect("a file");
        let changed = sound.replacen(from, to, 1);
        assert_ne!(sound, changed, "{file}");
        fs::write(&path, changed).expect("written");
        let (sound_by_go, text) = go::verify(dir.path());
        assert!(!sound_by_go, "{file}: {text}");
        let (sound_by_ccgate, text) = ccgate(dir.path());
        assert!(!sound_by_ccgate && text.contains(file), "{file}: {text}");
        fs::write(&path, sound).expect("written");
    }
    // Go reads tiles only for its proofs, and refuses one that does not fit the signed root.
    let tile = dir.path().join("tile/0/001");
    let mut hashes = fs::read(&tile).expect("a tile");
    hashes[77] ^= 1;
    fs::write(&tile, hashes).expect("written");
    assert!(!go::verify(dir.path()).0);
    let (sound, text) = ccgate(dir.path());
    assert!(!sound && text.contains("tile/0/001"), "{text}");
}
