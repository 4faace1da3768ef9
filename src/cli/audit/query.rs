//! `ccgate audit query`: downloads and refusals, or records of any kind.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use clap::{Args, ValueEnum};

use super::asked::{Conditions, Logs};
use super::paint::{self, Table};
use super::{Answer, Error, Exit, LogArgs, told};
use crate::trail::{Access, Accesses, Events, Filter, Match, Outcomes, Role};

/// Beginnings that wait for their end, where an outcome is asked for. Of more, the oldest are left out, which is told.
const WAITING_MAX: usize = 20_000;

/// Arguments of `ccgate audit query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// Which logs.
    #[command(flatten)]
    pub logs: LogArgs,
    /// Which records.
    #[command(flatten)]
    pub conditions: Conditions,
    /// Accesses of which a request ended so
    #[arg(long, value_name = "OUTCOME")]
    pub outcome: Option<Outcome>,
    /// Instead of accesses the single records with this event; session. stands for all that begin so; repeatable
    #[arg(long, value_name = "EVENT", conflicts_with = "outcome")]
    pub event: Vec<String>,
    /// At most so many rows, the oldest first
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Print the lines of the log themselves
    #[arg(long, conflicts_with = "json")]
    pub records: bool,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Outcome {
    /// All bytes were taken
    Finished,
    /// The client left, or ccgate stopped
    Aborted,
    /// It could not be completed
    Failed,
    /// The process died meanwhile
    Unknown,
    /// It was refused
    Denied,
    /// It has no end yet
    Open,
}

impl Outcome {
    const fn count(self, outcomes: &Outcomes) -> u64 {
        match self {
            Self::Finished => outcomes.finished,
            Self::Aborted => outcomes.aborted,
            Self::Failed => outcomes.failed,
            Self::Unknown => outcomes.unknown,
            Self::Denied => outcomes.denied,
            Self::Open => outcomes.open,
        }
    }

    const fn event(self) -> Option<&'static str> {
        match self {
            Self::Finished => Some("finished"),
            Self::Aborted => Some("aborted"),
            Self::Failed => Some("failed"),
            Self::Unknown => Some("unknown"),
            Self::Denied => Some("denied"),
            Self::Open => None,
        }
    }
}

/// Prints what is found.
pub(super) fn query(args: &QueryArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let events = if args.event.is_empty() { Events::Accesses } else { Events::Named(args.event.clone()) };
    let filter = args.conditions.filter(&logs.names, events)?;
    let whole = if args.records {
        records(args, &filter, logs, answer)?
    } else if args.event.is_empty() {
        accesses(&filter, &Show { json: args.json, outcome: args.outcome, limit: args.limit }, logs, answer, |_| {})?
    } else {
        events_of(args, &filter, logs, answer)?
    };
    Ok(if whole { Exit::Ok } else { Exit::Failed })
}

/// How accesses are shown.
pub(super) struct Show {
    pub(super) json: bool,
    pub(super) outcome: Option<Outcome>,
    pub(super) limit: Option<u64>,
}

/// Prints accesses, and gives each that is printed to `seen`. `false`: not all could be read.
pub(super) fn accesses(
    filter: &Filter,
    show: &Show,
    logs: &Logs,
    answer: &mut Answer<'_>,
    mut seen: impl FnMut(&Access),
) -> Result<bool, Error> {
    let mut limit = Limit::new(show.limit);
    let mut table = Table::new(told::ACCESS_HEADS);
    let mut found = Accesses::default();
    let mut print = |access: Access, limit: &mut Limit, answer: &mut Answer<'_>| {
        if show.outcome.is_some_and(|outcome| outcome.count(&access.outcomes) == 0) || !limit.take() {
            return Ok(());
        }
        seen(&access);
        if show.json {
            writeln!(answer.out, "{}", paint::json(&access))
        } else {
            write!(answer.out, "{}", table.row(told::access(&access)))
        }
    };
    let whole = logs.scan(filter, answer, |record, answer| {
        found.take(record, &mut |access| print(access, &mut limit, answer))?;
        Ok(limit.flow())
    })?;
    let cut = found.finish(&mut |access| print(access, &mut limit, answer))?;
    write!(answer.out, "{}", table.finish())?;
    if cut {
        writeln!(answer.err, "ccgate: more ran at once than can be held: some accesses are told in several rows")?;
    }
    limit.tell(answer)?;
    Ok(whole)
}

/// Prints single records.
fn events_of(args: &QueryArgs, filter: &Filter, logs: &Logs, answer: &mut Answer<'_>) -> Result<bool, Error> {
    let mut limit = Limit::new(args.limit);
    let mut table = Table::new(told::RECORD_HEADS);
    let whole = logs.scan(filter, answer, |found, answer| {
        if limit.take() {
            if args.json {
                let (log, line) = (paint::json(&**found.origin), String::from_utf8_lossy(&found.line.bytes));
                writeln!(answer.out, r#"{{"log":{log},"record":{}}}"#, paint::escaped(&line))?;
            } else {
                write!(answer.out, "{}", table.row(told::record(&found.record)))?;
            }
        }
        Ok(limit.flow())
    })?;
    write!(answer.out, "{}", table.finish())?;
    limit.tell(answer)?;
    Ok(whole)
}

/// Prints the lines of the log themselves. With an outcome, a beginning waits for its end.
fn records(args: &QueryArgs, filter: &Filter, logs: &Logs, answer: &mut Answer<'_>) -> Result<bool, Error> {
    let mut limit = Limit::new(args.limit);
    let mut waiting: BTreeMap<u128, Vec<u8>> = BTreeMap::new();
    let mut left_out = false;
    let whole = logs.scan(filter, answer, |found, answer| {
        for line in ready(args.outcome, found, &mut waiting) {
            if limit.take() {
                raw(&line, answer)?;
            }
        }
        if waiting.len() > WAITING_MAX {
            left_out |= waiting.pop_first().is_some();
        }
        Ok(limit.flow())
    })?;
    for line in waiting.into_values().filter(|_| args.outcome == Some(Outcome::Open)) {
        if limit.take() {
            raw(&line, answer)?;
        }
    }
    if left_out {
        writeln!(answer.err, "ccgate: more downloads ran at once than can be held: some records are left out")?;
    }
    limit.tell(answer)?;
    Ok(whole)
}

/// The lines that can be printed, now that this one is found.
fn ready(outcome: Option<Outcome>, found: &Match<'_>, waiting: &mut BTreeMap<u128, Vec<u8>>) -> Vec<Vec<u8>> {
    let line = found.line.bytes.clone();
    let Some(outcome) = outcome else { return vec![line] };
    let wanted = outcome.event() == Some(&*found.record.event);
    match (found.role, found.line.entry) {
        (Role::Begin, Some(entry)) => {
            waiting.insert(entry, line);
            Vec::new()
        }
        (Role::End, Some(entry)) => {
            let begin = waiting.remove(&entry);
            if wanted { begin.into_iter().chain([line]).collect() } else { Vec::new() }
        }
        _ if wanted => vec![line],
        _ => Vec::new(),
    }
}

/// Prints a line as it is; on a terminal, with what could command it in JSON's own escapes.
pub(super) fn raw(line: &[u8], answer: &mut Answer<'_>) -> io::Result<()> {
    if answer.terminal {
        return writeln!(answer.out, "{}", paint::escaped(&String::from_utf8_lossy(line)));
    }
    answer.out.write_all(line)?;
    answer.out.write_all(b"\n")
}

/// So many rows, and whether there are more.
struct Limit {
    left: Option<u64>,
    more: bool,
}

impl Limit {
    const fn new(limit: Option<u64>) -> Self {
        Self { left: limit, more: false }
    }

    /// Whether there is room for one more row.
    const fn take(&mut self) -> bool {
        match &mut self.left {
            Some(0) => {
                self.more = true;
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
            None => true,
        }
    }

    const fn flow(&self) -> ControlFlow<()> {
        if self.more { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn tell(&self, answer: &mut Answer<'_>) -> io::Result<()> {
        if self.more { writeln!(answer.err, "ccgate: there is more than --limit lets through") } else { Ok(()) }
    }
}
