//! One record with the proof that it is in the log, as a file that is verified without the log (C2SP `tlog-proof`). It reads
//! tiles and trusts nobody's word but a key's.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Head, LINE_BYTES_MAX, TileDir, TileError, leaf_of, tombstone_line};
use crate::tlog::{
    Checkpoint, CheckpointError, Hash, Note, NoteError, ProofError, VerifierKey, inclusion_proof, verify_inclusion,
};

/// The first line of a proof.
pub const PROOF_LINE: &str = "c2sp.org/tlog-proof@v1";
/// Longest proof that is read, in bytes: the longest record in base64, 64 hashes, the longest note.
pub const PROOF_BYTES_MAX: usize = 4 * LINE_BYTES_MAX;

/// A record's line, the way from it to a root, and a note that signs the root. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// The record's line, without the line feed: the proof's `extra`.
    pub line: Vec<u8>,
    /// The leaf's place, from 0.
    pub index: u64,
    /// Hashes beside the way to the root, the leaf's neighbour first.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint.
    pub note: Note,
}

/// What a proof proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved<'k> {
    /// The record's number.
    pub seq: u64,
    /// Whether the record itself is erased, and only its leaf is proved.
    pub erased: bool,
    /// The tree that it is in.
    pub checkpoint: Checkpoint,
    /// The key that signed the tree.
    pub key: &'k VerifierKey,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The newest checkpoint is older than the record.
    #[error("the newest checkpoint is over {size} records; record {seq} is not signed yet")]
    NotSigned {
        /// The record.
        seq: u64,
        /// Records that are signed.
        size: u64,
    },
    /// A tile is missing.
    #[error("the proof cannot be made")]
    Tile(#[source] TileError),
    /// What was made does not verify.
    #[error("the log contradicts itself at record {seq}: ccgate audit verify tells where")]
    Contradiction {
        /// The record.
        seq: u64,
        /// How it does.
        #[source]
        source: Untrue,
    },
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untrue {
    /// It has not the form of one.
    #[error("line {0} is not what a tlog-proof has there")]
    Form(usize),
    /// The note is none.
    #[error("it holds no signed note")]
    Note(#[source] NoteError),
    /// The checkpoint is not verified.
    #[error("its checkpoint is not verified")]
    Checkpoint(#[source] CheckpointError),
    /// The record is none, or has another number than its place.
    #[error("its record is not the one with that number")]
    Record,
    /// The record is not in the tree.
    #[error("its record is not in the tree that the checkpoint signs")]
    Proof(#[source] ProofError),
}

impl ProofFile {
    /// Makes the proof for a line of the log in `dir`, below the checkpoint `note`, and verifies it.
    ///
    /// # Errors
    /// The checkpoint does not cover the record, tiles are missing, or the proof does not verify.
    pub fn make(dir: &Path, seq: u64, line: &[u8], note: &Note, keys: &[VerifierKey]) -> Result<Self, ProveError> {
        let wrong = |source| ProveError::Contradiction { seq, source };
        let (checkpoint, _key) = Checkpoint::open(note, keys).map_err(|error| wrong(Untrue::Checkpoint(error)))?;
        let size = checkpoint.size;
        let Some(index) = seq.checked_sub(1).filter(|index| *index < size) else {
            return Err(ProveError::NotSigned { seq, size });
        };
        let hashes = inclusion_proof(&TileDir::new(dir), index, size).map_err(ProveError::Tile)?;
        let made = Self { line: line.to_vec(), index, hashes, note: note.clone() };
        made.verify(keys).map_err(wrong)?;
        Ok(made)
    }

    /// Verifies the proof, of its own bytes alone.
    ///
    /// # Errors
    /// Nothing is proved.
    pub fn verify<'k>(&self, keys: &'k [VerifierKey]) -> Result<Proved<'k>, Untrue> {
        let (checkpoint, key) = Checkpoint::open(&self.note, keys).map_err(Untrue::Checkpoint)?;
        let head: Head<'_> = serde_json::from_slice(&self.line).map_err(|_| Untrue::Record)?;
        // The line of a number that never counted is no record, so it is refused too.
        if head.seq.checked_sub(1) != Some(self.index) {
            return Err(Untrue::Record);
        }
        // Of a tombstone only the leaf is proved: it must not say anything else.
        if head.tombstone().is_some_and(|leaf| self.line != tombstone_line(head.seq, leaf).as_bytes()) {
            return Err(Untrue::Record);
        }
        let leaf = leaf_of(&self.line, &head);
        verify_inclusion(leaf, self.index, checkpoint.size, checkpoint.root, &self.hashes).map_err(Untrue::Proof)?;
        Ok(Proved { seq: head.seq, erased: head.tombstone().is_some(), checkpoint, key })
    }

    /// Reads one proof, of exactly the form that [`fmt::Display`] gives it.
    ///
    /// # Errors
    /// The first line that is not of the form.
    pub fn parse(text: &str) -> Result<Self, Untrue> {
        let (head, note) = text.split_once("\n\n").ok_or(Untrue::Form(1))?;
        let mut lines = (1..).zip(head.split('\n'));
        let mut next = || lines.next().ok_or(Untrue::Form(1));
        if next()?.1 != PROOF_LINE {
            return Err(Untrue::Form(1));
        }
        let (number, extra) = next()?;
        let line = extra.strip_prefix("extra ").and_then(|line| STANDARD.decode(line).ok());
        let line = line.filter(|line| line.len() <= LINE_BYTES_MAX).ok_or(Untrue::Form(number))?;
        let (number, index) = next()?;
        let index = index.strip_prefix("index ").and_then(canonical).ok_or(Untrue::Form(number))?;
        // No proof of a tree that can be counted is longer.
        let hash = |(number, text)| match Hash::from_base64(text) {
            Ok(hash) if number <= 3 + 64 => Ok(hash),
            _ => Err(Untrue::Form(number)),
        };
        let hashes = lines.map(hash).collect::<Result<_, _>>()?;
        Ok(Self { line, index, hashes, note: Note::parse(note).map_err(Untrue::Note)? })
    }
}

/// A number in its one spelling.
fn canonical(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{PROOF_LINE}\nextra {}\nindex {}", STANDARD.encode(&self.line), self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", hash.to_base64()))?;
        write!(f, "\n{}", self.note)
    }
}

/// The proofs in a text: one, or several of which each begins with [`PROOF_LINE`], after an empty line.
pub fn proofs(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        let separator = "\n\nc2sp.org/tlog-proof@v1\n";
        let Some(at) = text.find(separator) else { return Some(text) };
        // The first line feed ends the proof before, the second is the empty line.
        let (proof, next) = (text.get(..=at)?, text.get(at + 2..)?);
        rest = Some(next);
        Some(proof)
    })
}
