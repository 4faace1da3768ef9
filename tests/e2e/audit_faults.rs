//! The audit directory goes away, is filled up or cannot be written: nothing is delivered without a record, what is
//! under way ends well, and the log mends itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ccgate::trail::verify::Kind;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{self, Open};
use crate::ledger;
use crate::mount::Mount;
use crate::world::{Builder, CALL, World, call, until};

/// More than all buffers between the simulator and a client that does not read.
const LONG: &str = "1621413752-64";
const LONG_BYTES: u64 = 64 * 1024 * 1024;

/// `audit.write_timeout` of these worlds.
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// The way there and back, on a machine that has much to do.
const SLACK: Duration = Duration::from_secs(3);

fn world() -> Builder {
    // The disk of a small machine is no matter of these tests.
    World::new().config(|c| c["audit"]["free_space_min"] = "0B".into())
}

fn audit(world: &World) -> PathBuf {
    world.dir().join("audit")
}

fn segments(world: &World) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(audit(world)).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.file_name().and_then(|name| name.to_str()).is_some_and(crate::world::is_segment));
    files.sort();
    files
}

/// A download that goes on for as long as the test does not read it, and its entry.
async fn long_download(world: &World) -> (Open, String) {
    world.sim.add_file(LONG, LONG_BYTES);
    let mut open = world.open(&call(1001, LONG), &world.issuer.agent(1001), &[]).await;
    assert_eq!(open.status, 200);
    open.piece().await.expect("a piece").expect("a good one");
    let entry = open.headers["ccgate-audit-id"].to_str().unwrap().to_owned();
    (open, entry)
}

async fn readyz(world: &World) -> (u16, String) {
    let answer = client::get(world.admin(), "/readyz?verbose", &[]).await;
    (answer.status.as_u16(), String::from_utf8(answer.body.to_vec()).unwrap())
}

/// Asks for a recording; whether it came. The only refusal is that of the audit log, in time, without the upstream.
async fn served(world: &World) -> bool {
    let asked = world.sim.counts().downloads;
    let begun = Instant::now();
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    if answer.status == 200 {
        assert!(answer.whole);
        return true;
    }
    assert!(begun.elapsed() < WRITE_TIMEOUT + SLACK, "{:?}", begun.elapsed());
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "audit_unavailable"));
    assert!(!answer.header("retry-after").is_empty());
    assert_eq!(world.sim.counts().downloads, asked, "the upstream was asked");
    false
}

async fn until_refused(world: &World) {
    until("audit_unavailable", || async { !served(world).await }).await;
}

/// While it is broken: `/readyz` names it with this word, the process lives, a download under way ends well.
async fn while_broken(world: &World, download: Open, word: &str) {
    until(&format!("not ready: {word}"), || async {
        let (status, told) = readyz(world).await;
        let line = told.lines().find(|line| line.starts_with("[-] audit not ready: "));
        status == 503 && line.is_some_and(|line| line.contains(word))
    })
    .await;
    assert_eq!(client::get(world.admin(), "/livez", &[]).await.status, 200);
    let mut download = download;
    let whole = loop {
        match download.piece().await {
            None => break true,
            Some(Err(())) => break false,
            Some(Ok(_)) => {}
        }
    };
    assert!(whole, "the download under way breaks off");
    for _ in 0..3 {
        assert!(!served(world).await, "still broken");
    }
}

/// After it was mended: ready by itself, and serving.
async fn after_mending(world: &World) {
    until("ready", || async { readyz(world).await.0 == 200 }).await;
    assert!(served(world).await);
    assert_eq!(world.metric("ccgate_audit_records_lost_total").await, Some(0.0));
}

/// The log in the end, and another start that takes it as it is. The records of the end.
async fn ended(mut world: World, entry: &str, reason: &str) -> Vec<Value> {
    let end = world.end_of(entry).await;
    assert_eq!((&end["event"], &end["delivery"]["client_bytes"]), (&json!("finished"), &json!(LONG_BYTES)));
    assert!(world.shut_down().await, "every entry has its end");
    let records = world.records();
    ledger::check(&records);
    let gaps: Vec<_> = records.iter().filter(|record| record["event"] == "audit.gap").collect();
    assert_eq!((gaps.len(), &gaps[0]["reason"]), (1, &json!(reason)), "{gaps:?}");
    world.run_here().await;
    world.until_ready().await;
    assert!(world.shut_down().await);
    assert_eq!(world.events("unknown").len(), 0);
    let report = ledger::verified(&audit(&world));
    // What was taken away is damage, with its place; a disk that came to its senses left none.
    let lost =
        report.damages.iter().any(|damage| matches!(damage.kind, Kind::Loss | Kind::Removed) && damage.seqs.is_some());
    assert_eq!((report.is_sound(), lost), (reason != "segment_deleted", reason == "segment_deleted"), "{report:#?}");
    records
}

/// How many refusals the log tells of.
fn denied(records: &[Value]) -> usize {
    records.iter().filter(|record| record["event"] == "denied" && record["code"] == "audit_unavailable").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_deleted_segment_is_noticed_told_and_replaced() {
    let world = world().start().await;
    let (mut download, entry) = long_download(&world).await;
    let old = segments(&world).pop().unwrap();
    fs::remove_file(&old).unwrap();
    until("a new segment", || async { segments(&world).pop().is_some_and(|new| new != old) }).await;
    after_mending(&world).await;
    while let Some(piece) = download.piece().await {
        piece.expect("the download under way breaks off");
    }
    let records = ended(world, &entry, "segment_deleted").await;
    // What was taken away is named, from the first record to the last.
    let gap = &records[0];
    let last = gap["seq"].as_u64().unwrap() - 1;
    assert_eq!((&gap["event"], &gap["missing"]["first"]), (&json!("audit.gap"), &json!(1)));
    assert!(gap["missing"]["last"].as_u64().unwrap() <= last, "{gap}");
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_deleted_directory_refuses_until_it_is_there_again() {
    let world = world().start().await;
    let (download, entry) = long_download(&world).await;
    fs::remove_dir_all(audit(&world)).unwrap();
    until_refused(&world).await;
    while_broken(&world, download, "No such file or directory").await;
    fs::create_dir(audit(&world)).unwrap();
    after_mending(&world).await;
    let (code, told) = world.refused_start().await;
    assert!(code == Some(2) && told.contains("is locked by another process"), "{told}");
    let records = ended(world, &entry, "segment_deleted").await;
    assert!(denied(&records) >= 4, "{}", denied(&records));
}

/// Makes files unchangeable, even for root, until it is dropped.
struct Immutable(Vec<PathBuf>);

impl Immutable {
    fn new(paths: Vec<PathBuf>) -> Option<Self> {
        if chattr("+i", &paths) {
            return Some(Self(paths));
        }
        chattr("-i", &paths);
        println!("left out: chattr +i cannot be used here");
        None
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        chattr("-i", &self.0);
    }
}

fn chattr(flag: &str, paths: &[PathBuf]) -> bool {
    Command::new("chattr").arg(flag).args(paths).status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_directory_made_read_only_refuses_until_it_is_writable() {
    let world = world().start().await;
    let (download, entry) = long_download(&world).await;
    let paths = segments(&world).into_iter().chain([audit(&world)]).collect();
    let Some(immutable) = Immutable::new(paths) else { return };
    until_refused(&world).await;
    while_broken(&world, download, "not permitted").await;
    drop(immutable);
    after_mending(&world).await;
    let records = ended(world, &entry, "write_failed").await;
    assert!(denied(&records) >= 4, "{}", denied(&records));
}

/// Writes a file until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[0; 1024]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_full_disk_refuses_until_there_is_room() {
    let mut world = world().without_gateway().await;
    let Some(_mount) = Mount::tmpfs(&audit(&world), "size=256k") else { return };
    world.run_here().await;
    world.until_ready().await;
    let (download, entry) = long_download(&world).await;
    let filler = audit(&world).join("filler");
    fill(&filler);
    // The page that the segment ends in has room for a few more records.
    until_refused(&world).await;
    while_broken(&world, download, "No space left").await;
    fs::remove_file(filler).unwrap();
    after_mending(&world).await;
    let records = ended(world, &entry, "disk_full").await;
    assert!(denied(&records) >= 4, "{}", denied(&records));
}

#[tokio::test(flavor = "multi_thread")]
async fn r14_a_nearly_full_disk_refuses_but_takes_the_ends_of_what_is_under_way() {
    let mut world = world().config(|c| c["audit"]["free_space_min"] = "512KiB".into()).without_gateway().await;
    let Some(_mount) = Mount::tmpfs(&audit(&world), "size=1m") else { return };
    world.run_here().await;
    world.until_ready().await;
    let (download, entry) = long_download(&world).await;
    fs::write(audit(&world).join("filler"), vec![0; 600 * 1024]).unwrap();
    until_refused(&world).await;
    while_broken(&world, download, "bytes free, less than 524288").await;
    let end = world.end_of(&entry).await;
    assert_eq!((&end["event"], readyz(&world).await.0), (&json!("finished"), 503));
    fs::remove_file(audit(&world).join("filler")).unwrap();
    after_mending(&world).await;
    assert!(world.shut_down().await);
    let records = world.records();
    ledger::check(&records);
    assert!(denied(&records) >= 4 && records.iter().all(|record| record["event"] != "audit.gap"), "{records:?}");
}

/// The one fault that needs no right of root: no file may grow. The process must not die of the signal that comes with it.
#[tokio::test(flavor = "multi_thread")]
async fn r14_a_file_size_limit_refuses_until_it_is_lifted() {
    let mut world = world().without_gateway().await;
    world.run_process_under(&["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#]).await;
    world.until_ready().await;
    let (download, entry) = long_download(&world).await;
    let pid = world.process().pid().to_string();
    let limit = |soft: &str| {
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={soft}:unlimited")]).status();
        assert!(done.unwrap().success());
    };
    limit("0");
    until_refused(&world).await;
    while_broken(&world, download, "File too large").await;
    limit("unlimited");
    after_mending(&world).await;
    let records = ended(world, &entry, "write_failed").await;
    assert!(denied(&records) >= 4, "{}", denied(&records));
}
