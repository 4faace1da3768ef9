//! As much of a record as its place in the log depends on.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::tlog::{Hash, leaf_hash};

/// What is read of every line. Fields that it does not name are left alone.
#[derive(Debug, Clone, Deserialize)]
pub struct Head<'a> {
    /// The sequence number.
    pub seq: u64,
    /// The format's version. An erased line has none.
    #[serde(default)]
    pub v: Option<u64>,
    /// What is recorded. An erased line has none.
    #[serde(borrow, default)]
    pub event: Option<Cow<'a, str>>,
    /// The download that it belongs to.
    #[serde(borrow, default)]
    pub entry: Option<Cow<'a, str>>,
    /// Numbers that do not count, in `audit.gap`.
    #[serde(default)]
    pub void: Option<Range>,
    /// Records that are gone, in `audit.gap` and `audit.loss_accepted`.
    #[serde(default)]
    pub missing: Option<Range>,
    /// Whether the line stands in for an erased record.
    #[serde(default)]
    pub erased: Option<Erased>,
    /// An erased record's leaf.
    #[serde(default)]
    pub leaf: Option<Hash>,
}

/// Sequence numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// The field `erased`: `true` in a line that stands in for an erased record, a list in the record that tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Erased {
    /// This line's record is erased.
    This(bool),
    /// These records were erased.
    These(Vec<ErasedLine>),
}

/// A record that was erased, as `audit.erased` tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedLine {
    /// Its sequence number.
    pub seq: u64,
    /// Its leaf.
    pub leaf: Hash,
}

impl Head<'_> {
    /// Whether the line stands in for an erased record; then with its leaf.
    pub const fn tombstone(&self) -> Option<Hash> {
        match (&self.erased, self.leaf) {
            (Some(Erased::This(true)), Some(leaf)) if self.event.is_none() => Some(leaf),
            _ => None,
        }
    }
}

impl Range {
    /// Whether a number is in it.
    pub const fn contains(&self, seq: u64) -> bool {
        self.first <= seq && seq <= self.last
    }
}

/// A line's leaf, given its head.
pub fn leaf_of(line: &[u8], head: &Head<'_>) -> Hash {
    head.tombstone().unwrap_or_else(|| leaf_hash(line))
}

/// The line that stands in the place of an erased record, in its one spelling: nothing of it but the leaf is in the tree.
pub fn tombstone_line(seq: u64, leaf: Hash) -> String {
    format!(r#"{{"seq":{seq},"erased":true,"leaf":"{leaf}"}}"#)
}

/// The line that stands in the tree, and nowhere else, for a number that never counted.
pub fn void_line(seq: u64) -> String {
    format!(r#"{{"seq":{seq},"void":true}}"#)
}

/// The leaf of a number that never counted.
pub fn void_leaf(seq: u64) -> Hash {
    leaf_hash(void_line(seq).as_bytes())
}
