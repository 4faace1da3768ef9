//! What was taken before this process began, as its log tells it. It reads no file.

use jiff::Timestamp;

use super::limits::Budget;
use super::{Budgets, minute};

/// A record of the past. Names are as the log has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Past<'a> {
    /// A download ended.
    Taken {
        /// When.
        at: Timestamp,
        /// The issuer.
        issuer: &'a str,
        /// The subject.
        subject: &'a str,
        /// The recording.
        recording: &'a str,
        /// Bytes handed to the client; `None`: nobody knows, as the process died. Then the recording counts, and no byte.
        bytes: Option<u64>,
    },
    /// An alert was told.
    Alerted {
        /// When.
        at: Timestamp,
        /// The issuer.
        issuer: &'a str,
        /// The subject.
        subject: &'a str,
        /// The budget's name.
        budget: &'a str,
    },
}

impl Budgets {
    /// How much of a budget somebody has used, by the names of the log.
    #[cfg(test)]
    pub(crate) fn used_for_test(&self, issuer: &str, subject: &str, budget: Budget) -> u64 {
        let (now, id) = (self.shared.minute(), self.shared.key.subject(issuer, subject));
        let person = self.shared.subjects.find(id, now, &self.shared.metrics).expect("room");
        person.state().usage.used(budget)
    }

    /// Counts what was taken before. Bytes count as of the end of their download, so later than they were handed over.
    /// Records are to come in the order of the log; one from ahead of the clock counts as of now.
    pub fn recall(&self, past: Past<'_>) {
        let now = self.shared.minute();
        let (Past::Taken { at, issuer, subject, .. } | Past::Alerted { at, issuer, subject, .. }) = past;
        let at = minute(at).min(now);
        // Where there is no room nobody is let in either.
        let id = self.shared.key.subject(issuer, subject);
        let Ok(person) = self.shared.subjects.find(id, now, &self.shared.metrics) else { return };
        let mut state = person.state();
        state.usage.roll(now);
        match past {
            Past::Taken { recording, bytes, .. } => {
                if bytes != Some(0) {
                    let recording = self.shared.key.recording(recording);
                    state.usage.recordings.take(recording, at, self.limits.recordings_max());
                }
                if let Some(bytes) = bytes {
                    state.usage.bytes.add(at, bytes);
                }
            }
            Past::Alerted { budget, .. } => {
                if let Some(budget) = Budget::named(budget) {
                    state.usage.told(budget, at);
                }
            }
        }
    }
}
