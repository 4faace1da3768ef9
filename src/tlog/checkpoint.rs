//! Checkpoints (C2SP `tlog-checkpoint`): what a log's signature is over.

use std::fmt;

use super::hash::Hash;
use super::note::{Note, NoteError, Signer, VerifierKey};

/// How large a log was, and the root of its tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: the name of its key.
    pub origin: String,
    /// Its leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// Why a note is no checkpoint of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The note itself is not taken.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its text has not the lines of a checkpoint.
    #[error("its text is no checkpoint: a line each for origin, size and root")]
    Text,
    /// The key signs for another log.
    #[error("it is a checkpoint of another log")]
    Origin,
}

impl Checkpoint {
    /// Signs it.
    pub fn sign(&self, signer: &Signer) -> Note {
        signer.sign(self.to_string())
    }

    /// Verifies a note and reads it. Lines after the third are left alone, as C2SP asks for.
    ///
    /// # Errors
    /// The note is not signed by one of `keys`, is no checkpoint, or is of a log that is not named like the key.
    pub fn open<'a>(note: &Note, keys: &'a [VerifierKey]) -> Result<(Self, &'a VerifierKey), CheckpointError> {
        let opened = note.open(keys)?;
        let checkpoint = Self::parse(opened.text).ok_or(CheckpointError::Text)?;
        if checkpoint.origin != opened.key.name() {
            return Err(CheckpointError::Origin);
        }
        // The key lives as long as the list, not as the note.
        let key = keys.iter().find(|key| *key == opened.key).ok_or(NoteError::KeyUnknown)?;
        Ok((checkpoint, key))
    }

    /// Reads a checkpoint's text. `None`: it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let number = size.parse::<u64>().ok().filter(|number| number.to_string() == size)?;
        let root = Hash::from_base64(root).ok()?;
        let fits = !origin.is_empty() && lines.all(|line| !line.is_empty());
        fits.then(|| Self { origin: origin.to_owned(), size: number, root })
    }
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root.to_base64())
    }
}
