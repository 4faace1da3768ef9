//! Why the log does not start. Each text names the path and the next step; it never says what a record holds.

use std::io;
use std::path::{Path, PathBuf};

use crate::tlog::{CheckpointError, KeyError};
use crate::trail::{KeysError, TileError};

/// The way on.
const NEXT: &str = "restore the directory from a copy, or accept the loss with `ccgate audit accept-loss --config FILE \
     --reason TEXT`, which says so in the log";

/// How a key is made.
const MAKE: &str = "`openssl genpkey -algorithm ed25519 -out FILE` makes one";

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
    #[error("{path} is locked by another process: stop it, or give each replica its own audit.dir", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A line in the middle of a segment is not a record of this log.
    #[error(
        "{path}, line {line}: {problem}: {NEXT}",
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
    /// The key can't be read.
    #[error("audit.signing_key_file {path} cannot be read: it must be there, for this user to read; {MAKE}", path = path.display())]
    SigningKeyUnread {
        /// The key file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The key is none, or its name is none.
    #[error("audit.signing_key_file {path} cannot sign: it must be an Ed25519 key (PKCS#8, PEM); {MAKE}", path = path.display())]
    SigningKey {
        /// The key file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: KeyError,
    },
    /// A list of keys can't be used.
    #[error("{which} cannot be used: {next}")]
    Keys {
        /// Whose list.
        which: &'static str,
        /// What to do.
        next: &'static str,
        /// What is wrong.
        #[source]
        source: KeysError,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers for the log's name: set audit.origin")]
    Random,
    /// The directory belongs to another replica.
    #[error(
        "{path} holds the log {found}, not {wanted}, which audit.origin says: give each replica its own audit.dir, or set audit.origin to {found}",
        path = path.display()
    )]
    OtherLog {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The newest checkpoint is by a key that nobody vouches for.
    #[error(
        "the newest checkpoint in {path} is signed by {by}, which is neither audit.signing_key_file nor in \
         audit.verifier_keys_file: if the key was replaced, copy that key's line from audit.pub into such a file; if not, \
         put the old key back",
        path = path.display()
    )]
    KeyUnknown {
        /// The file.
        path: PathBuf,
        /// The key's name and id.
        by: String,
    },
    /// The newest checkpoint is not one of this log.
    #[error("the newest checkpoint in {path} does not count: {NEXT}", path = path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CheckpointError,
    },
    /// There are records and no checkpoint.
    #[error("the checkpoints of the log in {path} are gone: {NEXT}", path = path.display())]
    Unsigned {
        /// The directory.
        path: PathBuf,
    },
    /// Records that were signed are gone from the end.
    #[error("{path}: {signed} records were signed, and the last one that is there is {found}: {NEXT}", path = path.display())]
    Fewer {
        /// The directory.
        path: PathBuf,
        /// How many the newest checkpoint is over.
        signed: u64,
        /// The last one.
        found: u64,
    },
    /// Records are gone from the beginning.
    #[error("the records up to {last} are gone from {path}, and no record says that retention removed them: {NEXT}", path = path.display())]
    Beginning {
        /// The directory.
        path: PathBuf,
        /// The last of them.
        last: u64,
    },
    /// Records are gone from the middle.
    #[error("the records {first} to {last} behind {path} are gone, and no gap record says why: {NEXT}", path = path.display())]
    Between {
        /// The segment before them.
        path: PathBuf,
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The tree over the records is not the one that was signed, and its tiles do not tell where.
    #[error("the records in {path} are not those that were signed: {NEXT}", path = path.display())]
    Root {
        /// The directory.
        path: PathBuf,
    },
    /// A tile that can't be made anew is not there.
    #[error(
        "{path}: a hash tile is gone, and so are the records that it could be made of: restore the directory from a copy, \
         or keep it aside and begin a new one",
        path = path.display()
    )]
    Tile {
        /// The directory.
        path: PathBuf,
        /// Which, and why.
        #[source]
        source: TileError,
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
