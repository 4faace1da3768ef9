//! Sessions as an operator sees them. It shows no Guid, not even a fingerprint.

use std::sync::atomic::Ordering;

use super::actor::Command;
use super::store::Kind;
use super::{Error, Handle, Sessions};
use crate::cc::AgentId;

/// An agent's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whose.
    pub agent: AgentId,
    /// What its actor is doing.
    pub state: &'static str,
    /// Who signed it in; `None`: nobody is signed in, or it is not known.
    pub kind: Option<Kind>,
    /// Whether this process owns it.
    pub owned: bool,
    /// How often its Guid was replaced, where that is known.
    pub rotations: Option<u64>,
    /// Downloads that use it now.
    pub in_use: usize,
    /// Requests that wait for it.
    pub waiting: usize,
}

impl Sessions {
    /// All agents that this process knows anything of, by agent.
    pub async fn list(&self) -> Vec<Shown> {
        let mut all: Vec<Shown> = self.actors().handles.iter().map(|(agent, handle)| shown(*agent, handle)).collect();
        all.sort_unstable_by_key(|shown| shown.agent);
        std::future::ready(all).await
    }

    /// One agent; `None`: nothing is known of it.
    pub async fn show(&self, agent: AgentId) -> Option<Shown> {
        let found = self.actors().handles.get(&agent).map(|handle| shown(agent, handle));
        std::future::ready(found).await
    }

    /// Signs an agent out at once, whoever uses the session. The next request signs it in again.
    pub async fn sign_out(&self, agent: AgentId) -> Result<(), Error> {
        let handle = self.actors().handles.get(&agent).cloned().ok_or(Error::Interrupted)?;
        // Fails where the actor has ended by itself, which is the aim.
        if handle.commands.send(Command::Stop).await.is_ok() {
            handle.commands.closed().await;
        }
        Ok(())
    }
}

fn shown(agent: AgentId, handle: &Handle) -> Shown {
    let state = if handle.commands.is_closed() { "ended" } else { "known" };
    let waiting = handle.waiting.load(Ordering::Acquire);
    Shown { agent, state, kind: None, owned: true, rotations: None, in_use: 0, waiting }
}
