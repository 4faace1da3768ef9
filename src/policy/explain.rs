//! A decision told to a person, on one screen. It is the decision that `authorize` makes, of the same rules.

use std::fmt::{self, Display};

use jiff::Timestamp;

use super::Policy;
use super::authorized::{Reason, RuleId};
use super::facts::{Facts, What, Who};
use super::rules::Rule;
use super::verdict::Verdict;
use super::what_if::{self, Change};
use crate::cc::{AgentId, Owner};

/// Most names of a list that are shown.
const NAMES_MAX: usize = 8;

/// Who asked for what, what was decided, by which rule, and what would change it. `Display` prints the screen.
#[derive(Debug, Clone)]
pub struct Explanation {
    reason: Option<Reason>,
    rule: Option<RuleId>,
    lines: Vec<(&'static str, String)>,
    ask: &'static str,
    changes: Vec<Vec<Change>>,
}

impl Explanation {
    pub(super) fn new(policy: &Policy, facts: &Facts<'_>) -> Self {
        let verdict = policy.decide(facts);
        let (reason, rule) = match &verdict {
            Verdict::Permitted(rule) => (None, Some(*rule)),
            Verdict::Forbidden(rule) => (Some(rule.reason.clone().unwrap_or(Reason::NotYourRecording)), Some(*rule)),
            Verdict::Unmatched => (Some(Reason::NotYourRecording), None),
            Verdict::Broken(rules) => (Some(Reason::PolicyError), rules.first().copied()),
        };
        let (ask, changes) = match &verdict {
            Verdict::Permitted(_) => {
                let changes = what_if::refusing(policy, facts).into_iter().map(|change| vec![change]).collect();
                ("It would be refused if", changes)
            }
            _ => ("It would be permitted if", what_if::permitting(policy, facts)),
        };
        let mut lines = vec![
            ("decision", reason.as_ref().map_or_else(|| "permitted".to_owned(), |reason| format!("refused: {reason}"))),
            ("rule", told_rule(&verdict)),
        ];
        lines.extend(rule.and_then(|rule| rule.doc.clone()).map(|doc| ("", doc)));
        lines.extend(who(&facts.who));
        lines.extend(what(&facts.what, facts.when.now));
        lines.push(("owner", owner(policy, &facts.who, &facts.what)));
        lines.push(("why", format!("purpose {}, ticket {}", given(facts.when.purpose), given(facts.when.ticket))));
        lines.push(("when", format!("{} from {}", facts.when.now, facts.when.peer)));
        lines.push(("policy", told_policy(policy)));
        Self { reason, rule: rule.map(|rule| rule.id.clone()), lines, ask, changes }
    }

    /// Whether it is permitted.
    pub const fn permitted(&self) -> bool {
        self.reason.is_none()
    }

    /// Why it is refused; `None` where it is permitted.
    pub const fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// The rule that decided; `None` where none matched.
    pub const fn rule(&self) -> Option<&RuleId> {
        self.rule.as_ref()
    }
}

impl Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, text) in &self.lines {
            writeln!(f, "{name:<9} {text}")?;
        }
        f.write_str("\n")?;
        match (self.changes.as_slice(), self.permitted()) {
            ([], true) => f.write_str("It hangs on no single role, claim, purpose or ticket."),
            ([], false) => {
                f.write_str("No few changes of session, roles, claims, purpose, place or time would permit it.")
            }
            ([_], _) => write!(f, "{}", self.ask),
            (_, _) => write!(f, "{}, by any one of these:", self.ask),
        }?;
        for set in &self.changes {
            let set: Vec<_> = set.iter().map(ToString::to_string).collect();
            write!(f, "\n  - {}", set.join("\n    and "))?;
        }
        writeln!(f)
    }
}

fn told_rule(verdict: &Verdict<'_>) -> String {
    match verdict {
        Verdict::Permitted(rule) => format!("{} permits it", place(rule)),
        Verdict::Forbidden(rule) => format!("{} forbids it", place(rule)),
        Verdict::Unmatched => "none permits it".to_owned(),
        Verdict::Broken(rules) if rules.is_empty() => "none could be asked".to_owned(),
        Verdict::Broken(rules) => {
            let places: Vec<_> = rules.iter().map(|rule| place(rule)).collect();
            format!("{} could not be evaluated, so all is refused", places.join(", "))
        }
    }
}

fn place(rule: &Rule) -> String {
    let line = rule.position.map(|position| format!(":{}", position.line)).unwrap_or_default();
    format!("{} ({}{line})", rule.id, rule.file)
}

fn who(who: &Who<'_>) -> Vec<(&'static str, String)> {
    let agent = who.agent.map_or_else(|| "no agent".to_owned(), |agent| format!("agent {agent}"));
    let client = who.client_id.map(|id| format!(" through {id}")).unwrap_or_default();
    let inspects = if who.inspects_everyone { "[*]".to_owned() } else { list(who.inspects.iter()) };
    vec![
        ("who", format!("{} of {}{client}, {agent}", who.subject, who.issuer)),
        ("", format!("roles {}, inspects {inspects}, teams {}", list(who.roles.iter()), list(who.teams.iter()))),
    ]
}

fn what(what: &What<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
    let age = what.age_days(now).map(told_age).unwrap_or_default();
    let day = what.recorded_on.map_or_else(|| "on an unknown day".to_owned(), |day| format!("on {day}{age}"));
    let vdn = what.vdn.map(|vdn| format!(", VDN {vdn}")).unwrap_or_default();
    vec![
        ("what", format!("{} {}", what.kind.as_str(), what.reference())),
        ("", format!("in the session of agent {}; recorded {day}{vdn}", what.session_agent)),
    ]
}

fn told_age(days: i64) -> String {
    if days < 0 { format!(", in {} days", days.unsigned_abs()) } else { format!(", {days} days ago") }
}

/// Whose call it is, and how the caller stands to the owner.
fn owner(policy: &Policy, who: &Who<'_>, what: &What<'_>) -> String {
    match what.owner {
        Owner::Nobody => "nobody: the path has no agent in it".to_owned(),
        Owner::Unknown if what.call_id.is_some() => "unknown: the request names a call, but no workNo".to_owned(),
        Owner::Unknown => "unknown: such a request never names one".to_owned(),
        Owner::Agent(owner) if who.agent == Some(owner) => format!("{owner}, the caller"),
        Owner::Agent(owner) => format!("{owner}: {}", relation(policy, who, owner)),
    }
}

fn relation(policy: &Policy, who: &Who<'_>, owner: AgentId) -> String {
    let inspects = if who.inspects_everyone {
        "in the caller's `inspects` (*)".to_owned()
    } else if who.inspects.contains(&owner) {
        "in the caller's `inspects`".to_owned()
    } else {
        format!("not in the caller's `inspects` {}", list(who.inspects.iter()))
    };
    let shared: Vec<_> = policy.teams.of(owner).filter(|team| who.teams.contains(team.as_ref())).collect();
    let teams = if shared.is_empty() {
        format!("in none of the caller's teams {}", list(who.teams.iter()))
    } else {
        format!("in the caller's team {}", list(shared.iter()))
    };
    format!("{inspects}, {teams}")
}

fn told_policy(policy: &Policy) -> String {
    let mut names: Vec<_> = policy.rules.by_id.values().map(|rule| &rule.id).collect();
    names.sort();
    format!("rules {}, SHA-256 {}", list(names.iter()), policy.hash())
}

fn given(text: Option<&str>) -> String {
    text.map_or_else(|| "none".to_owned(), |text| format!("{text:?}"))
}

/// The first few names and how many there are more.
fn list<T: Display>(names: impl ExactSizeIterator<Item = T>) -> String {
    let more = names.len().saturating_sub(NAMES_MAX);
    let shown: Vec<_> = names.take(NAMES_MAX).map(|name| name.to_string()).collect();
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("[{}{more}]", shown.join(", "))
}
