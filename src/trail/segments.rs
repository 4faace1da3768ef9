//! Which files are segments, and in which order. It opens none of them.

use std::io;
use std::path::{Path, PathBuf};

/// A file of records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Segment {
    /// The sequence number of its first record.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// The segments of a directory, oldest first.
///
/// # Errors
/// The directory can't be read.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if let Some(first) = entry.file_name().to_str().and_then(first_seq) {
            found.push(Segment { first, path: entry.path() });
        }
    }
    found.sort();
    Ok(found)
}

/// The file name of the segment whose first record has this sequence number. Names sort as numbers do.
pub fn segment_name(first: u64) -> String {
    format!("audit-{first:020}.jsonl")
}

/// The sequence number in a segment's file name; `None` for any other file.
pub fn first_seq(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
}
