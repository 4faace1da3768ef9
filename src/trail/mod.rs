//! The audit log as it lies in its directory, for whoever reads it: the next start, a verifier, a privacy officer. It never
//! writes there, talks to no network and knows no configuration.
//!
//! ```text
//! audit-<first seq, 20 digits>.jsonl   the records, one JSON object a line; this is the log
//! tile/<level>/<index>[.p/<width>]     hashes of its lines (C2SP tlog-tiles), made of them and of nothing else
//! checkpoint, checkpoints.jsonl        signed notes: how many lines there were, and the root over them
//! audit.pub                            keys that verify the notes: the newest first
//! ```
//!
//! - Invariant: the line with the sequence number `seq` is the leaf `seq - 1`. A number that never counted has the leaf of
//!   [`void_line`]; an erased line says its own leaf.

mod head;
mod keys;
mod lines;
mod segments;
mod signed;
mod tiles;
pub mod verify;

#[cfg(test)]
pub(crate) mod sample;

pub use head::{Erased, ErasedLine, Head, Range, leaf_of, void_leaf, void_line};
pub use keys::{KEYS_FILE, KeysError, parse_keys, read_keys};
pub use lines::{LINE_BYTES_MAX, Lines, Piece};
pub use segments::{Segment, first_seq, segment_name, segments};
pub use signed::{CHECKPOINT_FILE, CHECKPOINTS_FILE, SignedLine, last_signed_lines, signed_lines};
pub use tiles::{TileDir, TileError};

#[cfg(test)]
mod tests;
