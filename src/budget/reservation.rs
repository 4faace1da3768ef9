//! Room that a download has, from before its entry is opened until its end. It is given back however the download ends.

use std::fmt;
use std::sync::Arc;

use super::Shared;
use super::names::RecordingId;
use super::subjects::Person;
use crate::cc::AgentId;
use crate::policy::Authorized;

/// A permission with room for its download. Only [`Budgets::reserve`](super::Budgets::reserve) makes one; the audit log
/// consumes it.
#[derive(Debug)]
#[must_use = "room that is not used should not have been taken"]
pub struct Budgeted {
    authorized: Authorized,
    reservation: Reservation,
}

/// Room that a download has. Dropping it ends the download: its recording counts from then on if a byte of it was handed
/// over, and its bytes do in any case.
pub struct Reservation(Option<Taking>);

/// A download that is counted.
pub(super) struct Taking {
    pub(super) person: Arc<Person>,
    pub(super) recording: RecordingId,
    pub(super) agent: AgentId,
    pub(super) bytes: u64,
    pub(super) shared: Arc<Shared>,
}

impl Budgeted {
    pub(super) const fn new(authorized: Authorized, reservation: Reservation) -> Self {
        Self { authorized, reservation }
    }

    /// A permission that no budget was asked about.
    #[cfg(test)]
    pub(crate) const fn for_test(authorized: Authorized) -> Self {
        Self::new(authorized, Reservation::none())
    }

    /// What is permitted.
    pub const fn authorized(&self) -> &Authorized {
        &self.authorized
    }

    /// Both, for the entry that is opened with them.
    pub fn into_parts(self) -> (Authorized, Reservation) {
        (self.authorized, self.reservation)
    }
}

impl Reservation {
    /// Of a download that nothing limits.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) const fn new(taking: Taking) -> Self {
        Self(Some(taking))
    }

    /// So many bytes were handed to the client. They count at once.
    pub fn handed_over(&mut self, bytes: u64) {
        if let Some(taking) = &mut self.0 {
            taking.bytes = taking.bytes.saturating_add(bytes);
            taking.person.handed_over(bytes);
        }
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let now = self.shared.minute();
        self.shared.subjects.leave(self.agent);
        let alerts = {
            let mut state = self.person.state();
            state.catch_up(self.person.unbooked(), now);
            state.end(self.recording, self.bytes > 0)
        };
        self.shared.subjects.keep_busy(&self.person);
        self.shared.tell(alerts);
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("counts", &self.0.is_some()).finish()
    }
}
