//! What a request holds while it uses a session. It carries the Guid to the upstream and never shows it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::Notify;

use tokio::time::Instant;

use super::state::{Granted, Rejected};
use super::store::Kind;
use super::{Config, Error, LossCause, Sessions};
use crate::cc::{AgentId, Guid, GuidTag};

/// A signed-in agent's session, for one request. As long as it, or a [`Hold`] of it, lives, the session is not idle.
#[must_use = "a lease keeps its session from being signed out"]
pub struct Lease {
    pub(super) sessions: Sessions,
    pub(super) agent: AgentId,
    pub(super) granted: Granted,
    /// In force when it was granted.
    pub(super) config: Arc<Config>,
    /// Of [`Usage::serial`] when it was granted.
    pub(super) serial: u64,
    pub(super) hold: Hold,
}

impl Lease {
    /// The Guid to send.
    pub fn guid(&self) -> &Guid {
        &self.granted.guid
    }

    /// The Guid's fingerprint, for records.
    pub fn tag(&self) -> GuidTag {
        self.sessions.tag(&self.granted.guid)
    }

    /// Refuses a lease that was granted for another gateway than the one of this name, which is the caller's: the
    /// configuration changed while it waited. To be asked before anything is sent or [rejected](Lease::reject): another
    /// gateway's word about a Guid that it has never seen says nothing about its session.
    ///
    /// # Errors
    /// [`Error::Moved`].
    pub fn at(self, upstream: &str) -> Result<Self, Error> {
        if self.config.upstream == upstream { Ok(self) } else { Err(Error::Moved) }
    }

    /// Whose session it is.
    pub fn agent(&self) -> AgentId {
        self.agent
    }

    /// Who signed the session in.
    pub const fn kind(&self) -> Kind {
        self.granted.kind
    }

    /// Whether the Guid is still the newest as far as can be known; else [`Lease::renewed`] is to be sent. Where several
    /// processes share a session, whoever was stopped for a while may have missed a replacement.
    pub fn is_fresh(&self) -> bool {
        self.serial == self.hold.0.serial() && self.granted.fresh_until.is_none_or(|until| Instant::now() < until)
    }

    /// The session as it is now.
    pub async fn renewed(self) -> Result<Self, Error> {
        let Self { sessions, agent, hold, .. } = self;
        let renewed = sessions.ask(agent, None).await;
        drop(hold);
        renewed
    }

    /// Which sign-in or takeover the session came from: equal for two leases whose Guids only rotated between.
    pub const fn sign_in(&self) -> u64 {
        self.granted.version.fence
    }

    /// Keeps the session from being idle while a body that was asked for with it still runs.
    pub fn hold(&self) -> Hold {
        self.hold.clone()
    }

    /// The gateway refused this Guid with a code that [`LossCause::of`] knows: gives the Guid that replaced it
    /// meanwhile, else one fresh session, which all share who reject the same Guid.
    ///
    /// After `000-003` the old session is signed out first. Where the session already is the fresh one after a
    /// `000-003`, the same session comes back: the right is missing, and another sign-in would not bring it. So a
    /// request rejects once, tries once more and then believes the refusal.
    ///
    /// # Cancel safety
    ///
    /// A dropped call leaves what it started running, for the others who wait.
    pub async fn reject(self, why: LossCause) -> Result<Self, Error> {
        let Self { sessions, agent, granted, .. } = self;
        let rejected = Rejected { version: granted.version, guid: granted.guid, cause: why };
        sessions.ask(agent, Some(rejected)).await
    }

    /// The answer to a request that carried this Guid brought a new one (`Set-GUID`).
    ///
    /// It is left out where the session has a newer Guid by now.
    pub fn learned(&self, guid: Guid) {
        self.sessions.learned(self.agent, self.granted.version, guid);
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("agent", &self.agent)
            .field("version", &self.granted.version)
            .finish_non_exhaustive()
    }
}

/// Keeps a session from being signed out as idle. It does not keep it alive upstream.
#[must_use = "dropping it lets the session be idle"]
pub struct Hold(Arc<Usage>);

/// How many use an agent's session.
#[derive(Default)]
pub(super) struct Usage {
    holds: AtomicUsize,
    /// Told when the last hold is dropped.
    released: Notify,
    /// Counts the Guids that the agent's actor has had.
    serial: AtomicU64,
}

impl Usage {
    pub(super) fn hold(self: &Arc<Self>) -> Hold {
        self.holds.fetch_add(1, Ordering::Relaxed);
        Hold(Arc::clone(self))
    }

    /// The Guid that is handed out now.
    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Acquire)
    }

    /// Another Guid is handed out from now on, or none.
    pub(super) fn replaced(&self) {
        self.serial.fetch_add(1, Ordering::AcqRel);
    }

    /// How many use it.
    pub(super) fn holds(&self) -> usize {
        self.holds.load(Ordering::Acquire)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.holds.load(Ordering::Acquire) == 0
    }

    /// Waits until the last hold was dropped. By then there can be a new one.
    pub(super) async fn released(&self) {
        self.released.notified().await;
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.0.hold()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            // A permit is kept where the actor is not waiting at this moment.
            self.0.released.notify_one();
        }
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}
