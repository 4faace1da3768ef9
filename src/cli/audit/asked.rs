//! What was asked: which logs, which records, and how the scan of them is told. It shows no record.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::Args;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use tokio::time::{Duration, Instant};

use super::recording::{EXPECTED, references};
use super::{Answer, Error, LogArgs, paint};
use crate::audit::Pseudonyms;
use crate::cc::{AgentId, CallId};
use crate::config::Loaded;
use crate::trail::{CountedLines, Events, Filter, Found, Match, Scan, Wanted, entry_key};

/// A scan says nothing of its progress before this.
const QUIET: Duration = Duration::from_secs(1);
/// Time between two words on it.
const WORD_INTERVAL: Duration = Duration::from_millis(200);

/// Conditions on records. All of them have to be met.
#[derive(Debug, Clone, Default, Args)]
pub struct Conditions {
    /// The agent who asked (claim of the token), or in whose session it was asked for
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<AgentId>,
    /// The caller's subject (claim sub)
    #[arg(long)]
    pub subject: Option<String>,
    /// The caller's issuer (claim iss)
    #[arg(long)]
    pub issuer: Option<String>,
    /// The recording: a reference of the log, a download's URL or query, a file's path, a call id
    #[arg(long, value_name = "REFERENCE")]
    pub recording: Option<String>,
    /// The call's id
    #[arg(long, value_name = "CALL")]
    pub call: Option<CallId>,
    /// Whose recording it is: an agent, nobody, or unknown
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// Begun at this time or later: RFC 3339, or a date (UTC)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Begun before this time; with a date, that day (UTC) is the last one
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The rule that decided
    #[arg(long)]
    pub rule: Option<String>,
    /// The entry's id, as in the header Ccgate-Audit-Id
    #[arg(long, value_name = "ID")]
    pub entry: Option<String>,
}

/// What may stand in a log for a clear value: the value itself, and where the log holds pseudonyms, those.
#[derive(Debug, Default)]
pub(super) struct Names {
    pseudonyms: Option<Pseudonyms>,
    /// Whose subjects there are: a subject's pseudonym depends on its issuer.
    issuers: Vec<String>,
}

impl Names {
    fn subjects(&self, issuer: Option<&str>, subject: &str) -> Vec<String> {
        let issuers = issuer.map_or_else(|| self.issuers.clone(), |issuer| vec![issuer.to_owned()]);
        let of = |keys: &Pseudonyms| issuers.iter().flat_map(|issuer| keys.subjects(issuer, subject)).collect();
        self.with_clear(subject, of)
    }

    fn recordings(&self, reference: &str) -> Vec<String> {
        self.with_clear(reference, |keys| keys.references(reference))
    }

    fn calls(&self, call: &str) -> Vec<String> {
        self.with_clear(call, |keys| keys.calls(call))
    }

    fn with_clear(&self, clear: &str, of: impl FnOnce(&Pseudonyms) -> Vec<String>) -> Vec<String> {
        let pseudonyms = self.pseudonyms.as_ref().map(of).unwrap_or_default();
        std::iter::once(clear.to_owned()).chain(pseudonyms).collect()
    }
}

/// The logs that are asked.
#[derive(Debug)]
pub(super) struct Logs {
    pub(super) dirs: Vec<PathBuf>,
    /// The configuration, where that named the log.
    pub(super) config: Option<Loaded>,
    pub(super) names: Names,
}

impl Logs {
    /// Those that a command names.
    pub(super) fn of(args: &LogArgs) -> Result<Self, Error> {
        let config = args.loaded()?;
        let configured = config.as_ref().map(|loaded| &loaded.config);
        let file = args.pseudonym_key_file.as_ref();
        let file = file.or_else(|| configured.and_then(|config| config.audit.pseudonym_key_file.as_ref()));
        let pseudonyms = file.map(|file| Pseudonyms::read(file)).transpose().map_err(Error::Pseudonyms)?;
        let issuers = configured.into_iter().flat_map(|config| &config.auth.issuers);
        let issuers = issuers.map(|issuer| issuer.issuer.clone()).collect();
        Ok(Self { dirs: args.dirs(config.as_ref())?, config, names: Names { pseudonyms, issuers } })
    }

    pub(super) fn open(&self) -> Result<Vec<CountedLines>, Error> {
        let open = |dir: &PathBuf| CountedLines::open(dir).map_err(|source| Error::Log { path: dir.clone(), source });
        self.dirs.iter().map(open).collect()
    }

    /// Goes through all records that are asked for. What can't be read is told and passed over; the answer is then `false`.
    pub(super) fn scan(
        &self,
        filter: &Filter,
        answer: &mut Answer<'_>,
        on: impl FnMut(&Match<'_>, &mut Answer<'_>) -> Result<ControlFlow<()>, Error>,
    ) -> Result<bool, Error> {
        scan(self.open()?, filter, answer, on)
    }
}

/// Goes through all records of these logs that are asked for.
pub(super) fn scan(
    logs: Vec<CountedLines>,
    filter: &Filter,
    answer: &mut Answer<'_>,
    mut on: impl FnMut(&Match<'_>, &mut Answer<'_>) -> Result<ControlFlow<()>, Error>,
) -> Result<bool, Error> {
    let mut whole = true;
    let mut progress = Progress::new();
    Scan::new(logs, filter).run(|found| match found {
        Found::Record(found) => on(&found, answer),
        Found::Unreadable(unreadable) => {
            whole = false;
            progress.clear(answer)?;
            writeln!(answer.err, "ccgate: {}", paint::plain(&unreadable.to_string()))?;
            Ok(ControlFlow::Continue(()))
        }
        Found::Tick(bytes, all) => {
            progress.tick(bytes, all, answer)?;
            Ok(ControlFlow::Continue(()))
        }
    })?;
    progress.clear(answer)?;
    if !whole {
        writeln!(
            answer.err,
            "ccgate: what cannot be read was passed over; ccgate audit verify tells what happened to it"
        )?;
    }
    Ok(whole)
}

/// How far a scan has come, on a terminal.
struct Progress {
    begun: Instant,
    told: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { begun: Instant::now(), told: None }
    }

    fn tick(&mut self, bytes: u64, all: u64, answer: &mut Answer<'_>) -> io::Result<()> {
        let due = self.told.map_or(self.begun + QUIET, |told| told + WORD_INTERVAL);
        if !answer.progress || Instant::now() < due {
            return Ok(());
        }
        self.told = Some(Instant::now());
        let percent = bytes.saturating_mul(100) / all.max(1);
        write!(answer.err, "\r{:3} % of {}", percent.min(100), paint::bytes(all))?;
        answer.err.flush()
    }

    fn clear(&mut self, answer: &mut Answer<'_>) -> io::Result<()> {
        if self.told.take().is_some() {
            write!(answer.err, "\r\u{1b}[K")?;
        }
        Ok(())
    }
}

impl Conditions {
    /// What they say to a scan.
    pub(super) fn filter(&self, names: &Names, events: Events) -> Result<Filter, Error> {
        let text = |text: &Option<String>| text.as_deref().map(Wanted::text);
        let entry = self
            .entry
            .as_deref()
            .map(|entry| entry_key(entry).ok_or_else(|| wrong("--entry", "an entry's id has 32 hex digits")));
        let owner = self.owner.as_deref().map(|owner| match owner {
            "nobody" | "unknown" => Ok(Wanted::text(owner)),
            agent => agent.parse::<AgentId>().map(|agent| Wanted::text(&agent.to_string())),
        });
        let owner = owner.transpose().map_err(|error| wrong("--owner", &format!("{error}, nobody or unknown")))?;
        Ok(Filter {
            agent: self.agent.map(|agent| Wanted::text(&agent.to_string())),
            subject: self.subject.as_deref().map(|subject| one_of(names.subjects(self.issuer.as_deref(), subject))),
            issuer: text(&self.issuer),
            recording: self.recording.as_deref().map(|text| recording(names, "--recording", text)).transpose()?,
            call: self.call.as_ref().map(|call| one_of(names.calls(call.as_str()))),
            owner,
            rule: text(&self.rule),
            entry: entry.transpose()?,
            since: self.since.as_deref().map(|text| moment("--since", text, false)).transpose()?,
            until: self.until.as_deref().map(|text| moment("--until", text, true)).transpose()?,
            events,
        })
    }
}

fn one_of(texts: Vec<String>) -> Wanted {
    Wanted::new(texts, Vec::new())
}

fn wrong(option: &'static str, wrong: &str) -> Error {
    Error::Option { option, wrong: wrong.to_owned() }
}

/// The recording that somebody names.
pub(super) fn recording(names: &Names, option: &'static str, text: &str) -> Result<Wanted, Error> {
    let found = references(text).ok_or_else(|| wrong(option, EXPECTED))?;
    let texts = found.texts.iter().flat_map(|text| names.recordings(text)).collect();
    Ok(Wanted::new(texts, found.prefixes))
}

/// A time, or the beginning of a day in UTC; `last`: its end.
fn moment(option: &'static str, text: &str, last: bool) -> Result<Timestamp, Error> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    let day = text.parse::<Date>().ok().filter(|_| text.len() == 10);
    let day = if last { day.and_then(|day| day.tomorrow().ok()) } else { day };
    let at = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    at.map(|at| at.timestamp())
        .ok_or_else(|| wrong(option, "a time as in 2026-11-22T08:00:00Z, or a date as in 2026-11-22"))
}

/// The beginning of a month in UTC, and of the next: `2026-11`.
pub(super) fn month(text: &str) -> Result<(Timestamp, Timestamp), Error> {
    let wrong = || wrong("--month", "a month as in 2026-11");
    let first = format!("{text}-01").parse::<Date>().ok().filter(|_| text.len() == 7).ok_or_else(wrong)?;
    let next = first.checked_add(1.month()).map_err(|_| wrong())?;
    let at = |day: Date| day.to_zoned(TimeZone::UTC).map(|at| at.timestamp()).map_err(|_| wrong());
    Ok((at(first)?, at(next)?))
}
