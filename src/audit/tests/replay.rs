//! Every crash that there can be: what the writer did to its files is taken down, and for any place in it the directory is
//! made as a kill or a loss of power would have left it. A start there finds everything that was acknowledged.
//!
//! A loss of power is taken as a journaling file system has it: names change in order and are durable with any sync after;
//! bytes that were not made durable are there, gone, zero, or any mixture of it.
//!
//! `AUDIT_REPLAY=n` takes n images of each kind for each place, instead of one for some; `AUDIT_REPLAY_FAULTS=n` so many
//! faults.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::super::faulty::{Form, Op, files_below};
use super::storm::{Run, counted};
use super::*;
use crate::trail::verify::verify;
use crate::trail::{KEYS_FILE, read_keys};

/// Thousands of starts: in memory where the system has such a place, as it is not durability that is tested by them.
pub(super) fn in_memory() -> TempDir {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).expect("a directory")
}

/// Copies a log's directory, as it is at this moment.
pub(super) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// A log of earlier lives, each a segment of so many entries, which retention finds too old.
pub(super) async fn earlier_lives(lives: &[usize]) -> TempDir {
    let dir = in_memory();
    for entries in lives {
        let clock = Clock::fixed(Clock::system().now() - jiff::SignedDuration::from_hours(2));
        let metrics = Metrics::register(&Registry::new()).expect("metrics");
        let log = Log::start(&config(dir.path()), clock, Ready::new().register("audit"), metrics).expect("it starts");
        let opened =
            futures_util::future::join_all((0..*entries).map(|_| log.open(budgeted("req-1"), session()))).await;
        for entry in opened {
            entry.expect("an entry").close(finished());
        }
        assert!(log.shut_down(Duration::from_secs(5)).await.complete);
    }
    dir
}

/// Removes the segments of [`earlier_lives`].
pub(super) const RETENTION: Option<Duration> = Some(Duration::from_hours(1));

/// What anybody would say of the log there.
pub(super) fn sound(dir: &Path, what: &str) {
    let keys = read_keys(&dir.join(KEYS_FILE)).expect("keys");
    let report = verify(dir, &keys, &mut |_, _| {}).expect("a log");
    assert!(report.is_sound(), "{what}: {report:#?} {}", listing(dir));
}

fn listing(dir: &Path) -> String {
    let short = |line: &str| line.chars().take(160).collect::<String>();
    segments(dir).into_iter().fold(String::new(), |listing, (first, text)| {
        let (begin, end) = (text.lines().next().map(short), text.lines().last().map(short));
        listing + &format!("\n{first}: {} lines, {begin:?} to {end:?}", text.lines().count())
    })
}

/// A file's bytes: as a process sees them, and how many of them are durable.
#[derive(Debug, Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    durable: usize,
}

impl Inode {
    fn cut(&mut self) {
        self.bytes.truncate(self.durable);
    }
}

fn is_segment(path: &Path) -> bool {
    path.to_str().and_then(first_seq).is_some()
}

/// A change of names.
#[derive(Debug, Clone)]
enum Change {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// A file system in thought.
#[derive(Debug, Clone, Default)]
struct Model {
    inodes: Vec<Inode>,
    changes: Vec<Change>,
    /// Changes of names that are durable.
    durable: usize,
    /// The segment that is written.
    current: Option<(PathBuf, usize)>,
}

impl Model {
    /// The files of a directory, all durable.
    fn of(dir: &Path) -> Self {
        let mut model = Self::default();
        model.begin(&files_below(dir));
        model.inodes.iter_mut().for_each(|inode| inode.durable = inode.bytes.len());
        model
    }

    /// A life has begun with these files. What it mended of those before is durable, and so are all names and all segments.
    fn begin(&mut self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        self.current = None;
        let gone = self.names(self.changes.len()).into_keys().filter(|path| !files.contains_key(path));
        self.changes.extend(gone.map(Change::Remove).collect::<Vec<_>>());
        for (path, bytes) in files {
            let inode = self.inode(path);
            if inode.bytes != *bytes || is_segment(path) {
                *inode = Inode { bytes: bytes.clone(), durable: bytes.len() };
            }
        }
        self.durable = self.changes.len();
    }

    fn made(&mut self, path: PathBuf) -> &mut Inode {
        self.changes.push(Change::Link(path, self.inodes.len()));
        self.inodes.push(Inode::default());
        self.inodes.last_mut().expect("the new one")
    }

    /// The names after so many changes.
    fn names(&self, changes: usize) -> BTreeMap<PathBuf, usize> {
        let mut names = BTreeMap::new();
        for change in &self.changes[..changes] {
            match change {
                Change::Link(path, inode) => drop(names.insert(path.clone(), *inode)),
                Change::Rename(from, to) => {
                    let inode = names.remove(from).expect("a file that is renamed");
                    names.insert(to.clone(), inode);
                }
                Change::Remove(path) => names.retain(|name, _| !name.starts_with(path)),
            }
        }
        names
    }

    fn inode(&mut self, path: &Path) -> &mut Inode {
        match self.names(self.changes.len()).get(path) {
            Some(inode) => &mut self.inodes[*inode],
            None => self.made(path.to_owned()),
        }
    }

    fn written(&mut self) -> &mut Inode {
        let (_, inode) = self.current.as_ref().expect("a segment was begun");
        &mut self.inodes[*inode]
    }

    /// Does a call, of whose bytes only the first `part` are written.
    fn run(&mut self, op: &Op, part: usize) {
        match op {
            Op::Begin(files) => self.begin(files),
            Op::Rotate(first) => {
                // What the one before has beyond its last sync is cut off, and one without any is removed.
                match self.current.take() {
                    Some((path, old)) if self.inodes[old].durable == 0 => self.changes.push(Change::Remove(path)),
                    Some((_, old)) => self.inodes[old].cut(),
                    None => {}
                }
                let path = PathBuf::from(segment_name(*first));
                self.current = Some((path.clone(), self.inodes.len()));
                self.made(path);
                self.durable = self.changes.len();
            }
            Op::Append(bytes) => self.written().bytes.extend(bytes.iter().take(part)),
            Op::Sync(_) => {
                let inode = self.written();
                inode.durable = inode.bytes.len();
                self.durable = self.changes.len();
            }
            Op::Create(path, bytes) => {
                let bytes = bytes.iter().copied().take(part).collect();
                *self.inode(path) = Inode { bytes, durable: 0 };
            }
            Op::SyncFile(path) => {
                let inode = self.inode(path);
                inode.durable = inode.bytes.len();
                self.durable = self.changes.len();
            }
            Op::Rename(from, to) => self.changes.push(Change::Rename(from.clone(), to.clone())),
            Op::Splice(path, offset, bytes) => {
                let (inode, offset) = (self.inode(path), usize::try_from(*offset).expect("small"));
                inode.bytes.truncate(offset);
                inode.durable = inode.durable.min(offset);
                inode.bytes.extend(bytes.iter().take(part));
            }
            Op::Remove(path) => self.changes.push(Change::Remove(path.clone())),
            Op::SyncNames => self.durable = self.changes.len(),
        }
    }

    /// The directory after a kill.
    fn killed(&self) -> TempDir {
        self.image(self.changes.len(), |inode| inode.bytes.clone())
    }

    /// The directory after a loss of power.
    fn powerless(&self, random: &mut fastrand::Rng) -> TempDir {
        let changes = random.usize(self.durable..=self.changes.len());
        self.image(changes, |inode| {
            let (durable, rest) = inode.bytes.split_at(inode.durable);
            let kept = match random.u8(0..5) {
                0 => Vec::new(),
                1 => rest[..random.usize(0..=rest.len())].to_vec(),
                2 => vec![0; rest.len()],
                3 => rest
                    .chunks(512)
                    .flat_map(|part| if random.bool() { part.to_vec() } else { vec![0; part.len()] })
                    .collect(),
                _ => rest.to_vec(),
            };
            [durable, &kept].concat()
        })
    }

    fn image(&self, changes: usize, mut bytes: impl FnMut(&Inode) -> Vec<u8>) -> TempDir {
        let dir = in_memory();
        for (path, inode) in self.names(changes) {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
            fs::write(path, bytes(&self.inodes[inode])).expect("a file");
        }
        dir
    }
}

/// What a log did that lived through the plan, over a directory of earlier lives.
async fn recorded(before: &Path, plan: Arc<Plan>) -> Vec<Op> {
    plan.record();
    let mut run = Run::start(before, Arc::clone(&plan), "replay".to_owned()).await;
    for entries in [3, 150, 1, 140] {
        run.entries(entries).await;
        run.signed().await;
    }
    assert_eq!(run.stop().await, Ended { entries_without_end: 0, complete: true });
    plan.tape.lock().expect("a tape").take().expect("it was on")
}

/// Rotations, checkpoints and a pruning are in it.
fn has_all(tape: &[Op]) {
    let count = |is: fn(&Op) -> bool| tape.iter().filter(|op| is(op)).count();
    assert!(count(|op| matches!(op, Op::Rotate(_))) >= 2, "a rotation");
    assert!(count(|op| matches!(op, Op::Splice(..))) >= 4, "checkpoints");
    let removed = tape.iter().filter(|op| matches!(op, Op::Remove(path) if is_segment(path)));
    assert_eq!(removed.count(), 2, "a pruning");
}

/// The lines that can have been acknowledged before a place: a sync came after them.
fn acknowledged(ops: &[Op]) -> BTreeSet<String> {
    let (mut lines, mut waiting) = (BTreeSet::new(), Vec::new());
    for op in ops {
        match op {
            // What failed before that is given up by it.
            Op::Rotate(_) | Op::Sync(false) => waiting.clear(),
            Op::Append(bytes) => waiting.extend(std::str::from_utf8(bytes).expect("text").lines().map(str::to_owned)),
            Op::Sync(true) => lines.extend(waiting.drain(..)),
            _ => {}
        }
    }
    lines
}

/// Starts on an image, works, ends, and looks at everything.
async fn starts(image: TempDir, acknowledged: &BTreeSet<String>, what: &str) {
    let dir = Arc::new(image);
    let world = World::start(Arc::clone(&dir), config(dir.path()), Plan::never());
    let world = world.unwrap_or_else(|error| panic!("{what}: {error:?} {}", listing(dir.path())));
    world.open().await.expect("an entry").close(finished());
    assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true }, "{what}");
    let text: String = segments(dir.path()).into_values().collect();
    let found: BTreeSet<&str> = text.lines().collect();
    for line in acknowledged {
        assert!(found.contains(line.as_str()), "{what}: acknowledged and gone: {line}");
    }
    let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for line in counted(dir.path()) {
        if let Some(entry) = line["entry"].as_str() {
            let count = counts.entry(entry.to_owned()).or_default();
            if line["event"] == "authorized" { count.0 += 1 } else { count.1 += 1 }
        }
    }
    let odd: Vec<_> = counts.iter().filter(|(_, count)| **count != (1, 1)).collect();
    assert!(odd.is_empty(), "{what}: {odd:?}");
    sound(dir.path(), what);
}

const fn length(op: &Op) -> usize {
    match op {
        Op::Append(bytes) | Op::Create(_, bytes) | Op::Splice(_, _, bytes) => bytes.len(),
        _ => 0,
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// At each `step`-th place, so many images of each kind.
#[derive(Clone, Copy)]
struct Sampled {
    step: usize,
    images: u64,
}

/// Starts on what crashes leave.
async fn replay(before: &Path, ops: &[Op], sampled: Sampled, random: &mut fastrand::Rng, what: &str) {
    let Sampled { step, images } = sampled;
    let (mut model, from) = (Model::of(before), random.usize(0..step));
    for (place, op) in ops.iter().enumerate() {
        for image in 0..if place % step == from { images } else { 0 } {
            let promised = acknowledged(&ops[..place]);
            let part = random.usize(0..=length(op));
            let mut crashed = model.clone();
            crashed.run(op, part);
            let at = format!("{what}, image {image}, at {place} of {}, byte {part}", ops.len());
            starts(crashed.killed(), &promised, &format!("killed, {at}")).await;
            starts(crashed.powerless(random), &promised, &format!("no power, {at}")).await;
            starts(model.powerless(random), &promised, &format!("no power, before, {at}")).await;
        }
        model.run(op, usize::MAX);
    }
    starts(model.killed(), &acknowledged(ops), &format!("killed at the end, {what}")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_crash_leaves_starts_and_has_all_that_was_acknowledged() {
    let seed = number("AUDIT_REPLAY_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("AUDIT_REPLAY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let before = earlier_lives(&[50, 100, 20]).await;
    let ops = recorded(before.path(), Plan::never()).await;
    has_all(&ops);
    let what = format!("seed {seed}");
    let few = Sampled { step: 5, images: 1 };
    let sampled = number("AUDIT_REPLAY").map_or(few, |images| Sampled { step: 1, images });
    replay(before.path(), &ops, sampled, &mut random, &what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_crash_after_a_fault_leaves_starts_and_has_all_that_was_acknowledged() {
    let seed = number("AUDIT_REPLAY_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("AUDIT_REPLAY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let before = earlier_lives(&[50, 100, 20]).await;
    for turn in 0..number("AUDIT_REPLAY_FAULTS").unwrap_or(3) {
        let form = [Form::FailHalfway, Form::FailButPersist, Form::Fail(io::ErrorKind::Other)][random.usize(0..3)];
        let first = random.usize(1..90);
        let ops = recorded(before.path(), Plan::new(form, first, 1)).await;
        let what = format!("seed {seed}, turn {turn}, {form:?} at {first}");
        let sampled = Sampled { step: 11, images: number("AUDIT_REPLAY").unwrap_or(1) };
        replay(before.path(), &ops, sampled, &mut random, &what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_dies_leaves_the_next_one_all_entries_without_an_end() {
    let seed = number("AUDIT_REPLAY_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("AUDIT_REPLAY_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    // Killed with entries open on both sides of a tile's end, of which nobody has signed the later ones.
    let (killed, world) = (in_memory(), World::new());
    let mut open = Vec::new();
    for many in [200, 100] {
        open.extend(futures_util::future::join_all((0..many).map(|_| world.open())).await);
    }
    copy(world.dir.path(), killed.path());
    drop(open);
    let dir = Arc::new(in_memory());
    copy(killed.path(), dir.path());
    let plan = Plan::never();
    plan.record();
    let started = World::start(Arc::clone(&dir), config(dir.path()), Arc::clone(&plan)).expect("it starts");
    let ops = plan.tape.lock().expect("a tape").take().expect("it was on");
    assert!(started.stop().await.complete);
    let sampled = Sampled { step: 1, images: number("AUDIT_REPLAY").unwrap_or(1) };
    replay(killed.path(), &ops, sampled, &mut random, &format!("seed {seed}")).await;
}
