//! Budgets, with what the audit log tells of the last day. It decides nothing.

use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use prometheus::Registry;

use super::StartError;
use crate::audit;
use crate::budget::{self, Budgets, Past};
use crate::clock::Clock;
use crate::config::Config;
use crate::trail::{self, CountedLines, Record, Role, Step};

/// How far back the log is read: a day and the slots at its ends.
const PAST: SignedDuration = SignedDuration::from_hours(25);
/// At most so many bytes of the log are read, the newest: some four million downloads, in less than a minute.
const PAST_BYTES_MAX: u64 = 8 << 30;

/// Sets up the budgets and counts what was taken before this start. Reads the log, which blocks; nothing where no limit
/// needs it.
pub(super) fn budgets(
    config: &Config,
    key: budget::Key,
    log: &audit::Log,
    clock: Clock,
    registry: &Registry,
) -> Result<Budgets, StartError> {
    let metrics = budget::Metrics::register(registry)?;
    let now = clock.now();
    let budgets = Budgets::new(config.budgets.clone(), key, Arc::new(log.clone()), clock, metrics);
    if config.budgets.count_usage() {
        let recalled = recall(&budgets, &config.audit.dir, now, PAST_BYTES_MAX);
        let recalled = recalled.map_err(|source| StartError::Past { path: config.audit.dir.clone(), source })?;
        tracing::info!(
            downloads = recalled.downloads,
            people = budgets.subjects(),
            "budgets count on from the audit log"
        );
        if !recalled.whole {
            tracing::warn!(
                bytes = PAST_BYTES_MAX,
                "the log of the last day is longer than is read at a start, or its beginning was removed: budgets count \
                 its end only"
            );
        }
    }
    Ok(budgets)
}

/// What was read of the past.
#[derive(Debug, Default, PartialEq, Eq)]
struct Recalled {
    downloads: u64,
    /// Nothing of the last day was left out.
    whole: bool,
}

/// Counts the ends of downloads and the alerts of the last day. What cannot be read is passed over, as it is by every reader
/// of a log that was found whole a moment ago.
fn recall(budgets: &Budgets, dir: &Path, now: Timestamp, bytes_max: u64) -> std::io::Result<Recalled> {
    let since = now.saturating_sub(PAST).unwrap_or(Timestamp::MIN);
    let (first, whole) = trail::first_since(dir, since, bytes_max)?;
    let mut lines = CountedLines::open(dir)?;
    lines.skip_to(first);
    let mut recalled = Recalled { downloads: 0, whole };
    loop {
        match lines.advance() {
            Step::End => return Ok(recalled),
            Step::Unreadable(_) => {}
            Step::Line => {
                let line = lines.line();
                let ended = Role::of(&line.event) == Role::End;
                if !ended && line.event != "budget.alert" {
                    continue;
                }
                let Ok(at) = line.ts.parse() else { continue };
                let Ok(record) = serde_json::from_slice::<Record<'_>>(&line.bytes) else { continue };
                let Some(past) = past(&record, ended, at) else { continue };
                recalled.downloads += u64::from(ended);
                budgets.recall(past);
            }
        }
    }
}

/// What a record tells; `None`: of nobody.
fn past<'a>(record: &'a Record<'_>, ended: bool, at: Timestamp) -> Option<Past<'a>> {
    let (issuer, subject) = record.person()?;
    if !ended {
        return Some(Past::Alerted { at, issuer, subject, budget: record.limit.as_deref()? });
    }
    let bytes = record.delivery.as_ref().map(|delivery| delivery.client_bytes);
    Some(Past::Taken { at, issuer, subject, recording: record.recording()?, bytes })
}

#[cfg(test)]
mod tests;
