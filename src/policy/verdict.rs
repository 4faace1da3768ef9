//! The engine's answer in our words. It adds the one thing that the engine leaves out: an error refuses.

use cedar_policy::{AuthorizationError, Decision, PolicyId, Response};

use super::rules::{Rule, Rules};

/// What the rules say, and which rule said it: where several did, the first by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// A rule permits it and none forbids it.
    Permitted(&'a Rule),
    /// A rule forbids it.
    Forbidden(&'a Rule),
    /// No rule permits it.
    Unmatched,
    /// These rules, by name, could not be evaluated; none where no rule was asked.
    Broken(Vec<&'a Rule>),
}

impl<'a> Verdict<'a> {
    /// Reads an answer. An error is looked for before the decision: the engine decides without the rules that failed.
    pub(super) fn of(answer: &Response, rules: &'a Rules) -> Self {
        let diagnostics = answer.diagnostics();
        let rule = |id: &PolicyId| rules.get(id);
        // Only the names: an error's message can hold values of the request.
        let failed = diagnostics.errors().map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id());
        if diagnostics.errors().next().is_some() {
            let mut failed: Vec<_> = failed.filter_map(rule).collect();
            failed.sort_by(|a, b| a.id.cmp(&b.id));
            return Self::Broken(failed);
        }
        match (answer.decision(), first(diagnostics.reason().filter_map(rule))) {
            (Decision::Allow, Some(rule)) => Self::Permitted(rule),
            (Decision::Deny, Some(rule)) => Self::Forbidden(rule),
            (Decision::Deny, None) => Self::Unmatched,
            // A yes that no rule of ours gave is no yes.
            (Decision::Allow, None) => Self::Broken(Vec::new()),
        }
    }

    /// Whether the download may go on.
    pub(super) const fn permits(&self) -> bool {
        matches!(self, Self::Permitted(_))
    }
}

fn first<'a>(rules: impl Iterator<Item = &'a Rule>) -> Option<&'a Rule> {
    rules.min_by(|a, b| a.id.cmp(&b.id))
}
