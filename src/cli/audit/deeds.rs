//! `ccgate audit erase` and `accept-loss`: what a person does to the log. Each asks for a reason and is a signed record.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use clap::Args;

use super::access::{log_config, metrics, origin, person, tell, with_log};
use super::asked::{Conditions, Logs};
use super::{Answer, Error, Exit, LogArgs};
use crate::admin::ErasureOrder;
use crate::audit::{self, Erasure, OrderFile};
use crate::cli::ConfigArgs;
use crate::clock::Clock;
use crate::trail::{Events, Range};

/// Arguments of `ccgate audit erase`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("records").required(true).multiple(true).args(["entry", "seq"]))]
pub struct EraseArgs {
    /// Which log.
    #[command(flatten)]
    pub logs: LogArgs,
    /// All records of the entry with this id, as in the header Ccgate-Audit-Id; repeatable
    #[arg(long, value_name = "ID")]
    pub entry: Vec<String>,
    /// The record with this number; repeatable
    #[arg(long, value_name = "NUMBER")]
    pub seq: Vec<u64>,
    /// Why, for the record of it; without the person's name
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
}

/// Arguments of `ccgate audit accept-loss`.
#[derive(Debug, Args)]
pub struct AcceptLossArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Why, for the record of it
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
    /// Who accepts it, for the record
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

fn reason(text: &str) -> Result<String, &'static str> {
    let text = text.trim();
    if text.is_empty() { Err("a reason, in words") } else { Ok(text.to_owned()) }
}

/// Has records erased, by the gateway where it runs, else by this process.
pub(super) async fn erase(args: &EraseArgs, logs: &Logs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let [dir] = logs.dirs.as_slice() else {
        return Err(Error::Option { option: "--dir", wrong: "records are erased in one log at a time".to_owned() });
    };
    let mut records: BTreeSet<u64> = args.seq.iter().copied().collect();
    for entry in &args.entry {
        let conditions = Conditions { entry: Some(entry.clone()), ..Conditions::default() };
        let before = records.len();
        logs.scan(&conditions.filter(&logs.names, Events::All)?, answer, |found, _| {
            records.insert(found.record.seq);
            Ok(ControlFlow::Continue(()))
        })?;
        if records.len() == before {
            return Err(Error::NotFound(format!("there is no record of entry {entry}")));
        }
    }
    let count = records.len();
    let reason = args.reason.clone();
    let seq = if audit::is_held(dir) {
        let order = OrderFile { records, reason, name: args.logs.name.clone() };
        let file = order.put(dir).map_err(|source| Error::OutFile { path: dir.clone(), source })?;
        let done = tell(&args.logs, "/erasures", &ErasureOrder { origin: origin(dir)?, file: file.clone() }).await;
        if done.is_err() {
            // A gateway that was not reached has not taken it.
            let _ = std::fs::remove_file(dir.join(file));
        }
        done?
    } else {
        let loaded = logs.config.as_ref().ok_or(Error::NeedsConfig)?;
        let erasure = Erasure { records, reason, by: person(args.logs.name.clone()) };
        with_log(loaded, async |log| log.erase(erasure).await.map_err(Error::Erase)).await?
    };
    writeln!(answer.out, "erased {count} records; record {seq} says so, with your reason")?;
    Ok(Exit::Ok)
}

/// Goes on with a log that lost records.
pub(super) fn accept_loss(args: &AcceptLossArgs, answer: &mut Answer<'_>) -> Result<Exit, Error> {
    let loaded = args.config.load().map_err(Error::Config)?;
    let by = person(args.name.clone());
    let loss = audit::accept_loss(&log_config(&loaded)?, &Clock::system(), metrics()?, &args.reason, &by);
    let Some(loss) = loss.map_err(Error::Start)? else {
        writeln!(answer.out, "nothing is lost, and nothing was written")?;
        return Ok(Exit::Ok);
    };
    if loss.checkpoints_missing {
        writeln!(answer.out, "accepted: no checkpoint was left to compare with")?;
    }
    let (gone, other) = ("gone", "gone, or not those that were signed");
    let ranges = loss.missing.iter().map(|range| (range, gone)).chain(loss.altered.iter().map(|range| (range, other)));
    for (Range { first, last }, what) in ranges {
        writeln!(answer.out, "accepted: records {first} to {last} are {what}")?;
    }
    writeln!(answer.out, "the log says so, with your reason; `ccgate run` starts again")?;
    Ok(Exit::Ok)
}
