//! What a person may take, and the words for it. No limit is set unless somebody sets it.

use std::collections::BTreeSet;

use super::window::{DAY, HOUR, Span};

/// Most recordings that a limit can allow, so that what is remembered of a person has a bound.
pub const RECORDINGS_LIMIT_MAX: u32 = 100_000;

/// What each person may take. `None`: no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Different recordings in an hour, 1 to [`RECORDINGS_LIMIT_MAX`].
    pub recordings_per_hour: Option<u32>,
    /// Different recordings in a day, 1 to [`RECORDINGS_LIMIT_MAX`].
    pub recordings_per_day: Option<u32>,
    /// Bytes handed to the client in an hour, from 1.
    pub bytes_per_hour: Option<u64>,
    /// Bytes handed to the client in a day, from 1.
    pub bytes_per_day: Option<u64>,
    /// At so many hundredths of a limit an alert is recorded, 1 to 100.
    pub alert_percent: u8,
    /// Downloads of one person at once, from 1.
    pub at_once_per_subject: Option<u32>,
    /// Downloads in one agent's session at once, from 1.
    pub at_once_per_agent: Option<u32>,
    /// Persons with one of these roles are counted and not limited; `at_once_per_agent` holds for them, too.
    pub exempt_roles: BTreeSet<String>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            recordings_per_hour: None,
            recordings_per_day: None,
            bytes_per_hour: None,
            bytes_per_day: None,
            alert_percent: 80,
            at_once_per_subject: None,
            at_once_per_agent: None,
            exempt_roles: BTreeSet::new(),
        }
    }
}

impl Limits {
    /// Whether nothing is limited.
    pub fn are_none(&self) -> bool {
        !self.count_usage() && self.at_once_per_subject.is_none() && self.at_once_per_agent.is_none()
    }

    /// Whether anything is limited over an hour or a day, so that the past matters.
    pub fn count_usage(&self) -> bool {
        Budget::ALL.into_iter().any(|budget| self.of(budget).is_some())
    }

    /// How much a budget has.
    pub(super) fn of(&self, budget: Budget) -> Option<u64> {
        match budget {
            Budget::RecordingsPerHour => self.recordings_per_hour.map(u64::from),
            Budget::RecordingsPerDay => self.recordings_per_day.map(u64::from),
            Budget::BytesPerHour => self.bytes_per_hour,
            Budget::BytesPerDay => self.bytes_per_day,
        }
    }

    /// So many recordings of a person are remembered: with the newest of that many every decision is the same.
    pub(super) fn recordings_max(&self) -> usize {
        self.recordings_per_hour.max(self.recordings_per_day).unwrap_or(0) as usize
    }
}

/// What is used up over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Budget {
    /// Different recordings in an hour.
    RecordingsPerHour,
    /// Different recordings in a day.
    RecordingsPerDay,
    /// Bytes in an hour.
    BytesPerHour,
    /// Bytes in a day.
    BytesPerDay,
}

impl Budget {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RecordingsPerHour, Self::RecordingsPerDay, Self::BytesPerHour, Self::BytesPerDay];

    /// The name in the configuration, in records and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecordingsPerHour => "recordings_per_hour",
            Self::RecordingsPerDay => "recordings_per_day",
            Self::BytesPerHour => "bytes_per_hour",
            Self::BytesPerDay => "bytes_per_day",
        }
    }

    /// The budget of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|budget| budget.as_str() == name)
    }

    pub(super) const fn span(self) -> Span {
        match self {
            Self::RecordingsPerHour | Self::BytesPerHour => HOUR,
            Self::RecordingsPerDay | Self::BytesPerDay => DAY,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}

/// Why a download has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// A budget is used up.
    Budget(Budget),
    /// As many downloads of the person run as may.
    AtOncePerSubject,
    /// As many downloads in the agent's session run as may.
    AtOncePerAgent,
    /// More persons or recordings would have to be remembered than can be.
    Memory,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Budget(Budget::RecordingsPerHour),
        Self::Budget(Budget::RecordingsPerDay),
        Self::Budget(Budget::BytesPerHour),
        Self::Budget(Budget::BytesPerDay),
        Self::AtOncePerSubject,
        Self::AtOncePerAgent,
        Self::Memory,
    ];

    /// The name in records and in metrics; those of limits are their keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Budget(budget) => budget.as_str(),
            Self::AtOncePerSubject => "downloads_at_once_per_subject",
            Self::AtOncePerAgent => "downloads_at_once_per_agent",
            Self::Memory => "memory",
        }
    }

    /// The problem's `code`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Budget(_) => "budget_exceeded",
            Self::AtOncePerSubject | Self::AtOncePerAgent => "too_many_at_once",
            Self::Memory => "overloaded",
        }
    }
}
