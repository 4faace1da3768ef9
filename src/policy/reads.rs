//! Which facts the rules look at. It judges no rule: what it can't make out counts as looked at.

use cedar_policy::PolicySet;
use serde_json::Value;

/// A fact that can differ between two downloads of one person and that a rule may look at. What is not listed here is held
/// in every comparison anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Now,
    Peer,
    Purpose,
    Ticket,
    Reference,
    CallId,
    RecordedOn,
    AgeDays,
}

/// The words of which some rule asks the value. For purpose, ticket and call id that is more than whether they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reads(u16);

impl Word {
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Reads {
    /// All there is: for explanations, and where it can't be told.
    pub(super) const ALL: Self = Self(u16::MAX);
    const NONE: Self = Self(0);

    /// What the rules of a set look at.
    pub(super) fn of(rules: &PolicySet) -> Self {
        rules.policies().fold(Self::NONE, |reads, rule| match rule.to_json() {
            Ok(json) => reads.and(of_rule(&json)),
            // What can't be printed still decides.
            Err(_) => Self::ALL,
        })
    }

    /// Whether a rule asks for the value of a word.
    pub(super) const fn has(self, word: Word) -> bool {
        self.0 & word.bit() != 0
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn only(word: Word) -> Self {
        Self(word.bit())
    }
}

/// A rule in the engine's JSON form: `{"resource": {"op": "All"}, "conditions": [{"kind": "when", "body": ..}], ..}`. What the head
/// says of the principal is the person's, and there is one action.
fn of_rule(rule: &Value) -> Reads {
    let head = match rule.get("resource").and_then(|resource| resource.get("op")).and_then(Value::as_str) {
        Some("All") => Reads::NONE,
        // `resource == Recording::".."` is about the reference. All else is taken for that too.
        _ => Reads::only(Word::Reference),
    };
    rule.get("conditions").map_or(Reads::ALL, |conditions| head.and(of_expression(conditions)))
}

/// Looks for the two variables. `{".": {"left": {"Var": "context"}, "attr": "now"}}` and the same with `has` look at one
/// attribute; a variable anywhere else is looked at as a whole.
fn of_expression(json: &Value) -> Reads {
    match json {
        Value::Object(members) => members.iter().fold(Reads::NONE, |reads, (name, value)| {
            reads.and(match (name.as_str(), value) {
                ("Var", Value::String(variable)) if matches!(variable.as_str(), "principal" | "action") => Reads::NONE,
                ("Var", _) => Reads::ALL,
                ("." | "has", access) => of_access(access, name == "has").unwrap_or_else(|| of_expression(access)),
                (_, value) => of_expression(value),
            })
        }),
        Value::Array(values) => values.iter().fold(Reads::NONE, |reads, value| reads.and(of_expression(value))),
        _ => Reads::NONE,
    }
}

/// An attribute of a variable; `None` where it is one of something else, or several at once.
fn of_access(access: &Value, only_whether: bool) -> Option<Reads> {
    let members = access.as_object().filter(|members| members.len() == 2)?;
    let left = members.get("left")?.as_object().filter(|left| left.len() == 1)?;
    let (variable, attribute) = (left.get("Var")?.as_str()?, members.get("attr")?.as_str()?);
    Some(match (variable, attribute) {
        // Whether these are given is held in every comparison.
        ("context", "purpose" | "ticket") | ("resource", "call_id") if only_whether => Reads::NONE,
        ("context", "purpose") => Reads::only(Word::Purpose),
        ("context", "ticket") => Reads::only(Word::Ticket),
        ("context", "now") => Reads::only(Word::Now),
        ("context", "peer") => Reads::only(Word::Peer),
        ("resource", "reference") => Reads::only(Word::Reference),
        ("resource", "call_id") => Reads::only(Word::CallId),
        ("resource", "recorded_on") => Reads::only(Word::RecordedOn),
        ("resource", "age_days") => Reads::only(Word::AgeDays),
        (
            "resource",
            "kind" | "operation" | "owner" | "belongs_to_nobody" | "owner_unknown" | "session_agent" | "vdn",
        )
        | ("principal", _) => Reads::NONE,
        // A word that the schema has and this table has not.
        _ => Reads::ALL,
    })
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use super::*;

    const ALL: [Word; 8] = [
        Word::Now,
        Word::Peer,
        Word::Purpose,
        Word::Ticket,
        Word::Reference,
        Word::CallId,
        Word::RecordedOn,
        Word::AgeDays,
    ];

    fn words(rule: &str) -> Vec<Word> {
        let reads = Reads::of(&PolicySet::from_str(rule).unwrap_or_else(|error| panic!("{rule}: {error}")));
        ALL.into_iter().filter(|word| reads.has(*word)).collect()
    }

    fn when(condition: &str) -> Vec<Word> {
        words(&format!("permit (principal, action, resource) when {{ {condition} }};"))
    }

    #[test]
    fn a_rule_looks_at_what_it_names() {
        for (condition, expected) in [
            ("true", vec![]),
            ("resource.owner == principal.agent && resource has vdn && resource.kind == Kind::\"audio\"", vec![]),
            ("context has purpose && context has ticket && resource has call_id", vec![]),
            ("context.purpose == \"x\"", vec![Word::Purpose]),
            ("context has ticket && context.ticket like \"T-*\"", vec![Word::Ticket]),
            ("context.now.toTime() < duration(\"6h\")", vec![Word::Now]),
            ("context has now", vec![Word::Now]),
            ("context[\"now\"] < datetime(\"2026-01-01\")", vec![Word::Now]),
            ("context.peer.isInRange(ip(\"10.0.0.0/8\"))", vec![Word::Peer]),
            ("resource has age_days && resource.vdn == 1", vec![Word::AgeDays]),
            ("[1, if resource has vdn then resource.age_days else 2].contains(2)", vec![Word::AgeDays]),
            ("{a: context.now, b: 1}.b == 1", vec![Word::Now]),
            ("{context: 1, now: 2}.now == 2 && principal.now == \"context\"", vec![]),
            ("!(resource.recorded_on == datetime(\"2026-01-01\"))", vec![Word::RecordedOn]),
            ("resource.reference like \"call:*\" || resource.call_id == \"1-1\"", vec![Word::Reference, Word::CallId]),
        ] {
            assert_eq!(when(condition), expected, "{condition}");
        }
    }

    #[test]
    fn what_is_looked_at_as_a_whole_is_looked_at_in_all_its_parts() {
        for condition in [
            "context == {}",
            "[context].contains({})",
            "(if resource.owner_unknown then context else {}) has now",
            "{a: context}.a.now == 1",
            "resource == Recording::\"call:1-1\"",
            "resource in [Recording::\"call:1-1\"]",
            "[Recording::\"call:1-1\"].contains(resource)",
            "resource is Recording",
            "resource.hasTag(\"a\")",
            "context.unknown == 1",
            "resource has unknown",
            "resource has owner.unknown",
            "context has purpose.unknown",
        ] {
            assert_eq!(when(condition), ALL, "{condition}");
        }
    }

    #[test]
    fn a_recording_in_the_head_is_its_reference() {
        for resource in [
            "resource == Recording::\"call:1-1\"",
            "resource in Recording::\"call:1-1\"",
            "resource is Recording in Recording::\"call:1-1\"",
        ] {
            assert_eq!(words(&format!("permit (principal, action, {resource});")), [Word::Reference], "{resource}");
        }
        assert_eq!(words("permit (principal == Caller::\"a b\", action, resource);"), []);
    }

    #[test]
    fn all_rules_count_together() {
        let rules = "permit (principal, action, resource) when { context.peer.isLoopback() };
            forbid (principal, action, resource) unless { context has purpose && context.purpose != \"\" };";
        assert_eq!(words(rules), [Word::Peer, Word::Purpose]);
    }
}
