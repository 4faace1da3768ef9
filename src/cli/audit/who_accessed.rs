//! `ccgate audit who-accessed`: everybody who took a recording, or tried to.

use std::collections::BTreeSet;

use clap::Args;

use super::asked::{Logs, recording};
use super::query::{Show, accesses};
use super::{Answer, Error, Exit, LogArgs};
use crate::trail::{Filter, Outcomes};

/// People who are told apart.
const PEOPLE_MAX: usize = 100_000;

/// Arguments of `ccgate audit who-accessed`.
#[derive(Debug, Args)]
pub struct WhoAccessedArgs {
    /// Which logs.
    #[command(flatten)]
    pub logs: LogArgs,
    /// The recording: a reference of the log, a download's URL or query, a file's path, a call id
    #[arg(value_name = "RECORDING")]
    pub recording: String,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Prints the accesses, and for people how many persons they are of.
pub(super) fn who_accessed(args: &WhoAccessedArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let filter = Filter { recording: Some(recording(&logs.names, "RECORDING", &args.recording)?), ..Filter::default() };
    let (mut took, mut refused) = (BTreeSet::new(), BTreeSet::new());
    let show = Show { json: args.json, outcome: None, limit: None };
    let whole = accesses(&filter, &show, logs, answer, |access| {
        let Outcomes { open, unknown, .. } = access.outcomes;
        // Nobody knows how much of it came through before the process died, or will yet.
        let people = if access.bytes > 0 || open > 0 || unknown > 0 { &mut took } else { &mut refused };
        if people.len() < PEOPLE_MAX {
            people.insert((access.issuer.clone(), access.subject.clone()));
        }
    })?;
    if !args.json {
        let only_refused = refused.difference(&took).count();
        writeln!(answer.out, "{} took it, {} asked and did not get it", people(took.len()), people(only_refused))?;
    }
    Ok(if whole { Exit::Ok } else { Exit::Failed })
}

fn people(count: usize) -> String {
    match count {
        0 => "nobody".to_owned(),
        1 => "1 person".to_owned(),
        PEOPLE_MAX => format!("{PEOPLE_MAX} people or more"),
        count => format!("{count} people"),
    }
}
