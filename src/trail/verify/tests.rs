//! Sound logs are found sound, and each damage is found where it is.

mod damages;
mod flips;
mod forged;
mod hostile;
mod orders;
mod witnessed;

use std::fs;
use std::path::{Path, PathBuf};

use super::super::sample::Sample;
use super::super::{CHECKPOINT_FILE, CHECKPOINTS_FILE, KEYS_FILE, Range, WITNESSED_FILE, read_keys, segment_name};
use super::*;

/// A log in a directory of its own.
struct Log {
    dir: tempfile::TempDir,
    sample: Sample,
}

impl Log {
    fn begin() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let sample = Sample::begin(dir.path(), 7);
        Self { dir, sample }
    }

    /// Three segments and a bit, a checkpoint for each hundred records.
    fn of(records: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let sample = Sample::write(dir.path(), records, 512, 100);
        Self { dir, sample }
    }

    fn verify(&self) -> Report {
        verified(self.dir.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Changes a file for as long as `check` runs.
    fn with<T>(&self, name: &str, change: impl FnOnce(&mut Vec<u8>), check: impl FnOnce(Report) -> T) -> T {
        let path = self.path(name);
        let sound = fs::read(&path).expect("a file");
        let mut bytes = sound.clone();
        change(&mut bytes);
        fs::write(&path, bytes).expect("written");
        let result = check(self.verify());
        fs::write(&path, sound).expect("written");
        result
    }

    /// Changes the lines of a segment for as long as `check` runs.
    fn with_lines<T>(&self, first: u64, change: impl FnOnce(&mut Vec<String>), check: impl FnOnce(Report) -> T) -> T {
        let edit = |bytes: &mut Vec<u8>| {
            let mut lines: Vec<String> = std::str::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect();
            change(&mut lines);
            *bytes = lines.into_iter().flat_map(|line| (line + "\n").into_bytes()).collect();
        };
        self.with(&segment_name(first), edit, check)
    }
}

fn verified(dir: &Path) -> Report {
    let keys = read_keys(&dir.join(KEYS_FILE)).unwrap_or_default();
    verify_witnessed(dir, &keys, &Witnesses::default(), &mut |_, _| {}).expect("a log")
}

/// The only damage.
fn one(report: &Report) -> &Damage {
    assert_eq!(report.damages.len(), 1, "{:#?}", report.damages);
    &report.damages[0]
}

/// Two ends.
type Pair = Option<(u64, u64)>;

/// Its kind, lines and numbers.
fn place(damage: &Damage) -> (Kind, Pair, Pair) {
    let pair = |range: Range| (range.first, range.last);
    (damage.kind, damage.lines.map(pair), damage.seqs.map(pair))
}

#[test]
fn a_sound_log_is_sound_whatever_its_size() {
    for records in [1, 2, 255, 256, 257, 511, 512, 513, 2_000] {
        let log = Log::of(records);
        let report = log.verify();
        assert_eq!(report.damages, [], "{records}");
        assert_eq!(report.records, Some(Range { first: 1, last: records }));
        assert_eq!((report.counts.lines, report.counts.unsigned), (records, 0));
        assert_eq!(report.signed.map(|signed| signed.size), Some(records));
        assert_eq!(report.origin.as_deref(), Some("ccgate.example/audit"));
        assert!(report.is_sound());
        assert_eq!(report.notes, []);
    }
}

#[test]
fn a_log_of_more_than_one_level_of_tiles_is_sound() {
    let dir = tempfile::tempdir().expect("a directory");
    let _ = Sample::write(dir.path(), 66_000, 20_480, 30_000);
    let report = verified(dir.path());
    assert_eq!(report.damages, []);
    assert_eq!((report.counts.segments, report.counts.checkpoints), (4, 3));
}

#[test]
fn a_directory_without_a_log_is_no_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let found = verify(dir.path(), &[], &mut |_, _| {});
    assert!(matches!(found, Err(Error::NoLog { .. })), "{found:?}");
    let found = verify(&dir.path().join("nowhere"), &[], &mut |_, _| {});
    assert!(matches!(found, Err(Error::Io { .. })), "{found:?}");
}
