//! What an operator sees and does, out of the sessions, the audit log and the configuration, and into the audit log. It translates and keeps nothing.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::log_level::LogLevel;
use super::reload::Board;
use crate::admin::{
    Asker, ConfigShown, Deed, ErasureOrder, LevelOrder, LevelShown, Operator, Reading, SessionRow, SignOut,
};
use crate::audit::{AdminDeed, Event, Log, Person};
use crate::cc::AgentId;
use crate::session::{Sessions, Shown};

/// The operator's desk.
pub(super) struct Desk {
    pub(super) sessions: Sessions,
    pub(super) audit: Log,
    pub(super) board: Arc<Board>,
    pub(super) log_level: Arc<LogLevel>,
}

impl Desk {
    /// Whether somebody means the log that is kept here.
    fn is_ours(&self, origin: &str) -> Result<(), String> {
        let ours = self.audit.origin();
        if origin == ours { Ok(()) } else { Err(format!("the log of this gateway is {ours}: ask the other one's")) }
    }
}

impl Operator for Desk {
    fn list(&self) -> BoxFuture<'_, Vec<SessionRow>> {
        Box::pin(async { self.sessions.list().await.into_iter().map(row).collect() })
    }

    fn show(&self, agent: AgentId) -> BoxFuture<'_, Option<SessionRow>> {
        Box::pin(async move { self.sessions.show(agent).await.map(row) })
    }

    fn sign_out(&self, agent: AgentId) -> BoxFuture<'_, SignOut> {
        Box::pin(async move {
            if self.sessions.show(agent).await.is_none() {
                return SignOut::Unknown;
            }
            match self.sessions.sign_out(agent).await {
                Ok(()) => SignOut::Done,
                Err(error) => SignOut::Refused(error.to_string()),
            }
        })
    }

    fn record(&self, asker: &Asker, deed: Deed) {
        let (deed, agent) = match deed {
            Deed::Read(agent) => (AdminDeed::SessionsRead, agent),
            Deed::SignOut(agent) => (AdminDeed::SessionSignOut, Some(agent)),
            Deed::LogLevel(level) => (AdminDeed::LogLevel(level), None),
        };
        let Asker { peer, certificate } = asker.clone();
        self.audit.note(Event::Admin { deed, agent, peer, certificate });
    }

    fn read_audit(&self, asker: &Asker, reading: Reading) -> BoxFuture<'_, Result<u64, String>> {
        let Reading { origin, command, arguments, name } = reading;
        let by = person(asker, name);
        Box::pin(async move {
            self.is_ours(&origin)?;
            let told_of = self.audit.tell(Event::Read { command, arguments, by }).await;
            told_of.map_err(|error| told(&error))
        })
    }

    fn config(&self) -> ConfigShown {
        self.board.get()
    }

    fn log_level(&self) -> LevelShown {
        self.log_level.shown()
    }

    fn set_log_level(&self, order: Option<LevelOrder>) -> Result<LevelShown, String> {
        self.log_level.set(order.as_ref())
    }

    fn erase(&self, asker: &Asker, order: ErasureOrder) -> BoxFuture<'_, Result<u64, String>> {
        let ErasureOrder { origin, file } = order;
        let by = person(asker, None);
        Box::pin(async move {
            self.is_ours(&origin)?;
            self.audit.erase_by(&file, by).await.map_err(|error| told(&error))
        })
    }
}

/// What is told of any error: it and its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

fn person(asker: &Asker, name: Option<String>) -> Person {
    let Asker { peer, certificate } = asker.clone();
    Person { name, uid: None, peer: Some(peer), certificate }
}

fn row(shown: Shown) -> SessionRow {
    SessionRow {
        agent: shown.agent,
        state: Cow::Borrowed(shown.state),
        kind: shown.kind.map(|kind| Cow::Borrowed(kind.as_str())),
        owned: shown.owned,
        rotations: shown.rotations,
        in_use: shown.in_use,
        waiting: shown.waiting,
        since: Some(shown.since),
        password_expires: shown.password_expires,
    }
}
