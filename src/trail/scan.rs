//! All records of some logs that meet a filter, in one pass. It writes nothing and keeps, of each download that runs, one
//! number.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::counted::{CountedLines, Line, Step, Unreadable, Why};
use super::filter::Filter;
use super::record::{Record, Role};

/// Downloads without an end that are remembered; of more, the oldest are forgotten. A gateway has some thousand at once.
const OPEN_MAX: usize = 1_000_000;
/// Lines between two looks at the progress.
const TICK_LINES: u64 = 16_384;

/// What a scan comes by.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "made and taken at once, and nearly always the large one")]
pub enum Found<'a> {
    /// A record that is asked for.
    Record(Match<'a>),
    /// Something was passed over.
    Unreadable(Unreadable),
    /// So many bytes of so many were read.
    Tick(u64, u64),
}

/// A record that is asked for.
#[derive(Debug)]
pub struct Match<'a> {
    /// Which log it is in.
    pub origin: &'a Arc<str>,
    /// Its line.
    pub line: &'a Line,
    /// What it says.
    pub record: Record<'a>,
    /// What it is to a download.
    pub role: Role,
}

/// A pass over some logs.
#[derive(Debug)]
pub struct Scan<'f> {
    logs: Vec<Reading>,
    filter: &'f Filter,
    /// Downloads that run, and whether they are asked for.
    open: BTreeMap<u128, bool>,
    /// Lines that were read, of all logs.
    lines: u64,
}

#[derive(Debug)]
struct Reading {
    log: CountedLines,
    /// Whether its line waits to be taken.
    ready: bool,
    ended: bool,
}

impl<'f> Scan<'f> {
    /// A pass over `logs`: by time, then by log, then by number; within one log always by number.
    pub fn new(logs: Vec<CountedLines>, filter: &'f Filter) -> Self {
        let logs = logs.into_iter().map(|log| Reading { log, ready: false, ended: false }).collect();
        Self { logs, filter, open: BTreeMap::new(), lines: 0 }
    }

    /// Gives everything that it comes by to `on`, until that says that it is enough. Returns how many lines were read.
    ///
    /// # Errors
    /// Those of `on`.
    pub fn run<E>(mut self, mut on: impl FnMut(Found<'_>) -> Result<ControlFlow<()>, E>) -> Result<u64, E> {
        loop {
            for reading in &mut self.logs {
                while !reading.ready && !reading.ended {
                    match reading.log.advance() {
                        Step::Line => reading.ready = true,
                        Step::End => reading.ended = true,
                        Step::Unreadable(unreadable) => {
                            if on(Found::Unreadable(unreadable))?.is_break() {
                                return Ok(self.lines);
                            }
                        }
                    }
                }
            }
            let Some(next) = self.earliest() else { return Ok(self.lines) };
            self.lines += 1;
            if self.lines.is_multiple_of(TICK_LINES) {
                let (bytes, all) = self.progress();
                if on(Found::Tick(bytes, all))?.is_break() {
                    return Ok(self.lines);
                }
            }
            let Self { logs, filter, open, .. } = &mut self;
            let Some(reading) = logs.get_mut(next) else { return Ok(self.lines) };
            reading.ready = false;
            let Some(found) = judge(&reading.log, filter, open) else { continue };
            if on(found)?.is_break() {
                return Ok(self.lines);
            }
        }
    }

    /// The log whose line is next. An erased record has no time, so it comes first: what follows it in its log must not wait.
    fn earliest(&self) -> Option<usize> {
        let ready = self.logs.iter().enumerate().filter(|(_, reading)| reading.ready);
        let earlier = |(_, a): &(usize, &Reading), (_, b): &(usize, &Reading)| {
            let (first, second) = (a.log.line(), b.log.line());
            let by_time = first.ts.cmp(&second.ts);
            by_time.then_with(|| a.log.origin().cmp(b.log.origin())).then(first.seq.cmp(&second.seq))
        };
        ready.min_by(earlier).map(|(index, _)| index)
    }

    fn progress(&self) -> (u64, u64) {
        let sum = |(bytes, all): (u64, u64), reading: &Reading| {
            let (more, more_all) = reading.log.progress();
            (bytes + more, all + more_all)
        };
        self.logs.iter().fold((0, 0), sum)
    }
}

/// Whether the log's line is asked for.
fn judge<'a>(log: &'a CountedLines, filter: &Filter, open: &mut BTreeMap<u128, bool>) -> Option<Found<'a>> {
    let line = log.line();
    let role = Role::of(&line.event);
    let known = match (role, line.entry) {
        (Role::End, Some(entry)) => open.remove(&entry),
        _ => None,
    };
    let begins = || filter.may_meet(line);
    // An end without its beginning, which is erased or was removed with its segment, speaks for itself.
    let candidate = !line.event.is_empty() && known.unwrap_or_else(begins);
    let record = candidate.then(|| serde_json::from_slice::<Record<'_>>(&line.bytes)).transpose();
    let Ok(record) = record else { return Some(Found::Unreadable(log.unreadable(Why::NoRecord))) };
    let met = record.filter(|record| known == Some(true) || filter.is_met_by(line, record));
    if let (Role::Begin, Some(entry)) = (role, line.entry) {
        open.insert(entry, met.is_some());
        if open.len() > OPEN_MAX {
            open.pop_first();
        }
    }
    let record = met.filter(|_| filter.wants(&line.event))?;
    Some(Found::Record(Match { origin: log.origin(), line, record, role }))
}
