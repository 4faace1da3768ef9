//! An access: one person's requests for one recording that follow each other closely. It decides nothing of what belongs
//! together.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::record::{Record, Text};
use super::scan::Match;

/// Entries that an access names.
const ENTRIES_MAX: usize = 100;
/// Different texts that an access keeps of each field.
pub(super) const TEXTS_MAX: usize = 16;

/// One person's requests for one recording. A refusal is of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Access {
    /// When it began.
    #[serde(serialize_with = "micros")]
    pub first: Timestamp,
    /// When there was last something of it.
    #[serde(serialize_with = "micros")]
    pub last: Timestamp,
    /// The log that it begins in.
    pub log: Arc<str>,
    /// The caller's issuer; `None` where nobody was recognised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The caller's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The agent that the caller's token names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// In whose session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_agent: Option<String>,
    /// The caller's roles, at the beginning.
    pub roles: Vec<String>,
    /// The caller's teams, at the beginning.
    pub teams: Vec<String>,
    /// The recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<String>,
    /// The call of the gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Audio, video or chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Whose recording it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Requests.
    pub requests: u64,
    /// How they ended.
    pub outcomes: Outcomes,
    /// Bytes of recordings that were handed to the client.
    pub bytes: u64,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Refusals before this one that have no record.
    pub left_out: u64,
    /// The rules that decided.
    pub rules: Few,
    /// Why requests did not end well.
    pub reasons: Few,
    /// The purposes that were given.
    pub purposes: Few,
    /// The cases that were given.
    pub tickets: Few,
    /// The downloads.
    pub entries: Few,
}

/// How requests ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// All bytes were taken.
    pub finished: u64,
    /// Somebody on this side ended it.
    pub aborted: u64,
    /// It could not be completed.
    pub failed: u64,
    /// The process died.
    pub unknown: u64,
    /// It was refused.
    pub denied: u64,
    /// There is no end yet.
    pub open: u64,
}

/// The first few different texts of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Few {
    /// The first ones, in the order of their coming.
    pub texts: Vec<String>,
    /// Whether there are others.
    pub more: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the form that serde wants")]
fn micros<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{at:.6}"))
}

impl Serialize for Few {
    /// As a list; where there are others, its last text is `…`.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts.iter().map(String::as_str).chain(self.more.then_some("…")))
    }
}

impl Few {
    pub(super) fn add(&mut self, text: &str, max: usize) {
        if self.texts.iter().any(|known| known == text) {
            return;
        }
        if self.texts.len() < max { self.texts.push(text.to_owned()) } else { self.more = true }
    }
}

impl Outcomes {
    /// Names and counts, the most telling first.
    pub const fn named(&self) -> [(&'static str, u64); 6] {
        let Self { finished, aborted, failed, unknown, denied, open } = *self;
        [
            ("denied", denied),
            ("finished", finished),
            ("aborted", aborted),
            ("failed", failed),
            ("unknown", unknown),
            ("open", open),
        ]
    }

    pub(super) fn count(&mut self, event: &str) -> Option<&mut u64> {
        Some(match event {
            "finished" => &mut self.finished,
            "aborted" => &mut self.aborted,
            "failed" => &mut self.failed,
            "unknown" => &mut self.unknown,
            "denied" => &mut self.denied,
            _ => return None,
        })
    }
}

impl Access {
    pub(super) fn new(found: &Match<'_>, at: Timestamp) -> Self {
        let record = &found.record;
        let own = |text: Option<&Text<'_>>| text.map(|text| text.to_string());
        let list = |texts: Option<&Vec<Text<'_>>>| texts.into_iter().flatten().map(|text| text.to_string()).collect();
        let (who, what) = (record.who.as_ref(), record.what.as_ref());
        let asked = what.and_then(|what| what.agent.as_ref());
        Self {
            first: at,
            last: at,
            log: Arc::clone(found.origin),
            issuer: record.person().map(|(issuer, _)| issuer.to_owned()),
            subject: record.person().map(|(_, subject)| subject.to_owned()),
            agent: own(who.and_then(|who| who.agent.as_ref())),
            session_agent: own(record
                .session
                .as_ref()
                .map(|session| &session.agent)
                .or(asked)
                .or(record.agent.as_ref())),
            roles: list(who.map(|who| &who.roles)),
            teams: list(who.map(|who| &who.teams)),
            recording: record.recording().map(str::to_owned),
            operation: what.map(|what| what.operation.to_string()),
            kind: own(what.and_then(|what| what.kind.as_ref())),
            call_id: own(what.and_then(|what| what.call_id.as_ref())),
            owner: own(what.and_then(|what| what.owner.as_ref())),
            requests: 0,
            outcomes: Outcomes::default(),
            bytes: 0,
            code: own(record.code.as_ref()),
            left_out: 0,
            rules: Few::default(),
            reasons: Few::default(),
            purposes: Few::default(),
            tickets: Few::default(),
            entries: Few::default(),
        }
    }

    pub(super) fn request(&mut self, record: &Record<'_>) {
        self.requests += 1;
        self.left_out = self.left_out.saturating_add(record.left_out);
        let why = record.why.as_ref();
        let rule = record.decision.as_ref().and_then(|decision| decision.rule.as_ref());
        let (purpose, ticket) = (why.and_then(|why| why.purpose.as_ref()), why.and_then(|why| why.ticket.as_ref()));
        for (few, text, max) in [
            (&mut self.rules, rule, TEXTS_MAX),
            (&mut self.purposes, purpose, TEXTS_MAX),
            (&mut self.tickets, ticket, TEXTS_MAX),
            (&mut self.entries, record.entry.as_ref(), ENTRIES_MAX),
        ] {
            if let Some(text) = text {
                few.add(text, max);
            }
        }
    }
}
