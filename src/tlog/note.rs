//! Signed notes (C2SP `signed-note`): a text and signatures over it, in a form that people can read and tools can verify.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The signature type of Ed25519 keys.
const ED25519_TYPE: u8 = 1;
/// Bytes of an Ed25519 public key.
pub(super) const KEY_BYTES: usize = 32;
/// Bytes of a key's id.
pub(super) const ID_BYTES: usize = 4;
/// Longest note that is read, in bytes: a checkpoint with a hundred signatures.
const NOTE_BYTES_MAX: usize = 64 * 1_024;
/// What a signature's line begins with: an em dash.
const SIGNED: &str = "\u{2014} ";

/// A key that signs, with its name. It can't be printed.
pub struct Signer {
    verifier: VerifierKey,
    pair: Ed25519KeyPair,
}

/// A key that verifies, as `<name>+<id, 8 hex digits>+<base64>`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    id: [u8; ID_BYTES],
    key: [u8; KEY_BYTES],
}

/// A text that ends with a line feed, and signatures over it, which nobody has verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// One line below a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub id: [u8; 4],
    /// What the key's type makes of it.
    pub bytes: Vec<u8>,
}

/// A note of which a known key has signed the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenedNote<'a> {
    /// The text, with its last line feed.
    pub text: &'a str,
    /// The key that signed it, the first where several did.
    pub key: &'a VerifierKey,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The name is empty, or has a space, a control character or a `+`.
    #[error("a key's name has 1 to 255 characters without spaces, control characters and +")]
    Name,
    /// It is no Ed25519 key in PKCS#8.
    #[error("it is no Ed25519 private key in PKCS#8")]
    Private,
    /// It is no verifier key.
    #[error("it is no verifier key of this kind: <name>+<8 hex digits>+<base64 of an Ed25519 key>")]
    Verifier,
}

/// Why a note is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It does not look like one.
    #[error("it is no signed note")]
    Malformed,
    /// No signature is by a key that is known.
    #[error("no known key has signed it")]
    KeyUnknown,
    /// A known key's signature does not fit the text.
    #[error("its signature is wrong")]
    Signature,
}

impl Signer {
    /// Takes an Ed25519 key out of PKCS#8 (DER), with or without its public half.
    ///
    /// # Errors
    /// The name or the key is not one.
    pub fn from_pkcs8(name: &str, der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| KeyError::Private)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| KeyError::Private)?;
        Ok(Self { verifier: VerifierKey::new(name, key)?, pair })
    }

    /// The key that verifies what this one signs.
    pub const fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs a text, which must end with a line feed and have no empty line.
    pub fn sign(&self, text: String) -> Note {
        let signature = self.pair.sign(text.as_bytes());
        let VerifierKey { name, id, .. } = &self.verifier;
        let signature = Signature { name: name.clone(), id: *id, bytes: signature.as_ref().to_vec() };
        Note { text, signatures: vec![signature] }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signer").field(&self.verifier).finish()
    }
}

impl VerifierKey {
    fn new(name: &str, key: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        Ok(Self { name: name.to_owned(), id: key_id(name, ED25519_TYPE, &key)?, key })
    }

    /// Its name: the log's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, as 8 hex digits.
    pub fn id(&self) -> String {
        hex(self.id)
    }

    fn made(&self, signature: &Signature) -> bool {
        self.id == signature.id && self.name == signature.name
    }

    fn verifies(&self, text: &str, signature: &Signature) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.key).verify(text.as_bytes(), &signature.bytes).is_ok()
    }
}

/// A key's id: over its name, the type of its signatures, and itself.
///
/// # Errors
/// The name is none.
pub(super) fn key_id(name: &str, kind: u8, key: &[u8; KEY_BYTES]) -> Result<[u8; ID_BYTES], KeyError> {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err(KeyError::Name);
    }
    let mut context = Context::new(&SHA256);
    context.update(name.as_bytes());
    context.update(&[b'\n', kind]);
    context.update(key);
    let mut id = [0; ID_BYTES];
    id.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
    Ok(id)
}

/// Takes a verifier key of this type apart, into name, id and key.
///
/// # Errors
/// It is none, or one of another type, or its id is not that of name and key.
pub(super) fn parse_key(text: &str, kind: u8) -> Result<(String, [u8; ID_BYTES], [u8; KEY_BYTES]), KeyError> {
    // Base64 can hold a `+`, a name cannot.
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(KeyError::Verifier);
    };
    let bytes = STANDARD.decode(key).map_err(|_| KeyError::Verifier)?;
    let (found, key) = bytes.split_first().ok_or(KeyError::Verifier)?;
    let key = key.try_into().map_err(|_| KeyError::Verifier)?;
    let own = key_id(name, kind, &key)?;
    // The id is a checksum over name and key.
    if *found == kind && hex(own) == id { Ok((name.to_owned(), own, key)) } else { Err(KeyError::Verifier) }
}

/// Writes a verifier key of this type.
pub(super) fn write_key(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    id: [u8; ID_BYTES],
    kind: u8,
    key: &[u8; KEY_BYTES],
) -> fmt::Result {
    let bytes: Vec<u8> = std::iter::once(kind).chain(*key).collect();
    write!(f, "{name}+{}+{}", hex(id), STANDARD.encode(bytes))
}

pub(super) fn hex(id: [u8; ID_BYTES]) -> String {
    format!("{:08x}", u32::from_be_bytes(id))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.name, self.id, ED25519_TYPE, &self.key)
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, id, key) = parse_key(text, ED25519_TYPE)?;
        Ok(Self { name, id, key })
    }
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// It is not one, or is longer than 64 KiB.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        let control = |c: char| c != '\n' && c.is_control();
        if note.len() > NOTE_BYTES_MAX || note.contains(control) {
            return Err(NoteError::Malformed);
        }
        let (text, lines) = note.rsplit_once("\n\n").ok_or(NoteError::Malformed)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        let signatures = lines.split('\n').map(Signature::parse).collect::<Option<Vec<_>>>();
        let signatures = signatures.filter(|found| !found.is_empty()).ok_or(NoteError::Malformed)?;
        Ok(Self { text: format!("{text}\n"), signatures })
    }

    /// The text, which nobody has verified yet.
    pub fn unverified_text(&self) -> &str {
        &self.text
    }

    /// The signatures, which nobody has verified yet.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a signature that another tool made.
    pub fn push_signature(&mut self, signature: Signature) {
        self.signatures.push(signature);
    }

    /// Verifies the text.
    ///
    /// # Errors
    /// None of `keys` has signed it, or one of them has signed something else.
    pub fn open<'a>(&'a self, keys: &'a [VerifierKey]) -> Result<OpenedNote<'a>, NoteError> {
        let mut opened = None;
        for signature in &self.signatures {
            // Two keys can share an id, so all of them are tried.
            let mut known = keys.iter().filter(|key| key.made(signature)).peekable();
            if known.peek().is_none() {
                continue;
            }
            let key = known.find(|key| key.verifies(&self.text, signature)).ok_or(NoteError::Signature)?;
            opened = opened.or(Some(OpenedNote { text: &self.text, key }));
        }
        opened.ok_or(NoteError::KeyUnknown)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

impl Signature {
    /// The key that it says it is of: `<name>+<id>`.
    pub fn key(&self) -> String {
        format!("{}+{}", self.name, hex(self.id))
    }

    /// Reads a line. `None`: it is none.
    pub fn parse(line: &str) -> Option<Self> {
        let (name, bytes) = line.strip_prefix(SIGNED)?.split_once(' ')?;
        let bytes = STANDARD.decode(bytes).ok()?;
        let (id, bytes) = bytes.split_first_chunk::<ID_BYTES>()?;
        let fits = !name.is_empty() && !name.contains(['+', ' ']) && !bytes.is_empty();
        fits.then(|| Self { name: name.to_owned(), id: *id, bytes: bytes.to_vec() })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: Vec<u8> = self.id.iter().chain(&self.bytes).copied().collect();
        write!(f, "{SIGNED}{} {}", self.name, STANDARD.encode(bytes))
    }
}
