//! Work of all kinds - entries, rotation by size, checkpoints, an erasure, a pruning - while one or two calls of the storage
//! fail: the log goes on, and in the end it verifies.
//!
//! Each call is a turn of its own. `AUDIT_FAULTS=all` takes each in every form, which needs minutes.

use std::collections::BTreeSet;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::Errno;
use tokio::task::JoinSet;

use super::super::faulty::Form;
use super::super::keys::Keys;
use super::super::line::Ledger;
use super::super::notary::{Beginning, Notary};
use super::super::recover::recover;
use super::super::status::Status;
use super::super::writer::Writer;
use super::super::{EraseError, Erasure, Person};
use super::replay::{RETENTION, copy, earlier_lives, in_memory, sound};
use super::*;

/// Runs at once: most of their time they wait for the writer's ticks.
const AT_ONCE: usize = 16;
/// Entries in each half of the work: with their ends more records than a tile has.
const ENTRIES: usize = 140;
/// How long a fault may last.
const PATIENCE: Duration = Duration::from_secs(30);

const FORMS: [Form; 7] = [
    Form::Errno(Errno::NOSPC),
    Form::FailButPersist,
    Form::Errno(Errno::IO),
    Form::FailHalfway,
    Form::Errno(Errno::ROFS),
    Form::Panic,
    Form::Errno(Errno::TIMEDOUT),
];

fn all() -> bool {
    std::env::var("AUDIT_FAULTS").is_ok_and(|value| value == "all")
}

/// One run: a log that lives through the plan.
pub(super) struct Run {
    world: World,
    what: String,
    /// Whether two calls fail.
    twice: bool,
    /// Entries that were given to an opener.
    given: Vec<String>,
}

impl Run {
    /// Starts, again where a start meets the fault.
    pub(super) async fn start(before: &Path, plan: Arc<Plan>, what: String) -> Self {
        let dir = Arc::new(in_memory());
        copy(before, dir.path());
        let config = Config { segment_bytes_max: 64 << 10, retention: RETENTION, ..config(dir.path()) };
        for _ in 0..10 {
            let start = || World::start(Arc::clone(&dir), config.clone(), Arc::clone(&plan));
            if let Ok(Ok(world)) = catch_unwind(AssertUnwindSafe(start)) {
                return Self { world, what, twice: plan.is_twice(), given: Vec::new() };
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: it does not start");
    }

    async fn until(&self, step: &str, so: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !so(&self.world) {
            assert!(Instant::now() < deadline, "{}: never {step}: {:?}", self.what, self.world.ready.report());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn entries(&mut self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut left = count;
        while left > 0 {
            assert!(Instant::now() < deadline, "{}: {left} entries are refused for ever", self.what);
            let opened = futures_util::future::join_all((0..left).map(|_| self.world.open())).await;
            for entry in opened.into_iter().flatten() {
                self.given.push(entry.id().to_string());
                entry.close(finished());
                left -= 1;
            }
            self.until("writable", |world| world.log.is_writable()).await;
        }
    }

    pub(super) async fn signed(&self) {
        let progress = self.world.log.progress();
        self.until("signed", |_| {
            let progress = progress.borrow();
            progress.checkpoint.as_ref().is_some_and(|signed| signed.size == progress.durable)
        })
        .await;
    }

    /// Erases the `authorized` of an entry.
    async fn erase(&self, entry: &str) {
        let mut tries = 0;
        loop {
            let text: String = segments(self.world.dir.path()).into_values().collect();
            let mut records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let record = records.find(|record| record["event"] == "authorized" && record["entry"] == entry);
            // An order that failed for the log can have been carried out by a start, but there was none.
            let seq = record.expect("an entry that was given is there")["seq"].as_u64().expect("a number");
            let by = Person::default();
            let erasure = Erasure { records: BTreeSet::from([seq]), reason: "it was ordered".to_owned(), by };
            match self.world.log.erase(erasure).await {
                Ok(_) => return,
                Err(EraseError::NotRecorded(_) | EraseError::NotSigned { .. }) if tries < 20 => tries += 1,
                Err(error) => panic!("{}: {error:?}", self.what),
            }
            self.until("writable", |world| world.log.is_writable()).await;
        }
    }

    pub(super) async fn stop(&self) -> Ended {
        self.world.stop().await
    }

    /// All of the work, and then a death and an orderly end, each followed by a start.
    async fn go(mut self) -> bool {
        self.entries(2).await;
        let held = loop {
            if let Ok(held) = self.world.open().await {
                break held;
            }
            self.until("writable", |world| world.log.is_writable()).await;
        };
        self.given.push(held.id().to_string());
        self.entries(ENTRIES).await;
        let erased = self.given[0].clone();
        self.erase(&erased).await;
        self.signed().await;
        self.entries(ENTRIES).await;
        self.signed().await;
        assert!(self.world.metric("ccgate_audit_records_lost_total").abs() < 0.1, "{}: lost", self.what);
        // The process dies here.
        let killed = Arc::new(in_memory());
        copy(self.world.dir.path(), killed.path());
        sound(killed.path(), &format!("{}, killed", self.what));
        self.check(&killed, &erased).await;
        held.close(finished());
        let ended = self.world.stop().await;
        // A stop is tried twice, so two faults in it leave the rest to the next start.
        let given_up = self.twice && !ended.complete;
        assert!(given_up || ended == Ended { entries_without_end: 0, complete: true }, "{}: {ended:?}", self.what);
        let (unused, dir) = (self.world.plan.is_unused(), Arc::clone(&self.world.dir));
        // The beginning of a segment for the gap record may be such a rest: its number is explained by the next start.
        if !given_up {
            sound(dir.path(), &format!("{}, stopped", self.what));
        }
        self.check(&dir, &erased).await;
        unused
    }

    /// Starts there, and looks for everything that was promised.
    async fn check(&self, dir: &Arc<TempDir>, erased: &str) {
        let what = &self.what;
        let again = World::start(Arc::clone(dir), config(dir.path()), Plan::never());
        let again = again.unwrap_or_else(|error| panic!("{what}: no start: {error}"));
        again.open().await.expect("an entry").close(finished());
        assert!(again.stop().await.complete, "{what}");
        sound(dir.path(), &format!("{what}, started again"));
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for line in counted(dir.path()) {
            if let Some(entry) = line["entry"].as_str() {
                let count = counts.entry(entry.to_owned()).or_default();
                if line["event"] == "authorized" { count.0 += 1 } else { count.1 += 1 }
            }
        }
        for given in &self.given {
            let expected = (usize::from(given != erased), 1);
            assert_eq!(counts.remove(given), Some(expected), "{what}: entry {given}");
        }
        assert!(counts.values().all(|count| *count == (1, 1)), "{what}: {counts:?}");
    }
}

/// A writer that a tick finds with a batch to write and segments to remove; the call `failing` fails. How many calls the start
/// took.
fn writer(before: &Path, failing: usize) -> (Arc<TempDir>, Writer<Faulty>, Status, usize) {
    let dir = Arc::new(in_memory());
    copy(before, dir.path());
    let config = Config { retention: RETENTION, ..config(dir.path()) };
    let plan = Plan::new(Form::Errno(Errno::TIMEDOUT), failing, 1);
    let keys = Keys::read(&config).expect("keys");
    let mut recovered = recover(&config.dir, &keys, false).expect("a log");
    let storage = Faulty::open(dir.path(), Arc::clone(&plan)).expect("a disk");
    let ledger = Ledger::new(Metrics::register(&Registry::new()).expect("metrics"));
    let notary = Notary::new(Arc::clone(&keys.signer), recovered.take_beginning());
    let mut writer = Writer::new(storage, &config, notary, recovered.next_seq, ledger);
    writer.begin(&keys, &recovered, Clock::system().now(), None).expect("it begins");
    writer.push_own("reloaded", &serde_json::json!({ "reason": "test" }));
    (dir, writer, Status::new(Ready::new().register("audit")), plan.calls())
}

#[tokio::test]
async fn nothing_but_a_gap_record_follows_a_batch_that_failed() {
    let before = earlier_lives(&[1, 1, 1]).await;
    let (.., calls) = writer(before.path(), usize::MAX);
    let (dir, mut writer, status, _) = writer(before.path(), calls + 1);
    let left = lines(dir.path()).len();
    // The batch fails in the same round in which old segments are to be removed, which is told by a record, too.
    writer.round(true, &status);
    assert_eq!((status.why_not(), lines(dir.path()).len()), (Some(Why::Broken), left));
    writer.round(true, &status);
    assert_eq!((status.why_not(), lines(dir.path()).len()), (None, left + 2));
    writer.round(true, &status);
    let lines = lines(dir.path());
    let seen = events(&lines);
    assert_eq!(seen[seen.len() - 3..], ["audit.gap", "reloaded", "audit.pruned"]);
    sound(dir.path(), "a pruning after a gap");
}

/// The unfinished tiles of leaves that are on the disk.
fn unfinished(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir.join("tile/0/000.p")).expect("a folder");
    let names = names.filter_map(|entry| entry.expect("an entry").file_name().into_string().ok());
    // A draft is no tile.
    names.filter(|name| name.parse::<u16>().is_ok()).collect()
}

#[tokio::test]
async fn no_unfinished_tile_outlives_the_next_whatever_call_fails() {
    for form in [Form::FailHalfway, Form::FailButPersist, Form::Errno(Errno::IO)] {
        for first in 1.. {
            let dir = Arc::new(in_memory());
            let keys = Keys::read(&config(dir.path())).expect("keys");
            let plan = Plan::new(form, first, 1);
            let mut storage = Faulty::open(dir.path(), Arc::clone(&plan)).expect("a disk");
            let mut notary = Notary::new(Arc::clone(&keys.signer), Beginning::default());
            // One that fails is tried again with one leaf more, but the last.
            for size in [1, 2, 3, 4, 5, 5] {
                notary.extend(size, b"{}\n");
                let _ = notary.sign(&mut storage, Clock::system().now(), None);
            }
            assert_eq!(unfinished(dir.path()), ["5"], "{form:?} at {first}");
            if plan.is_unused() {
                assert!(first > 5 * 5, "a tile, a note and a list are more calls than {first}");
                break;
            }
        }
    }
}

/// The records that count: those whose numbers a gap record calls void do not, nor those that the next segment has passed.
pub(super) fn counted(dir: &Path) -> Vec<Value> {
    let all = segments(dir);
    let read = |text: &String| text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    let segments: Vec<(u64, Vec<Value>)> = all.iter().map(|(first, text)| (*first, read(text))).collect();
    let voids: Vec<_> =
        segments.iter().filter_map(|(_, lines)| lines.first()).map(|line| line["void"].clone()).collect();
    let void = |seq| voids.iter().any(|void| void["first"].as_u64() <= Some(seq) && Some(seq) <= void["last"].as_u64());
    let ends: Vec<_> = all.keys().skip(1).copied().chain([u64::MAX]).collect();
    let counts = |line: &Value, end| line["seq"].as_u64().is_some_and(|seq| seq < end && !void(seq));
    let kept = segments
        .into_iter()
        .zip(ends)
        .flat_map(|((_, lines), end)| lines.into_iter().filter(|line| counts(line, end)).collect::<Vec<_>>());
    kept.collect()
}

/// Runs all of them, some at once, until one was not touched by its fault. How many there were.
async fn storm<F: Future<Output = bool> + Send + 'static>(mut run: impl FnMut(usize) -> F) -> usize {
    let (mut running, mut done, mut untouched) = (JoinSet::new(), 0, false);
    for first in 1.. {
        running.spawn(run(first));
        while running.len() >= AT_ONCE || untouched && !running.is_empty() {
            let unused = running.join_next().await.expect("one").unwrap_or_else(|error| panic!("{error}"));
            (untouched, done) = (untouched || unused, done + usize::from(!unused));
        }
        if untouched {
            break;
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_any_call_fails_under_work_of_all_kinds() {
    let before = Arc::new(earlier_lives(&[1, 1, 1]).await);
    let turns: usize = if all() { FORMS.len() } else { 1 };
    for turn in 0..turns {
        let calls = storm(|first| {
            let (before, form) = (Arc::clone(&before), FORMS[(first + turn) % FORMS.len()]);
            async move {
                let (plan, what) = (Plan::new(form, first, 1), format!("{form:?} at {first}"));
                Run::start(before.path(), plan, what).await.go().await
            }
        });
        let calls = calls.await;
        assert!(calls > 60, "a rotation, checkpoints, an erasure and a pruning make more calls than {calls}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r14_two_calls_fail_under_work_of_all_kinds() {
    let before = Arc::new(earlier_lives(&[1, 1, 1]).await);
    let (step, apart): (usize, &[usize]) = if all() { (1, &[1, 2, 3, 4, 5, 8, 13, 21]) } else { (7, &[1, 3]) };
    for then in apart.iter().copied() {
        let calls = storm(|turn| {
            let first = (turn - 1) * step + 1;
            let (before, form) = (Arc::clone(&before), FORMS[(turn + then) % FORMS.len()]);
            async move {
                let (plan, what) = (Plan::twice(form, first, then), format!("{form:?} at {first} and {then} later"));
                Run::start(before.path(), plan, what).await.go().await
            }
        });
        assert!(calls.await * step > 60);
    }
}
