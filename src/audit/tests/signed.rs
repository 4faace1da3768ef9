//! The tree, the checkpoints and what a start makes of a log that is not the one that was signed.

use std::fs;

use super::super::{EraseError, Erasure, Loss, Person, Progress, accept_loss};
use super::lines as lines_of;
use super::*;
use crate::tlog::{Checkpoint, Hashes as _, Note, root};
use crate::trail::{
    CHECKPOINT_FILE, CHECKPOINTS_FILE, Head, KEYS_FILE, Range, TileDir, leaf_of, read_keys, signed_lines, void_leaf,
};

/// Writes so many entries, each with its end.
pub(super) async fn write(world: &World, entries: usize) {
    for _ in 0..entries {
        world.open().await.expect("an entry").close(finished());
    }
}

/// Many entries at once: few batches.
async fn write_many(world: &World, entries: usize) {
    let opened = futures_util::future::join_all((0..entries).map(|_| world.open())).await;
    for entry in opened {
        entry.expect("an entry").close(finished());
    }
}

/// Reads all checkpoints as a stranger would: with the key that the directory lists, and the lines alone.
pub(super) fn verify(dir: &Path) -> Vec<u64> {
    let keys = read_keys(&dir.join(KEYS_FILE)).expect("keys");
    let text: String = segments(dir).into_values().collect();
    let mut leaves = Vec::new();
    for line in text.lines() {
        let head: Head<'_> = serde_json::from_str(line).expect("a record");
        while (leaves.len() as u64) + 1 < head.seq {
            leaves.push(void_leaf(leaves.len() as u64 + 1));
        }
        leaves.push(leaf_of(line.as_bytes(), &head));
    }
    let (mut tree, mut full, mut sizes) = (crate::tlog::Tree::new(), Vec::new(), Vec::new());
    let newest = fs::read_to_string(dir.join(CHECKPOINT_FILE)).expect("a note");
    let lines = signed_lines(dir).expect("notes").map(|line| line.expect("read").1.expect("a note").note);
    for note in lines.chain([newest]) {
        let note = Note::parse(&note).expect("a note");
        let (checkpoint, _) = Checkpoint::open(&note, &keys).expect("a checkpoint");
        while tree.size() < checkpoint.size {
            tree.push(leaves[usize::try_from(tree.size()).expect("small")], &mut full);
        }
        assert_eq!(tree.size(), checkpoint.size, "a size never shrinks");
        assert_eq!(tree.root(), checkpoint.root, "at {}", checkpoint.size);
        // The tiles say the same.
        assert_eq!(root(&TileDir::new(dir), tree.size()).expect("all tiles"), checkpoint.root);
        sizes.push(checkpoint.size);
    }
    for tile in full {
        assert_eq!(TileDir::new(dir).tile(tile.id).expect("a tile"), tile);
    }
    sizes
}

async fn signed_up_to(world: &World, size: u64) -> Progress {
    let mut progress = world.log.progress();
    let reached = |progress: &Progress| progress.checkpoint.as_ref().is_some_and(|signed| signed.size >= size);
    let found = tokio::time::timeout(Duration::from_secs(5), progress.wait_for(reached)).await;
    found.expect("in time").expect("it runs").clone()
}

#[tokio::test]
async fn what_is_durable_is_signed_soon_and_at_the_end() {
    let world = World::new();
    write(&world, 300).await;
    let progress = signed_up_to(&world, 601).await;
    assert!(progress.durable >= 601, "what is signed is durable: {progress:?}");
    assert!(world.metric("ccgate_audit_checkpoint_timestamp_seconds") > 1e9);
    write(&world, 1).await;
    world.stop().await;
    let sizes = verify(world.dir.path());
    assert_eq!((sizes.first(), sizes.last()), (Some(&0), Some(&604)), "{sizes:?}");
    let world = world.killed_and_started_again().await;
    write(&world, 300).await;
    world.stop().await;
    verify(world.dir.path());
    check(&world.lines());
    let names = walk(world.dir.path());
    assert!(names.contains(&"tile/0/003".to_owned()) && names.contains(&"tile/1/000.p/4".to_owned()), "{names:?}");
    let partial = names.iter().filter(|name| name.contains(".p/")).count();
    assert_eq!(partial, 2, "those of the newest checkpoint alone: {names:?}");
    assert!(!names.iter().any(|name| name.contains("tmp")), "{names:?}");
}

/// All files below a directory.
fn walk(dir: &Path) -> Vec<String> {
    fn visit(root: &Path, dir: &Path, names: &mut Vec<String>) {
        for entry in fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                visit(root, &path, names);
            } else {
                names.push(path.strip_prefix(root).expect("below it").display().to_string());
            }
        }
    }
    let mut names = Vec::new();
    visit(dir, dir, &mut names);
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn segments_end_with_a_tile_and_a_killed_log_is_signed_on() {
    let mut world = World::with(Plan::never(), |config| config.segment_bytes_max = 200 << 10);
    for _ in 0..3 {
        // In waves: a batch takes all that has queued up, and no segment ends within one. The writer may be as slow as it likes.
        for _ in 0..8 {
            write_many(&world, 100).await;
        }
        world = world.killed_and_started_again().await;
    }
    world.stop().await;
    verify(world.dir.path());
    check(&world.lines());
    let starts: Vec<u64> = segments(world.dir.path()).into_keys().collect();
    let rotated = starts.iter().filter(|first| (**first - 1).is_multiple_of(256)).count();
    assert!(starts.len() > 6 && rotated >= starts.len() - 3, "all but those of the starts: {starts:?}");
}

/// A log of 700 records or so, stopped in order.
pub(super) async fn sound() -> (Arc<TempDir>, Config) {
    let world = World::with(Plan::never(), |config| config.segment_bytes_max = 100 << 10);
    for _ in 0..4 {
        write_many(&world, 87).await;
        world.until("all ends", |world| world.metric("ccgate_audit_open_entries").abs() < 0.1).await;
    }
    world.stop().await;
    (Arc::clone(&world.dir), world.config.clone())
}

pub(super) fn start(config: &Config) -> Result<Log, StartError> {
    let metrics = Metrics::register(&Registry::new()).expect("metrics");
    Log::start(config, Clock::system(), Ready::new().register("audit"), metrics)
}

pub(super) fn accept(config: &Config) -> Result<Option<Loss>, StartError> {
    let metrics = Metrics::register(&Registry::new()).expect("metrics");
    let by = Person { name: Some("anna".to_owned()), uid: Some(1_000), ..Person::default() };
    accept_loss(config, &Clock::system(), metrics, "the disk broke", &by)
}

/// The segment that holds a record, its text, and the line's place in it.
pub(super) fn place(dir: &Path, seq: u64) -> (std::path::PathBuf, Vec<String>, usize) {
    let (first, text) =
        segments(dir).range(..=seq).next_back().map(|(first, text)| (*first, text.clone())).expect("it");
    let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    (dir.join(segment_name(first)), lines, usize::try_from(seq - first).expect("small"))
}

pub(super) async fn stopped(log: Log) {
    assert!(log.shut_down(Duration::from_secs(5)).await.complete);
}

#[tokio::test]
async fn an_edited_record_of_the_last_tile_stops_the_start_until_the_loss_is_accepted() {
    let (dir, config) = sound().await;
    let (path, mut lines, at) = place(dir.path(), 690);
    lines[at] = lines[at].replace("alice", "mallo");
    fs::write(&path, lines.concat()).expect("edited");
    let error = start(&config).expect_err("it is not what was signed").to_string();
    assert!(error.contains(&format!("line {}: the record is not the one that was signed", at + 1)), "{error}");
    assert!(error.contains("ccgate audit accept-loss"), "{error}");
    let loss = accept(&config).expect("it is accepted").expect("a loss");
    assert_eq!((loss.missing, loss.altered), (None, vec![Range { first: 690, last: 690 }]));
    stopped(start(&config).expect("it starts")).await;
    let told = lines_of(dir.path()).into_iter().find(|line| line["event"] == "audit.loss_accepted").expect("a record");
    assert_eq!((&told["reason"], &told["by"]["name"]), (&"the disk broke".into(), &"anna".into()));
    assert_eq!(accept(&config).expect("again"), None, "nothing more is lost");
    stopped(start(&config).expect("it starts")).await;
}

#[tokio::test]
async fn fewer_records_than_were_signed_stop_the_start_until_the_loss_is_accepted() {
    let (dir, config) = sound().await;
    let all = lines_of(dir.path()).len() as u64;
    let (path, lines, at) = place(dir.path(), all - 4);
    fs::write(&path, lines[..=at].concat()).expect("cut");
    let error = start(&config).expect_err("records are gone").to_string();
    assert!(
        error.contains(&format!("{all} records were signed, and the last one that is there is {}", all - 4)),
        "{error}"
    );
    let loss = accept(&config).expect("it is accepted").expect("a loss");
    assert_eq!(loss.missing, Some(Range { first: all - 3, last: all }));
    let log = start(&config).expect("it starts");
    let seq =
        log.tell(super::super::Event::Started { version: "0", config_hash: String::new() }).await.expect("durable");
    assert!(seq > all + 1, "no number is used twice");
    stopped(log).await;
    stopped(start(&config).expect("it starts again")).await;
}

#[tokio::test]
async fn records_that_are_gone_from_the_middle_or_the_beginning_of_what_is_read_are_noticed() {
    let (dir, config) = sound().await;
    let firsts: Vec<u64> = segments(dir.path()).into_keys().collect();
    assert!(firsts.len() >= 3, "{firsts:?}");
    fs::remove_file(dir.path().join(segment_name(firsts[1]))).expect("removed");
    let error = start(&config).expect_err("a segment is gone").to_string();
    let told = format!("the records {} to {} behind", firsts[1], firsts[2] - 1);
    assert!(error.contains(&told), "{error}");
    let loss = accept(&config).expect("it is accepted").expect("a loss");
    assert_eq!(loss.altered, [Range { first: firsts[1], last: firsts[2] - 1 }]);
    stopped(start(&config).expect("it starts")).await;
}

#[tokio::test]
async fn torn_or_missing_tiles_are_made_anew_and_wrong_ones_do_not_hide_an_edit() {
    for damage in ["cut", "gone", "all gone", "edited"] {
        let (dir, config) = sound().await;
        let tile = dir.path().join("tile/1/000.p/2");
        match damage {
            "cut" => fs::write(&tile, [1; 7]).expect("cut"),
            "gone" => fs::remove_file(&tile).expect("gone"),
            "all gone" => fs::remove_dir_all(dir.path().join("tile")).expect("gone"),
            _ => fs::write(&tile, [7; 64]).expect("edited"),
        }
        stopped(start(&config).expect(damage)).await;
        verify(dir.path());
        let told = lines_of(dir.path()).iter().any(|line| line["tiles_made_anew"] == true);
        assert_eq!(told, damage == "edited" || damage == "all gone", "{damage}");
    }
}

#[tokio::test]
async fn a_log_of_another_replica_another_key_or_without_its_checkpoints_does_not_start() {
    let (dir, config) = sound().await;
    let other = Config { origin: Some("ccgate.example/other".to_owned()), ..config.clone() };
    let error = start(&other).expect_err("another replica's").to_string();
    assert!(error.contains("holds the log ccgate.example/audit, not ccgate.example/other"), "{error}");

    let key = new_key();
    let rekeyed = Config { signing_key_file: key.path().to_path_buf(), ..config.clone() };
    let error = start(&rekeyed).expect_err("another key").to_string();
    assert!(error.contains("is signed by ccgate.example/audit+") && error.contains("verifier_keys_file"), "{error}");
    // With the old key's line in the list it goes on, and says so.
    let vouched = dir.path().join("old-keys");
    fs::copy(dir.path().join(KEYS_FILE), &vouched).expect("a list");
    let rekeyed = Config { verifier_keys_file: Some(vouched), ..rekeyed };
    stopped(start(&rekeyed).expect("it starts")).await;
    assert!(lines_of(dir.path()).iter().any(|line| line["event"] == "audit.key_changed"));
    assert_eq!(read_keys(&dir.path().join(KEYS_FILE)).expect("keys").len(), 2);
    verify(dir.path());
    stopped(start(&rekeyed).expect("it starts again")).await;

    for name in [CHECKPOINT_FILE, CHECKPOINTS_FILE] {
        fs::remove_file(dir.path().join(name)).expect("removed");
    }
    let error = start(&rekeyed).expect_err("no checkpoints").to_string();
    assert!(error.contains("the checkpoints of the log in") && error.contains("are gone"), "{error}");
    assert!(accept(&rekeyed).expect("accepted").expect("a loss").checkpoints_missing);
    stopped(start(&rekeyed).expect("it starts")).await;
}

#[tokio::test]
async fn keys_that_are_none_are_named_with_the_next_step() {
    let (dir, config) = sound().await;
    let missing = Config { signing_key_file: dir.path().join("no.key"), ..config.clone() };
    let error = start(&missing).expect_err("no key").to_string();
    assert!(error.contains("no.key cannot be read") && error.contains("openssl genpkey -algorithm ed25519"), "{error}");
    let rsa = dir.path().join("other.key");
    fs::write(&rsa, "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n").expect("written");
    let wrong = Config { signing_key_file: rsa, ..config.clone() };
    assert!(start(&wrong).expect_err("no key").to_string().contains("cannot sign"));
    fs::write(dir.path().join("list"), "no key\n").expect("written");
    let wrong = Config { verifier_keys_file: Some(dir.path().join("list")), ..config };
    assert!(start(&wrong).expect_err("no list").to_string().contains("audit.verifier_keys_file cannot be used"));
}

#[tokio::test]
async fn a_checkpoint_that_was_forged_or_torn() {
    let (dir, config) = sound().await;
    let note = fs::read_to_string(dir.path().join(CHECKPOINT_FILE)).expect("a note");
    // A crash can tear it: the list has it, too.
    fs::write(dir.path().join(CHECKPOINT_FILE), note.split_at(20).0).expect("torn");
    stopped(start(&config).expect("it starts")).await;
    let lines = fs::read_to_string(dir.path().join(CHECKPOINTS_FILE)).expect("notes");
    fs::write(dir.path().join(CHECKPOINTS_FILE), format!("{lines}{{\"ts\":\"2026")).expect("torn");
    stopped(start(&config).expect("it starts")).await;
    verify(dir.path());
    // Another size under the same signature is a forgery.
    let note = fs::read_to_string(dir.path().join(CHECKPOINT_FILE)).expect("a note");
    let size = note.lines().nth(1).expect("a size").to_owned();
    fs::write(dir.path().join(CHECKPOINT_FILE), note.replacen(&size, &format!("{size}0"), 1)).expect("forged");
    let error = start(&config).expect_err("forged").to_string();
    assert!(error.contains("the newest checkpoint in") && error.contains("does not count"), "{error}");
}

#[tokio::test]
async fn an_erased_record_leaves_its_hash_and_a_signed_order() {
    let world = World::new();
    write(&world, 3).await;
    world.until("all ends", |world| world.lines().len() == 7).await;
    let subject_of = |dir: &Path| segments(dir).into_values().collect::<String>().matches("\"alice\"").count();
    assert_eq!(subject_of(world.dir.path()), 6);
    let order = |records: &[u64]| Erasure {
        records: records.iter().copied().collect(),
        reason: "a data subject's request".to_owned(),
        by: Person { name: Some("anna".to_owned()), ..Person::default() },
    };
    let seq = world.log.erase(order(&[2, 3])).await.expect("erased");
    assert_eq!(subject_of(world.dir.path()), 4);
    write(&world, 2).await;
    for (records, expected) in
        [(vec![], "1 to 500 records"), (vec![99], "no record 99"), (vec![seq], "tells of the log itself")]
    {
        let error = world.log.erase(order(&records)).await.expect_err("it cannot be").to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Once more is no error.
    world.log.erase(order(&[2])).await.expect("again");
    world.stop().await;
    assert!(matches!(world.log.erase(order(&[4])).await, Err(EraseError::NotRecorded(Why::Stopped))));
    verify(world.dir.path());
    let lines = lines_of(world.dir.path());
    assert_eq!((&lines[1]["erased"], &lines[1]["event"]), (&true.into(), &Value::Null));
    let told = lines.iter().find(|line| line["event"] == "audit.erased").expect("the order");
    assert_eq!((&told["erased"][0]["seq"], &told["erased"][0]["leaf"]), (&2.into(), &lines[1]["leaf"]));
    let world = world.killed_and_started_again().await;
    world.stop().await;
    verify(world.dir.path());
}

#[tokio::test]
async fn an_erasure_that_a_crash_cut_short_is_carried_out_by_the_next_start() {
    let world = World::new();
    write(&world, 2).await;
    world.until("both ends", |world| world.lines().len() == 5).await;
    let before = segments(world.dir.path())[&1].clone();
    let order = Erasure { records: [2].into(), reason: "r".to_owned(), by: Person::default() };
    world.log.erase(order).await.expect("erased");
    let after = segments(world.dir.path())[&1].clone();
    // As if the segment had not been replaced.
    fs::write(world.dir.path().join(segment_name(1)), &before).expect("put back");
    let world = world.killed_and_started_again().await;
    assert_eq!(segments(world.dir.path())[&1], after);
    world.stop().await;
    verify(world.dir.path());
}

#[tokio::test]
async fn old_segments_are_removed_whole_after_a_signed_record_of_it() {
    let (dir, config) = sound().await;
    let before = segments(dir.path());
    let config = Config { retention: Some(Duration::ZERO), ..config };
    fs::write(dir.path().join(format!("{}.torn-1", segment_name(1))), "torn").expect("written");
    let log = start(&config).expect("it starts");
    let deadline = Instant::now() + Duration::from_secs(5);
    while dir.path().join(segment_name(1)).exists() || dir.path().join(segment_name(513)).exists() {
        assert!(Instant::now() < deadline, "{:?}", walk(dir.path()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    log.open(budgeted("req-1"), session()).await.expect("an entry").close(finished());
    stopped(log).await;
    let (lines, last) = (lines_of(dir.path()), before.values().map(|text| text.lines().count() as u64).sum::<u64>());
    let told = lines.iter().find(|line| line["event"] == "audit.pruned").expect("a record");
    assert_eq!((&told["first"], &told["last"]), (&1.into(), &last.into()));
    assert_eq!(told["segments"], before.len());
    assert!(!walk(dir.path()).iter().any(|name| name.contains("torn")));
    // It goes on over what is left, and with torn tiles too.
    stopped(start(&config).expect("it starts")).await;
    fs::remove_file(dir.path().join("tile/1/000.p/2")).expect("removed");
    stopped(start(&config).expect("it starts")).await;
}

#[tokio::test]
async fn a_loss_that_the_log_tells_of_and_a_beginning_that_is_gone_can_be_accepted() {
    let world = World::with(Plan::never(), |config| config.segment_bytes_max = 100 << 10);
    for _ in 0..4 {
        write_many(&world, 87).await;
        world.until("all ends", |world| world.metric("ccgate_audit_open_entries").abs() < 0.1).await;
    }
    let newest = *segments(world.dir.path()).keys().next_back().expect("a segment");
    fs::remove_file(world.dir.path().join(segment_name(newest))).expect("deleted while it is written");
    world.until("a new segment", |world| segments(world.dir.path()).keys().any(|first| *first > newest)).await;
    world.until("ready", |world| world.ready.is_ready()).await;
    world.stop().await;
    let (dir, config) = (Arc::clone(&world.dir), world.config.clone());
    let firsts: Vec<u64> = segments(dir.path()).into_keys().collect();
    fs::remove_file(dir.path().join(segment_name(firsts[0]))).expect("removed");
    let error = start(&config).expect_err("its beginning is gone").to_string();
    assert!(error.contains(&format!("the records up to {} are gone from", firsts[1] - 1)), "{error}");

    let verified = || {
        let keys = read_keys(&dir.path().join(KEYS_FILE)).expect("keys");
        crate::trail::verify::verify(dir.path(), &keys, &mut |_, _| {}).expect("a log")
    };
    assert_eq!(verified().damages.len(), 2, "{:?}", verified().damages);
    let loss = accept(&config).expect("it is accepted").expect("a loss");
    let gap = lines_of(dir.path()).into_iter().find(|line| line["event"] == "audit.gap").expect("a gap record");
    let range = |range: &Value| serde_json::from_value::<Range>(range.clone()).expect("a range");
    assert!(firsts[1] < newest, "more than the beginning is left");
    assert_eq!(loss.altered, [Range { first: 1, last: firsts[1] - 1 }, range(&gap["missing"])]);
    assert_eq!(accept(&config).expect("again"), None, "nothing more is lost");
    stopped(start(&config).expect("it starts")).await;
    let report = verified();
    assert!(report.is_sound() && report.accepted.len() == 2, "{:?}", report.damages);
}
