//! One line, as much of it as a verification needs. It keeps nothing of what people did.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::head::ErasedLine;
use super::super::{Head, Range, first_seq, tombstone_line};
use crate::tlog::{Hash, leaf_hash};

/// The newest version of the records' format that is known.
const VERSION: u64 = 1;

/// A line's leaf and head.
#[derive(Debug)]
pub(super) struct Row {
    /// What stands in the tree for it.
    pub(super) leaf: Hash,
    /// The number that it says; `None` where it is no record.
    pub(super) seq: Option<u64>,
    /// What it means for other lines.
    pub(super) what: What,
    /// When it was written, where that is asked for.
    pub(super) ts: Option<Timestamp>,
}

/// What a line means for other lines.
#[derive(Debug)]
pub(super) enum What {
    /// It is no JSON object with a number.
    Broken,
    /// It is of a version that is not known.
    Version(u64),
    /// Nothing.
    Other,
    /// An entry begins.
    Authorized(u128),
    /// An entry ends.
    Ended(u128),
    /// Its record was erased.
    Tombstone,
    /// A process has taken the directory, and begun with this number, where the record says so.
    Opened(Option<u64>),
    /// Something about the log itself.
    Order(Box<Order>),
}

/// A record about the log itself.
#[derive(Debug, Deserialize)]
pub(super) struct Order {
    #[serde(skip)]
    pub(super) kind: OrderKind,
    /// Numbers that are gone, of `audit.gap` and `audit.loss_accepted`.
    #[serde(default)]
    pub(super) missing: Option<Range>,
    /// Numbers whose lines were changed, of `audit.loss_accepted`.
    #[serde(default)]
    pub(super) altered: Vec<Range>,
    /// There was no checkpoint, of `audit.loss_accepted`.
    #[serde(default)]
    pub(super) checkpoints_missing: bool,
    /// Of `audit.erased`.
    #[serde(default)]
    pub(super) erased: Vec<ErasedLine>,
    /// Of `audit.pruned`.
    #[serde(default)]
    first: Option<u64>,
    #[serde(default)]
    last: Option<u64>,
    /// Why, of `audit.loss_accepted`.
    #[serde(default)]
    pub(super) reason: Option<String>,
}

/// Which record about the log itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum OrderKind {
    /// `audit.gap`
    #[default]
    Gap,
    /// `audit.erased`
    Erased,
    /// `audit.pruned`
    Pruned,
    /// `audit.loss_accepted`
    LossAccepted,
}

/// Fields are taken as they stand: an escaped name of an event, which ccgate never writes, is another event.
#[derive(Deserialize)]
struct Seen<'a> {
    seq: u64,
    #[serde(default)]
    v: Option<u64>,
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
    #[serde(borrow, default)]
    entry: Option<&'a RawValue>,
    #[serde(borrow, default)]
    ts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    segment: Option<&'a RawValue>,
}

impl Order {
    /// The numbers of `audit.pruned`.
    pub(super) fn pruned(&self) -> Option<Range> {
        self.first.zip(self.last).map(|(first, last)| Range { first, last })
    }

    fn read(kind: OrderKind, line: &str) -> What {
        match serde_json::from_str::<Self>(line) {
            Ok(order) => What::Order(Box::new(Self { kind, ..order })),
            // Numbers that cannot be read excuse nothing.
            Err(_) => What::Other,
        }
    }
}

impl Row {
    /// Reads a line without its line feed. The time is read of lines with a number above `timed_from` only.
    pub(super) fn read(line: &[u8], timed_from: u64) -> Self {
        let broken = || Self { leaf: leaf_hash(line), seq: None, what: What::Broken, ts: None };
        let Ok(text) = std::str::from_utf8(line) else { return broken() };
        let Ok(seen) = serde_json::from_str::<Seen<'_>>(text) else { return broken() };
        if !text.starts_with('{') {
            // A list in the order of the fields is no object.
            return broken();
        }
        let (leaf, what) = match seen.event {
            None => tombstone(text, seen.seq).map_or((leaf_hash(line), What::Broken), |leaf| (leaf, What::Tombstone)),
            Some(event) => (leaf_hash(line), seen.what(event.get(), text)),
        };
        let seq = (!matches!(what, What::Broken)).then_some(seen.seq);
        let ts = seen.ts.filter(|_| seen.seq > timed_from);
        Self { leaf, seq, what, ts: ts.and_then(|ts| ts.get().trim_matches('"').parse().ok()) }
    }

    /// Stands for a line that is too long to be one.
    pub(super) fn too_long() -> Self {
        Self { leaf: Hash::empty_root(), seq: None, what: What::Broken, ts: None }
    }
}

impl Seen<'_> {
    fn what(&self, event: &str, text: &str) -> What {
        match self.v {
            Some(VERSION) => {}
            Some(other) => return What::Version(other),
            None => return What::Broken,
        }
        match event.trim_matches('"') {
            "authorized" => self.entry().map_or(What::Broken, What::Authorized),
            "finished" | "aborted" | "failed" | "unknown" => self.entry().map_or(What::Broken, What::Ended),
            "audit.opened" => What::Opened(self.segment.and_then(|name| first_seq(name.get().trim_matches('"')))),
            "audit.gap" => Order::read(OrderKind::Gap, text),
            "audit.erased" => Order::read(OrderKind::Erased, text),
            "audit.pruned" => Order::read(OrderKind::Pruned, text),
            "audit.loss_accepted" => Order::read(OrderKind::LossAccepted, text),
            _ => What::Other,
        }
    }

    fn entry(&self) -> Option<u128> {
        let digits = self.entry?.get().trim_matches('"');
        (digits.len() == 32).then(|| u128::from_str_radix(digits, 16).ok()).flatten()
    }
}

/// The leaf that an erased line says. Its form is exact: whatever else it said would not be in the tree.
fn tombstone(text: &str, seq: u64) -> Option<Hash> {
    let leaf = serde_json::from_str::<Head<'_>>(text).ok()?.tombstone()?;
    (text == tombstone_line(seq, leaf)).then_some(leaf)
}
