//! The audit log as it lies in its directory, for whoever reads it: the next start, a verifier, a privacy officer. It never
//! writes there, talks to no network and knows no configuration.
//!
//! ```text
//! audit-<first seq, 20 digits>.jsonl   the records, one JSON object a line; this is the log
//! tile/<level>/<index>[.p/<width>]     hashes of its lines (C2SP tlog-tiles), made of them and of nothing else
//! checkpoint, checkpoints.jsonl        signed notes: how many lines there were, and the root over them
//! witness.jsonl                        signed notes with the signatures of witnesses, where there are some
//! audit.pub                            keys that verify the notes: the newest first
//! ```
//!
//! - Invariant: the line with the sequence number `seq` is the leaf `seq - 1`. A number that never counted has the leaf of
//!   [`void_line`]; an erased line says its own leaf.

mod access;
mod counted;
mod filter;
mod grouping;
mod head;
mod keys;
mod lines;
#[cfg(test)]
pub(crate) mod made_log;
mod proof_file;
#[cfg(test)]
mod questions;
mod recent;
mod record;
mod report;
mod scan;
mod segments;
mod signed;
mod tail;
mod tiles;
pub mod verify;
mod witnessed;

#[cfg(test)]
pub(crate) mod sample;

pub use access::{Access, Few, Outcomes};
pub use counted::{CountedLines, Line, Step, Unreadable, Why as Unread, origin};
pub use filter::{Events, Filter, Wanted};
pub use grouping::{ACCESS_GAP, Accesses};
pub use head::{Erased, ErasedLine, Head, Range, leaf_of, tombstone_line, void_leaf, void_line};
pub use keys::{KEYS_FILE, KeysError, parse_keys, read_keys, read_witness_keys};
pub use lines::{LINE_BYTES_MAX, Lines, Piece};
pub use proof_file::{PROOF_BYTES_MAX, PROOF_LINE, ProofFile, ProveError, Proved, Untrue, proofs};
pub use recent::first_since;
pub use record::{Decision, Delivery, Record, Role, Session, Text, What, Who, Why, entry_key};
pub use report::{Counting, Counts, Named, Number, Person, Report, Row};
pub use scan::{Found, Match, Scan};
pub use segments::{Segment, first_seq, segment_name, segments};
pub use signed::{CHECKPOINT_FILE, CHECKPOINTS_FILE, SignedLine, last_signed_lines, signed_lines};
pub use tail::Tail;
pub use tiles::{TileDir, TileError};
pub use witnessed::{WITNESSED_FILE, WitnessedLine, last_witnessed_lines, witnessed_lines};

#[cfg(test)]
mod tests;
