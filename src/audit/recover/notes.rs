//! The newest checkpoint of a log that starts.

use std::fs;
use std::io;
use std::path::Path;

use super::super::start_error::StartError;
use crate::tlog::{Checkpoint, CheckpointError, Note, NoteError, VerifierKey};
use crate::trail::{CHECKPOINT_FILE, CHECKPOINTS_FILE, Lines, Piece, SignedLine, last_signed_lines};

/// What the checkpoints say.
#[derive(Debug, Default)]
pub(in super::super) struct Notes {
    /// The newest one.
    pub(super) newest: Option<Checkpoint>,
    /// The first record that must be read.
    pub(super) scan_from: u64,
    /// Bytes of `checkpoints.jsonl` up to its last whole line.
    pub(super) end: u64,
}

impl Notes {
    /// Reads them. A note that no trusted key has signed stops it, but for `tolerant`, which looks for an older one.
    pub(super) fn read(dir: &Path, trusted: &[VerifierKey], tolerant: bool) -> Result<Self, StartError> {
        let path = dir.join(CHECKPOINTS_FILE);
        let failed = |source| StartError::io(&path, source);
        let lines = last_signed_lines(dir).map_err(failed)?;
        let mut found = Self { scan_from: 1, end: whole_lines_end(&path).map_err(failed)?, ..Self::default() };
        for SignedLine { scan_from, note, .. } in &lines {
            if let Some(checkpoint) = open(&path, note, trusted, tolerant)? {
                (found.newest, found.scan_from) = (Some(checkpoint), *scan_from);
                break;
            }
        }
        let path = dir.join(CHECKPOINT_FILE);
        let alone = match fs::read_to_string(&path) {
            Ok(note) => open(&path, &note, trusted, tolerant)?,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => None,
            Err(error) => return Err(StartError::io(&path, error)),
        };
        // The file that holds one note alone is durable before the line is; either can be the newer one.
        found.newest = found.newest.into_iter().chain(alone).max_by_key(|checkpoint| checkpoint.size);
        Ok(found)
    }
}

/// `None`: it is no note at all, as a crash leaves it.
fn open(path: &Path, note: &str, trusted: &[VerifierKey], tolerant: bool) -> Result<Option<Checkpoint>, StartError> {
    let Ok(note) = Note::parse(note) else { return Ok(None) };
    match Checkpoint::open(&note, trusted) {
        Ok((checkpoint, _)) => Ok(Some(checkpoint)),
        Err(_) if tolerant => Ok(None),
        Err(CheckpointError::Note(NoteError::KeyUnknown)) => {
            let by = note.signatures().first().map(crate::tlog::Signature::key).unwrap_or_default();
            Err(StartError::KeyUnknown { path: path.to_path_buf(), by })
        }
        Err(source) => Err(StartError::Checkpoint { path: path.to_path_buf(), source }),
    }
}

/// Where the last whole line that is one ends; what a crash tore is behind it.
fn whole_lines_end(path: &Path) -> io::Result<u64> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    // Lines before the last 256 KiB were followed by others, so they are whole.
    let from = file.metadata()?.len().saturating_sub(256 * 1_024);
    let mut file = file;
    io::Seek::seek(&mut file, io::SeekFrom::Start(from))?;
    let (mut lines, mut end) = (Lines::new(file), from);
    loop {
        let (begins, is_whole) = (from.saturating_add(lines.offset_of_next()), from == 0 || lines.number() > 0);
        match lines.next_piece()? {
            // Bytes that a loss of power kept from the disk; what stands behind them was not durable either.
            Piece::Line(line) if is_whole && line.contains(&0) => return Ok(begins),
            Piece::Line(line) => {
                let length = line.len() as u64 + 1;
                if serde_json::from_slice::<SignedLine>(line).is_ok() {
                    end = begins.saturating_add(length);
                }
            }
            Piece::Torn | Piece::TooLong | Piece::End => return Ok(end),
        }
    }
}
