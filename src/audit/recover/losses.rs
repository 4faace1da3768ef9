//! Which numbers need no record: those that never counted, and those whose loss was accepted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;

use super::super::start_error::StartError;
use crate::trail::{Head, LINE_BYTES_MAX, Range, Segment};

/// What the records themselves say is not there. Such a record is always the first of its segment.
#[derive(Debug, Default)]
pub(super) struct Explained {
    voids: Vec<Range>,
    missing: Vec<Range>,
    accepted: Vec<Range>,
    /// The name of the last segment that begins with a record.
    last_begun: u64,
}

/// What is lost.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in super::super) struct Losses {
    /// Signed records at the end that are not there.
    pub(in super::super) missing: Option<Range>,
    /// Records before them that are not there or not the ones that were signed.
    pub(in super::super) altered: Vec<Range>,
}

#[derive(Deserialize)]
struct Accepted {
    #[serde(default)]
    altered: Vec<Range>,
}

impl Explained {
    pub(super) fn read(segments: &[Segment]) -> Result<Self, StartError> {
        let mut explained = Self::default();
        for Segment { path, first } in segments {
            let line = first_line(path).map_err(|source| StartError::io(path, source))?;
            let Ok(head) = serde_json::from_slice::<Head<'_>>(&line) else { continue };
            explained.last_begun = *first;
            match head.event.as_deref() {
                Some("audit.gap") => {
                    explained.voids.extend(head.void);
                    explained.missing.extend(head.missing);
                }
                Some("audit.loss_accepted") => {
                    explained.voids.extend(head.void);
                    explained.accepted.extend(head.missing);
                    let accepted = serde_json::from_slice::<Accepted>(&line);
                    explained.accepted.extend(accepted.map(|accepted| accepted.altered).unwrap_or_default());
                }
                _ => {}
            }
        }
        Ok(explained)
    }

    pub(super) fn is_void(&self, seq: u64) -> bool {
        self.voids.iter().any(|void| void.contains(seq))
    }

    pub(super) fn is_accepted(&self, seq: u64) -> bool {
        self.accepted.iter().any(|accepted| accepted.contains(seq))
    }

    /// The name of the last segment that begins with a record; what a later one holds was not made durable.
    pub(super) const fn last_begun(&self) -> u64 {
        self.last_begun
    }

    /// Whether a gap record says that somebody took it away.
    pub(super) fn is_missing(&self, seq: u64) -> bool {
        self.missing.iter().any(|missing| missing.contains(seq))
    }

    /// Numbers up to the oldest segment's first that retention did not remove, and those that gap records tell of, as far as
    /// nobody has accepted that they are gone.
    pub(super) fn open(&self, pruned: u64, oldest: u64) -> impl Iterator<Item = u64> {
        let before = pruned.saturating_add(1)..oldest;
        let told = self.missing.iter().flat_map(|range| range.first..=range.last);
        before.chain(told).filter(|seq| !self.is_accepted(*seq))
    }

    /// The last number whose leaf no record tells.
    pub(super) fn last_without_record(&self) -> u64 {
        self.missing.iter().chain(&self.accepted).map(|range| range.last).max().unwrap_or(0)
    }

    /// The last number that is named. None of them is used again, even where no line is left.
    pub(super) fn last(&self) -> u64 {
        self.voids.iter().chain(&self.accepted).map(|range| range.last).max().unwrap_or(0)
    }
}

impl Losses {
    /// Whether nothing is lost.
    pub(in super::super) const fn is_none(&self) -> bool {
        self.missing.is_none() && self.altered.is_empty()
    }

    /// The last number that is lost; 0: none.
    pub(super) fn last(&self) -> u64 {
        self.missing.iter().chain(&self.altered).map(|range| range.last).max().unwrap_or(0)
    }

    pub(super) fn altered(&mut self, seq: u64) {
        match self.altered.last_mut() {
            Some(range) if range.contains(seq) => {}
            Some(range) if range.last.checked_add(1) == Some(seq) => range.last = seq,
            _ => self.altered.push(Range { first: seq, last: seq }),
        }
    }

    /// Adds numbers in their order, which no record of the walk brought up.
    pub(super) fn add(&mut self, seqs: impl Iterator<Item = u64>) {
        seqs.for_each(|seq| self.altered(seq));
        self.altered.sort_unstable_by_key(|range| range.first);
    }

    pub(super) const fn missing_from(&mut self, first: u64, last: u64) {
        self.missing = Some(Range { first, last });
    }
}

/// A segment's first line, without its line feed; empty where there is none.
fn first_line(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let file = File::open(path)?;
    BufReader::with_capacity(4_096, file.take(LINE_BYTES_MAX as u64 + 1)).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        line.clear();
    }
    Ok(line)
}
