//! What a verification found: notes, damages with their place, and what to do next. It finds nothing itself.

use jiff::Timestamp;
use serde::Serialize;

use super::super::Range;
use super::witnessed::Witnessed;
use crate::tlog::Hash;

/// Damages that are kept; more are only counted. A log with as many needs no longer list.
pub const DAMAGES_MAX: usize = 1_000;

/// What was found in one directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Which log: the name of the key that signed it. `None`: nothing in it is signed.
    pub origin: Option<String>,
    /// Ids of the keys that signed its checkpoints, in the order of their first use.
    pub keys: Vec<String>,
    /// The first and the last number that a line stands for.
    pub records: Option<Range>,
    /// What was counted.
    pub counts: Counts,
    /// The largest checkpoint that fits the lines.
    pub signed: Option<Signed>,
    /// What the witnesses that were asked about have cosigned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<Witnessed>,
    /// For each file of cosigned notes that was given: its notes of this log.
    #[serde(skip)]
    pub given: Vec<u64>,
    /// Damages that a signed `audit.loss_accepted` covers.
    pub accepted: Vec<Damage>,
    /// What is no damage but worth knowing.
    pub notes: Vec<Note>,
    /// What is damaged, in the order in which it was found. Empty: the log is sound.
    pub damages: Vec<Damage>,
    /// Damages beyond the first [`DAMAGES_MAX`].
    pub damages_left_out: u64,
}

/// What was counted in one directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Segments.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Lines that count.
    pub lines: u64,
    /// Of those, lines whose record was erased.
    pub erased: u64,
    /// Numbers that never counted.
    pub void: u64,
    /// Checkpoints that are signed by a known key and fit the lines.
    pub checkpoints: u64,
    /// Checkpoints that could not be compared with the lines, because both lines and tiles before them are damaged.
    pub checkpoints_not_compared: u64,
    /// Lines behind the last checkpoint.
    pub unsigned: u64,
}

/// A checkpoint that fits the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// How many numbers it is over.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
    /// When it was signed, as the line beside it says; the signature is not over the time.
    pub ts: Option<Timestamp>,
}

/// Something worth knowing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// The sentence for people.
    pub text: String,
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// Whose keys were used.
    Keys,
    /// Records that are not signed yet.
    UnsignedTail,
    /// Bytes of a line that was not written whole.
    TornTail,
    /// Entries that have no end yet.
    OpenEntries,
    /// Records that retention removed.
    Pruned,
    /// Records that were erased.
    Erased,
    /// Numbers that never counted.
    Void,
    /// The newest checkpoint and the list of all differ by one.
    Checkpoints,
    /// Cosignatures that were not verified.
    Witnesses,
}

/// What is damaged, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// In which way.
    pub kind: Kind,
    /// The file, below the log's directory.
    pub file: Option<String>,
    /// Its lines, from 1.
    pub lines: Option<Range>,
    /// The sequence numbers.
    pub seqs: Option<Range>,
    /// Where the place is not known exactly: the sizes of the last checkpoint that fits and of the first that does not.
    pub between: Option<Between>,
    /// What was seen, for people.
    pub detail: String,
    /// What to do next, for people.
    pub next_step: &'static str,
}

/// Two checkpoints with a damage between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Between {
    /// The last that fits; 0 where none does.
    pub good: u64,
    /// The first that does not.
    pub bad: u64,
}

/// How something is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A line says something else than what was signed.
    Edited,
    /// Lines are gone from the middle or the beginning, and no signed record orders it.
    Removed,
    /// Lines are gone from the end: there are fewer than were signed.
    Truncated,
    /// A line stands at another one's place.
    Reordered,
    /// A line stands there twice.
    Duplicated,
    /// A line that the log never had.
    Inserted,
    /// A line that was signed like this, and yet is no record.
    Malformed,
    /// A record of a newer version of ccgate.
    UnknownVersion,
    /// An entry was ended without or before its beginning, begun twice, or never ended.
    Entry,
    /// A record was erased without a signed order.
    ErasureWithoutOrder,
    /// The log itself says that records were lost, and nobody has accepted it.
    Loss,
    /// A hash tile does not fit the lines and checkpoints, or is gone.
    Tile,
    /// A checkpoint is no checkpoint, or does not fit, or is gone.
    Checkpoint,
    /// A checkpoint is signed by a key that is not known.
    KeyUnknown,
    /// More records are without a signature than a running log can have.
    Unsigned,
    /// It is not the log that a witness has cosigned: whoever wrote it anew, or put it back, holds its key or a copy.
    Rewritten,
    /// A witness that was asked about has cosigned nothing.
    Unwitnessed,
    /// A file cannot be read.
    Unreadable,
}

impl Kind {
    /// Its name, as `--json` shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Removed => "removed",
            Self::Truncated => "truncated",
            Self::Reordered => "reordered",
            Self::Duplicated => "duplicated",
            Self::Inserted => "inserted",
            Self::Malformed => "malformed",
            Self::UnknownVersion => "unknown_version",
            Self::Entry => "entry",
            Self::ErasureWithoutOrder => "erasure_without_order",
            Self::Loss => "loss",
            Self::Tile => "tile",
            Self::Checkpoint => "checkpoint",
            Self::KeyUnknown => "key_unknown",
            Self::Unsigned => "unsigned",
            Self::Rewritten => "rewritten",
            Self::Unwitnessed => "unwitnessed",
            Self::Unreadable => "unreadable",
        }
    }

    /// What to do next.
    pub const fn next_step(self) -> &'static str {
        match self {
            Self::Edited | Self::Removed | Self::Truncated | Self::Reordered | Self::Duplicated | Self::Inserted => {
                "keep the directory as it is, and compare these lines with a copy that was shipped or backed up"
            }
            Self::Malformed | Self::Entry => {
                "the line is as it was written: look for the fault in the ccgate that wrote it"
            }
            Self::UnknownVersion => "verify with the ccgate that wrote it, or a newer one",
            Self::ErasureWithoutOrder => {
                "ask who replaced the line; of a running log verify again once the order is signed"
            }
            Self::Loss => {
                "restore the lines from a shipped copy, or have `ccgate audit accept-loss` tell why they are gone"
            }
            Self::Tile => {
                "the lines are proved by the checkpoints; a start of ccgate builds tiles anew where they are removed"
            }
            Self::Checkpoint => "compare it with the checkpoints in the log stream or in a shipped copy",
            Self::KeyUnknown => {
                "give the log's verifier keys with --key, old ones too; is it another replica's directory?"
            }
            Self::Unsigned => "ask why nothing was signed, and compare the last checkpoint with a shipped copy",
            Self::Rewritten => {
                "keep the cosigned note and the directory as it is: together they prove that there were two logs under one name"
            }
            Self::Unwitnessed => {
                "ask the witness what it has cosigned; is its key the right one, and was it configured?"
            }
            Self::Unreadable => "make the file readable and verify again",
        }
    }

    /// Whether it is about lines that are not there.
    pub(super) const fn is_of_absence(self) -> bool {
        matches!(self, Self::Removed | Self::Truncated | Self::Loss)
    }

    /// Whether it is about lines, so that an accepted loss can cover it.
    pub(super) const fn is_of_lines(self) -> bool {
        matches!(
            self,
            Self::Edited
                | Self::Removed
                | Self::Truncated
                | Self::Reordered
                | Self::Duplicated
                | Self::Inserted
                | Self::Loss
        )
    }
}

impl Report {
    /// Whether nothing is damaged.
    pub const fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.damages_left_out == 0
    }

    /// Damages, with those that are not listed.
    pub fn damage_count(&self) -> u64 {
        self.damages_left_out.saturating_add(self.damages.len() as u64)
    }

    pub(super) fn note(&mut self, about: About, text: String) {
        self.notes.push(Note { about, text });
    }

    /// Adds a damage; one that continues the last one makes that one longer.
    pub(super) fn damage(&mut self, damage: Damage) {
        if let Some(last) = self.damages.last_mut()
            && last.continues_with(&damage)
        {
            last.lines = join(last.lines, damage.lines);
            last.seqs = join(last.seqs, damage.seqs);
            return;
        }
        if self.damages.len() < DAMAGES_MAX {
            self.damages.push(damage);
        } else {
            self.damages_left_out = self.damages_left_out.saturating_add(1);
        }
    }
}

impl Damage {
    /// A damage of which no place is known yet.
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { kind, file: None, lines: None, seqs: None, between: None, detail, next_step: kind.next_step() }
    }

    pub(super) fn in_file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    pub(super) const fn at_line(mut self, line: u64) -> Self {
        self.lines = Some(Range { first: line, last: line });
        self
    }

    pub(super) const fn of(mut self, first: u64, last: u64) -> Self {
        self.seqs = Some(Range { first, last });
        self
    }

    pub(super) const fn between(mut self, good: u64, bad: u64) -> Self {
        self.between = Some(Between { good, bad });
        self
    }

    fn continues_with(&self, next: &Self) -> bool {
        self.kind == next.kind
            && self.file == next.file
            && self.between == next.between
            && self.detail == next.detail
            && self.lines.is_some()
            && follows(self.lines, next.lines)
            && follows(self.seqs, next.seqs)
    }
}

fn follows(before: Option<Range>, after: Option<Range>) -> bool {
    match (before, after) {
        (None, None) => true,
        (Some(before), Some(after)) => before.last.checked_add(1) == Some(after.first),
        _ => false,
    }
}

fn join(before: Option<Range>, after: Option<Range>) -> Option<Range> {
    before.zip(after).map(|(before, after)| Range { first: before.first, last: after.last })
}
