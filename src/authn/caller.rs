//! The verified identity behind a request. Only this module's verification makes one.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::cc::AgentId;

/// Who sent a request, as a verified token says. Cloning shares the facts.
#[derive(Debug, Clone)]
pub struct Caller {
    facts: Arc<Facts>,
}

/// What a token says, after verification. No part of the token itself is kept.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) issuer: Arc<str>,
    pub(super) subject: String,
    pub(super) client_id: Option<String>,
    pub(super) agent: Option<AgentId>,
    pub(super) roles: BTreeSet<String>,
    pub(super) inspects: Inspects,
    pub(super) teams: BTreeSet<String>,
    pub(super) purpose: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) token_tag: Option<String>,
    pub(super) expires: Timestamp,
}

/// Whose calls a caller may inspect, from the claim `inspects`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspects {
    /// The claim holds `*`: everybody's, and what belongs to nobody.
    pub all: bool,
    /// These agents'.
    pub agents: BTreeSet<AgentId>,
}

impl Caller {
    /// The token's issuer, as configured.
    pub fn issuer(&self) -> &str {
        &self.facts.issuer
    }

    /// `sub`.
    pub fn subject(&self) -> &str {
        &self.facts.subject
    }

    /// `client_id`, else `azp`, where the token has one.
    pub fn client_id(&self) -> Option<&str> {
        self.facts.client_id.as_deref()
    }

    /// The caller's own agent id, where the token names one.
    pub fn agent(&self) -> Option<AgentId> {
        self.facts.agent
    }

    /// The caller's roles.
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.facts.roles
    }

    /// Whose calls the caller may inspect.
    pub fn inspects(&self) -> &Inspects {
        &self.facts.inspects
    }

    /// The teams whose calls the caller may inspect.
    pub fn teams(&self) -> &BTreeSet<String> {
        &self.facts.teams
    }

    /// Why, where the token says it in the configured claim.
    pub fn purpose(&self) -> Option<&str> {
        self.facts.purpose.as_deref()
    }

    /// The case, where the token names it in the configured claim.
    pub fn ticket(&self) -> Option<&str> {
        self.facts.ticket.as_deref()
    }

    /// A hash of the token's id (`jti`) that leads from a record to the issuer's log, in hex; `None` for a token without
    /// an id.
    pub fn token_tag(&self) -> Option<&str> {
        self.facts.token_tag.as_deref()
    }

    /// When the token ends.
    pub fn expires(&self) -> Timestamp {
        self.facts.expires
    }

    /// The same caller with these claims.
    #[cfg(test)]
    pub(crate) fn claiming_for_test(self, purpose: Option<&str>, ticket: Option<&str>) -> Self {
        let mut facts = Arc::into_inner(self.facts).expect("a caller that nobody else has");
        (facts.purpose, facts.ticket) = (purpose.map(str::to_owned), ticket.map(str::to_owned));
        Self::new(facts)
    }

    /// The same caller under these names.
    #[cfg(test)]
    pub(crate) fn named_for_test(self, issuer: &str, subject: &str, client_id: &str) -> Self {
        let mut facts = Arc::into_inner(self.facts).expect("a caller that nobody else has");
        facts.issuer = Arc::from(issuer);
        (facts.subject, facts.client_id) = (subject.to_owned(), Some(client_id.to_owned()));
        Self::new(facts)
    }

    pub(super) fn new(facts: Facts) -> Self {
        Self { facts: Arc::new(facts) }
    }

    #[cfg(test)]
    pub(crate) fn for_test(agent: Option<AgentId>, roles: &[&str], inspects: Inspects, teams: &[&str]) -> Self {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Self::new(Facts {
            issuer: Arc::from("https://idp.example"),
            subject: "alice".to_owned(),
            client_id: Some("web".to_owned()),
            agent,
            roles: set(roles),
            inspects,
            teams: set(teams),
            purpose: None,
            ticket: None,
            token_tag: Some("00".repeat(16)),
            expires: Timestamp::MAX,
        })
    }
}
