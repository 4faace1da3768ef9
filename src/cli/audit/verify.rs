//! `ccgate audit verify`: prints what a verification found. It needs no configuration and no network.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::Instant;

use super::super::Exit;
use crate::tlog::{VerifierKey, WitnessKey};
use crate::trail::verify::{Between, Damage, Error, Report, Witnesses, verify_witnessed};
use crate::trail::{KEYS_FILE, KeysError, Range, read_keys, read_witness_keys};

/// How long a verification takes before its progress is shown, and how often it changes then.
const QUIET: Duration = Duration::from_secs(1);
const REDRAWN: Duration = Duration::from_millis(200);

/// Arguments of `ccgate audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 sound, 1 damaged, 2 usage, or a directory that cannot be read.")]
pub struct VerifyArgs {
    /// A verifier key (NAME+ID+BASE64), or a file with one a line; repeatable; without it DIR/audit.pub, which whoever
    /// can change the log can change too
    #[arg(long, value_name = "PUB")]
    pub key: Vec<String>,
    /// A witness's key (NAME+ID+BASE64), or a file with one a line; repeatable; each must have cosigned the log
    #[arg(long, value_name = "PUB")]
    pub witness: Vec<String>,
    /// A cosigned note that was kept elsewhere, or a copy of witness.jsonl, beside DIR/witness.jsonl; repeatable
    #[arg(long, value_name = "FILE")]
    pub cosigned: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Directories of logs (audit.dir), of one replica each
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
}

/// The answer of `--json`.
#[derive(Serialize)]
struct Answer {
    sound: bool,
    damages: u64,
    logs: Vec<Log>,
}

#[derive(Serialize)]
struct Log {
    dir: PathBuf,
    sound: bool,
    /// The keys came with the log itself.
    #[serde(rename = "keys_from_log")]
    own_keys: bool,
    #[serde(flatten)]
    report: Report,
}

/// Verifies and prints. Exit code 1 where a log is damaged, 2 where one cannot be read or no keys are given.
///
/// # Errors
/// Only that `out` or `err` is gone.
pub(super) fn verify(args: &VerifyArgs, terminal: bool, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let given = match args.key.iter().map(|key| given_keys(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => keys.concat(),
        Err(error) => return refuse(err, &error),
    };
    let witnesses = match args.witness.iter().map(|key| given_witnesses(key)).collect::<Result<Vec<_>, _>>() {
        Ok(keys) => Witnesses { keys: keys.concat(), files: args.cosigned.clone() },
        Err(error) => return refuse(err, &error),
    };
    let mut logs: Vec<Log> = Vec::new();
    for dir in &args.dirs {
        let own_keys = args.key.is_empty();
        // Without a list every checkpoint is by a key that is not known, which the report says.
        let keys = if own_keys { read_keys(&dir.join(KEYS_FILE)).unwrap_or_default() } else { given.clone() };
        match with_progress(dir, &keys, &witnesses, terminal, err) {
            Ok(report) => logs.push(Log { dir: dir.clone(), sound: report.is_sound(), own_keys, report }),
            Err(error) => return refuse(err, &error),
        }
    }
    for (place, file) in args.cosigned.iter().enumerate() {
        // What was given as a proof must not be passed over.
        if logs.iter().all(|log| log.report.given.get(place) == Some(&0)) {
            writeln!(err, "ccgate: {} holds no note of the log", file.display())?;
            return Ok(Exit::Usage);
        }
    }
    let damages = logs.iter().map(|log| log.report.damage_count()).sum();
    let answer = Answer { sound: logs.iter().all(|log| log.sound), damages, logs };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &answer)?;
        writeln!(out)?;
    } else {
        tell(&answer, out)?;
    }
    Ok(if answer.sound { Exit::Ok } else { Exit::Failed })
}

/// A key as it is, or a file of them.
fn given_keys(given: &str) -> Result<Vec<VerifierKey>, KeysError> {
    given.parse().map_or_else(|_| read_keys(Path::new(given)), |key| Ok(vec![key]))
}

fn given_witnesses(given: &str) -> Result<Vec<WitnessKey>, KeysError> {
    given.parse().map_or_else(|_| read_witness_keys(Path::new(given)), |key| Ok(vec![key]))
}

fn refuse(err: &mut dyn Write, error: &dyn std::error::Error) -> io::Result<Exit> {
    write!(err, "ccgate: {error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(err, ": {error}")?;
        cause = error.source();
    }
    writeln!(err)?;
    Ok(Exit::Usage)
}

fn with_progress(
    dir: &Path,
    keys: &[VerifierKey],
    witnesses: &Witnesses,
    terminal: bool,
    err: &mut dyn Write,
) -> Result<Report, Error> {
    let (mut next, mut drawn) = (Instant::now() + QUIET, false);
    let report = verify_witnessed(dir, keys, witnesses, &mut |done, total| {
        let now = Instant::now();
        if terminal && now >= next {
            let percent = done.saturating_mul(100) / total.max(1);
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(err, "\r{}: {} of {} MiB, {percent} %", dir.display(), done >> 20, total >> 20);
            let _ = err.flush();
            (next, drawn) = (now + REDRAWN, true);
        }
    });
    if drawn {
        let _ = write!(err, "\r\u{1b}[K");
    }
    report
}

fn tell(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    for log in &answer.logs {
        tell_log(log, out)?;
    }
    if let [_, _, ..] = answer.logs.as_slice() {
        let damaged = answer.logs.iter().filter(|log| !log.sound).count();
        let lines: u64 = answer.logs.iter().map(|log| log.report.counts.lines).sum();
        let logs = answer.logs.len();
        writeln!(out, "{logs} logs, {lines} records: {damaged} damaged, {}", plural(answer.damages, "damage"))?;
    }
    Ok(())
}

fn tell_log(log: &Log, out: &mut dyn Write) -> io::Result<()> {
    let Log { dir, report, .. } = log;
    let verdict = if log.sound { "sound".to_owned() } else { plural(report.damage_count(), "damage") };
    writeln!(out, "{}: {verdict}", shown(&dir.display().to_string()))?;
    let origin = report.origin.as_deref().unwrap_or("unknown: nothing in it is signed by a known key");
    writeln!(out, "  origin   {}", shown(origin))?;
    if !report.keys.is_empty() {
        writeln!(out, "  keys     {}", report.keys.join(", "))?;
    }
    let (counts, range) = (&report.counts, report.records);
    let range = range.map_or(String::new(), |range| format!(", numbers {} to {}", range.first, range.last));
    writeln!(out, "  records  {}{range}, in {}", counts.lines, plural(counts.segments, "segment"))?;
    if let Some(signed) = report.signed {
        let ts = signed.ts.map_or(String::new(), |ts| format!(", at {ts}"));
        let checkpoints = plural(counts.checkpoints, "checkpoint");
        writeln!(out, "  signed   1 to {}{ts} ({checkpoints})", signed.size)?;
    }
    for found in &report.witnesses {
        let ts = found.ts.map_or(String::new(), |ts| format!(", at {ts}"));
        let checkpoints = plural(found.checkpoints, "checkpoint");
        writeln!(out, "  witness  {}: 1 to {}{ts} ({checkpoints})", shown(&found.witness), found.size)?;
    }
    if log.own_keys {
        let text = "the key is the one in the same directory: whoever changed the log could change it too; give --key";
        writeln!(out, "  warning  {text}")?;
    }
    for note in &report.notes {
        writeln!(out, "  note     {}", shown(&note.text))?;
    }
    for damage in &report.accepted {
        writeln!(out, "  accepted {}", told(damage))?;
    }
    for damage in &report.damages {
        writeln!(out, "  DAMAGE   {}\n           next: {}", told(damage), damage.next_step)?;
    }
    if report.damages_left_out > 0 {
        writeln!(out, "  DAMAGE   {} further ones", report.damages_left_out)?;
    }
    if counts.checkpoints_not_compared > 0 {
        let count = plural(counts.checkpoints_not_compared, "checkpoint");
        writeln!(out, "  note     {count} could not be compared: lines and tiles before them are damaged")?;
    }
    Ok(())
}

/// A damage in one line.
fn told(damage: &Damage) -> String {
    let range = |what: &str, range: Option<Range>| match range {
        Some(Range { first, last }) if first == last => format!(", {what} {first}"),
        Some(Range { first, last }) => format!(", {what}s {first} to {last}"),
        None => String::new(),
    };
    let kind = damage.kind.name().replace('_', " ");
    let file = damage.file.as_ref().map_or(String::new(), |file| format!(": {file}"));
    let (lines, seqs) = (range("line", damage.lines), range("number", damage.seqs));
    let between = damage.between.map_or(String::new(), |Between { good, bad }| {
        format!(", between the checkpoints over {good} and over {bad} records")
    });
    shown(&format!("{kind}{file}{lines}{seqs}{between}: {}", damage.detail))
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Text of a log that may be forged, without what commands a terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests;
