//! `ccgate audit tail`: the newest records, and those that come.

use std::collections::VecDeque;
use std::io;

use clap::Args;
use tokio::time::{Duration, sleep};

use super::asked::Logs;
use super::paint::{self, cell};
use super::{Answer, Error, Exit, LogArgs, told};
use crate::trail::{Line, Record, Tail, origin};

/// Time between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `ccgate audit tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// Which logs.
    #[command(flatten)]
    pub logs: LogArgs,
    /// So many of the newest records
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub lines: u16,
    /// Go on with those that come
    #[arg(short, long)]
    pub follow: bool,
    /// Print one JSON object a line: the log, and the record
    #[arg(long)]
    pub json: bool,
}

/// A line with the log that it is in.
struct Of {
    origin: String,
    line: Line,
}

/// Prints the newest records. With `-f` it ends when nobody reads any more.
pub(super) async fn tail(args: &TailArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let count = usize::from(args.lines);
    let mut tails = Vec::new();
    let mut found = Vec::new();
    for dir in &logs.dirs {
        let failed = |source| Error::Log { path: dir.clone(), source };
        let (tail, newest) = Tail::begin(dir, count).map_err(failed)?;
        let name = origin(dir);
        found.push(of(&name, newest));
        tails.push((dir, name, tail));
    }
    let mut lines = in_order(found);
    lines.drain(..lines.len().saturating_sub(count));
    print(&lines, args.json, answer)?;
    if !args.follow {
        return Ok(Exit::Ok);
    }
    loop {
        answer.out.flush()?;
        sleep(LOOK_INTERVAL).await;
        let mut found = Vec::new();
        for (dir, name, tail) in &mut tails {
            let new = tail.look().map_err(|source| Error::Log { path: dir.clone(), source })?;
            found.push(of(name, new));
        }
        print(&in_order(found), args.json, answer)?;
    }
}

fn of(origin: &str, lines: Vec<Line>) -> VecDeque<Of> {
    lines.into_iter().map(|line| Of { origin: origin.to_owned(), line }).collect()
}

/// By time, then by log; lines of one log stay in their order, whatever its clock did.
fn in_order(mut logs: Vec<VecDeque<Of>>) -> Vec<Of> {
    let mut lines = Vec::new();
    let place = |log: &VecDeque<Of>| log.front().map(|of| (of.line.ts.clone(), of.origin.clone()));
    while let Some(next) = logs.iter_mut().filter(|log| !log.is_empty()).min_by_key(|log| place(log)) {
        lines.extend(next.pop_front());
    }
    lines
}

fn print(lines: &[Of], json: bool, answer: &mut Answer<'_>) -> io::Result<()> {
    for Of { origin, line } in lines {
        let text = String::from_utf8_lossy(&line.bytes);
        if json {
            writeln!(answer.out, r#"{{"log":{},"record":{}}}"#, paint::json(origin), paint::escaped(&text))?;
            continue;
        }
        match serde_json::from_slice::<Record<'_>>(&line.bytes) {
            Ok(record) if line.event.is_empty() => writeln!(answer.out, "{:>8}  erased", record.seq)?,
            Ok(record) => {
                let [time, seq, event, what] = told::record(&record);
                writeln!(answer.out, "{time}  {seq:>8}  {event:<20}  {what}")?;
            }
            Err(_) => writeln!(answer.out, "{:>8}  {}", line.seq, cell(&text))?,
        }
    }
    Ok(())
}
