//! Says whether a log is what was signed, and where it is not. It needs a directory and keys, asks nobody, changes nothing,
//! and never panics, whatever lies in the directory.
//!
//! ```text
//! segments --reader--> pieces --workers--> leaf and head of each line --walk--> which number a line stands for
//!                                                                       |
//!                     signed notes, verified a batch at a time --> tree over the log <-- leaves of the hash tiles
//! ```
//!
//! - What is compared: lines, hash tiles and signed roots. A root that fits says which of line and tile is right, so a
//!   damage has an exact line wherever its tile is whole; elsewhere it lies between two checkpoints.
//! - What no verifier of one directory can see: a log whose last lines, tiles and checkpoints were all taken back to an
//!   older state, and one that the holder of its signing key wrote anew. Checkpoints that were shipped, or that a witness
//!   has cosigned, show both.
//! - Memory: a few MiB for each thread, entries that are open, records that were erased, and a hundred bytes for each note
//!   that a witness has cosigned; nothing for each line.

mod cosigned;
mod leaves;
mod orders;
mod pipeline;
mod proof;
mod report;
mod row;
mod signed;
mod story;
#[cfg(test)]
mod tests;
mod walk;
mod witnessed;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::{Head, LINE_BYTES_MAX, Lines, Piece, Range, segments};
use crate::tlog::VerifierKey;

pub use report::{About, Between, Counts, DAMAGES_MAX, Damage, Kind, Note, Report, Signed};
pub use witnessed::{Witnessed, Witnesses, verify_witnessed};

use cosigned::Cosigned;
use proof::Proof;
use segments::Segment;
use walk::Walk;

/// Why a directory cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It can't be read.
    #[error("{path} cannot be read", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// There are neither segments nor checkpoints.
    #[error("{path} holds no audit log", path = path.display())]
    NoLog {
        /// The directory.
        path: PathBuf,
    },
}

/// Verifies the log in a directory. `progress` is told how many of how many bytes were read, after each MiB or so.
///
/// Takes as many threads as there are cores, and ends only when all is read.
///
/// # Errors
/// The directory can't be read or holds no log. What is wrong with the log itself is in the report.
pub fn verify(dir: &Path, keys: &[VerifierKey], progress: &mut dyn FnMut(u64, u64)) -> Result<Report, Error> {
    compare(dir, keys, &mut Cosigned::default(), progress)
}

/// Verifies, and compares the roots that others remember with the tree.
fn compare(
    dir: &Path,
    keys: &[VerifierKey],
    cosigned: &mut Cosigned,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, Error> {
    let failed = |source| Error::Io { path: dir.to_path_buf(), source };
    // The checkpoints first: of a log that is being written, what they are over is in the segments that are read then.
    let (signed, newest) = signed::Signed::open(dir, keys).map_err(failed)?;
    let found = segments(dir).map_err(failed)?;
    if found.is_empty() && newest.nothing {
        return Err(Error::NoLog { path: dir.to_path_buf() });
    }
    let mut report = Report::default();
    newest.damages.into_iter().for_each(|damage| report.damage(damage));
    if let Some(text) = newest.note {
        report.note(About::Checkpoints, format!("{text}, as after a stop between two writes"));
    }
    if newest.nothing {
        report.damage(Damage::new(Kind::Unsigned, "there is no checkpoint: nothing in the log is signed"));
    }
    let total = found.iter().filter_map(|segment| segment.path.metadata().ok()).map(|file| file.len()).sum();
    let mut walk = Walk::new(&found, voids(&found), Proof::new(dir, signed, cosigned, newest.size));
    walk.proof.begin(&mut report);
    pipeline::run(&found, newest.size, |piece| {
        walk.piece(piece, &mut report);
        progress(report.counts.bytes, total);
    });
    finish(walk, &mut report);
    Ok(report)
}

fn finish(mut walk: Walk<'_>, report: &mut Report) {
    let (lines, standing) = (walk.proof.size(), walk.proof.good());
    if walk.proof.list_is_torn() {
        report.note(About::Checkpoints, "the last line of the list of checkpoints was not written whole".to_owned());
    }
    walk.proof.finish(report);
    let (good, begins) = (walk.proof.good(), walk.begins());
    report.counts.unsigned = lines.saturating_sub(good).saturating_sub(walk.unsigned_voids);
    if report.counts.void > 0 {
        report.note(About::Void, format!("{} numbers never counted: their records failed", report.counts.void));
    }
    walk.story.finish(standing, begins, report);
}

/// The numbers that never counted. A gap record that names some is the first line of its segment.
fn voids(segments: &[Segment]) -> Vec<Range> {
    let void = |segment: &Segment| {
        let mut lines = Lines::new(File::open(&segment.path).ok()?.take(LINE_BYTES_MAX as u64 + 1));
        let Ok(Piece::Line(line)) = lines.next_piece() else { return None };
        let head = serde_json::from_slice::<Head<'_>>(line).ok()?;
        let void = head.void.filter(|_| head.event.as_deref() == Some("audit.gap"))?;
        (void.first > 0 && void.first <= void.last && void.last < segment.first).then_some(void)
    };
    segments.iter().filter_map(void).collect()
}
