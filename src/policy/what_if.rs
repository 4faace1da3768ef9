//! What would change a decision: the rules themselves are asked again with other facts. It guesses no rule's meaning.
//!
//! For a refusal it looks for the smallest sets of changes that would permit; for a permission, for single facts that
//! it hangs on. It proposes what a person can change, so never another subject or another recording.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use super::Policy;
use super::facts::Facts;
use super::rules::Rules;
use super::verdict::Verdict;
use crate::cc::{AgentId, Owner};

/// Most changes at once: whoever lacks more lacks the permission altogether.
const CHANGES_MAX: usize = 4;

/// Most questions to the rules: some 50 ms with the built-in ones.
const QUESTIONS_MAX: usize = 3_000;

/// Most answers: one screen.
const ANSWERS_MAX: usize = 6;

/// Most words taken from the rules' text, of each kind.
const WORDS_MAX: usize = 4;

/// One fact, changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The download goes through the caller's own session.
    OwnSession { own: AgentId, asked: AgentId },
    /// The token names the session's agent.
    NamedAgent(AgentId),
    /// The token has a role.
    Role(String),
    /// `inspects` names the owner.
    Inspects(AgentId),
    /// `inspects` holds `*`.
    InspectsEveryone,
    /// `teams` names a team of the owner's.
    Team { owner: AgentId, team: String },
    /// The entities file puts the owner into a team of the caller's.
    OwnerInTeam { owner: AgentId, team: String },
    /// The request names an owner whose calls the caller may inspect.
    OwnerNamed(AgentId),
    /// A purpose is given.
    Purpose,
    /// A ticket is given.
    Ticket,
    /// The request comes from a network that a rule names.
    From(IpAddr),
    /// The recording is of today.
    OfToday,
    /// It is asked for at another time.
    At(Timestamp),
    /// The token lacks a role.
    NoRole(String),
    /// `inspects` is empty.
    NoInspects,
    /// `teams` is empty.
    NoTeams,
    /// No purpose is given.
    NoPurpose,
    /// No ticket is given.
    NoTicket,
}

/// The smallest sets of changes that would permit what is refused; none where no few changes would.
pub(super) fn permitting(policy: &Policy, facts: &Facts<'_>) -> Vec<Vec<Change>> {
    let candidates = candidates(policy, facts);
    let mut questions = 0;
    for size in 1..=CHANGES_MAX {
        let mut found = Vec::new();
        for set in sets(&candidates, size) {
            questions += 1;
            if questions > QUESTIONS_MAX || found.len() == ANSWERS_MAX {
                break;
            }
            if compatible(&set) && verdict(policy, facts, &set).permits() {
                found.push(set.into_iter().cloned().collect());
            }
        }
        if size == 1 {
            found.extend(next_hour(policy, facts).map(|change| vec![change]));
        }
        if !found.is_empty() || questions > QUESTIONS_MAX {
            return found;
        }
    }
    Vec::new()
}

/// The single facts without which a permission would be a refusal.
pub(super) fn refusing(policy: &Policy, facts: &Facts<'_>) -> Vec<Change> {
    let who = &facts.who;
    let mut changes: Vec<_> = who.roles.iter().cloned().map(Change::NoRole).collect();
    let has_inspects = who.inspects_everyone || !who.inspects.is_empty();
    changes.extend(has_inspects.then_some(Change::NoInspects));
    changes.extend((!who.teams.is_empty()).then_some(Change::NoTeams));
    changes.extend(facts.when.purpose.is_some().then_some(Change::NoPurpose));
    changes.extend(facts.when.ticket.is_some().then_some(Change::NoTicket));
    changes.retain(|change| !verdict(policy, facts, &[change]).permits());
    changes.truncate(ANSWERS_MAX);
    changes
}

/// Everything that is worth trying, the likeliest first.
fn candidates(policy: &Policy, facts: &Facts<'_>) -> Vec<Change> {
    let (who, what, when) = (&facts.who, &facts.what, &facts.when);
    let words = Words::of(&policy.rules);
    let asked = what.session_agent;
    let mut changes = vec![match who.agent {
        Some(own) => Change::OwnSession { own, asked },
        None => Change::NamedAgent(asked),
    }];
    changes.retain(|_| who.agent != Some(asked));
    changes.extend(words.roles.into_iter().filter(|role| !who.roles.contains(role)).map(Change::Role));
    if let Some(owner) = what.owner_agent() {
        changes.extend((!who.inspects.contains(&owner)).then_some(Change::Inspects(owner)));
        let of_owner: BTreeSet<&str> = policy.teams.of(owner).map(AsRef::as_ref).collect();
        let missing = of_owner.iter().filter(|team| !who.teams.contains(**team)).take(WORDS_MAX);
        changes.extend(missing.map(|team| Change::Team { owner, team: (*team).to_owned() }));
        let others = who.teams.iter().filter(|team| !of_owner.contains(team.as_str())).take(WORDS_MAX);
        changes.extend(others.map(|team| Change::OwnerInTeam { owner, team: team.clone() }));
    }
    let inspected = who.inspects.iter().copied().find(|agent| who.agent != Some(*agent));
    let named = inspected.filter(|_| what.owner == Owner::Unknown && what.call_id.is_some());
    changes.extend(named.map(Change::OwnerNamed));
    changes.extend((!who.inspects_everyone).then_some(Change::InspectsEveryone));
    changes.extend(when.purpose.is_none().then_some(Change::Purpose));
    changes.extend(when.ticket.is_none().then_some(Change::Ticket));
    changes.extend(words.networks.into_iter().map(Change::From));
    changes.extend((what.age_days(when.now) != Some(0)).then_some(Change::OfToday));
    changes
}

/// The next full hour within a week at which it would be permitted.
fn next_hour(policy: &Policy, facts: &Facts<'_>) -> Option<Change> {
    let now = facts.when.now;
    let hour = now.as_second().div_euclid(3_600);
    (1..=168).find_map(|ahead| {
        let at = Timestamp::from_second(hour.checked_add(ahead)?.checked_mul(3_600)?).ok()?;
        let change = Change::At(at);
        verdict(policy, facts, &[&change]).permits().then_some(change)
    })
}

fn verdict<'p>(policy: &'p Policy, facts: &Facts<'_>, changes: &[&Change]) -> Verdict<'p> {
    let mut facts = facts.clone();
    for change in changes {
        change.apply(&mut facts);
    }
    policy.decide(&facts)
}

/// Two ways to the same fact are no set: either would do.
fn compatible(set: &[&Change]) -> bool {
    set.iter().filter(|change| change.is_reach()).count() <= 1
        && set.iter().filter(|change| matches!(change, Change::From(_))).count() <= 1
}

/// All sets of `size` elements, in the order of the elements.
fn sets(all: &[Change], size: usize) -> Box<dyn Iterator<Item = Vec<&Change>> + '_> {
    if size == 0 {
        return Box::new(std::iter::once(Vec::new()));
    }
    Box::new(all.iter().enumerate().flat_map(move |(index, first)| {
        let rest = all.get(index + 1..).unwrap_or_default();
        sets(rest, size - 1).map(move |mut set| {
            set.insert(0, first);
            set
        })
    }))
}

impl Change {
    /// Whether it widens whose calls the caller may hear.
    const fn is_reach(&self) -> bool {
        matches!(
            self,
            Self::Inspects(_)
                | Self::InspectsEveryone
                | Self::Team { .. }
                | Self::OwnerInTeam { .. }
                | Self::OwnerNamed(_)
        )
    }

    fn apply(&self, facts: &mut Facts<'_>) {
        let (who, what, when) = (&mut facts.who, &mut facts.what, &mut facts.when);
        match self {
            Self::OwnSession { own, .. } => what.session_agent = *own,
            Self::NamedAgent(agent) => who.agent = Some(*agent),
            Self::Role(role) => {
                who.roles.to_mut().insert(role.clone());
            }
            Self::Inspects(agent) => {
                who.inspects.to_mut().insert(*agent);
            }
            Self::InspectsEveryone => who.inspects_everyone = true,
            Self::Team { team, .. } => {
                who.teams.to_mut().insert(team.clone());
            }
            Self::OwnerInTeam { team, .. } => what.owner_also_in = Some(team.clone()),
            Self::OwnerNamed(agent) => what.owner = Owner::Agent(*agent),
            Self::Purpose => when.purpose = Some("a purpose"),
            Self::Ticket => when.ticket = Some("a ticket"),
            Self::From(address) => when.peer = *address,
            Self::OfToday => what.recorded_on = Some(jiff::tz::Offset::UTC.to_datetime(when.now).date()),
            Self::At(time) => when.now = *time,
            Self::NoRole(role) => {
                who.roles.to_mut().remove(role);
            }
            Self::NoInspects => {
                who.inspects_everyone = false;
                who.inspects.to_mut().clear();
            }
            Self::NoTeams => who.teams.to_mut().clear(),
            Self::NoPurpose => when.purpose = None,
            Self::NoTicket => when.ticket = None,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OwnSession { own, asked } => {
                write!(f, "the path goes through the caller's own session: {own} in place of {asked}")
            }
            Self::NamedAgent(agent) => write!(f, "the token's agent claim is \"{agent}\""),
            Self::Role(role) => write!(f, "the token has the role {role:?}"),
            Self::Inspects(agent) => write!(f, "the token's `inspects` names {agent}"),
            Self::InspectsEveryone => f.write_str("the token's `inspects` holds \"*\""),
            Self::Team { owner, team } => write!(f, "the token's `teams` names {team:?}, a team of {owner}"),
            Self::OwnerInTeam { owner, team } => {
                write!(f, "the entities file puts {owner} into the caller's team {team:?}")
            }
            Self::OwnerNamed(agent) => {
                write!(f, "the request names in `workNo` whose call it is, an agent in `inspects` such as {agent}")
            }
            Self::Purpose => f.write_str("a purpose is given (header Ccgate-Purpose, or the token's claim)"),
            Self::Ticket => f.write_str("a ticket is given (header Ccgate-Ticket, or the token's claim)"),
            Self::From(address) => write!(f, "the request comes from a network that a rule names, such as {address}"),
            Self::OfToday => f.write_str("the recording is younger (tried: of today)"),
            Self::At(time) => write!(f, "it is asked for at another time (tried: each hour of a week; first {time})"),
            Self::NoRole(role) => write!(f, "the token lacks the role {role:?}"),
            Self::NoInspects => f.write_str("the token's `inspects` is empty"),
            Self::NoTeams => f.write_str("the token's `teams` is empty"),
            Self::NoPurpose => f.write_str("no purpose is given"),
            Self::NoTicket => f.write_str("no ticket is given"),
        }
    }
}

/// Words that stand in the rules: what they compare roles and addresses with.
#[derive(Debug, Default)]
struct Words {
    roles: BTreeSet<String>,
    networks: BTreeSet<IpAddr>,
}

impl Words {
    fn of(rules: &Rules) -> Self {
        let mut words = Self::default();
        // A rule that can't be printed has no words for us; it still decides.
        rules.set.policies().filter_map(|policy| policy.to_json().ok()).for_each(|json| words.look_into(&json));
        words
    }

    /// Walks the engine's JSON form of a rule: `{"contains": {"left": .., "right": ..}}`, `{"ip": [..]}`.
    fn look_into(&mut self, json: &Value) {
        match json {
            Value::Object(members) => {
                for (name, value) in members {
                    match name.as_str() {
                        "contains" | "containsAny" | "containsAll" if is_roles(value.get("left")) => {
                            strings(value.get("right"), &mut |role| {
                                if self.roles.len() < WORDS_MAX {
                                    self.roles.insert(role.to_owned());
                                }
                            });
                        }
                        "ip" => strings(Some(value), &mut |network| {
                            let address = network.split('/').next().and_then(|address| address.parse().ok());
                            if let Some(address) = address.filter(|_| self.networks.len() < WORDS_MAX) {
                                self.networks.insert(address);
                            }
                        }),
                        _ => {}
                    }
                    self.look_into(value);
                }
            }
            Value::Array(values) => values.iter().for_each(|value| self.look_into(value)),
            _ => {}
        }
    }
}

/// Whether it is `principal.roles`.
fn is_roles(json: Option<&Value>) -> bool {
    let access = json.and_then(|json| json.get("."));
    access.and_then(|access| access.get("attr")).and_then(Value::as_str) == Some("roles")
}

fn strings(json: Option<&Value>, found: &mut impl FnMut(&str)) {
    match json {
        Some(Value::String(text)) => found(text),
        Some(Value::Array(values)) => values.iter().for_each(|value| strings(Some(value), found)),
        Some(Value::Object(members)) => members.values().for_each(|value| strings(Some(value), found)),
        _ => {}
    }
}
