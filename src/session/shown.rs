//! Sessions as an operator sees them. It shows no Guid, not even a fingerprint.

use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::actor::Command;
use super::store::Kind;
use super::{Error, Handle, Sessions};
use crate::cc::AgentId;

/// So many actors are asked at once.
const ASKED_AT_ONCE: usize = 64;

/// An agent's session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whose.
    pub agent: AgentId,
    /// What its actor is doing, in the words of `ccgate_sessions{state}`.
    pub state: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// When the account's password expires, as far as its last sign-in has told.
    pub password_expires: Option<Timestamp>,
    /// Who signed it in; `None`: nobody is signed in.
    pub kind: Option<Kind>,
    /// Whether this process owns it.
    pub owned: bool,
    /// How often its Guid was replaced since the sign-in or takeover.
    pub rotations: Option<u64>,
    /// Downloads that use it now.
    pub in_use: usize,
    /// Requests that wait for it.
    pub waiting: usize,
}

impl Sessions {
    /// All agents that this process knows anything of, by agent.
    pub async fn list(&self) -> Vec<Shown> {
        let handles: Vec<Handle> = self.actors().handles.values().cloned().collect();
        let shown = futures_util::stream::iter(handles).map(show).buffer_unordered(ASKED_AT_ONCE);
        let mut shown: Vec<Shown> = shown.filter_map(|shown| async move { shown }).collect().await;
        shown.sort_unstable_by_key(|shown| shown.agent);
        shown
    }

    /// One agent; `None`: nothing is known of it.
    pub async fn show(&self, agent: AgentId) -> Option<Shown> {
        show(self.handle(agent)?).await
    }

    /// Signs an agent out at once, whoever uses the session. The next request signs it in again.
    pub async fn sign_out(&self, agent: AgentId) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let handle = self.handle(agent).ok_or(Error::NotOwned)?;
        // Either fails where the actor has ended meanwhile.
        handle.commands.send(Command::SignOut { reply }).await.map_err(|_ended| Error::NotOwned)?;
        answer.await.unwrap_or(Err(Error::NotOwned))
    }

    fn handle(&self, agent: AgentId) -> Option<Handle> {
        self.actors().handles.get(&agent).cloned()
    }
}

async fn show(handle: Handle) -> Option<Shown> {
    let (reply, answer) = oneshot::channel();
    // Fails where the actor has ended meanwhile.
    handle.commands.send(Command::Show { reply }).await.ok()?;
    answer.await.ok()
}
