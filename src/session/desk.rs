//! Stand-in for sessions that an agent's own app opened, until the state machine knows them: one process, no time-out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::lease::Usage;
use super::state::Version;
use super::store::Kind;
use super::{Command, Error, Lease, SessionEvent, Sessions};
use crate::cc::{AgentId, Guid, Meaning, SignInForm};
use crate::upstream;

/// Fences from here on are of desk sessions.
const DESK: u64 = 1 << 60;

type Live = HashMap<AgentId, (Version, Arc<Guid>, Arc<Usage>)>;

#[derive(Default)]
pub(super) struct Desks {
    live: Mutex<Live>,
    one_at_a_time: tokio::sync::Mutex<()>,
}

impl Sessions {
    /// Runs the app's own sign-in: signs our own session out first where one lives. Returns the gateway's answer.
    pub async fn desk_sign_in(
        &self,
        agent: AgentId,
        sign_in: upstream::DeskSignIn,
    ) -> Result<upstream::DeskAnswer, Error> {
        let _one = self.0.desks.one_at_a_time.lock().await;
        let own = self.actors().handles.get(&agent).cloned();
        if let Some(handle) = own
            && handle.commands.send(Command::Stop).await.is_ok()
        {
            handle.commands.closed().await;
            self.forget(agent);
        }
        if let Ok(lease) = self.desk(agent).await {
            let _ = self.calls().desk_sign_out(agent, lease.guid()).await;
            self.desk_gone(agent, lease.version);
        }
        if sign_in.form() == SignInForm::Force {
            self.journal().record(agent, SessionEvent::Forced);
        }
        let answer = self.calls().desk_sign_in(agent, &sign_in).await.map_err(wrap)?;
        if let Some(guid) = &answer.guid {
            let version = Version { fence: DESK + self.next_fence(), rotation: 0 };
            let guid = Arc::new(guid.clone());
            self.journal().record(agent, SessionEvent::DeskSignedIn { form: sign_in.form(), guid: self.tag(&guid) });
            self.desks().insert(agent, (version, guid, Arc::default()));
        }
        Ok(answer)
    }

    /// The Guid to poll or beat with: of the desk's own session only.
    #[allow(clippy::unused_async, reason = "what takes its place waits")]
    pub async fn desk(&self, agent: AgentId) -> Result<Lease, Error> {
        self.desk_lease(agent).ok_or(Error::NoDesk)
    }

    /// Runs the app's sign-out.
    pub async fn desk_sign_out(&self, agent: AgentId) -> Result<upstream::DeskAnswer, Error> {
        let _one = self.0.desks.one_at_a_time.lock().await;
        let lease = self.desk(agent).await?;
        let answer = self.calls().desk_sign_out(agent, lease.guid()).await.map_err(wrap)?;
        if matches!(answer.retcode.meaning(), Meaning::Success | Meaning::SessionLost | Meaning::SessionOrRight) {
            self.desk_gone(agent, lease.version);
            self.journal().record(agent, SessionEvent::DeskSignedOut { guid: lease.tag() });
        }
        Ok(answer)
    }

    pub(super) fn desk_lease(&self, agent: AgentId) -> Option<Lease> {
        let (version, guid, usage) = self.desks().get(&agent)?.clone();
        Some(Lease { sessions: self.clone(), agent, guid, version, hold: usage.hold() })
    }

    pub(super) fn desk_gone(&self, agent: AgentId, version: Version) {
        let mut desks = self.desks();
        if desks.get(&agent).is_some_and(|(current, _, _)| *current == version) {
            desks.remove(&agent);
        }
    }

    pub(super) fn desk_learned(&self, agent: AgentId, version: Version, guid: &Guid) -> bool {
        if let Some((current, held, _)) = self.desks().get_mut(&agent)
            && *current == version
        {
            current.rotation += 1;
            *held = Arc::new(guid.clone());
        }
        version.fence >= DESK
    }

    fn desks(&self) -> std::sync::MutexGuard<'_, Live> {
        self.0.desks.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrap(source: upstream::Error) -> Error {
    Error::Upstream { source: Arc::new(source), retry_after: std::time::Duration::from_secs(1) }
}

impl Lease {
    /// The gateway answered a request of the desk's: the session lives.
    pub fn alive(&self) {}

    /// Who signed the session in.
    pub fn kind(&self) -> Kind {
        if self.version.fence >= DESK { Kind::Desk } else { Kind::Own }
    }
}
