//! Accesses and records as people read them: one line each.

use super::paint::{bytes, cell, plain};
use crate::trail::{Access, Few, Record};

/// Heads of a table of accesses.
pub(super) const ACCESS_HEADS: [&str; 11] = [
    "BEGAN",
    "SUBJECT",
    "AGENT",
    "RECORDING",
    "OUTCOME",
    "REQUESTS",
    "BYTES",
    "RULE OR CODE",
    "PURPOSE",
    "ENTRY",
    "ISSUER",
];

/// A row of a table of accesses.
pub(super) fn access(access: &Access) -> [String; 11] {
    let optional = |text: &Option<String>| cell(text.as_deref().unwrap_or_default());
    let rule = access.code.as_deref().map_or_else(|| few(&access.rules), cell);
    [
        format!("{:.0}", access.first),
        optional(&access.subject),
        optional(&access.agent),
        access.recording.as_deref().or(access.operation.as_deref()).map_or_else(|| cell(""), whole),
        outcome(access),
        access.requests.to_string(),
        if access.outcomes.denied > 0 { cell("") } else { bytes(access.bytes) },
        rule,
        few(&access.purposes),
        few(&access.entries),
        optional(&access.issuer),
    ]
}

/// A recording is never cut: it is what the next question is about.
fn whole(text: &str) -> String {
    plain(text).into_owned()
}

/// How the requests ended: one word, or how many each.
fn outcome(access: &Access) -> String {
    let ended: Vec<_> = access.outcomes.named().into_iter().filter(|(_, count)| *count > 0).collect();
    match ended.as_slice() {
        [(name, _)] => (*name).to_owned(),
        several => several.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", "),
    }
}

/// The first of several texts, and how many others there are.
fn few(few: &Few) -> String {
    match few.texts.as_slice() {
        [] => cell(""),
        [one] if !few.more => cell(one),
        [first, others @ ..] => format!("{} +{}{}", cell(first), others.len(), if few.more { "…" } else { "" }),
    }
}

/// Heads of a table of records.
pub(super) const RECORD_HEADS: [&str; 4] = ["TIME", "SEQ", "EVENT", "WHAT"];

/// A row of a table of records.
pub(super) fn record(record: &Record<'_>) -> [String; 4] {
    [cell(&record.ts), record.seq.to_string(), cell(&record.event), summary(record)]
}

/// What a record says beside its event, as far as it says it, in one order for all events.
fn summary(record: &Record<'_>) -> String {
    let what = record.what.as_ref();
    let agent = record.agents().next().filter(|_| record.person().is_none() || record.recording().is_none());
    let why = record.why.as_ref().and_then(|why| why.purpose.as_deref());
    let rule = record.decision.as_ref().and_then(|decision| decision.rule.as_deref());
    let handed = record.delivery.as_ref().map(|delivery| bytes(delivery.client_bytes));
    let parts = [
        (None, record.person().map(|(_, subject)| subject)),
        (Some("agent"), agent.map(|agent| &**agent)),
        (None, record.recording().or(what.map(|what| &*what.operation))),
        (None, handed.as_deref()),
        (None, record.code.as_deref()),
        (None, record.reason.as_deref()),
        (Some("rule"), rule),
        (Some("for"), why),
        (Some("retcode"), record.retcode.as_deref()),
        (None, record.detail.as_deref()),
        (None, record.command.as_deref()),
        (Some("entry"), record.entry.as_deref()),
    ];
    let shown = parts.into_iter().filter_map(|(name, text)| {
        let text = whole(text?);
        Some(name.map_or(text.clone(), |name| format!("{name} {text}")))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    if shown.is_empty() { "-".to_owned() } else { shown }
}
