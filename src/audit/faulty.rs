//! A storage that fails on purpose, over a real one. Only for tests.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::segment::{Damage, Disk, Storage};
use super::start_error::StartError;

/// What the failing call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing, and says so.
    Fail(io::ErrorKind),
    /// Nothing, and says so with the system's own error.
    Errno(rustix::io::Errno),
    /// Everything, and yet reports a failure: a timeout is not a no.
    FailButPersist,
    /// Half of what is to be appended.
    FailHalfway,
    /// It panics.
    Panic,
}

/// What was done to the disk.
#[derive(Debug, Clone)]
pub(super) enum Op {
    /// A life has begun, which had found these files, or mended what it found to be these.
    Begin(BTreeMap<PathBuf, Vec<u8>>),
    Rotate(u64),
    Append(Vec<u8>),
    /// Whether the writer was told that it went well.
    Sync(bool),
    Create(PathBuf, Vec<u8>),
    SyncFile(PathBuf),
    Rename(PathBuf, PathBuf),
    Splice(PathBuf, u64, Vec<u8>),
    Remove(PathBuf),
    SyncNames,
}

/// When to fail. Shared with the test, which can change its mind.
#[derive(Debug)]
pub(super) struct Plan {
    form: Form,
    /// Number of the first call that fails, counted from 1 over all that change something.
    first: usize,
    /// How many fail, from that one on.
    count: usize,
    /// One more fails, so many calls after the first; 0: none.
    then: usize,
    calls: AtomicUsize,
    /// Each call whose number is a multiple of this fails; 0: none.
    pub(super) every: AtomicUsize,
    /// Every call fails, whatever its number.
    pub(super) always: AtomicBool,
    /// Appends find no space, while files can still be made.
    pub(super) full: AtomicBool,
    /// Calls of sync, of which a batch has one.
    pub(super) syncs: AtomicUsize,
    /// What the disk says is free; `usize::MAX`: the truth.
    pub(super) free: AtomicUsize,
    /// Appends wait while this is set: a disk that hangs.
    pub(super) hangs: AtomicBool,
    /// Where everything is taken down that was done; `None`: nowhere.
    pub(super) tape: Mutex<Option<Vec<Op>>>,
}

impl Plan {
    pub(super) fn new(form: Form, first: usize, count: usize) -> Arc<Self> {
        Self::of(form, first, count, 0)
    }

    /// The call `first` fails, and the one that comes `then` calls later.
    pub(super) fn twice(form: Form, first: usize, then: usize) -> Arc<Self> {
        Self::of(form, first, 1, then)
    }

    fn of(form: Form, first: usize, count: usize, then: usize) -> Arc<Self> {
        Arc::new(Self {
            form,
            first,
            count,
            then,
            calls: AtomicUsize::new(0),
            every: AtomicUsize::new(0),
            always: AtomicBool::new(false),
            full: AtomicBool::new(false),
            syncs: AtomicUsize::new(0),
            free: AtomicUsize::new(usize::MAX),
            hangs: AtomicBool::new(false),
            tape: Mutex::new(None),
        })
    }

    pub(super) fn never() -> Arc<Self> {
        Self::new(Form::Fail(io::ErrorKind::Other), usize::MAX, 0)
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether two calls fail.
    pub(super) fn is_twice(&self) -> bool {
        self.then > 0
    }

    /// Whether the fault was never reached.
    pub(super) fn is_unused(&self) -> bool {
        self.calls() < self.first
    }

    /// Takes down what is done from now on.
    pub(super) fn record(&self) {
        *self.tape.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    fn note(&self, op: impl FnOnce() -> Op) {
        if let Some(tape) = self.tape.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            tape.push(op());
        }
    }

    fn fails(&self) -> bool {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let every = self.every.load(Ordering::SeqCst);
        (every > 0 && call.is_multiple_of(every))
            || self.always.load(Ordering::SeqCst)
            || (call >= self.first && call - self.first < self.count)
            || (self.then > 0 && call > self.first && call - self.first == self.then)
    }
}

/// A disk that follows a plan.
#[derive(Debug)]
pub(super) struct Faulty {
    disk: Disk,
    plan: Arc<Plan>,
    /// The directory, until something is done to it.
    untouched: Option<PathBuf>,
}

impl Faulty {
    /// Takes the directory.
    pub(super) fn open(dir: &Path, plan: Arc<Plan>) -> Result<Self, StartError> {
        Ok(Self { disk: Disk::open(dir)?, plan, untouched: Some(dir.to_owned()) })
    }

    /// Does something whole or in part, or not at all. It says what it does once it did it.
    fn run(&mut self, mut work: impl FnMut(&mut Disk, bool) -> io::Result<Op>) -> io::Result<()> {
        if let Some(dir) = self.untouched.take() {
            self.plan.note(|| Op::Begin(files_below(&dir)));
        }
        if !self.plan.fails() {
            let op = work(&mut self.disk, true)?;
            self.plan.note(|| op);
            return Ok(());
        }
        let (whole, error) = match self.plan.form {
            Form::Fail(kind) => return Err(kind.into()),
            Form::Errno(errno) => return Err(errno.into()),
            Form::FailButPersist => (true, io::ErrorKind::TimedOut),
            Form::FailHalfway => (false, io::ErrorKind::Other),
            Form::Panic => panic!("a planned panic in the storage"),
        };
        match work(&mut self.disk, whole)? {
            Op::Sync(_) => self.plan.note(|| Op::Sync(false)),
            op => self.plan.note(|| op),
        }
        Err(error.into())
    }
}

/// All files below a directory, by their path from there.
pub(super) fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(dir).expect("below it").to_owned();
                files.insert(name, std::fs::read(path).expect("bytes"));
            }
        }
    }
    files
}

/// All of it, or the first half.
fn part(bytes: &[u8], whole: bool) -> &[u8] {
    if whole { bytes } else { &bytes[..bytes.len() / 2] }
}

impl Storage for Faulty {
    fn rotate(&mut self, first: u64) -> io::Result<()> {
        self.run(|disk, _| disk.rotate(first).map(|()| Op::Rotate(first)))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.plan.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if self.plan.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.run(|disk, whole| disk.append(part(bytes, whole)).map(|()| Op::Append(part(bytes, whole).to_vec())))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.plan.syncs.fetch_add(1, Ordering::SeqCst);
        self.run(|disk, _| disk.sync().map(|()| Op::Sync(true)))
    }

    fn check(&mut self) -> Result<(), Damage> {
        self.disk.check()
    }

    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.run(|disk, whole| {
            let bytes = part(bytes, whole);
            disk.create(path, bytes).map(|()| Op::Create(path.to_owned(), bytes.to_vec()))
        })
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        self.run(|disk, _| disk.sync_file(path).map(|()| Op::SyncFile(path.to_owned())))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(|disk, _| disk.rename(from, to).map(|()| Op::Rename(from.to_owned(), to.to_owned())))
    }

    fn splice(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let mut end = 0;
        self.run(|disk, whole| {
            let bytes = part(bytes, whole);
            end = disk.splice(path, offset, bytes)?;
            Ok(Op::Splice(path.to_owned(), end - bytes.len() as u64, bytes.to_vec()))
        })?;
        Ok(end)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.run(|disk, _| disk.remove(path).map(|()| Op::Remove(path.to_owned())))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.run(|disk, _| disk.sync_names().map(|()| Op::SyncNames))
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        match self.plan.free.load(Ordering::SeqCst) {
            usize::MAX => self.disk.free_bytes(),
            free => Ok(free as u64),
        }
    }
}
