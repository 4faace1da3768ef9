//! What records say about one another: an entry's end after its beginning, an order for each erasure and removal, an
//! acceptance of each loss. Memory is bounded by the entries that are open and the records that were erased.

use std::collections::HashMap;

use jiff::Timestamp;

use super::super::Range;
use super::orders::{Standing, Verdict};
use super::report::{About, Damage, Kind, Report};
use super::row::{Order, OrderKind, Row, What};
use crate::tlog::Hash;

/// Entries that are followed at once; a gateway has as many downloads at most, and no entry of a further one is asked for.
const ENTRIES_MAX: usize = 200_000;

/// Erased records that are matched with their orders.
const ERASED_MAX: usize = 500_000;

/// Orders of one kind that are remembered.
const ORDERS_MAX: usize = 10_000;

/// Reasons that are told of one damage.
const REASONS_MAX: usize = 3;

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
    /// Records that are gone or erased, each of which can be what an entry misses, and those that were taken for it.
    hidden: u64,
    excused: u64,
    standing: Standing,
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
    missing: Option<Range>,
    altered: Vec<Range>,
    checkpoints_missing: bool,
    reason: String,
}

impl Story {
    /// Records are gone: some entries have only one of theirs, and a start can be among them. `good` is the size of the
    /// last checkpoint that fits before them.
    pub(super) fn gone(&mut self, first: u64, last: u64, good: u64) {
        self.hidden = self.hidden.saturating_add(last.saturating_sub(first).saturating_add(1));
        self.standing.signed(good);
        self.standing.start(first);
    }

    /// A line that counts, in its place. `good` is the size of the last checkpoint that fits before it.
    pub(super) fn row(&mut self, row: Row, place: Place<'_>, good: u64, report: &mut Report) {
        let Row { leaf, what, ts, .. } = row;
        self.standing.signed(good);
        if let Some(ts) = ts {
            self.unsigned = Some(self.unsigned.map_or((ts, ts), |(first, last)| (first.min(ts), last.max(ts))));
        }
        match what {
            What::Authorized(entry) => self.begin(entry, place, report),
            What::Ended(entry) => {
                if self.open.remove(&entry).is_none() && !self.overflown && !self.excuse() {
                    let detail = "an entry ends that is not open: it ended before, or was never authorized";
                    report.damage(at(Kind::Entry, detail, place));
                }
            }
            What::Tombstone => self.tombstone(leaf, place, report),
            What::Opened(first) => {
                // A start that accepts a loss says so first, which is signed together with what follows.
                let before = place.seq.saturating_sub(1);
                let with_it =
                    first == Some(before) && self.accepted.last().is_some_and(|accepted| accepted.by == before);
                self.standing.start(if with_it { before } else { place.seq });
                self.last_opened = place.seq;
            }
            What::Order(order) => self.order(*order, place.seq),
            What::Version(version) => {
                let detail = format!("the record is of version {version} of the format");
                report.damage(at(Kind::UnknownVersion, detail, place));
            }
            What::Broken | What::Other => {}
        }
    }

    /// Whether a record that is gone can be the one that an entry misses.
    const fn excuse(&mut self) -> bool {
        let excused = self.excused < self.hidden;
        if excused {
            self.excused += 1;
        }
        excused
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
        self.hidden = self.hidden.saturating_add(1);
        // A start can be among what is erased.
        self.standing.start(place.seq);
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
        if order.kind == OrderKind::LossAccepted {
            // It is the first thing that its process writes.
            self.standing.start(seq);
        }
        self.standing.order(seq);
        match order.kind {
            OrderKind::Gap if self.missing.len() < ORDERS_MAX => self.missing.extend(order.missing),
            OrderKind::Pruned => self.prune(seq, order.pruned()),
            OrderKind::Erased => {
                let standing = &self.standing;
                for line in &order.erased {
                    let found = self.erased.get_mut(&line.seq).filter(|erasure| erasure.leaf == line.leaf);
                    if let Some(erasure) = found {
                        // One that does not count stands in nobody's way.
                        let counts = |by: &u64| standing.verdict(*by) == Verdict::Counts;
                        erasure.ordered_by = erasure.ordered_by.filter(counts).or(Some(seq));
                    }
                }
            }
            OrderKind::LossAccepted if self.accepted.len() < ORDERS_MAX => {
                let Order { missing, altered, checkpoints_missing, reason, .. } = order;
                let reason = reason.unwrap_or_default();
                self.accepted.push(Accepted { by: seq, missing, altered, checkpoints_missing, reason });
            }
            OrderKind::Gap | OrderKind::LossAccepted => {}
        }
    }

    /// Each such record is over all that was ever removed. Of those that count, the last one is kept.
    fn prune(&mut self, seq: u64, range: Option<Range>) {
        let Some(range) = range.filter(|range| range.first == 1 && range.last < seq) else { return };
        if self.pruned.len() >= ORDERS_MAX {
            let standing = &self.standing;
            let counts = |(by, _): &(u64, Range)| standing.verdict(*by) == Verdict::Counts;
            let largest = self.pruned.iter().copied().filter(counts).max_by_key(|(_, range)| range.last);
            self.pruned.clear();
            self.pruned.extend(largest);
        }
        self.pruned.push((seq, range));
    }

    /// All lines were read. `good` is the size of the last checkpoint over them that fits, `begins` the first number that
    /// has a line.
    pub(super) fn finish(&mut self, good: u64, begins: Option<u64>, report: &mut Report) {
        self.standing.signed(good);
        self.open_entries(report);
        self.erasures(report);
        if let Some(begins) = begins.filter(|begins| *begins > 1) {
            self.beginning(begins - 1, report);
        }
        for range in std::mem::take(&mut self.missing) {
            // What a gap record says to be gone is a loss, however it was found.
            let told = |damage: &Damage| damage.kind.is_of_absence() && within(damage, &[range]);
            let found = report.damages.iter_mut().filter(|damage| told(damage));
            for damage in found {
                damage.kind = Kind::Loss;
                damage.next_step = Kind::Loss.next_step();
                "the log says that these records were lost".clone_into(&mut damage.detail);
            }
        }
        self.accept(report);
        self.unsigned_tail(report);
    }

    fn open_entries(&self, report: &mut Report) {
        // After a start each entry that was open gets its end before anything new is authorized.
        let forgotten = |seq: u64| seq < self.last_opened && self.last_opened < self.last_authorized;
        let mut without: Vec<_> = self.open.values().copied().filter(|seq| forgotten(*seq)).collect();
        without.sort_unstable();
        let excused = usize::try_from(self.hidden.saturating_sub(self.excused)).unwrap_or(usize::MAX);
        for seq in without.into_iter().skip(excused) {
            report.damage(Damage::new(Kind::Entry, "an entry has no end").of(seq, seq));
        }
        let open = self.open.values().filter(|seq| !forgotten(**seq)).count();
        if open > 0 {
            let text = format!("{open} entries have no end yet: the log is still written, or its process was killed");
            report.note(About::OpenEntries, text);
        }
    }

    fn erasures(&mut self, report: &mut Report) {
        let mut erased: Vec<_> = std::mem::take(&mut self.erased).into_iter().collect();
        erased.sort_unstable_by_key(|(seq, _)| *seq);
        let count = erased.len();
        for (seq, Erasure { file, line, ordered_by, .. }) in erased {
            let detail = match ordered_by.map(|by| (by, self.standing.verdict(by))) {
                Some((_, Verdict::Counts)) => continue,
                Some((by, verdict)) => format!("record {by} orders the erasure, but {}", verdict.why_not()),
                None => "no record orders the erasure".to_owned(),
            };
            report.damage(Damage::new(Kind::ErasureWithoutOrder, detail).in_file(file).at_line(line).of(seq, seq));
        }
        if count > 0 {
            report.note(About::Erased, format!("{count} records were erased; their hashes remain"));
        }
    }

    fn beginning(&self, last: u64, report: &mut Report) {
        let mut detail = "the beginning is gone, and no signed record of retention says so".to_owned();
        for (by, _) in self.pruned.iter().filter(|(_, range)| range.last >= last) {
            match self.standing.verdict(*by) {
                Verdict::Counts => {
                    report.note(About::Pruned, format!("records 1 to {last} were removed by retention"));
                    return;
                }
                verdict => detail = format!("the beginning is gone; record {by} orders it, but {}", verdict.why_not()),
            }
        }
        let mut damages = std::mem::take(&mut report.damages);
        damages.insert(0, Damage::new(Kind::Removed, detail).of(1, last));
        report.damages = damages;
    }

    fn accept(&self, report: &mut Report) {
        let judged: Vec<_> =
            self.accepted.iter().map(|accepted| (accepted, self.standing.verdict(accepted.by))).collect();
        let counting =
            || judged.iter().filter(|(_, verdict)| *verdict == Verdict::Counts).map(|(accepted, _)| *accepted);
        let missing = union(counting().filter_map(|accepted| accepted.missing).collect());
        let altered = union(counting().flat_map(|accepted| accepted.altered.iter().copied()).collect());
        let lost = union(missing.iter().chain(&altered).copied().collect());
        let mut left = Vec::new();
        for mut damage in std::mem::take(&mut report.damages) {
            // A line that stands where one is missing is none that anybody has accepted.
            let cover = if damage.kind.is_of_absence() { &lost } else { &altered };
            if damage.kind.is_of_lines() && within(&damage, cover) {
                let reasons = counting().filter(|accepted| accepted.touches(&damage)).map(|accepted| &*accepted.reason);
                let reasons: Vec<_> = reasons.take(REASONS_MAX).collect();
                damage.detail = format!("{}; accepted: {}", damage.detail, reasons.join("; "));
                report.accepted.push(damage);
                continue;
            }
            if damage.kind.is_of_lines() && !damage.kind.is_of_absence() && within(&damage, &missing) {
                damage.kind = Kind::Inserted;
                damage.detail.push_str("; it was accepted as missing, and a line stands there");
            }
            let touches =
                |(accepted, _): &&(&Accepted, Verdict)| damage.kind.is_of_lines() && accepted.touches(&damage);
            let vain = judged.iter().filter(|(_, verdict)| *verdict != Verdict::Counts).find(touches);
            if let Some((accepted, verdict)) = vain {
                let (by, why) = (accepted.by, verdict.why_not());
                damage.detail = format!("{}; record {by} accepts it, but {why}", damage.detail);
            }
            left.push(damage);
        }
        report.damages = left;
        for Accepted { by, reason, .. } in counting().filter(|accepted| accepted.checkpoints_missing) {
            let detail =
                format!("nothing before record {by} is proved by an earlier checkpoint; it accepts that: {reason}");
            report.accepted.push(Damage::new(Kind::Checkpoint, detail).of(1, by.saturating_sub(1)));
        }
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

impl Accepted {
    fn touches(&self, damage: &Damage) -> bool {
        let meets =
            |range: &Range| damage.seqs.is_some_and(|seqs| range.first <= seqs.last && seqs.first <= range.last);
        self.missing.iter().chain(&self.altered).any(meets)
    }
}

/// The same numbers in as few ranges as there can be.
fn union(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|range| range.first <= range.last);
    ranges.sort_unstable_by_key(|range| range.first);
    let mut joined: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
            _ => joined.push(range),
        }
    }
    joined
}

fn within(damage: &Damage, ranges: &[Range]) -> bool {
    let covers = |range: &Range, seqs: Range| range.contains(seqs.first) && range.contains(seqs.last);
    damage.seqs.is_some_and(|seqs| ranges.iter().any(|range| covers(range, seqs)))
}

/// A damage at a line.
pub(super) fn at(kind: Kind, detail: impl Into<String>, place: Place<'_>) -> Damage {
    Damage::new(kind, detail).in_file(place.file).at_line(place.line).of(place.seq, place.seq)
}
