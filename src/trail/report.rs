//! A month in numbers: per person, per team, per refusal, per purpose. It counts accesses and events; it judges nobody.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use serde::Serialize;

use super::access::Access;
use super::record::Record;

/// Rows of each table. What has no row of its own any more is counted in the total only.
const ROWS_MAX: usize = 50_000;
/// Pairs of a row and a recording that are remembered, for the number of different recordings. 16 bytes each.
const PAIRS_MAX: usize = 4_000_000;

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Accesses: requests of one person for one recording that follow each other closely.
    pub accesses: u64,
    /// Requests that were allowed.
    pub requests: u64,
    /// Different recordings of those.
    pub recordings: u64,
    /// Bytes handed over.
    pub bytes: u64,
    /// Allowed requests without a purpose: of accesses in which none was given.
    pub without_purpose: u64,
    /// Downloads that this side ended.
    pub aborted: u64,
    /// Downloads that could not be completed.
    pub failed: u64,
    /// Downloads during which the process died.
    pub unknown: u64,
    /// Downloads without an end yet.
    pub open: u64,
    /// Requests that were refused.
    pub refused: u64,
}

/// A row: a name and what was counted under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row<N> {
    /// Who or what.
    #[serde(flatten)]
    pub name: N,
    /// How much.
    #[serde(flatten)]
    pub counts: Counts,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Person {
    /// The issuer of the person's tokens.
    pub issuer: String,
    /// The subject in them.
    pub subject: String,
}

/// A team or a role, as the callers' tokens named it; empty: the token named none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Named {
    /// Its name.
    pub name: String,
}

/// A name and how often it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Number {
    /// What was counted; empty: nothing was given.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// A month, or what came out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All accesses.
    pub total: Counts,
    /// By person, those with the most accesses first.
    pub people: Vec<Row<Person>>,
    /// By team of the caller's token. Who has several counts in each.
    pub teams: Vec<Row<Named>>,
    /// By role of the caller's token. Who has several counts in each.
    pub roles: Vec<Row<Named>>,
    /// Refused requests by code.
    pub refusals: Vec<Number>,
    /// Refusals of tokens that nobody could verify and that got no record of their own.
    pub refusals_left_out: u64,
    /// Accesses by purpose; empty: none was given.
    pub purposes: Vec<Number>,
    /// Ends that were not good, by reason.
    pub reasons: Vec<Number>,
    /// Agents who were thrown out of their session by a forced sign-in, and how often it was tried.
    pub forced: Vec<Number>,
    /// Agents whom an operator signed out, and how often.
    pub signed_out_by_operator: Vec<Number>,
    /// How often somebody read the log, by command.
    pub readings: Vec<Number>,
    /// Other records of the log about itself: losses, erasures, keys.
    pub log_events: Vec<Number>,
    /// Whether there was more than can be told apart: rows are missing, and numbers of recordings are too low.
    pub cut: bool,
}

/// Makes a report of accesses and records. Its memory is bounded.
#[derive(Debug, Default)]
pub struct Counting {
    total: Counts,
    people: Table<Person>,
    teams: Table<Named>,
    roles: Table<Named>,
    refusals: Numbers,
    refusals_left_out: u64,
    purposes: Numbers,
    reasons: Numbers,
    forced: Numbers,
    signed_out: Numbers,
    readings: Numbers,
    log_events: Numbers,
    pairs: HashSet<(u64, u64)>,
    hasher: RandomState,
    cut: bool,
}

type Table<N> = BTreeMap<N, Counts>;
type Numbers = BTreeMap<String, u64>;

impl Counting {
    /// Counts an access.
    pub fn access(&mut self, access: &Access) {
        let mut counts = Counts::of(access);
        counts.recordings = self.is_new(&"", access);
        self.total.add(&counts);
        if let (Some(issuer), Some(subject)) = (&access.issuer, &access.subject) {
            let person = Person { issuer: issuer.clone(), subject: subject.clone() };
            counts.recordings = self.is_new(&person, access);
            self.cut |= !add(&mut self.people, person, &counts);
            for team in names(&access.teams) {
                counts.recordings = self.is_new(&("team", &team), access);
                self.cut |= !add(&mut self.teams, team, &counts);
            }
            for role in names(&access.roles) {
                counts.recordings = self.is_new(&("role", &role), access);
                self.cut |= !add(&mut self.roles, role, &counts);
            }
        }
        self.refusals_left_out = self.refusals_left_out.saturating_add(access.left_out);
        if access.outcomes.denied > 0 {
            let code = access.code.as_deref().unwrap_or_default();
            self.cut |= !count(&mut self.refusals, code, access.outcomes.denied);
            return;
        }
        for purpose in &access.purposes.texts {
            self.cut |= !count(&mut self.purposes, purpose, 1);
        }
        if access.purposes.texts.is_empty() {
            count(&mut self.purposes, "", 1);
        }
        for reason in &access.reasons.texts {
            self.cut |= !count(&mut self.reasons, reason, 1);
        }
    }

    /// Counts a record that is of no download.
    pub fn event(&mut self, record: &Record<'_>) {
        let agent = record.agent.as_deref().unwrap_or_default();
        let added = match &*record.event {
            "session.forced" => count(&mut self.forced, agent, 1),
            "admin.session_sign_out" => count(&mut self.signed_out, agent, 1),
            "audit.read" => count(&mut self.readings, record.command.as_deref().unwrap_or_default(), 1),
            event if event.starts_with("audit.") => count(&mut self.log_events, event, 1),
            _ => true,
        };
        self.cut |= !added;
    }

    /// What came out of it.
    pub fn report(self) -> Report {
        Report {
            total: self.total,
            people: rows(self.people),
            teams: rows(self.teams),
            roles: rows(self.roles),
            refusals: most(self.refusals),
            refusals_left_out: self.refusals_left_out,
            purposes: most(self.purposes),
            reasons: most(self.reasons),
            forced: most(self.forced),
            signed_out_by_operator: most(self.signed_out),
            readings: most(self.readings),
            log_events: most(self.log_events),
            cut: self.cut,
        }
    }

    /// 1 where the row has not seen the recording, else 0. A refusal hands nothing over, so it counts for none.
    fn is_new(&mut self, row: &impl std::hash::Hash, access: &Access) -> u64 {
        let Some(recording) = access.recording.as_ref().filter(|_| access.outcomes.denied == 0) else { return 0 };
        let pair = (self.hasher.hash_one(row), self.hasher.hash_one(recording));
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains(&pair) {
            self.cut = true;
            return 0;
        }
        u64::from(self.pairs.insert(pair))
    }
}

impl Counts {
    fn of(access: &Access) -> Self {
        let outcomes = &access.outcomes;
        let refused = outcomes.denied;
        let requests = access.requests.saturating_sub(refused);
        Self {
            accesses: u64::from(requests > 0),
            requests,
            recordings: 0,
            bytes: access.bytes,
            without_purpose: if access.purposes.texts.is_empty() { requests } else { 0 },
            aborted: outcomes.aborted,
            failed: outcomes.failed,
            unknown: outcomes.unknown,
            open: outcomes.open,
            refused,
        }
    }

    fn add(&mut self, more: &Self) {
        let Self { accesses, requests, recordings, bytes, without_purpose, aborted, failed, unknown, open, refused } =
            self;
        for (sum, more) in [
            (accesses, more.accesses),
            (requests, more.requests),
            (recordings, more.recordings),
            (bytes, more.bytes),
            (without_purpose, more.without_purpose),
            (aborted, more.aborted),
            (failed, more.failed),
            (unknown, more.unknown),
            (open, more.open),
            (refused, more.refused),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

fn names(names: &[String]) -> Vec<Named> {
    let none = names.is_empty().then(|| Named { name: String::new() });
    names.iter().map(|name| Named { name: name.clone() }).chain(none).collect()
}

/// `false`: there is no room for another row.
fn add<N: Ord>(table: &mut Table<N>, name: N, counts: &Counts) -> bool {
    if table.len() >= ROWS_MAX && !table.contains_key(&name) {
        return false;
    }
    table.entry(name).or_default().add(counts);
    true
}

/// `false`: there is no room for another row.
fn count(numbers: &mut Numbers, name: &str, more: u64) -> bool {
    if let Some(number) = numbers.get_mut(name) {
        *number = number.saturating_add(more);
        return true;
    }
    let room = numbers.len() < ROWS_MAX;
    if room {
        numbers.insert(name.to_owned(), more);
    }
    room
}

fn rows<N: Ord>(table: Table<N>) -> Vec<Row<N>> {
    let mut rows: Vec<_> = table.into_iter().map(|(name, counts)| Row { name, counts }).collect();
    // Stable: those with as many stay in the order of their names.
    rows.sort_by_key(|row| std::cmp::Reverse((row.counts.accesses, row.counts.refused)));
    rows
}

fn most(numbers: Numbers) -> Vec<Number> {
    let mut rows: Vec<_> = numbers.into_iter().map(|(name, count)| Number { name, count }).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.count));
    rows
}
