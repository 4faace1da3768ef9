//! What witnesses have cosigned, beside the log. It verifies nothing: whoever reads has the keys.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// All cosigned notes that a running log has got, one a line. It says nothing that the notes in it do not.
pub const WITNESSED_FILE: &str = "witness.jsonl";

/// Bytes of a line at most: a note with a hundred signatures.
const LINE_BYTES_MAX: u64 = 128 * 1_024;

/// Bytes of the end of the file in which the last lines are looked for: some hundred.
const LAST_BYTES: u64 = 256 * 1_024;

/// A line of `witness.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessedLine {
    /// When it came.
    pub ts: Timestamp,
    /// The witness's name.
    pub witness: String,
    /// How many leaves it is over; the note says the same.
    pub size: u64,
    /// The signed note, with the witness's signature.
    pub note: String,
}

/// All lines of a file as it is now, each with its number from 1; `None` for a line that is none. A last line without its
/// line feed is not there yet, and a file that is not there has no lines.
///
/// # Errors
/// The file can't be read.
pub fn witnessed_lines(
    path: &Path,
) -> io::Result<impl Iterator<Item = io::Result<(u64, Option<WitnessedLine>)>> + use<>> {
    let file = match File::open(path) {
        Ok(file) => Some((file.metadata()?.len(), file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    // Of a log that runs: a line that comes later is over more than is verified now.
    let mut reader = file.map(|(length, file)| BufReader::new(file.take(length)));
    let mut number = 0;
    Ok(std::iter::from_fn(move || {
        let reader = reader.as_mut()?;
        number += 1;
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => None,
            Ok(read) if line.last() != Some(&b'\n') && (read as u64) < LINE_BYTES_MAX => None,
            Ok(_) => Some(Ok((number, serde_json::from_slice(&line).ok()))),
            Err(error) => Some(Err(error)),
        }
    }))
}

/// The last lines, newest first: those in its last 256 KiB. What is no line is left out.
///
/// # Errors
/// The file can't be read.
pub fn last_witnessed_lines(dir: &Path) -> io::Result<Vec<WitnessedLine>> {
    let mut file = match File::open(dir.join(WITNESSED_FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let from = file.metadata()?.len().saturating_sub(LAST_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.split(|byte| *byte == b'\n').rev().filter_map(|line| serde_json::from_slice(line).ok()).collect())
}
