//! Who may take which recording: [`Caller`] and [`Download`] to
//! [`Authorized`] or [`Denied`]. The same input gives the same answer: no IO after load, no clock, no chance.
//!
//! The rules are Cedar policies: the built-in ones (`config/policy/`), or an operator's directory in their place. What
//! they can ask for stands in `config/policy/ccgate.cedarschema`. Three things are fixed, whatever the rules say:
//!
//! - what no rule permits is refused, and a `forbid` beats every `permit`;
//! - a rule that cannot be evaluated refuses. Cedar leaves such a rule out, and a `forbid` left out is a hole;
//! - a policy is taken as a whole or not at all.
//!
//! A [`Seat`](crate::route::Seat) is no recording: no rule is asked about it ([`Policy::seat`]).

mod authorized;
mod error;
mod explain;
mod facts;
mod known;
mod metrics;
mod reads;
mod rules;
mod seat;
mod shape;
mod source;
mod teams;
mod verdict;
mod what_if;

use std::path::PathBuf;
use std::sync::Arc;

use authorized::Request;
pub use authorized::{Authorized, Denied, Reason, RuleId};
use cedar_policy::Authorizer;
pub use error::{Cause, Error, Position, Problem};
pub use explain::Explanation;
use facts::{Facts, Question, Unspeakable, Vocabulary};
use known::{Asked, Known};
pub use metrics::Metrics;
use rules::{Rule, Rules};
pub use seat::{NotYourSeat, Seated};
use source::Source;
use teams::Teams;
use verdict::Verdict;

use crate::authn::Caller;
use crate::route::{Arrival, Download};

/// Where the policy comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Directory whose `*.cedar` files are the rules; without it the built-in rules.
    pub dir: Option<PathBuf>,
    /// The entities file: which agents are in which team. Without it nobody is in a team.
    pub entities_file: Option<PathBuf>,
}

/// The rules in force. Loaded as a whole; never changes.
#[derive(Debug)]
pub struct Policy {
    authorizer: Authorizer,
    rules: Rules,
    teams: Teams,
    words: Vocabulary,
    hash: Arc<str>,
    metrics: Option<Metrics>,
}

/// The built-in rules, in the order of names.
const BUILT_IN: [(&str, &str); 2] = [
    ("inspect.cedar", include_str!("../../config/policy/inspect.cedar")),
    ("own.cedar", include_str!("../../config/policy/own.cedar")),
];

impl Policy {
    /// Reads, parses and validates the policy that `config` names; blocks on files.
    ///
    /// At most 1 MiB of policy text in 256 files with 256 rules, and 4 MiB of entities.
    ///
    /// # Errors
    /// Everything that is wrong, at once. An empty directory is wrong too: it would refuse everybody.
    pub fn load(config: &Config) -> Result<Self, Error> {
        let (policies, entities) = (policies(config), config.entities_file.as_deref().map(source::read_entities));
        match (policies, entities.transpose()) {
            (Ok(policies), Ok(entities)) => Self::from_sources(&policies, entities.as_ref()),
            (policies, entities) => {
                // What can be read is checked all the same, so that its problems need no second try.
                let mut problems = entities.err().unwrap_or_default();
                match policies.map(|policies| Rules::parse(&policies)) {
                    Ok(Ok(_)) => {}
                    Ok(Err(more)) | Err(more) => problems.extend(more),
                }
                Err(Error::new(problems))
            }
        }
    }

    /// The built-in rules, without teams.
    pub fn builtin() -> Result<Self, Error> {
        Self::load(&Config::default())
    }

    /// Counts evaluation errors there. The same metrics go to each policy that a reload brings.
    #[must_use]
    pub fn with_metrics(self, metrics: Metrics) -> Self {
        Self { metrics: Some(metrics), ..self }
    }

    /// SHA-256, in hex, of all that decisions depend on: rules, entities, schema. It stands in every record.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Decides. `arrival.at` is the time, `arrival.source.address()` the place.
    pub fn authorize(&self, caller: Caller, download: Download, arrival: Arrival) -> Result<Authorized, Denied> {
        let request = Request::new(caller, download, arrival);
        let verdict = self.verdict(&request);
        let hash = Arc::clone(&self.hash);
        match verdict {
            Verdict::Permitted(by) => Ok(Authorized::new(request, by.id.clone(), hash)),
            Verdict::Forbidden(by) => {
                let reason = by.reason.clone().unwrap_or(Reason::NotYourRecording);
                Err(Denied::new(request, reason, Some(by.id.clone()), hash))
            }
            Verdict::Unmatched => Err(Denied::new(request, Reason::NotYourRecording, None, hash)),
            Verdict::Broken(failed) => {
                self.alarm(&failed);
                let first = failed.first().map(|rule| rule.id.clone());
                Err(Denied::new(request, Reason::PolicyError, first, hash))
            }
        }
    }

    /// The same decision, told to a person, with what would change it. Asks the rules up to some thousand times, so it
    /// is for the command line, not for the data plane.
    pub fn explain(&self, caller: &Caller, download: &Download, arrival: &Arrival) -> Explanation {
        let request = Request::new(caller.clone(), download.clone(), arrival.clone());
        Explanation::new(self, &Facts::of(&request))
    }

    fn from_sources(policies: &[Source], entities: Option<&Source>) -> Result<Self, Error> {
        let rules = Rules::parse(policies);
        let teams = entities.map_or_else(|| Ok(Teams::default()), Teams::parse);
        let words = Vocabulary::new().map_err(|error| vec![rules::broken_schema(&error)]);
        match (rules, teams, words) {
            (Ok(rules), Ok(teams), Ok(words)) => Ok(Self {
                authorizer: Authorizer::new(),
                rules,
                teams,
                words,
                hash: source::hash(policies, entities, rules::SCHEMA),
                metrics: None,
            }),
            (rules, teams, words) => {
                let problems = [rules.err(), teams.err(), words.err()];
                Err(Error::new(problems.into_iter().flatten().flatten().collect()))
            }
        }
    }

    /// Decides about a request, by what is remembered of its person where that says the same.
    fn verdict(&self, request: &Request) -> Verdict<'_> {
        let facts = Facts::of(request);
        let known = match self.known(&request.caller, &facts) {
            Ok(known) => known,
            Err(error) => return self.answer(Err(error)),
        };
        let reads = self.rules.reads;
        let asked = Asked::of(&facts, reads);
        let before = asked.as_ref().and_then(|asked| known.permitted(asked));
        if let Some(rule) = before.and_then(|id| self.rules.by_id.get(&id)) {
            return Verdict::Permitted(rule);
        }
        let verdict = self.answer(self.words.question_by(&known.principal, &facts, &self.teams, reads));
        if let (Verdict::Permitted(rule), Some(asked)) = (&verdict, asked) {
            known.remember(asked, &rule.id);
        }
        verdict
    }

    /// What this policy remembers of a caller's person. What another one does is replaced: after a reload nothing of before
    /// counts. Requests that still see the policy before may put theirs back; that costs time and changes no decision.
    fn known(&self, caller: &Caller, facts: &Facts<'_>) -> Result<Arc<Known>, Unspeakable> {
        let memory = caller.person().memory();
        if let Some(known) = memory.get::<Known>().filter(|known| known.is_of(&self.hash)) {
            return Ok(known);
        }
        let known = Arc::new(Known::new(&self.hash, self.words.principal(&facts.who)?));
        memory.put(Arc::clone(&known));
        Ok(known)
    }

    /// Decides about facts that may be nobody's, of all that there is to know and of nothing that is remembered.
    fn decide(&self, facts: &Facts<'_>) -> Verdict<'_> {
        self.answer(self.words.question(facts, &self.teams))
    }

    fn answer(&self, question: Result<Question, Unspeakable>) -> Verdict<'_> {
        match question {
            Ok(question) => {
                let answer = self.authorizer.is_authorized(&question.request, &self.rules.set, &question.entities);
                Verdict::of(&answer, &self.rules)
            }
            Err(error) => {
                // The message would hold the value that could not be put.
                tracing::error!(kind = %error, "the policy was not asked");
                Verdict::Broken(Vec::new())
            }
        }
    }

    fn alarm(&self, failed: &[&Rule]) {
        if let Some(metrics) = &self.metrics {
            metrics.evaluation_errors.inc();
        }
        let rules: Vec<_> = failed.iter().map(|rule| rule.id.as_str()).collect();
        tracing::error!(?rules, "rules could not be evaluated: the download is refused, whatever the other rules say");
    }
}

fn policies(config: &Config) -> Result<Vec<Source>, Vec<Problem>> {
    match &config.dir {
        Some(dir) => source::read_dir(dir),
        None => Ok(BUILT_IN.iter().map(|(name, text)| Source::new(name, text)).collect()),
    }
}

#[cfg(test)]
mod tests;
