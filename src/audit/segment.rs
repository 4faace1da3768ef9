//! The files. It knows nothing of records: bytes, their durability, and whether the file is still the one it was.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::start_error::StartError;
use crate::trail::segment_name;

/// The name of the lock file.
const LOCK: &str = "audit.lock";

/// How long a start waits for the lock.
const LOCK_PATIENCE: std::time::Duration = std::time::Duration::from_millis(100);

/// Where the writer puts bytes. The seam for fault injection; [`Disk`] is the real one.
pub trait Storage: Send + 'static {
    /// Begins the segment whose first record has this sequence number; its name is durable on return. What the segment
    /// before holds beyond its last successful [`Storage::sync`] is cut off, as well as may be.
    fn rotate(&mut self, first: u64) -> io::Result<()>;

    /// Appends all bytes to the segment, or fails with any part of them appended.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes what was appended durable. After an error the segment is not to be used again: the kernel may have marked
    /// the lost pages as clean, and a second call would report success.
    fn sync(&mut self) -> io::Result<()>;

    /// Whether the segment's path still leads to the file that is written, with all of its bytes.
    fn check(&mut self) -> Result<(), Damage>;

    /// Free space for this process, in bytes.
    fn free_bytes(&mut self) -> io::Result<u64>;

    /// Writes a whole file anew, by its path below the directory, whose folders are made. Not durable.
    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Makes a file's bytes durable. After an error the file is not to be used again.
    fn sync_file(&mut self, path: &Path) -> io::Result<()>;

    /// Gives a file another's place.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;

    /// Appends to a file at an offset, after having cut off what stands behind it; at its end, where it is shorter. Not
    /// durable. Gives the new end.
    fn splice(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<u64>;

    /// Removes a file, or a folder with all that is in it. It is no error that it is not there.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Makes the names in the directory durable.
    fn sync_names(&mut self) -> io::Result<()>;
}

/// What happened to a segment behind the writer's back.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// Its path leads nowhere.
    #[error("the segment was deleted")]
    Deleted,
    /// Its path leads to another file.
    #[error("the segment was replaced")]
    Replaced,
    /// It is shorter than it was.
    #[error("the segment was cut")]
    Cut,
    /// It cannot be looked at.
    #[error("the segment cannot be examined")]
    Io(#[source] io::Error),
}

/// Segments in a directory that this process has locked.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
    current: Option<Segment>,
    /// Held as long as the log lives; the system gives it back when the process ends, however it ends.
    lock: File,
}

#[derive(Debug)]
struct Segment {
    path: PathBuf,
    file: File,
    device_and_inode: (u64, u64),
    written: u64,
    synced: u64,
}

impl Disk {
    /// Takes the directory: it must exist, be writable, and be nobody else's.
    pub fn open(dir: &Path) -> Result<Self, StartError> {
        let found = fs::metadata(dir).map_err(|source| StartError::io(dir, source))?;
        if !found.is_dir() {
            return Err(StartError::NotADirectory { path: dir.to_path_buf() });
        }
        let path = dir.join(LOCK);
        match lock(&path).or_else(|error| again(&path, error)) {
            Ok(lock) => Ok(Self { dir: dir.to_path_buf(), current: None, lock }),
            Err(TryLockError::WouldBlock) => Err(StartError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(StartError::io(dir, source)),
        }
    }

    /// A directory that was deleted and made again has lost the lock with its other files: without a new one, a second
    /// process could take it.
    fn keep_lock(&mut self) -> io::Result<()> {
        let (path, held) = (self.dir.join(LOCK), self.lock.metadata()?);
        let is_held = |found: fs::Metadata| (found.dev(), found.ino()) == (held.dev(), held.ino());
        if !fs::symlink_metadata(&path).is_ok_and(is_held) {
            self.lock = lock(&path)?;
        }
        Ok(())
    }
}

/// Whether a process has this directory.
pub fn is_held(dir: &Path) -> bool {
    match File::open(dir.join(LOCK)) {
        Ok(lock) => matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)),
        // Whoever may read the records and not the lock cannot know.
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Whether a process ever had it: a copy of the records alone has no lock.
pub fn was_held(dir: &Path) -> bool {
    dir.join(LOCK).exists()
}

/// A command that looks whether the directory is held has the lock itself for a moment.
fn again(path: &Path, error: TryLockError) -> Result<File, TryLockError> {
    if matches!(error, TryLockError::Error(_)) {
        return Err(error);
    }
    std::thread::sleep(LOCK_PATIENCE);
    lock(path)
}

fn lock(path: &Path) -> Result<File, TryLockError> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(path);
    let lock = lock.map_err(TryLockError::Error)?;
    lock.try_lock()?;
    Ok(lock)
}

impl Storage for Disk {
    fn rotate(&mut self, first: u64) -> io::Result<()> {
        if let Some(old) = self.current.take() {
            old.leave();
        }
        self.keep_lock()?;
        let segment = Segment::create(self.dir.join(segment_name(first)))?;
        // A crash here leaves an empty segment or none: the next start takes over an empty one of the same name.
        match sync_dir(&self.dir) {
            Ok(()) => self.current = Some(segment),
            Err(error) => {
                segment.leave();
                return Err(error);
            }
        }
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let segment = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        segment.file.write_all(bytes)?;
        segment.written = segment.written.saturating_add(bytes.len() as u64);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let segment = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        segment.file.sync_data()?;
        segment.synced = segment.written;
        Ok(())
    }

    fn check(&mut self) -> Result<(), Damage> {
        self.current.as_ref().map_or(Err(Damage::Deleted), Segment::check)
    }

    fn free_bytes(&mut self) -> io::Result<u64> {
        let volume = rustix::fs::statvfs(&self.dir)?;
        Ok(volume.f_bavail.saturating_mul(volume.f_frsize))
    }

    fn create(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.dir.join(path);
        let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&path);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The directory itself is not made: a mount that went away would go unseen.
                fs::metadata(&self.dir)?;
                fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
                open()?
            }
            opened => opened?,
        };
        file.write_all(bytes)
    }

    fn sync_file(&mut self, path: &Path) -> io::Result<()> {
        File::open(self.dir.join(path))?.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn splice(&mut self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<u64> {
        let path = self.dir.join(path);
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o640).open(path)?;
        let found = file.metadata()?.len();
        let offset = offset.min(found);
        if found > offset {
            file.set_len(offset)?;
        }
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)?;
        Ok(offset.saturating_add(bytes.len() as u64))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let path = self.dir.join(path);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
    }

    fn sync_names(&mut self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

impl Segment {
    fn create(path: PathBuf) -> io::Result<Self> {
        // Readable for the group: a shipper beside us may run as another user of it.
        let file = OpenOptions::new().append(true).create(true).mode(0o640).open(&path)?;
        let found = file.metadata()?;
        if found.len() > 0 {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok(Self { path, file, device_and_inode: (found.dev(), found.ino()), written: 0, synced: 0 })
    }

    fn check(&self) -> Result<(), Damage> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) != self.device_and_inode => Err(Damage::Replaced),
            Ok(found) if found.len() < self.written => Err(Damage::Cut),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Damage::Deleted),
            Err(error) => Err(Damage::Io(error)),
        }
    }

    /// Takes back what is not durable. Best effort: the gap record names the lines either way, and the next start moves
    /// aside what is left of them.
    fn leave(self) {
        if self.synced == 0 {
            // Nothing in it counts. Without this, a full disk would leave a file for every try.
            if matches!(self.check(), Ok(()) | Err(Damage::Cut)) {
                let _ = fs::remove_file(&self.path);
            }
        } else if self.file.metadata().is_ok_and(|found| found.len() > self.synced) {
            let _ = self.file.set_len(self.synced);
        }
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
