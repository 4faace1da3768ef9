//! Transparency log arithmetic: RFC 6962 trees, C2SP hash tiles, signed notes and proofs. It does no IO, reads no clock and
//! knows nothing of what a leaf says.
//!
//! Sources: RFC 6962 section 2.1 (hashes and proofs), RFC 9162 section 2.1 (how to verify them), C2SP `tlog-tiles`,
//! `tlog-checkpoint`, `tlog-cosignature`, `signed-note` and `tlog-proof`. Own code because the published crates are frozen forks; they serve as
//! oracles in the tests.

mod checkpoint;
mod cosignature;
mod hash;
mod note;
mod proof;
mod tile;
mod tree;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{CosignatureError, WitnessKey};
pub use hash::{Hash, HashError, leaf_hash, node_hash};
pub use note::{KeyError, Note, NoteError, OpenedNote, Signature, Signer, VerifierKey};
pub use proof::{Hashes, ProofError, consistency_proof, inclusion_proof, root, verify_consistency, verify_inclusion};
pub use tile::{TILE_WIDTH, Tile, TileId};
pub use tree::Tree;

#[cfg(test)]
mod tests;
