//! Why the log does not start. Each text names the path and the next step; it never says what a record holds.

use std::io;
use std::path::{Path, PathBuf};

/// Why [`Log::start`](super::Log::start) failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The directory does not exist. It is not made: a forgotten mount would then go unseen.
    #[error("audit directory {path} does not exist: create it, or mount the volume there", path = path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The path leads to something else.
    #[error("audit directory {path} is not a directory: set audit.dir to one", path = path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Nothing can be created there.
    #[error("{path} is read-only for this process: mount the volume writable and check its owner", path = path.display())]
    ReadOnly {
        /// What could not be written.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// No space is left.
    #[error("the volume of {path} is full: free space or enlarge it", path = path.display())]
    Full {
        /// What could not be written.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("{path} is locked by another process: stop it, or give each replica its own directory", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A line in the middle of a segment is not a record of this log.
    #[error(
        "{path}, line {line}: {problem}: restore the file from a copy, or move it away and keep it as evidence",
        path = path.display()
    )]
    Line {
        /// The segment.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The system failed in another way.
    #[error("{path} cannot be used: see the cause below", path = path.display())]
    Io {
        /// What was being used.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// There is no runtime for the ticks, or no thread for the writer.
    #[error("the audit log's writer cannot be started: start it inside the runtime, with a thread to spare")]
    Thread(#[source] io::Error),
}

impl StartError {
    /// Sorts an error of the system met at a path.
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            io::ErrorKind::NotADirectory => Self::NotADirectory { path },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}
