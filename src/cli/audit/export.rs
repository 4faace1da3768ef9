//! `ccgate audit export`: all records about one person. It never overwrites a file.

use std::fs::OpenOptions;
use std::io::{self, BufWriter};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use serde::Serialize;

use super::asked::{Conditions, Logs, scan};
use super::query::raw;
use super::{Answer, Error, Exit, LogArgs, paint};
use crate::clock::Clock;
use crate::tlog::{Checkpoint, Note};
use crate::trail::{CHECKPOINT_FILE, CountedLines, Events};

/// Arguments of `ccgate audit export`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("about").required(true).args(["subject", "owner"]))]
pub struct ExportArgs {
    /// Which logs.
    #[command(flatten)]
    pub logs: LogArgs,
    /// Whatever this person asked for (claim sub)
    #[arg(long)]
    pub subject: Option<String>,
    /// With --subject: the person's issuer (claim iss)
    #[arg(long, requires = "subject")]
    pub issuer: Option<String>,
    /// Whatever anybody asked for of this agent's recordings
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// A new file, which only you can read; without it, standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// The first line: what this is.
#[derive(Serialize)]
struct Manifest<'a> {
    format: &'static str,
    made_at: Timestamp,
    asked: Asked<'a>,
    logs: Vec<LogOf>,
}

#[derive(Serialize)]
struct Asked<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
}

/// A log that was read.
#[derive(Serialize)]
struct LogOf {
    origin: String,
    dir: String,
    /// Records that its newest checkpoint is over; nobody has verified it here.
    signed_records: Option<u64>,
}

/// The last line: without it the export is not all.
#[derive(Serialize)]
struct Ended {
    records: u64,
    /// Whether every line of the logs could be read.
    complete: bool,
}

/// Prints the records, or writes them to a file.
pub(super) fn export(args: &ExportArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let Some(path) = &args.out else { return write_all(args, logs, answer) };
    let failed = |source| Error::OutFile { path: path.clone(), source };
    let file = create_new(path).map_err(failed)?;
    let mut out = BufWriter::new(file);
    // What goes into the file is no terminal's.
    let inner = &mut Answer { out: &mut out, err: answer.err, terminal: false, progress: answer.progress };
    let exit = write_all(args, logs, inner).map_err(|error| match error {
        Error::Output(source) => failed(source),
        other => other,
    })?;
    out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all()).map_err(failed)?;
    Ok(exit)
}

/// A file that was not there before and that nobody else can read.
pub(super) fn create_new(path: &Path) -> io::Result<std::fs::File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn write_all(args: &ExportArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let conditions = Conditions {
        subject: args.subject.clone(),
        issuer: args.issuer.clone(),
        owner: args.owner.clone(),
        ..Conditions::default()
    };
    let filter = conditions.filter(&logs.names, Events::All)?;
    let open = logs.open()?;
    let manifest = Manifest {
        format: "ccgate-audit-export/1",
        made_at: Clock::system().now(),
        asked: Asked { subject: args.subject.as_deref(), issuer: args.issuer.as_deref(), owner: args.owner.as_deref() },
        logs: logs.dirs.iter().zip(&open).map(|(dir, log)| LogOf::new(dir, log)).collect(),
    };
    writeln!(answer.out, r#"{{"manifest":{}}}"#, paint::json(&manifest))?;
    let mut ended = Ended { records: 0, complete: true };
    for log in open {
        writeln!(answer.out, r#"{{"log":{}}}"#, paint::json(&**log.origin()))?;
        ended.complete &= scan(vec![log], &filter, answer, |found, answer| {
            ended.records += 1;
            raw(&found.line.bytes, answer)?;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    writeln!(answer.out, r#"{{"end":{}}}"#, paint::json(&ended))?;
    Ok(if ended.complete { Exit::Ok } else { Exit::Failed })
}

impl LogOf {
    fn new(dir: &Path, log: &CountedLines) -> Self {
        let signed = || {
            let note = Note::parse(&std::fs::read_to_string(dir.join(CHECKPOINT_FILE)).ok()?).ok()?;
            Some(Checkpoint::parse(note.unverified_text())?.size)
        };
        Self { origin: log.origin().to_string(), dir: dir.display().to_string(), signed_records: signed() }
    }
}
