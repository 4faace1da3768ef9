//! What records say about one another: an entry's end after its beginning, an order for each erasure and removal, an
//! acceptance of each loss. Memory is bounded by the entries that are open and the records that were erased.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::Range;
use super::report::{About, Damage, Kind, Report};
use super::row::{Order, OrderKind, Row, What};
use crate::tlog::Hash;

/// Entries that are followed at once; a gateway has as many downloads at most, and no entry of a further one is asked for.
const ENTRIES_MAX: usize = 200_000;

/// Erased records that are matched with their orders.
const ERASED_MAX: usize = 500_000;

/// Orders of one kind that are remembered.
const ORDERS_MAX: usize = 10_000;

/// Unsigned records of a running or killed log at most. It signs every second, and fewer than 100,000 records a second can
/// be made durable: these are ten seconds of them.
pub(super) const UNSIGNED_MAX: u64 = 1_000_000;

/// Seconds between the first and the last unsigned record at most. It signs every second and alarms after a minute without;
/// ten minutes leave room for a clock that was set.
pub(super) const UNSIGNED_SECONDS_MAX: i64 = 600;

/// Where a line stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'f> {
    pub(super) file: &'f str,
    pub(super) line: u64,
    pub(super) seq: u64,
}

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Story {
    open: HashMap<u128, u64>,
    /// Too many entries were open at once: ends are no longer asked for their beginning.
    overflown: bool,
    /// A record can be among those that are gone or erased.
    hidden: bool,
    last_opened: u64,
    last_authorized: u64,
    erased: HashMap<u64, Erasure>,
    pruned: Vec<(u64, Range)>,
    missing: Vec<Range>,
    accepted: Vec<Accepted>,
    /// The last unsigned records' first and last time.
    unsigned: Option<(Timestamp, Timestamp)>,
}

#[derive(Debug)]
struct Erasure {
    leaf: Hash,
    file: String,
    line: u64,
    ordered_by: Option<u64>,
}

#[derive(Debug)]
struct Accepted {
    by: u64,
    ranges: Vec<Range>,
    reason: String,
}

impl Story {
    /// Records are gone: some entries have only one of their records.
    pub(super) const fn something_is_gone(&mut self) {
        self.hidden = true;
    }

    /// A line that counts, in its place.
    pub(super) fn row(&mut self, row: Row, place: Place<'_>, report: &mut Report) {
        let Row { leaf, what, ts, .. } = row;
        if let Some(ts) = ts {
            self.unsigned = Some(self.unsigned.map_or((ts, ts), |(first, last)| (first.min(ts), last.max(ts))));
        }
        match what {
            What::Authorized(entry) => self.begin(entry, place, report),
            What::Ended(entry) => {
                if self.open.remove(&entry).is_none() && !self.hidden && !self.overflown {
                    let detail = "an entry ends that is not open: it ended before, or was never authorized";
                    report.damage(at(Kind::Entry, detail, place));
                }
            }
            What::Tombstone => self.tombstone(leaf, place, report),
            What::Opened => self.last_opened = place.seq,
            What::Order(order) => self.order(*order, place.seq),
            What::Version(version) => {
                let detail = format!("the record is of version {version} of the format");
                report.damage(at(Kind::UnknownVersion, detail, place));
            }
            What::Broken | What::Other => {}
        }
    }

    fn begin(&mut self, entry: u128, place: Place<'_>, report: &mut Report) {
        self.last_authorized = place.seq;
        if self.open.len() >= ENTRIES_MAX {
            self.overflown = true;
            return;
        }
        if self.open.insert(entry, place.seq).is_some() {
            report.damage(at(Kind::Entry, "an entry begins that has begun before", place));
        }
    }

    fn tombstone(&mut self, leaf: Hash, place: Place<'_>, report: &mut Report) {
        self.hidden = true;
        report.counts.erased = report.counts.erased.saturating_add(1);
        if self.erased.len() >= ERASED_MAX {
            let detail = "more records are erased than are matched with their orders";
            report.damage(at(Kind::ErasureWithoutOrder, detail, place));
            return;
        }
        let erasure = Erasure { leaf, file: place.file.to_owned(), line: place.line, ordered_by: None };
        self.erased.insert(place.seq, erasure);
    }

    fn order(&mut self, order: Order, seq: u64) {
        match order.kind {
            OrderKind::Gap if self.missing.len() < ORDERS_MAX => self.missing.extend(order.missing),
            OrderKind::Pruned if self.pruned.len() < ORDERS_MAX => {
                self.pruned.extend(order.pruned().map(|range| (seq, range)));
            }
            OrderKind::Erased => {
                for line in &order.erased {
                    let found = self.erased.get_mut(&line.seq).filter(|erasure| erasure.leaf == line.leaf);
                    if let Some(erasure) = found {
                        erasure.ordered_by.get_or_insert(seq);
                    }
                }
            }
            OrderKind::LossAccepted if self.accepted.len() < ORDERS_MAX => {
                let ranges = order.missing.into_iter().chain(order.altered).collect();
                self.accepted.push(Accepted { by: seq, ranges, reason: order.reason.unwrap_or_default() });
            }
            OrderKind::Gap | OrderKind::Pruned | OrderKind::LossAccepted => {}
        }
    }

    /// All lines were read; what is behind `signed` orders nothing. `begins` is the first number that has a line.
    pub(super) fn finish(&mut self, signed: u64, begins: Option<u64>, report: &mut Report) {
        self.open_entries(report);
        self.erasures(signed, report);
        if let Some(begins) = begins.filter(|begins| *begins > 1) {
            self.beginning(signed, begins - 1, report);
        }
        for Range { first, last } in std::mem::take(&mut self.missing) {
            // What a gap record says to be gone is a loss, however it was found.
            let told = |damage: &Damage| damage.kind.is_of_lines() && within(damage, &[Range { first, last }]);
            let found = report.damages.iter_mut().filter(|damage| told(damage));
            for damage in found {
                damage.kind = Kind::Loss;
                damage.next_step = Kind::Loss.next_step();
                "the log says that these records were lost".clone_into(&mut damage.detail);
            }
        }
        self.accept(signed, report);
        self.unsigned_tail(report);
    }

    fn open_entries(&self, report: &mut Report) {
        // After a start each entry that was open gets its end before anything new is authorized.
        let forgotten = |seq: u64| seq < self.last_opened && self.last_opened < self.last_authorized;
        let mut without: Vec<_> = self.open.values().copied().filter(|seq| forgotten(*seq)).collect();
        without.sort_unstable();
        if !self.hidden {
            for seq in without {
                report.damage(Damage::new(Kind::Entry, "an entry has no end").of(seq, seq));
            }
        }
        let open = self.open.values().filter(|seq| !forgotten(**seq)).count();
        if open > 0 {
            let text = format!("{open} entries have no end yet: the log is still written, or its process was killed");
            report.note(About::OpenEntries, text);
        }
    }

    fn erasures(&mut self, signed: u64, report: &mut Report) {
        let mut erased: Vec<_> = std::mem::take(&mut self.erased).into_iter().collect();
        erased.sort_unstable_by_key(|(seq, _)| *seq);
        let count = erased.len();
        for (seq, Erasure { file, line, ordered_by, .. }) in erased {
            let detail = match ordered_by {
                Some(by) if by <= signed => continue,
                Some(_) => "the record that orders the erasure is not signed yet",
                None => "no record orders the erasure",
            };
            report.damage(Damage::new(Kind::ErasureWithoutOrder, detail).in_file(file).at_line(line).of(seq, seq));
        }
        if count > 0 {
            report.note(About::Erased, format!("{count} records were erased; their hashes remain"));
        }
    }

    fn beginning(&self, signed: u64, last: u64, report: &mut Report) {
        let ordered = |(by, range): &(u64, Range)| *by <= signed && range.first <= 1 && range.last >= last;
        if self.pruned.iter().any(ordered) {
            report.note(About::Pruned, format!("records 1 to {last} were removed by retention"));
        } else {
            let detail = "the beginning is gone, and no signed record of retention says so";
            let mut damages = std::mem::take(&mut report.damages);
            damages.insert(0, Damage::new(Kind::Removed, detail).of(1, last));
            report.damages = damages;
        }
    }

    fn accept(&self, signed: u64, report: &mut Report) {
        let ordered = || self.accepted.iter().filter(|accepted| accepted.by <= signed);
        let mut left = Vec::new();
        for mut damage in std::mem::take(&mut report.damages) {
            let cover = ordered().find(|accepted| damage.kind.is_of_lines() && within(&damage, &accepted.ranges));
            match cover {
                Some(accepted) => {
                    damage.detail.push_str("; accepted: ");
                    damage.detail.push_str(&accepted.reason);
                    report.accepted.push(damage);
                }
                None => left.push(damage),
            }
        }
        report.damages = left;
    }

    fn unsigned_tail(&self, report: &mut Report) {
        let count = report.counts.unsigned;
        if count == 0 || report.signed.is_none() {
            return;
        }
        let seconds = self.unsigned.map_or(0, |(first, last)| last.as_second().saturating_sub(first.as_second()));
        let text = format!("{count} records behind the last checkpoint are not signed yet");
        if count > UNSIGNED_MAX || seconds > UNSIGNED_SECONDS_MAX {
            let detail = format!("{text}, of {seconds} s: a running log signs every second");
            let last = report.records.map_or(0, |records| records.last);
            report.damage(Damage::new(Kind::Unsigned, detail).of(last.saturating_sub(count - 1), last));
        } else {
            report.note(About::UnsignedTail, text);
        }
    }
}

fn within(damage: &Damage, ranges: &[Range]) -> bool {
    let covers = |range: &Range, seqs: Range| range.contains(seqs.first) && range.contains(seqs.last);
    damage.seqs.is_some_and(|seqs| ranges.iter().any(|range| covers(range, seqs)))
}

/// A damage at a line.
pub(super) fn at(kind: Kind, detail: impl Into<String>, place: Place<'_>) -> Damage {
    Damage::new(kind, detail).in_file(place.file).at_line(place.line).of(place.seq, place.seq)
}
