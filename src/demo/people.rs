//! Who appears in the story, and which recordings there are. It holds no secret.

use serde_json::{Value, json};

/// Somebody with a token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Person {
    /// For people.
    pub(super) name: &'static str,
    /// `sub`.
    pub(super) subject: &'static str,
    /// The own agent id.
    pub(super) agent: u32,
    /// Whose calls the person may inspect.
    pub(super) inspects: &'static [&'static str],
}

/// An agent.
pub(super) const ANNA: Person = Person { name: "Anna", subject: "anna", agent: 1001, inspects: &[] };
/// An inspector of Ben's calls.
pub(super) const INES: Person = Person { name: "Ines", subject: "ines", agent: 2001, inspects: &["1002"] };
/// The agent whose call Anna must not hear; he never shows up himself.
pub(super) const BEN: u32 = 1002;

/// All who have a token and an account.
pub(super) const PEOPLE: [Person; 2] = [ANNA, INES];

/// A call of Anna's.
pub(super) const CALL: &str = "1621413752-2011";
/// A call of Anna's that CC-Gateway gives out slowly.
pub(super) const LONG_CALL: &str = "1621413752-2012";
/// Where Ben's call lies.
pub(super) const BENS_RECORDING: &str = "Y:/90/0/20210519/1002/1642329.V3";

/// Size of every recording but the long one, in bytes: two minutes of A-law audio.
pub(super) const RECORDING_BYTES: u64 = 960_058;
/// Size of the long call, in bytes.
pub(super) const LONG_CALL_BYTES: u64 = 1_280_058;
/// How fast CC-Gateway gives it out, in bytes a second: it takes six and a half seconds, time for a new Guid.
pub(super) const LONG_CALL_RATE: u64 = 200_000;

impl Person {
    /// The claims beside the registered ones.
    pub(super) fn claims(&self) -> Value {
        if self.inspects.is_empty() {
            return json!({ "agent_id": self.agent.to_string() });
        }
        json!({ "agent_id": self.agent.to_string(), "roles": ["inspector"], "inspects": self.inspects })
    }

    /// The target for a call by its id, in the person's own session.
    pub(super) fn call(&self, id: &str) -> String {
        format!("/agentgateway/resource/recordfile/{}/recordfiledownloadEx?callId={id}", self.agent)
    }

    /// The target for a recording by its path, in the person's own session.
    pub(super) fn recording(&self, path: &str) -> String {
        format!("/agentgateway/resource/recordfile/{}?recordId={path}", self.agent)
    }

    /// The name of the file with the person's token.
    pub(super) fn token_file(&self) -> String {
        format!("{}.token", self.subject)
    }

    /// The name of the file with the token as a request header.
    pub(super) fn header_file(&self) -> String {
        format!("{}.header", self.subject)
    }
}
