//! The calls by which a session lives. It says what is asked of the gateway, never how it is sent.

use futures_util::future::BoxFuture;

use super::upstream;
use crate::cc::{AgentId, Guid};

/// What a session asks of the gateway: implemented by its client, and by a double in tests.
///
/// A call that is dropped before it answered may have had its effect.
pub trait Calls: Send + Sync + 'static {
    /// Signs an agent in. Never called again before it answered, nor while a sign-out is unanswered.
    fn sign_in<'a>(
        &'a self,
        agent: AgentId,
        request: &'a upstream::SignInRequest<'a>,
    ) -> BoxFuture<'a, Result<upstream::SignedIn, upstream::Error>>;

    /// Waits for the agent's events, about 10 s; with a new Guid where it changed.
    fn poll<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<Option<Guid>, upstream::Error>>;

    /// Beats for a session in push mode; with a new Guid where it changed.
    fn heartbeat<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<Option<Guid>, upstream::Error>>;

    /// Signs an agent out.
    fn sign_out<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<(), upstream::Error>>;

    /// Signs an agent in as its own app asks. As strictly one after the other as our own.
    fn desk_sign_in<'a>(
        &'a self,
        agent: AgentId,
        sign_in: &'a upstream::DeskSignIn,
    ) -> BoxFuture<'a, Result<upstream::DeskAnswer, upstream::Error>>;

    /// Signs an agent out as its own app asks.
    fn desk_sign_out<'a>(
        &'a self,
        agent: AgentId,
        guid: &'a Guid,
    ) -> BoxFuture<'a, Result<upstream::DeskAnswer, upstream::Error>>;
}

impl Calls for upstream::Gateway {
    fn sign_in<'a>(
        &'a self,
        agent: AgentId,
        request: &'a upstream::SignInRequest<'a>,
    ) -> BoxFuture<'a, Result<upstream::SignedIn, upstream::Error>> {
        Box::pin(Self::sign_in(self, agent, request))
    }

    fn poll<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<Option<Guid>, upstream::Error>> {
        Box::pin(Self::poll(self, agent, guid))
    }

    fn heartbeat<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<Option<Guid>, upstream::Error>> {
        Box::pin(Self::heartbeat(self, agent, guid))
    }

    fn sign_out<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<(), upstream::Error>> {
        Box::pin(Self::sign_out(self, agent, guid))
    }

    fn desk_sign_in<'a>(
        &'a self,
        agent: AgentId,
        sign_in: &'a upstream::DeskSignIn,
    ) -> BoxFuture<'a, Result<upstream::DeskAnswer, upstream::Error>> {
        Box::pin(Self::desk_sign_in(self, agent, sign_in))
    }

    fn desk_sign_out<'a>(
        &'a self,
        agent: AgentId,
        guid: &'a Guid,
    ) -> BoxFuture<'a, Result<upstream::DeskAnswer, upstream::Error>> {
        Box::pin(Self::desk_sign_out(self, agent, guid))
    }
}
