//! Who and which recording, as numbers that lead back to nobody: keyed hashes of the names that the audit log uses. It
//! keeps none of them.

use std::fmt;

use secrecy::zeroize::Zeroizing;

/// What the hashes are made with: of this process alone, or of all replicas that share their counts.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; 32]>);

/// No randomness is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no random numbers")]
pub struct NoRandom;

/// A person. 128 bits: no two meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectId(pub(super) u128);

/// A recording. 64 bits: among 100,000 of one person two meet once in four billion times, and count as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordingId(pub(super) u64);

impl SubjectId {
    #[cfg(test)]
    pub(crate) const fn for_test(number: u128) -> Self {
        Self(number)
    }
}

impl Key {
    /// One that nobody else has.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random() -> Result<Self, NoRandom> {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(key.as_mut_slice()).map_err(|_unspecified| NoRandom)?;
        Ok(Self(key))
    }

    /// One that others have, too.
    pub const fn shared(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    pub(super) fn subject(&self, issuer: &str, subject: &str) -> SubjectId {
        let mut wide = [0; 16];
        self.hash(b"subject", &[issuer, subject], &mut wide);
        SubjectId(u128::from_be_bytes(wide))
    }

    pub(super) fn recording(&self, reference: &str) -> RecordingId {
        let mut wide = [0; 8];
        self.hash(b"recording", &[reference], &mut wide);
        RecordingId(u64::from_be_bytes(wide))
    }

    /// Each part stands behind its length, so that no two lists of parts are one input.
    fn hash(&self, kind: &[u8], parts: &[&str], into: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        for part in std::iter::once(kind).chain(parts.iter().map(|part| part.as_bytes())) {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.finalize_xof().fill(into);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl fmt::Display for SubjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl RecordingId {
    /// Reads an id that was printed.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok().map(Self)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_number_under_one_key_and_another_under_another() {
        let (key, other) = (Key::shared(Zeroizing::new([1; 32])), Key::shared(Zeroizing::new([2; 32])));
        let all = [
            key.subject("https://a", "alice"),
            key.subject("https://b", "alice"),
            key.subject("https://aa", "lice"),
            other.subject("https://a", "alice"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(all[0], key.subject("https://a", "alice"));
        assert_eq!(format!("{key:?}"), "Key", "r17");
        let recording = key.recording("call:1");
        assert_eq!(RecordingId::parse(&recording.to_string()), Some(recording));
        assert_eq!(RecordingId::parse("zz"), None);
        let random = || Key::random().expect("a key").recording("call:1");
        assert_ne!(random(), random());
    }
}
