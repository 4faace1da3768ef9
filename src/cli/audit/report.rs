//! `ccgate audit report`: a month in numbers.

use std::io;
use std::ops::ControlFlow;

use clap::Args;
use serde::Serialize;

use super::asked::{Logs, month};
use super::paint::{self, Table, cell};
use super::{Answer, Error, Exit, LogArgs};
use crate::trail::{Accesses, Counting, Counts, Events, Filter, Named, Number, Person, Report, Role, Row};

/// Rows of a table that people are shown; `--json` has all.
const ROWS_MAX: usize = 50;

/// Arguments of `ccgate audit report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Which logs.
    #[command(flatten)]
    pub logs: LogArgs,
    /// The month (UTC), as in 2026-11: what began in it
    #[arg(long, value_name = "MONTH")]
    pub month: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The report, with what it is of.
#[derive(Serialize)]
struct Whole<'r> {
    month: &'r str,
    logs: Vec<String>,
    /// Whether every line could be read.
    complete: bool,
    #[serde(flatten)]
    report: &'r Report,
}

/// Prints the month.
pub(super) fn report(args: &ReportArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let (since, until) = month(&args.month)?;
    let filter = Filter { since: Some(since), until: Some(until), events: Events::All, ..Filter::default() };
    let mut counting = Counting::default();
    let mut accesses = Accesses::default();
    let open = logs.open()?;
    let names = open.iter().map(|log| log.origin().to_string()).collect();
    let complete = super::asked::scan(open, &filter, answer, |found, _| {
        if found.role == Role::Other {
            counting.event(&found.record);
        } else {
            accesses.take(found, &mut |access| {
                counting.access(&access);
                Ok::<_, Error>(())
            })?;
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let cut = accesses.finish(&mut |access| {
        counting.access(&access);
        Ok::<_, Error>(())
    })?;
    if cut {
        writeln!(answer.err, "ccgate: more ran at once than can be held: some accesses are counted twice")?;
    }
    let report = counting.report();
    let whole = Whole { month: &args.month, logs: names, complete, report: &report };
    if args.json {
        writeln!(answer.out, "{}", paint::json(&whole))?;
    } else {
        print(&whole, answer)?;
    }
    if report.cut {
        writeln!(answer.err, "ccgate: there was too much to tell all apart: rows are missing, recordings are too few")?;
    }
    Ok(if complete { Exit::Ok } else { Exit::Failed })
}

fn print(whole: &Whole<'_>, answer: &mut Answer<'_>) -> io::Result<()> {
    let Whole { month, logs, report, .. } = whole;
    let out = &mut *answer.out;
    let names: Vec<String> = logs.iter().map(|log| paint::plain(log).into_owned()).collect();
    writeln!(out, "Audit report for {month} (UTC), of {}\n", names.join(", "))?;
    total(&report.total, out)?;
    let person = |person: &Person| vec![cell(&person.subject), cell(&person.issuer)];
    let name = |named: &Named| vec![if named.name.is_empty() { "(none)".to_owned() } else { cell(&named.name) }];
    table("People", ["SUBJECT", "ISSUER"].as_slice(), &report.people, person, out)?;
    table("Teams of the callers (who has several counts in each)", ["TEAM"].as_slice(), &report.teams, name, out)?;
    table("Roles of the callers (who has several counts in each)", ["ROLE"].as_slice(), &report.roles, name, out)?;
    numbers("Refused requests by code", &report.refusals, out)?;
    if report.refusals_left_out > 0 {
        writeln!(
            out,
            "\n{} more tokens were refused that nobody could verify and that have no record",
            report.refusals_left_out
        )?;
    }
    numbers("Accesses by purpose", &report.purposes, out)?;
    numbers("Ends that were not good, by reason", &report.reasons, out)?;
    numbers("Sessions taken by force, by agent", &report.forced, out)?;
    numbers("Sessions ended by an operator, by agent", &report.signed_out_by_operator, out)?;
    numbers("Readings of this log, by command", &report.readings, out)?;
    numbers("What the log says of itself", &report.log_events, out)
}

fn total(total: &Counts, out: &mut dyn io::Write) -> io::Result<()> {
    let Counts { accesses, requests, recordings, bytes, without_purpose, aborted, failed, unknown, open, refused } =
        *total;
    writeln!(out, "{accesses} accesses ({requests} requests) to {recordings} recordings, {}", paint::bytes(bytes))?;
    writeln!(out, "{refused} requests refused, {without_purpose} without a purpose")?;
    writeln!(out, "{aborted} aborted, {failed} failed, {unknown} with unknown end, {open} without an end yet")
}

fn table<N>(
    title: &str,
    heads: &[&str],
    rows: &[Row<N>],
    name: impl Fn(&N) -> Vec<String>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    let two = |cells: Vec<String>| {
        let mut cells = cells.into_iter();
        [cells.next().unwrap_or_default(), cells.next().unwrap_or_default()]
    };
    let [first, second] = two(heads.iter().map(|head| (*head).to_owned()).collect());
    let heads = [
        &first,
        "ACCESSES",
        "REQUESTS",
        "RECORDINGS",
        "BYTES",
        "NO PURPOSE",
        "REFUSED",
        "ABORTED",
        "FAILED",
        "UNKNOWN",
        &second,
    ];
    let mut table = Table::new(heads);
    for row in rows.iter().take(ROWS_MAX) {
        let Counts {
            accesses, requests, recordings, bytes, without_purpose, refused, aborted, failed, unknown, ..
        } = row.counts;
        let [first, second] = two(name(&row.name));
        let number = |number: u64| number.to_string();
        write!(
            out,
            "{}",
            table.row([
                first,
                number(accesses),
                number(requests),
                number(recordings),
                paint::bytes(bytes),
                number(without_purpose),
                number(refused),
                number(aborted),
                number(failed),
                number(unknown),
                second,
            ])
        )?;
    }
    write!(out, "{}", table.finish())?;
    more(rows.len(), out)
}

fn numbers(title: &str, rows: &[Number], out: &mut dyn io::Write) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{title}")?;
    let shown = rows.iter().take(ROWS_MAX);
    let width = shown.clone().map(|row| row.count.to_string().len()).max().unwrap_or(0);
    for Number { name, count } in shown {
        let name = if name.is_empty() { "(none)".to_owned() } else { cell(name) };
        writeln!(out, "{count:>width$}  {name}")?;
    }
    more(rows.len(), out)
}

fn more(rows: usize, out: &mut dyn io::Write) -> io::Result<()> {
    if rows > ROWS_MAX { writeln!(out, "… and {} more: --json has all", rows - ROWS_MAX) } else { Ok(()) }
}
