//! What people have taken, shared by the replicas that share their sessions. It keeps hashes under a key that Redis never
//! sees, minutes and amounts: no name of anybody or anything.
//!
//! A connection of its own, with its own breaker: trouble here keeps no session waiting.

use std::sync::Arc;
use std::time::Duration;

use ::redis::Script;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::link::Link;
use super::scripts::{Answer, Garbled};
use super::{Config, ConnectError, Keys, Metrics, Operation, as_millis};
use crate::budget::{Away, Exchange, Key, Others, Own, RecordingId};
use crate::session::store::metrics::Outcome;

/// How long what is told of a person stays after the last word: a day, the longest slot, and clocks that differ.
const KEPT: Duration = Duration::from_hours(26);
/// Calls fail at once for so long after several failures.
const PAUSE: Duration = Duration::from_secs(5);
/// Replicas that are listened to.
const REPLICAS_MAX: u64 = 1_024;

/// The way to the other replicas' counts.
pub struct SharedBudgets {
    link: Link,
    script: Script,
    prefix: String,
    /// This replica, through all its restarts.
    replica: String,
    key: Key,
}

impl SharedBudgets {
    /// Sets it up; connects with the first exchange. `replica` is a name that no other replica has and that stays with this
    /// one, as the audit log's does. Reads files, which blocks for a moment.
    ///
    /// # Errors
    /// A file can't be used.
    pub fn new(config: &Config, replica: &str, metrics: Metrics) -> Result<Arc<Self>, ConnectError> {
        let key = Keys::read(&config.key_file)?.for_budgets()?;
        let link =
            Link::new(config.client()?, config.timeout, PAUSE, metrics.beside()).map_err(ConnectError::Unavailable)?;
        let prefix = format!("{{{}}}", config.prefix);
        let script = Script::new(include_str!("budgets.lua"));
        Ok(Arc::new(Self { link, script, prefix, replica: replica.to_owned(), key: Key::shared(key) }))
    }

    /// What names are hashed with: the same in all replicas with the same first line of the key file.
    pub fn key(&self) -> Key {
        self.key.clone()
    }

    async fn exchange_now(&self, own: &[Own]) -> Result<Vec<Others>, Away> {
        let mut script = self.script.prepare_invoke();
        script.arg(&self.replica).arg(as_millis(KEPT));
        for own in own {
            let person = format!("{}:budget:{}", self.prefix, own.subject);
            script.key(format!("{person}:bytes")).key(format!("{person}:recordings"));
            script.arg(own.now).arg(own.oldest).arg(own.since).arg(own.recordings_max).arg(&own.bytes);
            script.arg(own.recordings.len());
            for (recording, at) in &own.recordings {
                script.arg(*at).arg(recording.to_string());
            }
        }
        let answer = self.link.call(Operation::Budgets, &script).await.map_err(|_fault| Away)?;
        let others = read(answer, own).map_err(|Garbled| Away);
        self.link.count(Operation::Budgets, if others.is_ok() { Outcome::Ok } else { Outcome::Refused });
        others
    }
}

/// Takes an answer apart, person by person.
fn read(mut answer: Answer, own: &[Own]) -> Result<Vec<Others>, Garbled> {
    let mut all = Vec::with_capacity(own.len());
    for own in own {
        let mut others = Others::default();
        let replicas = answer.number()?;
        for _ in 0..replicas {
            others.bytes.push(answer.text()?);
        }
        if replicas > REPLICAS_MAX {
            return Err(Garbled);
        }
        for _ in 0..answer.number()?.min(own.recordings_max as u64) {
            let recording = RecordingId::parse(&answer.text()?).ok_or(Garbled)?;
            let at = u32::try_from(answer.number()?).map_err(|_| Garbled)?;
            others.recordings.push((recording, at));
        }
        all.push(others);
    }
    Ok(all)
}

impl Exchange for SharedBudgets {
    fn exchange<'a>(&'a self, own: &'a [Own]) -> BoxFuture<'a, Result<Vec<Others>, Away>> {
        if own.is_empty() {
            return async { Ok(Vec::new()) }.boxed();
        }
        self.exchange_now(own).boxed()
    }
}

impl std::fmt::Debug for SharedBudgets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBudgets").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
