//! Who reads the log, or changes it, is in the log. A running gateway writes that record itself; where none runs, the command
//! does. It shows no record.

use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use prometheus::Registry;
use serde::Serialize;

use super::asked::Logs;
use super::{Error, LogArgs};
use crate::admin::{AUDIT_PATH, Reading, Recorded};
use crate::audit::{self, Event, Log, Person};
use crate::cli::operator;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::ready::Ready;
use crate::trail;

/// For the log to write what is queued and to give its directory back.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Characters of the command line that are recorded.
const ARGUMENTS_CHARS_MAX: usize = 1_000;

/// Has it recorded that somebody asks this. Nothing may be shown before.
pub(super) async fn record(logs: &Logs, args: &LogArgs, command: &str, err: &mut dyn Write) -> Result<(), Error> {
    let (held, free): (Vec<_>, Vec<_>) = logs.dirs.iter().partition(|dir| audit::is_held(dir));
    for dir in &held {
        let (origin, name) = (origin(dir)?, args.name.clone());
        let reading = Reading { origin, command: command.to_owned(), arguments: command_line(), name };
        tell(args, "/reads", &reading).await?;
    }
    if !held.is_empty() && free.is_empty() {
        return Ok(());
    }
    if let Some(loaded) = &logs.config {
        let (command, arguments) = (command.to_owned(), command_line());
        let event = Event::Read { command, arguments, by: person(args.name.clone()) };
        return with_log(loaded, async |log| Ok(log.tell(event).await.map_err(Error::NotRecorded)?)).await.map(drop);
    }
    for dir in free.into_iter().filter(|dir| audit::was_held(dir)) {
        let dir = dir.display().to_string();
        let dir = super::paint::plain(&dir);
        writeln!(
            err,
            "ccgate: no gateway runs on {dir}, so this reading is not in that log: with --config it would be"
        )?;
    }
    Ok(())
}

/// A log's name, as its directory has it.
pub(super) fn origin(dir: &Path) -> Result<String, Error> {
    let keys = trail::read_keys(&dir.join(trail::KEYS_FILE)).map_err(Error::Keys)?;
    keys.first().map(|key| key.name().to_owned()).ok_or(Error::NoLog)
}

/// Tells a running gateway. Gives the number of its record.
pub(super) async fn tell(args: &LogArgs, path: &str, order: &impl Serialize) -> Result<u64, Error> {
    let body = serde_json::to_vec(order).map_err(|error| Error::Output(error.into()))?;
    let path = format!("{AUDIT_PATH}{path}");
    let config = args.config.as_deref();
    let answer = operator::ask(&args.endpoint, config, Method::POST, &path, Bytes::from(body)).await;
    let (at, answer) = answer.map_err(|error| Error::Told(Box::new(error)))?;
    let recorded = serde_json::from_slice::<Recorded>(&answer);
    let recorded = recorded.map_err(|source| Error::Told(Box::new(operator::Error::Answer { at, source })))?;
    Ok(recorded.seq)
}

/// Takes the log of a gateway that does not run, for as long as `work` takes.
pub(super) async fn with_log<T>(loaded: &Loaded, work: impl AsyncFnOnce(&Log) -> Result<T, Error>) -> Result<T, Error> {
    let config = log_config(loaded)?;
    let log = Log::start(&config, Clock::system(), Ready::new().register("audit"), metrics()?).map_err(Error::Start)?;
    let done = work(&log).await;
    log.shut_down(STOP_TIMEOUT).await;
    done
}

/// What the configuration says of the log.
pub(super) fn log_config(loaded: &Loaded) -> Result<audit::Config, Error> {
    let keys = loaded.config.audit.pseudonym_key_file.as_deref().map(audit::Pseudonyms::read).transpose();
    Ok(loaded.config.audit.log(keys.map_err(Error::Pseudonyms)?))
}

/// Nobody scrapes a command.
pub(super) fn metrics() -> Result<audit::Metrics, Error> {
    audit::Metrics::register(&Registry::new()).map_err(|error| Error::Output(io::Error::other(error)))
}

/// Whoever runs this process, and the name that they give.
pub(super) fn person(name: Option<String>) -> Person {
    let uid = std::fs::metadata(Path::new("/proc/self")).ok().map(|found| found.uid());
    Person { name, uid, ..Person::default() }
}

/// What was typed behind `ccgate audit`.
fn command_line() -> String {
    let typed: Vec<String> = std::env::args_os().skip(2).map(|text| text.to_string_lossy().into_owned()).collect();
    typed.join(" ").chars().take(ARGUMENTS_CHARS_MAX).collect()
}
