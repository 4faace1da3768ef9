//! `ccgate audit`: questions to the audit log, answered from its directory, and the few things that are done to it. Whoever
//! asks is recorded first.

mod access;
mod asked;
mod deeds;
mod export;
mod paint;
mod prove;
mod query;
mod recording;
mod report;
mod tail;
mod told;
mod verify;
mod who_accessed;

use std::collections::BTreeSet;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::asked::Logs;
use super::Exit;
use super::run::tell;
use crate::audit;
use crate::config::{self, CONFIG_VARIABLE, Loaded, Overrides};
use crate::trail;

/// What the log can be asked.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Tell whether logs are what was signed, and where they are not; needs neither configuration nor network
    Verify(verify::VerifyArgs),
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
    /// Erase records; their hashes stay, and the log says that and why
    Erase(deeds::EraseArgs),
    /// Go on with a log that lost records, which stops a start; the log says that and why
    AcceptLoss(deeds::AcceptLossArgs),
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
    /// Who asks, for the record of it
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// With --dir: the file with the keys of the log's pseudonyms
    #[arg(long, value_name = "FILE")]
    pub pseudonym_key_file: Option<PathBuf>,
    /// The gateway that runs on the log, which records who asks.
    #[command(flatten)]
    pub endpoint: super::operator::Endpoint,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Config(config::Errors),
    #[error("which log? --dir DIR, or --config FILE, whose audit.dir it is")]
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
    #[error("a gateway runs on this log, and it has not done this (--config or --admin says where its admin plane is)")]
    Told(#[source] Box<super::operator::Error>),
    #[error("who asks cannot be recorded, so nothing is shown")]
    NotRecorded(#[source] audit::Error),
    #[error("this command cannot open the log")]
    Start(#[source] audit::StartError),
    #[error("the keys of the log's pseudonyms cannot be used")]
    Pseudonyms(#[source] audit::PseudonymError),
    #[error("no gateway runs on this log: name its configuration with --config, so that this is recorded and signed")]
    NeedsConfig,
    #[error("nothing is erased, or not all")]
    Erase(#[source] audit::EraseError),
    #[error("nothing is proved")]
    Prove(#[source] trail::ProveError),
    /// Nobody reads any more.
    #[error("the answer cannot be written")]
    Output(#[from] io::Error),
}

impl Error {
    const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::NoLog | Self::NeedsConfig | Self::Option { .. } => Exit::Usage,
            Self::Told(error) => error.exit(),
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
    let (name, args) = match command {
        // What a verification tells concerns nobody, and a file that somebody brings along is no log.
        AuditCommand::Verify(args) => return Ok(verify::verify(args, answer.progress, answer.out, answer.err)?),
        AuditCommand::VerifyProof(args) => return prove::verify(args, answer),
        AuditCommand::AcceptLoss(args) => return deeds::accept_loss(args, answer),
        AuditCommand::Query(args) => ("query", &args.logs),
        AuditCommand::WhoAccessed(args) => ("who-accessed", &args.logs),
        AuditCommand::Report(args) => ("report", &args.logs),
        AuditCommand::Export(args) => ("export", &args.logs),
        AuditCommand::Prove(args) => ("prove", &args.logs),
        AuditCommand::Tail(args) => ("tail", &args.logs),
        AuditCommand::Erase(args) => ("erase", &args.logs),
    };
    let logs = Logs::of(args)?;
    if !matches!(command, AuditCommand::Erase(_)) {
        access::record(&logs, args, name, answer.err).await?;
    }
    match command {
        AuditCommand::Query(args) => query::query(args, &logs, answer),
        AuditCommand::WhoAccessed(args) => who_accessed::who_accessed(args, &logs, answer),
        AuditCommand::Report(args) => report::report(args, &logs, answer),
        AuditCommand::Export(args) => export::export(args, &logs, answer),
        AuditCommand::Prove(args) => prove::prove(args, &logs, answer),
        AuditCommand::Tail(args) => tail::tail(args, &logs, answer).await,
        AuditCommand::Erase(args) => deeds::erase(args, &logs, answer).await,
        AuditCommand::Verify(_) | AuditCommand::VerifyProof(_) | AuditCommand::AcceptLoss(_) => Ok(Exit::Ok),
    }
}

impl LogArgs {
    fn loaded(&self) -> Result<Option<Loaded>, Error> {
        let file = if self.dirs.is_empty() { self.config.as_deref() } else { None };
        file.map(|file| config::load(file, &Overrides::from_env(Vec::new())).map_err(Error::Config)).transpose()
    }

    fn dirs(&self, loaded: Option<&Loaded>) -> Result<Vec<PathBuf>, Error> {
        match (self.dirs.as_slice(), loaded) {
            ([], None) => Err(Error::NoLog),
            ([], Some(loaded)) => Ok(vec![loaded.config.audit.dir.clone()]),
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
