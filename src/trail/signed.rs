//! The signed notes beside the records. It verifies none: whoever reads has the keys.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The newest note.
pub const CHECKPOINT_FILE: &str = "checkpoint";
/// All notes.
pub const CHECKPOINTS_FILE: &str = "checkpoints.jsonl";

/// Bytes of a line at most: a note with a hundred signatures.
const LINE_BYTES_MAX: u64 = 128 * 1_024;

/// A line of `checkpoints.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedLine {
    /// When it was signed.
    pub ts: Timestamp,
    /// How many leaves it is over; the note says the same.
    pub size: u64,
    /// The first record that a start has to read: no entry before it is open, and no tile before it can be torn. It is not
    /// signed; a start that reads from elsewhere finds the same log, with fewer or more `unknown` ends.
    #[serde(default = "first_record")]
    pub scan_from: u64,
    /// The signed note.
    pub note: String,
}

const fn first_record() -> u64 {
    1
}

/// All lines of `checkpoints.jsonl` below a directory, each with its number from 1; `None` for a line that is none. A file
/// that is not there has no lines.
///
/// # Errors
/// The file can't be read.
pub fn signed_lines(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<(u64, Option<SignedLine>)>> + use<>> {
    let file = match File::open(dir.join(CHECKPOINTS_FILE)) {
        Ok(file) => Some(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // As far as it goes now: what is written meanwhile is over records that the caller may not have seen.
    let length = file.as_ref().map_or(Ok(0), |file| file.metadata().map(|found| found.len()))?;
    let mut reader = file.map(|file| BufReader::new(file).take(length));
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        let reader = reader.as_mut()?;
        number += 1;
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(_) => Some(Ok((number, serde_json::from_slice(&line).ok()))),
            Err(error) => Some(Err(error)),
        }
    }))
}

/// The last lines of `checkpoints.jsonl`, newest first: those in its last 256 KiB. Torn ones are left out.
///
/// # Errors
/// The file can't be read.
pub fn last_signed_lines(dir: &Path) -> io::Result<Vec<SignedLine>> {
    let mut file = match File::open(dir.join(CHECKPOINTS_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let from = file.metadata()?.len().saturating_sub(2 * LINE_BYTES_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(2 * LINE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes.split(|byte| *byte == b'\n').rev().filter_map(|line| serde_json::from_slice(line).ok()).collect())
}
