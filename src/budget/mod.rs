//! How much each person may take: recordings and bytes over an hour and a day, and downloads at once. It does no IO, holds
//! no name for longer than a download runs, and never lets a download wait.
//!
//! ```text
//! Authorized --Budgets::reserve--> Budgeted --Log::open--> OpenEntry (has the Reservation) --end--> booked
//!                  | used up
//!                  v
//!               Refused (429), a `denied` record
//! ```
//!
//! - Invariant: an entry is opened with a [`Budgeted`] alone, and only [`Budgets::reserve`] makes one.
//! - Invariant: within any hour or day nobody begins a download who has taken as much as a limit allows. Windows are slots
//!   (a minute, half an hour): what was taken leaves up to one slot late, never early.
//! - What may go beyond: downloads that run when bytes are used up end as they would. So bytes can exceed a limit by the
//!   rest of as many downloads as run at once; with several replicas also by what the others did in the last second or so
//!   ([`Exchange`]).
//! - Bounds: 65,536 persons, four million recordings. With more, those are forgotten who have taken nothing for a day;
//!   where there are none, new ones wait ([`Limit::Memory`]), so that nobody gets a new budget by crowding others out.

mod limits;
mod metrics;
mod names;
mod past;
mod recordings;
mod reservation;
mod sharing;
mod subjects;
mod usage;
mod window;

#[cfg(test)]
mod tests;

pub use limits::{Budget, Limit, Limits, RECORDINGS_LIMIT_MAX};
pub use metrics::Metrics;
pub use names::{Key, NoRandom, RecordingId, SubjectId};
pub use past::Past;
pub use reservation::{Budgeted, Reservation};
pub use sharing::{Away, Exchange, Others, Own};

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::Clock;
use crate::policy::Authorized;

use reservation::Taking;
use subjects::{Held, Subjects};
use usage::Stopped;

/// A limit that nobody can know the end of is asked again after this: a download at once may end at any time.
const RETRY_AT_ONCE: Duration = Duration::from_secs(1);
/// Nobody is forgotten more often.
const RETRY_MEMORY: Duration = Duration::from_mins(1);

/// Somebody is about to use a budget up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// The issuer, as the log names it.
    pub issuer: String,
    /// The subject, as the log names it.
    pub subject: String,
    /// Which budget.
    pub budget: Budget,
    /// What is used of it.
    pub used: u64,
    /// What it has.
    pub limit: u64,
}

/// The audit log, as budgets see it. Use is counted by the names that it uses, so that its past counts on.
pub trait Journal: Send + Sync {
    /// An issuer and its subject, as records name them.
    fn subject(&self, issuer: &str, subject: &str) -> (String, String);
    /// A recording, by its canonical reference, as records name it.
    fn recording(&self, reference: &str) -> String;
    /// Somebody is about to use a budget up; told once for each person, budget and window. It never waits.
    fn alert(&self, alert: Alert);
}

/// A download that has to wait. The permission comes back for its record.
#[derive(Debug)]
pub struct Refused {
    /// What was permitted.
    pub authorized: Box<Authorized>,
    /// What stands in the way.
    pub exceeded: Exceeded,
}

/// What stands in the way of a download, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{} is reached", .limit.as_str())]
pub struct Exceeded {
    /// Which limit.
    pub limit: Limit,
    /// After so long the same download would be let through, if nothing else is taken meanwhile; at least a second.
    pub retry_after: Duration,
}

/// Everybody's budgets. Clones, and those of [`Budgets::with_limits`], share what was taken.
#[derive(Clone)]
pub struct Budgets {
    limits: Arc<Limits>,
    shared: Arc<Shared>,
}

/// What was taken, and who is told.
struct Shared {
    clock: Clock,
    key: Key,
    journal: Arc<dyn Journal>,
    metrics: Metrics,
    subjects: Subjects,
}

impl Budgets {
    /// Budgets that nobody has used anything of.
    pub fn new(limits: Limits, key: Key, journal: Arc<dyn Journal>, clock: Clock, metrics: Metrics) -> Self {
        let shared = Shared { clock, key, journal, metrics, subjects: Subjects::default() };
        Self { limits: Arc::new(limits), shared: Arc::new(shared) }
    }

    /// The same use under other limits, for downloads from now on; those that run keep theirs. Bytes are
    /// counted while there is any limit, recordings while there is one on recordings: the rest begins with nothing used.
    #[must_use]
    pub fn with_limits(&self, limits: Limits) -> Self {
        Self { limits: Arc::new(limits), shared: Arc::clone(&self.shared) }
    }

    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Takes room for a download, which the value holds until it ends. Never waits.
    ///
    /// # Errors
    /// [`Refused`]: a limit is reached. Of several the one that lasts longest; downloads at once come last, the person's
    /// before the agent's.
    pub fn reserve(&self, authorized: Authorized) -> Result<Budgeted, Refused> {
        if self.limits.are_none() {
            return Ok(Budgeted::new(authorized, Reservation::none()));
        }
        let now = self.shared.clock.now();
        match self.take(&authorized, now) {
            Ok(taking) => {
                self.shared.metrics.allowed();
                Ok(Budgeted::new(authorized, Reservation::new(taking)))
            }
            Err(stopped) => {
                self.shared.metrics.refused(stopped.limit);
                let exceeded = Exceeded { limit: stopped.limit, retry_after: retry_after(stopped, now) };
                Err(Refused { authorized: Box::new(authorized), exceeded })
            }
        }
    }

    fn take(&self, authorized: &Authorized, now: Timestamp) -> Result<Taking, Stopped> {
        let (shared, limits, caller) = (&self.shared, &self.limits, authorized.caller());
        let (issuer, subject) = shared.journal.subject(caller.issuer(), caller.subject());
        let reference = shared.journal.recording(&authorized.download().file().reference());
        let recording = shared.key.recording(&reference);
        let now = minute(now);
        let person = shared.subjects.find(shared.key.subject(&issuer, &subject), now, &shared.metrics)?;
        let exempt = caller.roles().iter().any(|role| limits.exempt_roles.contains(role));
        let held = (!exempt).then(|| Held { limits: Arc::clone(limits), issuer, subject });
        let agent = authorized.agent();
        let alerts = {
            let mut state = person.state();
            state.catch_up(person.unbooked(), now);
            if !exempt {
                state.usage.judge(recording, limits)?;
                if !state.usage.recordings.has_room_for(recording) && limits.recordings_max() > 0 {
                    return Err(Stopped { limit: Limit::Memory, until: None });
                }
            }
            shared.subjects.enter(agent, limits.at_once_per_agent)?;
            state.begin(recording, held, limits.recordings_max())
        };
        shared.subjects.keep_busy(&person);
        shared.tell(alerts);
        Ok(Taking { person, recording, agent, bytes: 0, shared: Arc::clone(shared) })
    }

    /// How many persons are remembered.
    pub fn subjects(&self) -> usize {
        self.shared.subjects.count()
    }
}

impl Shared {
    fn minute(&self) -> u32 {
        minute(self.clock.now())
    }

    fn tell(&self, alerts: Vec<Alert>) {
        for alert in alerts {
            self.metrics.alerted(alert.budget);
            self.journal.alert(alert);
        }
    }
}

impl std::fmt::Debug for Budgets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budgets").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Minutes since the epoch, until the year 10136.
fn minute(at: Timestamp) -> u32 {
    u32::try_from(at.as_second().max(0) / 60).unwrap_or(u32::MAX)
}

/// To the beginning of the minute in which there is room again, in whole seconds.
fn retry_after(stopped: Stopped, now: Timestamp) -> Duration {
    let Some(until) = stopped.until else {
        return if stopped.limit == Limit::Memory { RETRY_MEMORY } else { RETRY_AT_ONCE };
    };
    let micros = i64::from(until).saturating_mul(60_000_000).saturating_sub(now.as_microsecond());
    let micros = u64::try_from(micros).unwrap_or(0);
    Duration::from_secs(micros.div_ceil(1_000_000).max(1))
}
