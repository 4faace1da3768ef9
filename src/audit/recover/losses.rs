//! Which numbers need no record: those that never counted, and those whose loss was accepted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;

use super::super::start_error::StartError;
use super::notes::Notes;
use crate::trail::{Head, LINE_BYTES_MAX, Range, Segment};

/// What the records themselves say is not there. Such a record is always the first of its segment.
#[derive(Debug, Default)]
pub(super) struct Explained {
    voids: Vec<Range>,
    missing: Vec<Range>,
    accepted: Vec<Range>,
    /// The last number that retention removed.
    pruned: u64,
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
    /// An order beyond the last checkpoint counts for nothing: whoever can write here could have put it in. A gap record
    /// there can only be about numbers that are not signed either.
    pub(super) fn read(segments: &[Segment], notes: &Notes) -> Result<Self, StartError> {
        let mut explained = Self::default();
        // From the newest on, since an order counts if it was signed before the next start's first record.
        let mut next_start = None;
        for Segment { path, first } in segments.iter().rev() {
            let line = first_line(path).map_err(|source| StartError::io(path, source))?;
            let Ok(head) = serde_json::from_slice::<Head<'_>>(&line) else { continue };
            explained.last_begun = explained.last_begun.max(*first);
            explained.tell(&line, &head, notes, next_start);
            if head.event.as_deref() == Some("audit.opened") {
                next_start = Some(head.seq);
            }
        }
        Ok(explained)
    }

    fn tell(&mut self, line: &[u8], head: &Head<'_>, notes: &Notes, next_start: Option<u64>) {
        match head.event.as_deref() {
            Some("audit.gap") => {
                let new = |void: &Range| head.seq <= notes.size() || void.first > notes.size();
                self.voids.extend(head.void.filter(|void| void.last < head.seq && new(void)));
                self.missing.extend(head.missing);
            }
            Some("audit.pruned") if notes.signed_in_time(head.seq, next_start) => {
                let removed = serde_json::from_slice::<Range>(line).map_or(0, |range| range.last);
                self.pruned = self.pruned.max(removed);
            }
            Some("audit.loss_accepted") if notes.signed_in_time(head.seq, next_start) => {
                self.accepted.extend(head.missing);
                let accepted = serde_json::from_slice::<Accepted>(line);
                self.accepted.extend(accepted.map(|accepted| accepted.altered).unwrap_or_default());
            }
            _ => {}
        }
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

    /// Whether any loss was accepted.
    pub(super) const fn has_accepted(&self) -> bool {
        !self.accepted.is_empty()
    }

    /// The last number before the oldest segment, where not all up to it were removed by retention or accepted as lost.
    pub(super) fn missing_beginning(&self, segments: &[Segment]) -> Option<u64> {
        let oldest = segments.first()?.first;
        let told = |seq: u64| self.is_accepted(seq) || self.is_missing(seq) || self.is_void(seq);
        let gone = (self.pruned.saturating_add(1)..oldest).any(|seq| !told(seq));
        gone.then_some(oldest.saturating_sub(1))
    }

    /// Numbers up to the oldest segment's first that retention did not remove, and those that gap records tell of, as far as
    /// nobody has accepted that they are gone.
    pub(super) fn open(&self, oldest: u64) -> impl Iterator<Item = u64> {
        let before = self.pruned.saturating_add(1)..oldest;
        let told = self.missing.iter().flat_map(|range| range.first..=range.last);
        before.chain(told).filter(|seq| !self.is_accepted(*seq) && !self.is_void(*seq))
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

    /// Fewer ranges, of which some hold records that are sound: an acceptance has to fit into a line.
    pub(in super::super) fn fit(&mut self, count: usize) {
        while self.altered.len() > count {
            let pairs = self
                .altered
                .chunks(2)
                .filter_map(|pair| Some(Range { first: pair.first()?.first, last: pair.last()?.last }));
            self.altered = pairs.collect();
        }
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
