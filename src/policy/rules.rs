//! From policy files to rules that can decide, strictly. It repairs nothing and keeps nothing of a set that has a fault.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{Effect, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;

use super::authorized::{Reason, RuleId};
use super::error::{Cause, Position, Problem};
use super::reads::Reads;
use super::shape;
use super::source::Source;

/// The words of the policies; see the file itself.
pub(super) const SCHEMA: &str = include_str!("../../config/policy/ccgate.cedarschema");

/// Most rules. Each costs about a microsecond a decision, so that the bound is no one's limit but a guard.
pub(super) const RULES_MAX: usize = 256;

/// The rules in force, with what there is to know of each.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) set: PolicySet,
    pub(super) by_id: HashMap<RuleId, Rule>,
    /// What any of them looks at.
    pub(super) reads: Reads,
}

/// What a refusal, a record and a person get to know of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) id: RuleId,
    pub(super) file: Arc<str>,
    pub(super) position: Option<Position>,
    pub(super) effect: Effect,
    /// Only of a forbid.
    pub(super) reason: Option<Reason>,
    /// What the rule says of itself, for people.
    pub(super) doc: Option<String>,
}

impl Rules {
    /// Reads and validates all files; every problem of every file comes back at once.
    pub(super) fn parse(sources: &[Source]) -> Result<Self, Vec<Problem>> {
        let mut rules = Self { set: PolicySet::new(), by_id: HashMap::new(), reads: Reads::ALL };
        let mut problems = Vec::new();
        for source in sources {
            rules.read(source, &mut problems);
        }
        // A file that could not be read may hold the rules that seem to be missing.
        if problems.is_empty() && rules.set.is_empty() {
            problems.push(Problem::of_file(&names(sources), Cause::NoRules));
        }
        rules.validate(sources, &mut problems);
        if problems.is_empty() { Ok(Self { reads: Reads::of(&rules.set), ..rules }) } else { Err(problems) }
    }

    /// The rule that the engine means.
    pub(super) fn get(&self, id: &PolicyId) -> Option<&Rule> {
        self.by_id.get::<str>(id.as_ref())
    }

    fn read(&mut self, source: &Source, problems: &mut Vec<Problem>) {
        if let Some((offset, cause)) = shape::too_deep(&source.text) {
            problems.push(located(source, Some(offset), cause));
            return;
        }
        let parsed = match PolicySet::from_str(&source.text) {
            Ok(parsed) => parsed,
            Err(errors) => {
                problems.extend(errors.iter().map(|error| at(source, error, Cause::Syntax { message: tell(error) })));
                return;
            }
        };
        for template in parsed.templates() {
            let offset = template.as_ref().loc().map(|loc| loc.span.offset());
            problems.push(located(source, offset, Cause::Template));
        }
        for policy in parsed.policies() {
            let offset = policy.as_ref().loc().map(|loc| loc.span.offset());
            match self.admit(policy, source, offset) {
                Ok(()) => {}
                Err(causes) => problems.extend(causes.into_iter().map(|cause| located(source, offset, cause))),
            }
        }
    }

    /// Takes a policy under the name that its `@id` gives; Cedar itself numbers them by file.
    fn admit(
        &mut self,
        policy: &cedar_policy::Policy,
        source: &Source,
        offset: Option<usize>,
    ) -> Result<(), Vec<Cause>> {
        let mut causes = unknown_annotations(policy);
        let name = policy.annotation("id").filter(|name| is_name(name));
        if name.is_none() {
            causes.push(Cause::BadName);
        }
        let reason = reason(policy).unwrap_or_else(|cause| {
            causes.push(cause);
            None
        });
        let Some(name) = name else { return Err(causes) };
        let id = PolicyId::new(name);
        if let Some(other) = self.get(&id) {
            causes.push(Cause::NameTaken { name: name.to_owned(), file: Arc::clone(&other.file) });
            return Err(causes);
        }
        if self.by_id.len() == RULES_MAX {
            return Err(vec![Cause::TooMany { what: "rules", max: RULES_MAX }]);
        }
        let name = RuleId::new(name);
        let rule = Rule {
            id: name.clone(),
            file: Arc::clone(&source.name),
            position: offset.map(|offset| Position::of(&source.text, offset)),
            effect: policy.effect(),
            reason,
            doc: policy.annotation("doc").map(str::to_owned),
        };
        let named = policy.new_id(id);
        self.set.add(named).map_err(|error| vec![Cause::Syntax { message: error.to_string() }])?;
        self.by_id.insert(name, rule);
        if causes.is_empty() { Ok(()) } else { Err(causes) }
    }

    /// Holds all rules against the schema. A warning is an error: "this rule can never hold" is only a warning to
    /// Cedar, and a forbid that can never hold is a hole.
    fn validate(&self, sources: &[Source], problems: &mut Vec<Problem>) {
        let schema = match schema() {
            Ok(schema) => schema,
            Err(problem) => return problems.push(problem),
        };
        let result = Validator::new(schema).validate(&self.set, ValidationMode::Strict);
        let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
        let warnings = result.validation_warnings().map(|warning| (warning.policy_id(), warning as &dyn Diagnostic));
        for (id, found) in errors.chain(warnings) {
            let message = tell(found);
            let message = message.strip_prefix(&format!("for policy `{id}`, ")).unwrap_or(&message).to_owned();
            let cause = Cause::Invalid { rule: id.to_string(), message };
            let file = self.get(id).map(|rule| &rule.file);
            problems.push(match sources.iter().find(|source| Some(&source.name) == file) {
                Some(source) => at(source, found, cause),
                None => Problem::of_file(&names(sources), cause),
            });
        }
    }
}

/// The schema, which is ours and always the same.
pub(super) fn schema() -> Result<Schema, Problem> {
    let (schema, mut warnings) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| broken_schema(&error))?;
    match warnings.next() {
        Some(warning) => Err(broken_schema(&warning)),
        None => Ok(schema),
    }
}

/// The problem of a schema that is no good.
pub(super) fn broken_schema(error: &dyn std::error::Error) -> Problem {
    Problem::of_file("ccgate.cedarschema", Cause::Schema { message: error.to_string() })
}

fn reason(policy: &cedar_policy::Policy) -> Result<Option<Reason>, Cause> {
    match (policy.annotation("reason"), policy.effect()) {
        (None, _) => Ok(None),
        (Some(_), Effect::Permit) => Err(Cause::ReasonOfPermit),
        (Some(word), Effect::Forbid) => Reason::from_rule(word).map(Some).ok_or(Cause::BadReason),
    }
}

fn unknown_annotations(policy: &cedar_policy::Policy) -> Vec<Cause> {
    let unknown = policy.annotations().map(|(name, _)| name).filter(|name| !matches!(*name, "id" | "reason" | "doc"));
    unknown.map(|name| Cause::UnknownAnnotation { name: name.to_owned() }).collect()
}

fn is_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_lowercase()) && text.bytes().all(known)
}

/// A finding's message with its label and advice, on one line.
fn tell(found: &(impl Diagnostic + ?Sized)) -> String {
    let label = found.labels().and_then(|mut labels| labels.next()).and_then(|label| label.label().map(str::to_owned));
    let label = label.map(|label| format!(" ({label})")).unwrap_or_default();
    let help = found.help().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{found}{label}{help}").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn at(source: &Source, found: &(impl Diagnostic + ?Sized), cause: Cause) -> Problem {
    let offset = found.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    located(source, offset, cause)
}

fn located(source: &Source, offset: Option<usize>, cause: Cause) -> Problem {
    let position = offset.map(|offset| Position::of(&source.text, offset));
    Problem { file: Arc::clone(&source.name), position, cause }
}

fn names(sources: &[Source]) -> String {
    sources.iter().map(|source| source.name.as_ref()).collect::<Vec<_>>().join(", ")
}
