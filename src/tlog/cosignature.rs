//! Cosignatures (C2SP `tlog-cosignature`, version 1 with Ed25519): a witness's word that a log has only grown. It verifies
//! them and makes none.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use super::note::{ID_BYTES, KEY_BYTES, KeyError, Note, Signature, hex, parse_key, write_key};

/// The signature type of cosignatures with Ed25519.
const COSIGNATURE_TYPE: u8 = 4;
/// Bytes of a cosignature behind the key's id: a time and an Ed25519 signature.
const TIME_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 64;
/// The latest time that there is, in seconds since 1970.
const TIME_MAX: u64 = i64::MAX as u64;

/// A key that verifies a witness's cosignatures, as `<name>+<id, 8 hex digits>+<base64>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct WitnessKey {
    name: String,
    id: [u8; ID_BYTES],
    key: [u8; KEY_BYTES],
}

/// Why a note is not cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CosignatureError {
    /// No signature is by this key.
    #[error("it is not cosigned by this witness")]
    Missing,
    /// A signature says that it is by this key, and is of another form.
    #[error("the witness's signature is no cosignature")]
    Malformed,
    /// The key has not signed this text at this time.
    #[error("the witness's cosignature is wrong")]
    Signature,
}

impl WitnessKey {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, as 8 hex digits.
    pub fn id(&self) -> String {
        hex(self.id)
    }

    /// Whether a signature says that it is by this key. Nothing is verified.
    pub fn made(&self, signature: &Signature) -> bool {
        self.id == signature.id && self.name == signature.name
    }

    /// Verifies one signature below a checkpoint's text; says when it was made, in seconds since 1970.
    ///
    /// # Errors
    /// It is by another key, no cosignature, or over something else.
    pub fn verify(&self, text: &str, signature: &Signature) -> Result<u64, CosignatureError> {
        if !self.made(signature) {
            return Err(CosignatureError::Missing);
        }
        let (time, bytes) = signature.bytes.split_first_chunk::<TIME_BYTES>().ok_or(CosignatureError::Malformed)?;
        let time = u64::from_be_bytes(*time);
        if bytes.len() != SIGNATURE_BYTES || time > TIME_MAX {
            return Err(CosignatureError::Malformed);
        }
        let message = format!("cosignature/v1\ntime {time}\n{text}");
        let verified = UnparsedPublicKey::new(&ED25519, &self.key).verify(message.as_bytes(), bytes);
        verified.map(|()| time).map_err(|_| CosignatureError::Signature)
    }

    /// Verifies a cosigned note, which others can have signed, too; says when it was cosigned last, in seconds since 1970.
    ///
    /// # Errors
    /// It is not cosigned by this key, or any signature that says so is wrong.
    pub fn cosigned(&self, note: &Note) -> Result<u64, CosignatureError> {
        let own = note.signatures().iter().filter(|signature| self.made(signature));
        let times = own.map(|signature| self.verify(note.unverified_text(), signature));
        times.collect::<Result<Vec<_>, _>>()?.into_iter().max().ok_or(CosignatureError::Missing)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, self.id, COSIGNATURE_TYPE, &self.key)
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for WitnessKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, key) = parse_key(text, COSIGNATURE_TYPE)?;
        Ok(Self { name, id, key })
    }
}

#[cfg(test)]
mod tests;
