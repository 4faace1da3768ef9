//! Which number each line stands for. A line is taken at its word only where the lines behind it agree, so one changed
//! digit, one lost line and one added line each stay one damage.

use std::collections::VecDeque;

use super::super::segments::Segment;
use super::super::{Range, void_leaf};
use super::pipeline::{Piece, Then};
use super::proof::{Proof, Suspect};
use super::report::{About, Damage, Kind, Report};
use super::row::{Row, What};
use super::story::{Place, Story, at};

/// Lines that are asked which number the one before them stands for.
const AHEAD: usize = 16;

/// A line that swallowed at most so many others was changed, not they removed: a line feed in it was.
const SWALLOWED_MAX: u64 = 4;

/// Numbers that never counted and that no checkpoint is over yet, of which leaves are made all the same: so many are a
/// batch that failed just now, and tiles can have them.
const VOID_UNSIGNED_MAX: u64 = 1 << 16;

/// A walk over all lines in their order.
pub(super) struct Walk<'d> {
    segments: &'d [Segment],
    names: Vec<String>,
    voids: Vec<Range>,
    pub(super) proof: Proof<'d>,
    pub(super) story: Story,
    /// The segment that is walked, and its rows that are not placed yet.
    segment: Option<usize>,
    rows: VecDeque<Row>,
    line: u64,
    /// Where lines stop to count in this segment.
    stop: u64,
    beyond: bool,
    first: Option<u64>,
    /// Numbers that never counted, of which no checkpoint tells.
    pub(super) unsigned_voids: u64,
}

/// What the lines say of one that is not the expected one.
enum Stands {
    /// For this number, which is the expected one or a later one.
    For(u64),
    /// For none: the expected one follows.
    ForNone,
}

impl<'d> Walk<'d> {
    pub(super) fn new(segments: &'d [Segment], voids: Vec<Range>, proof: Proof<'d>) -> Self {
        let name = |segment: &Segment| segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            segments,
            names: segments.iter().map(name).collect(),
            voids,
            proof,
            story: Story::default(),
            segment: None,
            rows: VecDeque::new(),
            line: 0,
            stop: u64::MAX,
            beyond: false,
            first: None,
            unsigned_voids: 0,
        }
    }

    /// The first number that has a line.
    pub(super) const fn begins(&self) -> Option<u64> {
        self.first
    }

    fn expected(&self) -> u64 {
        self.proof.size().saturating_add(1)
    }

    /// Takes the next rows.
    pub(super) fn piece(&mut self, piece: Piece<Vec<Row>>, report: &mut Report) {
        let Piece { segment, lines, then, bytes } = piece;
        report.counts.bytes = report.counts.bytes.saturating_add(bytes);
        if self.segment != Some(segment) {
            self.enter(segment, report);
        }
        self.rows.extend(lines);
        let last = !matches!(then, Then::More | Then::TooLong);
        while self.rows.len() > AHEAD || (last && !self.rows.is_empty()) {
            if let Some(row) = self.rows.pop_front() {
                self.line = self.line.saturating_add(1);
                self.row(row, last, report);
            }
        }
        self.end(segment, then, report);
    }

    fn enter(&mut self, segment: usize, report: &mut Report) {
        let first = self.segments.get(segment).map_or(1, |segment| segment.first);
        self.segment = Some(segment);
        (self.line, self.beyond) = (0, false);
        report.counts.segments = report.counts.segments.saturating_add(1);
        if first > self.expected() {
            self.without_lines(first - 1, report);
        }
        let next = self.segments.get(segment.saturating_add(1)).map_or(u64::MAX, |segment| segment.first);
        let expected = self.expected();
        let voids = self.voids.iter().filter(|void| void.last >= expected).map(|void| void.first);
        self.stop = voids.min().map_or(next, |void| void.min(next));
    }

    fn end(&self, segment: usize, then: Then, report: &mut Report) {
        let name = || self.names.get(segment).cloned().unwrap_or_default();
        match then {
            Then::Failed(error) => report.damage(Damage::new(Kind::Unreadable, error.to_string()).in_file(name())),
            Then::Torn(bytes) if segment + 1 == self.segments.len() => {
                let text = format!("{}: {bytes} bytes of a line that was not written whole; they do not count", name());
                report.note(About::TornTail, text);
            }
            Then::More | Then::TooLong | Then::End | Then::Torn(_) => {}
        }
    }

    fn row(&mut self, row: Row, last: bool, report: &mut Report) {
        let expected = self.expected();
        self.beyond |= expected >= self.stop;
        if self.beyond {
            return;
        }
        if row.seq == Some(expected) {
            self.place(row, report);
            return;
        }
        match self.stands(&row, expected, last) {
            Stands::ForNone => self.extra(&row, report),
            Stands::For(number) => {
                let swallowed = number - expected;
                if swallowed > 0 && (row.seq == Some(number) || swallowed > SWALLOWED_MAX) {
                    self.without_lines(number - 1, report);
                } else if swallowed > 0 {
                    let detail = "the line is no record, and further ones are missing behind it";
                    let place = self.at(expected);
                    report.damage(at(Kind::Edited, detail, place).of(expected, number));
                    self.story.gone(expected, number, self.proof.good());
                    self.proof.absent(number, report);
                    return;
                }
                self.place(row, report);
            }
        }
    }

    /// Asks the lines behind a row which number it stands for.
    fn stands(&self, row: &Row, expected: u64, last: bool) -> Stands {
        let mut votes: Vec<(u64, usize)> = Vec::with_capacity(AHEAD);
        for (ahead, next) in (1..).zip(self.rows.iter().take(AHEAD)) {
            let Some(number) = next.seq.and_then(|seq| seq.checked_sub(ahead)) else { continue };
            match votes.iter_mut().find(|(voted, _)| *voted == number) {
                Some((_, count)) => *count += 1,
                None => votes.push((number, 1)),
            }
        }
        // Of numbers with as many votes the expected one wins, then the one that is voted for first.
        let rank = |(number, count): &(u64, usize)| (*count, *number == expected);
        let mut best: Option<(u64, usize)> = None;
        for vote in votes {
            if best.as_ref().is_none_or(|best| rank(&vote) > rank(best)) {
                best = Some(vote);
            }
        }
        match best.map(|(number, _)| number).or_else(|| self.by_end(expected, last)) {
            Some(number) if number >= expected && number < self.stop => Stands::For(number),
            Some(number) if number.saturating_add(1) == expected && !self.is_swapped(row, expected) => Stands::ForNone,
            Some(number) if number.saturating_add(1) == expected => Stands::For(expected),
            Some(_) | None => match row.seq {
                Some(seq) if seq < expected => Stands::ForNone,
                Some(seq) if seq < self.stop => Stands::For(seq),
                _ => Stands::For(expected),
            },
        }
    }

    /// The number of a line that has no readable one behind it, by where the segment ends.
    fn by_end(&self, expected: u64, last: bool) -> Option<u64> {
        let behind = self.rows.len() as u64;
        let next = self.segment.and_then(|segment| self.segments.get(segment + 1));
        match next.filter(|_| last) {
            Some(next) => next.first.checked_sub(1 + behind),
            None => Some(expected).filter(|expected| last && expected.saturating_add(behind) == self.proof.claimed()),
        }
    }

    /// Whether a line that says a later number than it should is missing there.
    fn is_swapped(&self, row: &Row, expected: u64) -> bool {
        let Some(ahead) = row.seq.and_then(|seq| seq.checked_sub(expected)).filter(|ahead| *ahead > 0) else {
            return false;
        };
        let there = usize::try_from(ahead).ok().and_then(|ahead| self.rows.get(ahead));
        there.is_none_or(|there| there.seq != row.seq)
    }

    /// A line in the place of the expected number, whatever it says.
    fn place(&mut self, row: Row, report: &mut Report) {
        let expected = self.expected();
        let tile = self.proof.leaf_of_next();
        let said = row.seq;
        let fits = said == Some(expected);
        let moved = said.filter(|_| !fits).filter(|said| self.proof.leaf_of(*said) == Some(row.leaf));
        let place = self.at(expected);
        let (kind, detail) = match (moved, said) {
            (Some(other), _) => (Kind::Reordered, format!("the record with the number {other} stands here")),
            (None, Some(other)) if !fits => (Kind::Edited, format!("the line says the number {other}")),
            (None, Some(_)) => (Kind::Edited, "the line is not the one that was signed".to_owned()),
            (None, None) => (Kind::Edited, "the line is no record".to_owned()),
        };
        let damage = at(kind, detail, place);
        // What a line says beside its leaf is not in the tree where its record was erased.
        let erased = matches!(row.what, What::Tombstone);
        if !fits && tile == Some(row.leaf) && erased {
            report.damage(damage.clone());
        } else if !fits && tile == Some(row.leaf) {
            report.damage(at(Kind::Malformed, "the line was signed like this, and is no record of this number", place));
        } else if !fits && tile.is_none() {
            report.damage(damage.clone());
        }
        self.first.get_or_insert(expected);
        report.counts.lines = report.counts.lines.saturating_add(1);
        report.records = Some(Range { first: self.first.unwrap_or(expected), last: expected });
        let differs = tile.is_some_and(|tile| tile != row.leaf);
        let good = self.proof.good();
        self.proof.push(row.leaf, tile, || Suspect(damage), report);
        // A line that is not what was signed may hide what it said, and what it says now is not the log's word.
        if differs || !fits {
            self.story.gone(expected, expected, good);
        } else {
            let Some(name) = self.segment.and_then(|segment| self.names.get(segment)) else { return };
            let place = Place { file: name, line: self.line, seq: expected };
            self.story.row(row, place, good, report);
        }
    }

    /// A line that stands for no number.
    fn extra(&mut self, row: &Row, report: &mut Report) {
        let place = self.at(row.seq.unwrap_or_else(|| self.expected()));
        let name = place.file.to_owned();
        let line = self.line;
        let detail = format!("it stands at line {line} of {name}");
        let gone = report.damages.iter_mut().find(|damage| {
            let has = |seq| damage.seqs.is_some_and(|seqs| seqs.contains(seq));
            matches!(damage.kind, Kind::Removed | Kind::Reordered) && row.seq.is_some_and(has)
        });
        if let Some(gone) = gone {
            if gone.kind == Kind::Removed {
                gone.kind = Kind::Reordered;
                gone.detail = detail;
                (gone.file, gone.lines) = (Some(name), Some(Range { first: line, last: line }));
            }
            return;
        }
        let same = row.seq.is_some_and(|seq| self.proof.leaf_of(seq).is_none_or(|leaf| leaf == row.leaf));
        let (kind, detail) = match (row.seq, same) {
            (Some(seq), true) if seq < self.expected() => (Kind::Duplicated, "the record stands there before"),
            (Some(_), _) => (Kind::Inserted, "the line is one more than the log has, with a number that is used"),
            (None, _) => (Kind::Inserted, "the line is no record, and one more than the log has"),
        };
        let damage = Damage::new(kind, detail).in_file(name).at_line(line);
        report.damage(match row.seq {
            Some(seq) => damage.of(seq, seq),
            None => damage,
        });
    }

    /// There are no lines up to a number: those that never counted have their own leaves, the others are gone.
    fn without_lines(&mut self, last: u64, report: &mut Report) {
        while self.expected() <= last {
            let expected = self.expected();
            if let Some(void) = self.voids.iter().find(|void| void.contains(expected)).copied() {
                self.void(void.last.min(last), report);
                continue;
            }
            let next_void = self.voids.iter().map(|void| void.first).filter(|first| *first > expected).min();
            let through = next_void.map_or(last, |first| (first - 1).min(last));
            self.story.gone(expected, through, self.proof.good());
            // A beginning that is gone is judged when the records of retention are read.
            if self.first.is_some() {
                let damage = Damage::new(Kind::Removed, "the records are gone").of(expected, through);
                let before = self.segment.and_then(|segment| self.names.get(segment)).cloned();
                report.damage(Damage { file: before, ..damage });
            }
            self.proof.absent(through, report);
        }
    }

    /// Numbers that never counted. Those that no checkpoint is over need no leaves: they can be any number of them.
    fn void(&mut self, last: u64, report: &mut Report) {
        let before = self.proof.size();
        let proved = self.proof.claimed().max(before.saturating_add(VOID_UNSIGNED_MAX)).min(last);
        while self.expected() <= proved {
            let expected = self.expected();
            let tile = self.proof.leaf_of_next();
            let suspect = || {
                Suspect(Damage::new(Kind::Edited, "the number is said never to have counted").of(expected, expected))
            };
            self.proof.push(void_leaf(expected), tile, suspect, report);
        }
        if proved < last {
            self.proof.pass_unsigned(last, report);
        }
        let signed = self.proof.claimed().max(before);
        self.unsigned_voids = self.unsigned_voids.saturating_add(last.saturating_sub(signed));
        report.counts.void = report.counts.void.saturating_add(last.saturating_sub(before));
    }

    fn at(&self, seq: u64) -> Place<'_> {
        let file = self.segment.and_then(|segment| self.names.get(segment)).map_or("", String::as_str);
        Place { file, line: self.line, seq }
    }
}
