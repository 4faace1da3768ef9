//! What happened to a session, told to the log and to the journal. It decides nothing.

use super::Actor;
use crate::session::SessionEvent;
use crate::session::store::Kind;

impl Actor {
    pub(super) fn record(&self, event: SessionEvent) {
        let agent = self.agent;
        match &event {
            SessionEvent::Forced { by: Kind::Own } => {
                tracing::warn!(%agent, "takeover: throwing out whoever is signed in");
            }
            SessionEvent::Forced { by: Kind::Desk } => {
                tracing::warn!(%agent, "the agent's own app throws out whoever is signed in");
            }
            SessionEvent::SignedIn { form, .. } => tracing::info!(%agent, ?form, "signed in"),
            SessionEvent::Rotated { count, .. } => {
                self.sessions.metrics().rotated();
                tracing::debug!(%agent, count, "Guid rotated");
            }
            SessionEvent::Resumed { kind, .. } => {
                tracing::info!(%agent, kind = kind.as_str(), "a session that lives was found");
            }
            SessionEvent::HandedOver { .. } => tracing::info!(%agent, "the session is another process's"),
            SessionEvent::Lost { cause, .. } => tracing::warn!(%agent, cause = cause.as_str(), "session lost"),
            SessionEvent::SignedOut { why, .. } => tracing::info!(%agent, why = why.as_str(), "signed out"),
            // The answer itself was logged when it was counted.
            SessionEvent::SignInFailed { .. }
            | SessionEvent::SignOutFailed { .. }
            | SessionEvent::DeskSignedIn { .. }
            | SessionEvent::DeskSignedOut { .. } => {}
            SessionEvent::Barred { cause } => {
                tracing::error!(%agent, %cause, "account barred until its file changes");
            }
            SessionEvent::RightMissing { form } => tracing::warn!(
                %agent,
                ?form,
                "a fresh session is refused too (000-003): the agent lacks the right, or, after a platform sign-in, \
                 this site wants sessions.sign_in: full"
            ),
            SessionEvent::WrongKeepAlive => tracing::error!(
                %agent,
                "the gateway refuses this way of keeping sessions alive (000-001): set sessions.keep_alive to the \
                 other; the session ends in two minutes"
            ),
        }
        self.sessions.journal().record(agent, event);
    }
}
