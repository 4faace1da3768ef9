//! What one person has taken, here and elsewhere, and whether there is room for more. It asks no clock.

use super::limits::{Budget, Limit, Limits};
use super::names::RecordingId;
use super::recordings::{Recordings, Tally};
use super::window::{DAY, HOUR, Window, free_again};

/// Why a download has to wait, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopped {
    pub(super) limit: Limit,
    /// The minute in which there is room again; `None`: nobody can know.
    pub(super) until: Option<u32>,
}

/// A budget that is nearly used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) budget: Budget,
    pub(super) used: u64,
    pub(super) limit: u64,
}

/// Bytes over both windows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes {
    pub(super) hour: Window,
    pub(super) day: Window,
}

impl Bytes {
    pub(super) const fn new() -> Self {
        Self { hour: Window::new(HOUR), day: Window::new(DAY) }
    }

    pub(super) fn add(&mut self, minute: u32, bytes: u64) {
        self.hour.add(minute, bytes);
        self.day.add(minute, bytes);
    }

    pub(super) fn roll(&mut self, now: u32) {
        self.hour.roll(now);
        self.day.roll(now);
    }

    fn of(&self, budget: Budget) -> &Window {
        if budget.span() == HOUR { &self.hour } else { &self.day }
    }
}

/// What one person has taken.
#[derive(Debug)]
pub(super) struct Usage {
    /// From this process.
    pub(super) bytes: Bytes,
    /// From the other replicas, as last heard.
    pub(super) elsewhere: Bytes,
    /// From all.
    pub(super) recordings: Recordings,
    /// Downloads that run here.
    pub(super) running: u32,
    /// When something was last asked for here, in minutes.
    pub(super) active: u32,
    /// By budget: the minute from which on an alert is told again.
    quiet_until: [u32; Budget::ALL.len()],
    now: u32,
}

impl Usage {
    pub(super) fn new(tally: Tally) -> Self {
        Self {
            bytes: Bytes::new(),
            elsewhere: Bytes::new(),
            recordings: Recordings::new(tally),
            running: 0,
            active: 0,
            quiet_until: [0; Budget::ALL.len()],
            now: 0,
        }
    }

    /// The minute that it is.
    pub(super) const fn now(&self) -> u32 {
        self.now
    }

    /// Goes to a minute. The one before is no clock that was set back: somebody looked at it and came later.
    pub(super) fn roll(&mut self, now: u32) {
        if now == self.now || now.saturating_add(1) == self.now {
            return;
        }
        self.now = now;
        self.bytes.roll(now);
        self.elsewhere.roll(now);
        self.recordings.roll(now);
    }

    /// Whether one more download has room. Of several reasons against it the one that lasts longest.
    pub(super) fn judge(&self, recording: RecordingId, limits: &Limits) -> Result<(), Stopped> {
        let stopped = Budget::ALL.into_iter().filter_map(|budget| self.stopped(budget, recording, limits));
        if let Some(stopped) = stopped.max_by_key(|stopped| stopped.until) {
            return Err(stopped);
        }
        match limits.at_once_per_subject {
            Some(most) if self.running >= most => Err(Stopped { limit: Limit::AtOncePerSubject, until: None }),
            _ => Ok(()),
        }
    }

    fn stopped(&self, budget: Budget, recording: RecordingId, limits: &Limits) -> Option<Stopped> {
        let (limit, span, now) = (limits.of(budget)?, budget.span(), self.now);
        let until = match budget {
            Budget::RecordingsPerHour | Budget::RecordingsPerDay => {
                if self.recordings.has(recording, span, now) || self.recordings.used(span, now) < limit {
                    return None;
                }
                self.recordings.free_again(span, limit, now)
            }
            Budget::BytesPerHour | Budget::BytesPerDay => {
                if self.used(budget) < limit {
                    return None;
                }
                free_again(&[self.bytes.of(budget), self.elsewhere.of(budget)], 0, limit, now)
            }
        };
        Some(Stopped { limit: Limit::Budget(budget), until: Some(until) })
    }

    /// How much of a budget is used.
    pub(super) fn used(&self, budget: Budget) -> u64 {
        match budget {
            Budget::RecordingsPerHour | Budget::RecordingsPerDay => self.recordings.used(budget.span(), self.now),
            Budget::BytesPerHour | Budget::BytesPerDay => {
                self.bytes.of(budget).total().saturating_add(self.elsewhere.of(budget).total())
            }
        }
    }

    /// Budgets that have come to the alert, each once for a window. They count as told.
    pub(super) fn alerts(&mut self, limits: &Limits) -> Vec<Reached> {
        let mut reached = Vec::new();
        for budget in Budget::ALL {
            let Some(limit) = limits.of(budget) else { continue };
            let used = self.used(budget);
            let near = u128::from(used) * 100 >= u128::from(limit) * u128::from(limits.alert_percent);
            if near && self.is_loud(budget) {
                self.told(budget, self.now);
                reached.push(Reached { budget, used, limit });
            }
        }
        reached
    }

    fn is_loud(&self, budget: Budget) -> bool {
        let quiet = self.quiet_until.get(budget.index()).copied().unwrap_or(0);
        // No further ahead than a window: else the clock was set back.
        self.now >= quiet || quiet > budget.span().end_of(budget.span().slot_of(self.now))
    }

    /// An alert was told in a minute: it is not told again before a window has passed.
    pub(super) fn told(&mut self, budget: Budget, at: u32) {
        let until = budget.span().end_of(budget.span().slot_of(at));
        if let Some(quiet) = self.quiet_until.get_mut(budget.index()) {
            *quiet = until;
        }
    }

    /// Whether nothing of the person needs to be remembered.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.bytes.day.is_empty() && self.elsewhere.day.is_empty() && self.recordings.is_empty()
    }
}
