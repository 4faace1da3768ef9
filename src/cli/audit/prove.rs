//! `ccgate audit prove` and `verify-proof`: a record with the proof that it is in the log, made and verified.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};

use super::asked::{Conditions, Logs, scan};
use super::export::create_new;
use super::{Answer, Error, Exit, LogArgs, paint, told};
use crate::tlog::{Note, VerifierKey};
use crate::trail::{
    CHECKPOINT_FILE, CountedLines, Events, KEYS_FILE, PROOF_BYTES_MAX, ProofFile, ProveError, Record, Step, proofs,
    read_keys,
};

/// Proofs in a file at most.
const PROOFS_MAX: usize = 64;

/// Arguments of `ccgate audit prove`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["entry", "seq"]))]
pub struct ProveArgs {
    /// Which logs.
    #[command(flatten)]
    pub logs: LogArgs,
    /// The entry's id, as in the header Ccgate-Audit-Id: all its records, one proof each
    #[arg(value_name = "ENTRY")]
    pub entry: Option<String>,
    /// The record with this number; needs one log
    #[arg(long, value_name = "NUMBER")]
    pub seq: Option<u64>,
    /// A file with the log's keys; without it audit.pub of its directory
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// A new file, which only you can read; without it, standard output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Arguments of `ccgate audit verify-proof`.
#[derive(Debug, Args)]
pub struct VerifyProofArgs {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The log's key, or a file of keys (audit.pub), from somebody you trust
    #[arg(long, value_name = "KEY")]
    pub key: String,
}

/// A record that is to be proved.
struct Wanted {
    dir: PathBuf,
    seq: u64,
    line: Vec<u8>,
}

/// Makes the proofs.
pub(super) fn prove(args: &ProveArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let wanted = match (&args.entry, args.seq) {
        (Some(entry), _) => of_entry(entry, logs, answer)?,
        (None, Some(seq)) => vec![numbered(seq, logs)?],
        (None, None) => Vec::new(),
    };
    let made: Result<Vec<String>, Error> =
        wanted.iter().map(|wanted| make(wanted, args).map(|proof| proof.to_string())).collect();
    // Each begins with its own first line; an empty line stands between two.
    let text = match made {
        Ok(made) => made.join("\n"),
        Err(Error::Prove(error @ ProveError::NotSigned { .. })) => {
            let next =
                "ask again after audit.checkpoint_interval (1s); where ccgate does not run, after its next start";
            writeln!(answer.err, "ccgate: {error}\n  {next}")?;
            return Ok(Exit::Failed);
        }
        Err(error) => return Err(error),
    };
    let Some(path) = &args.out else {
        answer.out.write_all(text.as_bytes())?;
        return Ok(Exit::Ok);
    };
    let written = create_new(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| Error::OutFile { path: path.clone(), source })?;
    Ok(Exit::Ok)
}

/// All records of an entry, in whichever log it is.
fn of_entry(entry: &str, logs: &Logs, answer: &mut Answer<'_>) -> Result<Vec<Wanted>, Error> {
    let filter =
        Conditions { entry: Some(entry.to_owned()), ..Conditions::default() }.filter(&logs.names, Events::All)?;
    let mut wanted = Vec::new();
    for (dir, log) in logs.dirs.iter().zip(logs.open()?) {
        scan(vec![log], &filter, answer, |found, _| {
            wanted.push(Wanted { dir: dir.clone(), seq: found.line.seq, line: found.line.bytes.clone() });
            Ok(if wanted.len() < PROOFS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        // An entry is in one log.
        if !wanted.is_empty() {
            return Ok(wanted);
        }
    }
    Err(Error::NotFound(format!("there is no record of the entry {entry} in the log")))
}

/// The record with a number.
fn numbered(seq: u64, logs: &Logs) -> Result<Wanted, Error> {
    let [dir] = logs.dirs.as_slice() else {
        return Err(Error::Option {
            option: "--seq",
            wrong: "needs one log: each has a record with that number".to_owned(),
        });
    };
    let mut log = CountedLines::open(dir).map_err(|source| Error::Log { path: dir.clone(), source })?;
    if log.is_void(seq) {
        return Err(Error::NotFound(format!("the number {seq} never counted: its line could not be written")));
    }
    log.skip_to(seq);
    loop {
        match log.advance() {
            Step::Line if log.line().seq == seq => {
                return Ok(Wanted { dir: dir.clone(), seq, line: log.line().bytes.clone() });
            }
            Step::Line | Step::Unreadable(_) => {}
            Step::End => return Err(Error::NotFound(format!("there is no record {seq} in the log"))),
        }
    }
}

fn make(wanted: &Wanted, args: &ProveArgs) -> Result<ProofFile, Error> {
    let Wanted { dir, seq, line } = wanted;
    let keys = read_keys(args.key.as_deref().unwrap_or(&dir.join(KEYS_FILE))).map_err(Error::Keys)?;
    let note = std::fs::read_to_string(dir.join(CHECKPOINT_FILE)).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::NoCheckpoint { path: dir.clone() },
        _ => Error::InFile { path: dir.join(CHECKPOINT_FILE), source },
    })?;
    let note = Note::parse(&note)
        .map_err(|error| Error::NotFound(format!("{}: {error}", dir.join(CHECKPOINT_FILE).display())))?;
    ProofFile::make(dir, *seq, line, &note, &keys).map_err(Error::Prove)
}

/// Verifies a file of proofs. Exit code 1 where one of them proves nothing.
pub(super) fn verify(args: &VerifyProofArgs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let keys = keys(&args.key)?;
    let text = read(&args.file).map_err(|source| Error::InFile { path: args.file.clone(), source })?;
    let mut exit = Exit::Ok;
    for (number, proof) in (1..).zip(proofs(&text)) {
        let parsed = ProofFile::parse(proof);
        match parsed.as_ref().map_err(|error| *error).and_then(|proof| Ok((proof, proof.verify(&keys)?))) {
            Ok((proof, proved)) => {
                let (log, size, key) =
                    (paint::plain(&proved.checkpoint.origin), proved.checkpoint.size, proved.key.id());
                writeln!(
                    answer.out,
                    "proof {number}: good: record {} of {log}, signed with {size} records, key {key}",
                    proved.seq
                )?;
                writeln!(answer.out, "  {}", shown(&proof.line, proved.erased))?;
            }
            Err(untrue) => {
                exit = Exit::Failed;
                writeln!(answer.out, "proof {number}: proves nothing")?;
                super::tell(answer.err, &untrue)?;
            }
        }
    }
    Ok(exit)
}

/// What a proved record says.
fn shown(line: &[u8], erased: bool) -> String {
    match serde_json::from_slice::<Record<'_>>(line) {
        Ok(_) if erased => "the record itself is erased; its hash is proved".to_owned(),
        Ok(record) => told::record(&record).join("  "),
        Err(_) => "a record of a form that is not known here".to_owned(),
    }
}

/// A key, or a file of keys.
fn keys(text: &str) -> Result<Vec<VerifierKey>, Error> {
    match text.parse::<VerifierKey>() {
        Ok(key) => Ok(vec![key]),
        Err(_) => read_keys(Path::new(text)).map_err(Error::Keys),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let bytes_max = u64::try_from(PROOFS_MAX * PROOF_BYTES_MAX).unwrap_or(u64::MAX);
    File::open(path)?.take(bytes_max).read_to_string(&mut text)?;
    Ok(text)
}
