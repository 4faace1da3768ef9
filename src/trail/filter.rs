//! Which records are asked for. It compares texts as they stand in the log and knows no other spelling of them.

use jiff::Timestamp;
use memchr::memmem::Finder;

use super::counted::Line;
use super::record::{Record, Role};

/// The conditions that a record has to meet, all of them. The default lets every download and refusal through.
///
/// Person, agent, recording, call, owner, rule and time are held against the record that begins a download; its end goes with
/// it.
#[derive(Debug, Default)]
pub struct Filter {
    /// An agent that the record names: the caller's own, or the one in whose session it is.
    pub agent: Option<Wanted>,
    /// The caller's subject.
    pub subject: Option<Wanted>,
    /// The caller's issuer.
    pub issuer: Option<Wanted>,
    /// The recording's reference.
    pub recording: Option<Wanted>,
    /// The call's id.
    pub call: Option<Wanted>,
    /// Whose recording it is.
    pub owner: Option<Wanted>,
    /// The rule that decided.
    pub rule: Option<Wanted>,
    /// One download.
    pub entry: Option<u128>,
    /// Begun at this moment or later.
    pub since: Option<Timestamp>,
    /// Begun before this moment.
    pub until: Option<Timestamp>,
    /// Of which kind.
    pub events: Events,
}

/// Kinds of records.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Events {
    /// Those of downloads, and refusals.
    #[default]
    Accesses,
    /// All.
    All,
    /// Those with these names; a name that ends with `.` stands for all that begin so.
    Named(Vec<String>),
}

/// Texts of which one has to be met.
#[derive(Debug, Clone)]
pub struct Wanted {
    texts: Vec<String>,
    prefixes: Vec<String>,
    /// What a line has to hold that meets one of them; empty where nothing can be said.
    traces: Vec<Finder<'static>>,
}

impl Wanted {
    /// These texts, and all that begin with one of these.
    pub fn new(texts: Vec<String>, prefixes: Vec<String>) -> Self {
        let whole = texts.iter().map(|text| (text, "\""));
        let begun = prefixes.iter().map(|text| (text, ""));
        let traces = whole.chain(begun).map(|(text, end)| {
            // Where a text would be escaped, the line holds a backslash and is read whole.
            Finder::new(format!("\"{text}{end}").as_bytes()).into_owned()
        });
        let traces = traces.collect();
        Self { texts, prefixes, traces }
    }

    /// One text.
    pub fn text(text: &str) -> Self {
        Self::new(vec![text.to_owned()], Vec::new())
    }

    /// Whether a text is one of them.
    pub fn is(&self, text: &str) -> bool {
        self.texts.iter().any(|wanted| wanted == text) || self.prefixes.iter().any(|prefix| text.starts_with(prefix))
    }

    fn leaves_trace_in(&self, line: &[u8]) -> bool {
        self.traces.iter().any(|trace| trace.find(line).is_some())
    }
}

impl Filter {
    /// Whether a line can meet the conditions. It reads no JSON, so it is quick; a line with a backslash always can, as its
    /// texts may be spelled otherwise.
    pub(super) fn may_meet(&self, line: &Line) -> bool {
        self.meets_front(line) && {
            let mut unmet = self.all().flatten().filter(|wanted| !wanted.leaves_trace_in(&line.bytes));
            unmet.next().is_none() || memchr::memchr(b'\\', &line.bytes).is_some()
        }
    }

    fn all(&self) -> impl Iterator<Item = Option<&Wanted>> {
        let Self { agent, subject, issuer, recording, call, owner, rule, .. } = self;
        [recording, subject, call, issuer, owner, agent, rule].into_iter().map(Option::as_ref)
    }

    fn meets_front(&self, line: &Line) -> bool {
        if self.entry.is_some_and(|entry| line.entry != Some(entry)) {
            return false;
        }
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(at) = line.ts.parse::<Timestamp>() else { return false };
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
    }

    /// Whether a record meets the conditions.
    pub(super) fn is_met_by(&self, line: &Line, record: &Record<'_>) -> bool {
        let of = |wanted: &Option<Wanted>, text: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| text.is_some_and(|text| wanted.is(text)))
        };
        let what = record.what.as_ref();
        let person = record.person();
        self.meets_front(line)
            && of(&self.subject, person.map(|(_issuer, subject)| subject))
            && of(&self.issuer, person.map(|(issuer, _subject)| issuer))
            && of(&self.recording, record.recording())
            && of(&self.call, what.and_then(|what| what.call_id.as_deref()))
            && of(&self.owner, what.and_then(|what| what.owner.as_deref()))
            && of(&self.rule, record.decision.as_ref().and_then(|decision| decision.rule.as_deref()))
            && self.agent.as_ref().is_none_or(|wanted| record.agents().any(|agent| wanted.is(agent)))
    }

    /// Whether records with this event are asked for.
    pub(super) fn wants(&self, event: &str) -> bool {
        match &self.events {
            Events::All => true,
            Events::Accesses => Role::of(event) != Role::Other,
            Events::Named(names) => {
                names.iter().any(|name| name == event || name.ends_with('.') && event.starts_with(name))
            }
        }
    }
}
