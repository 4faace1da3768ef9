//! The verified identity behind a request. Only this module's verification makes one.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use super::person::{Identity, Person};
use crate::cc::AgentId;

/// Who sent a request, as a verified token says. Cloning shares the facts.
#[derive(Debug, Clone)]
pub struct Caller {
    facts: Arc<Facts>,
}

/// What a token says, after verification. No part of the token itself is kept.
#[derive(Debug)]
struct Facts {
    /// Shared with the person's other tokens.
    person: Arc<Person>,
    token: OfToken,
}

/// What one token says beside who somebody is.
#[derive(Debug, Clone)]
pub(super) struct OfToken {
    pub(super) purpose: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) token_tag: Option<String>,
    pub(super) expires: Timestamp,
}

/// Whose calls a caller may inspect, from the claim `inspects`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Inspects {
    /// The claim holds `*`: everybody's, and what belongs to nobody.
    pub all: bool,
    /// These agents'.
    pub agents: BTreeSet<AgentId>,
}

impl Caller {
    /// The token's issuer, as configured.
    pub fn issuer(&self) -> &str {
        &self.identity().issuer
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.identity().subject
    }

    /// `client_id`, else `azp`, where the token has one.
    pub fn client_id(&self) -> Option<&str> {
        self.identity().client_id.as_deref()
    }

    /// The caller's own agent id, where the token names one.
    pub fn agent(&self) -> Option<AgentId> {
        self.identity().agent
    }

    /// The caller's roles.
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.identity().roles
    }

    /// Whose calls the caller may inspect.
    pub fn inspects(&self) -> &Inspects {
        &self.identity().inspects
    }

    /// The teams whose calls the caller may inspect.
    pub fn teams(&self) -> &BTreeSet<String> {
        &self.identity().teams
    }

    /// Why, where the token says it in the configured claim.
    pub fn purpose(&self) -> Option<&str> {
        self.facts.token.purpose.as_deref()
    }

    /// The case, where the token names it in the configured claim.
    pub fn ticket(&self) -> Option<&str> {
        self.facts.token.ticket.as_deref()
    }

    /// A hash of the token's id (`jti`) that leads from a record to the issuer's log, in hex; `None` for a token without
    /// an id.
    pub fn token_tag(&self) -> Option<&str> {
        self.facts.token.token_tag.as_deref()
    }

    /// When the token ends.
    pub fn expires(&self) -> Timestamp {
        self.facts.token.expires
    }

    /// The person, shared by all tokens that say the same of who it is.
    pub(crate) fn person(&self) -> &Person {
        &self.facts.person
    }

    fn identity(&self) -> &Identity {
        self.facts.person.identity()
    }

    pub(super) fn new(person: Arc<Person>, token: OfToken) -> Self {
        Self { facts: Arc::new(Facts { person, token }) }
    }

    /// The same person by a token with these claims.
    #[cfg(test)]
    pub(crate) fn claiming_for_test(self, purpose: Option<&str>, ticket: Option<&str>) -> Self {
        let (purpose, ticket) = (purpose.map(str::to_owned), ticket.map(str::to_owned));
        let token = OfToken { purpose, ticket, ..self.facts.token.clone() };
        Self::new(Arc::clone(&self.facts.person), token)
    }

    /// A person that differs in these names only.
    #[cfg(test)]
    pub(crate) fn named_for_test(self, issuer: &str, subject: &str, client_id: &str) -> Self {
        let (subject, client_id) = (subject.to_owned(), Some(client_id.to_owned()));
        let identity = Identity { issuer: Arc::from(issuer), subject, client_id, ..self.identity().clone() };
        Self::new(Arc::new(Person::new(Arc::new(identity))), self.facts.token.clone())
    }

    #[cfg(test)]
    pub(crate) fn for_test(agent: Option<AgentId>, roles: &[&str], inspects: Inspects, teams: &[&str]) -> Self {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let identity = Identity {
            issuer: Arc::from("https://idp.example"),
            subject: "alice".to_owned(),
            client_id: Some("web".to_owned()),
            agent,
            roles: set(roles),
            inspects,
            teams: set(teams),
        };
        let token_tag = Some("00".repeat(16));
        let token = OfToken { purpose: None, ticket: None, token_tag, expires: Timestamp::MAX };
        Self::new(Arc::new(Person::new(Arc::new(identity))), token)
    }
}
