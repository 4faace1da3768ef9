//! The two ways of telling the gateway that an agent is still there; both can bring a new Guid.

use std::time::Duration;

use super::answer::Asked;
use super::metrics::Operation;
use super::{Error, Gateway};
use crate::cc::{AgentId, Call, Guid};

/// A poll with nothing to tell is answered after about 10 s (`AGENT_POLL_WAIT_TIMES` x `AGENT_POLL_WAIT_INTERVAL`), so
/// it gets at least three times that, however short the other deadlines are.
pub(super) const POLL_DEADLINE_MIN: Duration = Duration::from_secs(30);

impl Gateway {
    /// Polls for events, which are dropped; returns the new Guid where the answer brings one. Takes about 10 s.
    pub async fn poll(&self, agent: AgentId, guid: &Guid) -> Result<Option<Guid>, Error> {
        let asked = self.asked(Operation::Poll, Call::poll(agent), Some(guid));
        let deadline = asked.deadline.max(POLL_DEADLINE_MIN);
        self.reach(&Asked { deadline, ..asked }).await?.guid()
    }

    /// Beats for a session in push mode; returns the new Guid where the answer brings one.
    pub async fn heartbeat(&self, agent: AgentId, guid: &Guid) -> Result<Option<Guid>, Error> {
        self.reach(&self.asked(Operation::Heartbeat, Call::heartbeat(agent), Some(guid))).await?.guid()
    }
}
