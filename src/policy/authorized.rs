//! The decision as a value. [`Authorized`] has private fields: whoever holds one holds a yes of the policy.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::authn::Caller;
use crate::cc::AgentId;
use crate::route::{Arrival, Download, Purpose, Ticket};

/// A download that the policy allows. Only this module makes one; the audit log consumes it.
#[derive(Debug)]
#[must_use = "a permission that is not used should not have been asked for"]
pub struct Authorized {
    request: Request,
    rule: RuleId,
    policy_hash: Arc<str>,
}

/// A download that the policy refuses, with the reason that the caller and the record get.
#[derive(Debug)]
pub struct Denied {
    request: Box<Request>,
    reason: Reason,
    rule: Option<RuleId>,
    policy_hash: Arc<str>,
}

/// Who asks for what, and how it came in.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) caller: Caller,
    pub(super) download: Download,
    pub(super) arrival: Arrival,
    pub(super) purpose: Option<Purpose>,
    pub(super) ticket: Option<Ticket>,
}

/// The name of a rule: its `@id` in the policy files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(Arc<str>);

/// Why a download is refused: a stable, machine-readable word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No rule permits it.
    NotYourRecording,
    /// A rule wants a purpose and there is none.
    PurposeRequired,
    /// A rule limits the time of access or the age of recordings.
    OutsideWindow,
    /// The policy could not be evaluated; that is a refusal and an alarm.
    PolicyError,
    /// A word of the operator's own, from a rule's `@reason`: `[a-z][a-z0-9_]{0,39}`.
    Custom(Arc<str>),
}

impl Request {
    /// Brings together who, what and how. The token's purpose and ticket go before the headers': a caller can write
    /// those as it likes. A claim that is no printable line counts as absent.
    pub(super) fn new(caller: Caller, download: Download, arrival: Arrival) -> Self {
        let purpose = effective(caller.purpose(), download.purpose());
        let ticket = effective(caller.ticket(), download.ticket());
        Self { caller, download, arrival, purpose, ticket }
    }
}

fn effective<T: FromStr + Clone>(claim: Option<&str>, header: Option<&T>) -> Option<T> {
    claim.and_then(|claim| claim.parse().ok()).or_else(|| header.cloned())
}

impl Authorized {
    pub(super) const fn new(request: Request, rule: RuleId, policy_hash: Arc<str>) -> Self {
        Self { request, rule, policy_hash }
    }

    #[cfg(test)]
    pub(crate) fn for_test(caller: Caller, download: Download, arrival: Arrival) -> Self {
        Self::new(Request::new(caller, download, arrival), RuleId::new("own"), Arc::from("ab".repeat(32)))
    }

    /// The same permission by another rule.
    #[cfg(test)]
    pub(crate) fn by_rule_for_test(self, rule: &str) -> Self {
        Self { rule: RuleId::new(rule), ..self }
    }

    /// Who asks.
    pub const fn caller(&self) -> &Caller {
        &self.request.caller
    }

    /// What is asked for.
    pub const fn download(&self) -> &Download {
        &self.request.download
    }

    /// How the request came in.
    pub const fn arrival(&self) -> &Arrival {
        &self.request.arrival
    }

    /// The agent in whose session it is downloaded.
    pub const fn agent(&self) -> AgentId {
        self.request.download.agent()
    }

    /// Why, as the decision saw it: the token's claim, else the request's header.
    pub const fn purpose(&self) -> Option<&Purpose> {
        self.request.purpose.as_ref()
    }

    /// The case, as the decision saw it: the token's claim, else the request's header.
    pub const fn ticket(&self) -> Option<&Ticket> {
        self.request.ticket.as_ref()
    }

    /// The rule that said yes; where several did, the first by name.
    pub const fn rule(&self) -> &RuleId {
        &self.rule
    }

    /// SHA-256 of the policy that decided, in hex.
    pub fn policy_hash(&self) -> &str {
        &self.policy_hash
    }
}

impl Denied {
    pub(super) fn new(request: Request, reason: Reason, rule: Option<RuleId>, policy_hash: Arc<str>) -> Self {
        Self { request: Box::new(request), reason, rule, policy_hash }
    }

    #[cfg(test)]
    pub(crate) fn for_test(caller: Caller, download: Download, arrival: Arrival, reason: Reason) -> Self {
        Self::new(Request::new(caller, download, arrival), reason, None, Arc::from("ab".repeat(32)))
    }

    /// The same refusal by a rule.
    #[cfg(test)]
    pub(crate) fn by_rule_for_test(self, rule: &str) -> Self {
        Self { rule: Some(RuleId::new(rule)), ..self }
    }

    /// Who asked.
    pub fn caller(&self) -> &Caller {
        &self.request.caller
    }

    /// What was asked for.
    pub fn download(&self) -> &Download {
        &self.request.download
    }

    /// How the request came in.
    pub fn arrival(&self) -> &Arrival {
        &self.request.arrival
    }

    /// Why, as the decision saw it: the token's claim, else the request's header.
    pub fn purpose(&self) -> Option<&Purpose> {
        self.request.purpose.as_ref()
    }

    /// The case, as the decision saw it: the token's claim, else the request's header.
    pub fn ticket(&self) -> Option<&Ticket> {
        self.request.ticket.as_ref()
    }

    /// Why it is refused.
    pub const fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The rule that forbids it or could not be evaluated, the first by name; `None` where no rule permits it.
    pub const fn rule(&self) -> Option<&RuleId> {
        self.rule.as_ref()
    }

    /// SHA-256 of the policy that decided, in hex.
    pub fn policy_hash(&self) -> &str {
        &self.policy_hash
    }
}

impl RuleId {
    pub(super) fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Found by its text, as the engine names it. Both compare and hash alike.
impl Borrow<str> for RuleId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Reason {
    /// The reason that a rule's `@reason` names; `None` where it is no word for a rule. `policy_error` is none: it is
    /// an alarm, and no rule may ring it.
    pub(super) fn from_rule(word: &str) -> Option<Self> {
        let first = word.starts_with(|c: char| c.is_ascii_lowercase());
        let rest = word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        match word {
            "not_your_recording" => Some(Self::NotYourRecording),
            "purpose_required" => Some(Self::PurposeRequired),
            "outside_window" => Some(Self::OutsideWindow),
            "policy_error" => None,
            _ => (first && rest && word.len() <= 40).then(|| Self::Custom(Arc::from(word))),
        }
    }

    /// The word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NotYourRecording => "not_your_recording",
            Self::PurposeRequired => "purpose_required",
            Self::OutsideWindow => "outside_window",
            Self::PolicyError => "policy_error",
            Self::Custom(word) => word,
        }
    }

    /// The word in metrics: one of a closed set, whatever rules an operator writes.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NotYourRecording => "not_your_recording",
            Self::PurposeRequired => "purpose_required",
            Self::OutsideWindow => "outside_window",
            Self::PolicyError => "policy_error",
            Self::Custom(_) => "custom",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
