//! Where the newest part of a log begins. It reads the first lines of segments and no others.

use std::fs::File;
use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::{Lines, Piece, Record, segments};

/// Lines at the front of a segment that may be erased, or no records, before it is taken for older than all others.
const UNDATED_MAX: usize = 1_000;

/// The number that the oldest segment begins with which has to be read for all records since a moment, or of the newest
/// `bytes_max` bytes of whole segments, where those are fewer; and whether all records since then are among them, which they
/// are not where an older segment that held some was removed. The newest segment is always read. 1 for a log without segments.
///
/// # Errors
/// The directory or a segment can't be read.
pub fn first_since(dir: &Path, since: Timestamp, bytes_max: u64) -> io::Result<(u64, bool)> {
    let mut bytes = 0_u64;
    let mut first = None;
    for segment in segments(dir)?.iter().rev() {
        bytes = bytes.saturating_add(segment.path.metadata()?.len());
        if let Some(first) = first
            && bytes > bytes_max
        {
            return Ok((first, false));
        }
        first = Some(segment.first);
        if begins_before(&segment.path, since)? {
            return Ok((segment.first, true));
        }
    }
    let first = first.unwrap_or(1);
    Ok((first, first == 1))
}

/// Whether a segment's first record is older than a moment, so that no segment before it has a newer one.
fn begins_before(path: &Path, since: Timestamp) -> io::Result<bool> {
    let mut lines = Lines::new(File::open(path)?);
    for _ in 0..UNDATED_MAX {
        let Piece::Line(line) = lines.next_piece()? else { return Ok(false) };
        let record = serde_json::from_slice::<Record<'_>>(line).ok();
        if let Some(at) = record.and_then(|record| record.ts.parse::<Timestamp>().ok()) {
            return Ok(at < since);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::super::segment_name;
    use super::*;

    #[test]
    fn the_newest_part_begins_with_the_segment_that_holds_the_moment() {
        let dir = tempfile::TempDir::new().expect("a folder");
        let at = |hour: u32| -> Timestamp { format!("2026-11-22T{hour:02}:00:00.000000Z").parse().expect("a time") };
        assert_eq!(first_since(dir.path(), at(1), 1).expect("read"), (1, true));
        let erased = r#"{"seq":7,"erased":true,"leaf":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}"#;
        for (first, hour) in [(1, 2), (5, 4), (9, 6)] {
            let line = format!(r#"{{"v":1,"seq":{first},"ts":"{:.6}","event":"finished"}}"#, at(hour));
            std::fs::write(dir.path().join(segment_name(first)), format!("{erased}\n{line}\n")).expect("written");
        }
        let found = |hour, bytes_max| first_since(dir.path(), at(hour), bytes_max).expect("read");
        assert_eq!(found(1, u64::MAX), (1, true));
        assert_eq!(found(3, u64::MAX), (1, true), "the first holds what came between");
        assert_eq!(found(5, u64::MAX), (5, true));
        assert_eq!(found(9, u64::MAX), (9, true));
        assert_eq!(found(1, 1), (9, false), "the newest is read in any case");
        let two = 2 * std::fs::metadata(dir.path().join(segment_name(1))).expect("a file").len();
        assert_eq!((found(1, two), found(5, two)), ((5, false), (5, true)));
        // As retention does.
        std::fs::remove_file(dir.path().join(segment_name(1))).expect("removed");
        assert_eq!((found(3, u64::MAX), found(5, u64::MAX)), ((5, false), (5, true)), "from 2 to 4 nobody knows");
    }
}
