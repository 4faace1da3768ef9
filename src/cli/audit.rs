//! `ccgate audit`: questions to the audit log, answered from its directory. It writes nothing there and needs no running
//! gateway.

mod asked;
mod export;
mod paint;
mod prove;
mod query;
mod recording;
mod report;
mod tail;
mod told;
mod who_accessed;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::asked::Logs;
use super::Exit;
use super::run::tell;
use crate::config::{self, CONFIG_VARIABLE, Overrides};
use crate::trail;

/// What the log can be asked.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List downloads and refusals, or records of any kind
    Query(query::QueryArgs),
    /// Tell everybody who took a recording, or tried to
    WhoAccessed(who_accessed::WhoAccessedArgs),
    /// Tell a month in numbers: people, teams, refusals, purposes, volumes
    Report(report::ReportArgs),
    /// Give out all records about one person, for a request under data protection law
    Export(export::ExportArgs),
    /// Prove that an entry's records are in the log, in a file that needs no log to be verified
    Prove(prove::ProveArgs),
    /// Verify such a file, offline
    VerifyProof(prove::VerifyProofArgs),
    /// Show the newest records, and with -f those that come
    Tail(tail::TailArgs),
}

/// Which logs.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// The directory of an audit log; repeatable, for several replicas
    #[arg(long = "dir", value_name = "DIR")]
    pub dirs: Vec<PathBuf>,
    /// Without --dir: the config file whose audit.dir it is
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(config::Errors),
    #[error("which log? --dir DIR, or --config FILE")]
    NoLog,
    #[error("{path} cannot be read as an audit log", path = path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("{option}: {wrong}")]
    Option { option: &'static str, wrong: String },
    #[error("{path} cannot be written", path = path.display())]
    OutFile { path: PathBuf, source: io::Error },
    #[error("{path} cannot be read", path = path.display())]
    InFile { path: PathBuf, source: io::Error },
    #[error("the keys of the log cannot be read; name them with --key")]
    Keys(#[source] trail::KeysError),
    #[error("{0}")]
    NotFound(String),
    #[error("there is no checkpoint in {path} yet: ccgate signs one within audit.checkpoint_interval", path = path.display())]
    NoCheckpoint { path: PathBuf },
    #[error("nothing is proved")]
    Prove(#[source] trail::ProveError),
    /// Nobody reads any more.
    #[error("the answer cannot be written")]
    Output(#[from] io::Error),
}

impl Error {
    const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoLog | Self::Option { .. } => Exit::Usage,
            _ => Exit::Failed,
        }
    }
}

/// Where an answer goes.
struct Answer<'w> {
    out: &'w mut dyn Write,
    err: &'w mut dyn Write,
    /// Whether `out` is a terminal, which must see no control character even of a line that is given as it is.
    terminal: bool,
    /// Whether `err` is a terminal, which may see how far a scan has come.
    progress: bool,
}

/// Answers a question. Exit code 1 where something of a log could not be read or nothing was proved, 2 for a wrong command
/// line.
///
/// # Errors
/// Only that `out` or `err` is gone.
pub async fn audit(command: &AuditCommand, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let mut out = BufWriter::new(out);
    let (terminal, progress) = (io::stdout().is_terminal(), io::stderr().is_terminal());
    let done = run(command, &mut Answer { out: &mut out, err, terminal, progress }).await;
    out.flush()?;
    match done {
        Ok(exit) => Ok(exit),
        Err(Error::Output(error)) => Err(error),
        Err(error) => {
            tell(err, &error)?;
            Ok(error.exit())
        }
    }
}

async fn run(command: &AuditCommand, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    // A file that somebody brings along is no log: reading it concerns nobody.
    if let AuditCommand::VerifyProof(args) = command {
        return prove::verify(args, answer);
    }
    let logs = Logs::of(command)?;
    // Whoever reads is recorded here, before any record is shown: the question is known and nothing of it is answered.
    match command {
        AuditCommand::Query(args) => query::query(args, &logs, answer),
        AuditCommand::WhoAccessed(args) => who_accessed::who_accessed(args, &logs, answer),
        AuditCommand::Report(args) => report::report(args, &logs, answer),
        AuditCommand::Export(args) => export::export(args, &logs, answer),
        AuditCommand::Prove(args) => prove::prove(args, &logs, answer),
        AuditCommand::VerifyProof(args) => prove::verify(args, answer),
        AuditCommand::Tail(args) => tail::tail(args, &logs, answer).await,
    }
}

impl LogArgs {
    fn dirs(&self) -> Result<Vec<PathBuf>, Error> {
        match (self.dirs.as_slice(), &self.config) {
            ([], None) => Err(Error::NoLog),
            ([], Some(file)) => {
                let loaded = config::load(file, &Overrides::from_env(Vec::new())).map_err(Error::Config)?;
                Ok(vec![loaded.config.audit.dir])
            }
            (dirs, _) => {
                // A log that is read twice would tell everything twice.
                let mut known = BTreeSet::new();
                let twice =
                    dirs.iter().find(|dir| !known.insert(dir.canonicalize().unwrap_or_else(|_| (*dir).clone())));
                match twice {
                    Some(dir) => Err(Error::Option { option: "--dir", wrong: format!("{} twice", dir.display()) }),
                    None => Ok(dirs.to_vec()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
