//! How far shipping has come, over a restart: one small file beside the log. It decides nothing about records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file, below the log's directory.
pub const CURSOR_FILE: &str = "ship.cursor";

/// Where it is written before it takes the place of the old one.
const NEW_FILE: &str = "ship.cursor.new";

/// Bytes of it at most.
const BYTES_MAX: u64 = 4_096;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The log that it is about.
    pub(super) origin: String,
    /// All records up to this one are acknowledged, void or gone.
    pub(super) seq: u64,
}

/// Why shipping begins at the oldest record, where there is a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Useless {
    #[error("it cannot be read")]
    Io(#[source] io::Error),
    #[error("it is torn or no cursor")]
    Malformed,
    #[error("it is that of another log, {0}")]
    OtherLog(String),
    #[error("it names record {seq}, but the log ends with {durable}")]
    Beyond { seq: u64, durable: u64 },
}

/// Where to begin: behind this record; 0 where no cursor has been written yet.
pub(super) fn load(dir: &Path, origin: &str, durable: u64) -> Result<u64, Useless> {
    let mut text = Vec::new();
    match File::open(dir.join(CURSOR_FILE)) {
        Ok(file) => file.take(BYTES_MAX).read_to_end(&mut text).map_err(Useless::Io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Useless::Io(error)),
    };
    let cursor: Cursor = serde_json::from_slice(&text).map_err(|_| Useless::Malformed)?;
    if cursor.origin != origin {
        return Err(Useless::OtherLog(cursor.origin));
    }
    if cursor.seq > durable {
        return Err(Useless::Beyond { seq: cursor.seq, durable });
    }
    Ok(cursor.seq)
}

/// Makes a cursor durable. A crash in here leaves the old one, or none, or a torn new file that nobody reads.
pub(super) fn save(dir: &Path, cursor: &Cursor) -> io::Result<()> {
    let new = dir.join(NEW_FILE);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(&new)?;
    let mut text = serde_json::to_vec(cursor).map_err(io::Error::other)?;
    text.push(b'\n');
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, dir.join(CURSOR_FILE))?;
    File::open(dir)?.sync_all()
}
