//! Which orders count. Whoever can write the directory, and has no key, can append lines that the next start takes for the
//! log's own and signs. So an order counts only where a checkpoint is over it that was signed before the next start: by the
//! very process that wrote the order. It reads no order, and keeps a range for each start that found one unsigned.

use super::super::Range;

/// Starts that found an unsigned order; more are taken together, so that orders between them do not count either.
const STARTS_MAX: usize = 10_000;

/// Whether an order counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its process has signed it.
    Counts,
    /// Nobody has signed it yet.
    NotYet,
    /// Nobody had signed it when the next process started.
    TooLate,
}

impl Verdict {
    /// Why it does not count.
    pub(super) const fn why_not(self) -> &'static str {
        match self {
            Self::Counts => "",
            Self::NotYet => "is not signed yet",
            Self::TooLate => "was not signed by anybody before the next start, and does not count",
        }
    }
}

/// What was signed when.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// The size of the last checkpoint that fits, and of the last other one.
    good: u64,
    before: u64,
    last_order: u64,
    /// Numbers that were unsigned at a start.
    unsigned: Vec<Range>,
}

impl Standing {
    /// The last checkpoint that fits, of those over fewer records than the next line's number.
    pub(super) const fn signed(&mut self, good: u64) {
        if good != self.good {
            (self.before, self.good) = (self.good, good);
        }
    }

    /// An order stands here.
    pub(super) const fn order(&mut self, seq: u64) {
        self.last_order = seq;
    }

    /// A process has started with this number, or could have.
    pub(super) fn start(&mut self, first: u64) {
        let good = [self.good, self.before].into_iter().find(|good| *good < first).unwrap_or(0);
        let range = Range { first: good.saturating_add(1), last: first.saturating_sub(1) };
        if self.last_order < range.first || range.first > range.last {
            return;
        }
        let full = self.unsigned.len() >= STARTS_MAX;
        match self.unsigned.last_mut() {
            Some(last) if full || last.last >= range.first => last.last = last.last.max(range.last),
            _ => self.unsigned.push(range),
        }
    }

    /// What there is to say of the order with this number, all lines being read.
    pub(super) fn verdict(&self, seq: u64) -> Verdict {
        let at = self.unsigned.partition_point(|range| range.last < seq);
        match self.unsigned.get(at) {
            Some(range) if range.contains(seq) => Verdict::TooLate,
            _ if seq > self.good => Verdict::NotYet,
            _ => Verdict::Counts,
        }
    }
}
