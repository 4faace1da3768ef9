//! A storage that fails on purpose, over a real one. Only for tests.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::segment::{Damage, Disk, Storage};

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
        })
    }

    pub(super) fn never() -> Arc<Self> {
        Self::new(Form::Fail(io::ErrorKind::Other), usize::MAX, 0)
    }

    /// How many calls there were.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Whether the fault was never reached.
    pub(super) fn is_unused(&self) -> bool {
        self.calls() < self.first
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
    pub(super) disk: Disk,
    pub(super) plan: Arc<Plan>,
}

impl Faulty {
    fn run(&mut self, mut work: impl FnMut(&mut Disk, bool) -> io::Result<()>) -> io::Result<()> {
        if !self.plan.fails() {
            return work(&mut self.disk, true);
        }
        match self.plan.form {
            Form::Fail(kind) => Err(kind.into()),
            Form::Errno(errno) => Err(errno.into()),
            Form::FailButPersist => work(&mut self.disk, true).and(Err(io::ErrorKind::TimedOut.into())),
            Form::FailHalfway => work(&mut self.disk, false).and(Err(io::ErrorKind::Other.into())),
            Form::Panic => panic!("a planned panic in the storage"),
        }
    }
}

impl Storage for Faulty {
    fn rotate(&mut self, first: u64) -> io::Result<()> {
        self.run(|disk, _| disk.rotate(first))
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        while self.plan.hangs.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        if self.plan.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.run(|disk, whole| disk.append(if whole { bytes } else { &bytes[..bytes.len() / 2] }))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.plan.syncs.fetch_add(1, Ordering::SeqCst);
        self.run(|disk, _| disk.sync())
    }

    fn check(&mut self) -> Result<(), Damage> {
        self.disk.check()
    }

    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.run(|disk, whole| disk.create(path, if whole { bytes } else { &bytes[..bytes.len() / 2] }))
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        self.run(|disk, _| disk.sync_file(path))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.run(|disk, _| disk.rename(from, to))
    }

    fn splice(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let mut end = 0;
        self.run(|disk, whole| {
            end = disk.splice(path, offset, if whole { bytes } else { &bytes[..bytes.len() / 2] })?;
            Ok(())
        })?;
        Ok(end)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.run(|disk, _| disk.remove(path))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.run(|disk, _| disk.sync_names())
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        match self.plan.free.load(Ordering::SeqCst) {
            usize::MAX => self.disk.free_bytes(),
            free => Ok(free as u64),
        }
    }
}
