//! From a request's head to a [`Download`], strictly. It never looks at identity and never repairs what it reads.

mod arrival;

pub use arrival::{Arrival, Purpose, PurposeError, RequestId, Source, Ticket, TraceParent};

use crate::cc::{AgentId, FileRef};

/// A well-formed request for one recording. Only [`parse`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Download {
    agent: AgentId,
    file: FileRef,
    purpose: Option<Purpose>,
    ticket: Option<Ticket>,
}

impl Download {
    /// The agent in whose session it is to be downloaded: `{agentid}` of the path.
    pub const fn agent(&self) -> AgentId {
        self.agent
    }

    /// What is to be downloaded.
    pub const fn file(&self) -> &FileRef {
        &self.file
    }

    /// Why, as the caller's `Ccgate-Purpose` header says.
    pub const fn purpose(&self) -> Option<&Purpose> {
        self.purpose.as_ref()
    }

    /// The case it belongs to, as the caller's `Ccgate-Ticket` header says.
    pub const fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    #[cfg(test)]
    pub(crate) const fn for_test(agent: AgentId, file: FileRef, purpose: Option<Purpose>) -> Self {
        Self { agent, file, purpose, ticket: None }
    }
}
