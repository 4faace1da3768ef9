//! A log's directory made of bytes, for the checks that read one.

use std::fs;
use std::path::{Component, Path, PathBuf};

use ccgate::tlog::VerifierKey;
use ccgate::trail::parse_keys;
use ccgate::trail::verify::Witnesses;

/// What stands between two files of an input: a line of its own.
const BETWEEN: &[u8] = b"\n==\n";
/// Most files of an input.
const FILES_MAX: usize = 16;

/// The directory, and what its reader knows from elsewhere.
pub struct LogDir {
    /// Of `audit.pub`.
    pub keys: Vec<VerifierKey>,
    /// Of `witness.pub` and `kept`.
    pub witnesses: Witnesses,
    log: PathBuf,
    _whole: tempfile::TempDir,
}

impl LogDir {
    /// Lays the input out; each file begins with a line that is its name. `None` where there is no room for it.
    pub fn new(data: &[u8]) -> Option<Self> {
        let whole = tempfile::tempdir().ok()?;
        let log = whole.path().join("log");
        fs::create_dir(&log).ok()?;
        let kept = whole.path().join("kept");
        let mut made = Self { keys: Vec::new(), witnesses: Witnesses::default(), log, _whole: whole };
        for file in parts(data).into_iter().take(FILES_MAX) {
            let Some(end) = file.iter().position(|byte| *byte == b'\n') else { continue };
            let (name, bytes) = (file.get(..end)?, file.get(end + 1..)?);
            let text = std::str::from_utf8(bytes).unwrap_or_default();
            match name {
                b"audit.pub" => made.keys = parse_keys(text).unwrap_or_default(),
                b"witness.pub" => made.witnesses.keys = text.lines().filter_map(|line| line.parse().ok()).collect(),
                b"kept" => {
                    fs::write(&kept, bytes).ok()?;
                    made.witnesses.files = vec![kept.clone()];
                }
                _ => made.write(name, bytes),
            }
        }
        Some(made)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.log
    }

    fn write(&self, name: &[u8], bytes: &[u8]) {
        let Some(name) = allowed(name) else { return };
        let path = self.log.join(name);
        // A name that is a folder's already is not written.
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(path, bytes);
    }
}

/// A name of a log's file, which leads nowhere else.
fn allowed(name: &[u8]) -> Option<&Path> {
    let name = std::str::from_utf8(name).ok()?;
    let fits = name.len() < 80 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte));
    let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    let known = ["audit-", "tile/", "checkpoint", "witness.jsonl"].iter().any(|start| name.starts_with(start));
    (fits && inside && known).then(|| Path::new(name))
}

fn parts(data: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), data);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|found| found == BETWEEN) {
        let (part, after) = rest.split_at(at);
        parts.push(part);
        rest = after.get(BETWEEN.len()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}
