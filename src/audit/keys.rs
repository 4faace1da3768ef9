//! The key that signs the log, its name, and the keys that signed it before.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::Config;
use super::segment::Storage;
use super::start_error::StartError;
use crate::tlog::{Checkpoint, KeyError, Note, Signer, VerifierKey};
use crate::trail::{CHECKPOINT_FILE, KEYS_FILE, KeysError, read_keys};

/// What a name begins with that the configuration does not give.
const ORIGIN_PREFIX: &str = "ccgate.audit/";

/// The keys of a log that starts.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) signer: Arc<Signer>,
    /// Those that a checkpoint may be signed by: ours first, then those that the configuration vouches for.
    pub(super) trusted: Vec<VerifierKey>,
    /// Those that the directory lists, newest first; nobody vouches for them. `None`: no log was begun here.
    listed: Option<Vec<VerifierKey>>,
}

impl Keys {
    /// Reads the key files. The name is the configuration's, else the directory's, else a new one.
    pub(super) fn read(config: &Config) -> Result<Self, StartError> {
        let listed = match read_keys(&config.dir.join(KEYS_FILE)) {
            Ok(keys) => Some(keys),
            Err(KeysError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(StartError::Keys { source }),
        };
        let found = listed.as_ref().and_then(|keys| keys.first()).map(|key| key.name().to_owned());
        let origin = match (&config.origin, found.or_else(|| signed_origin(&config.dir))) {
            (Some(wanted), Some(found)) if *wanted != found => {
                let wanted = wanted.clone();
                return Err(StartError::OtherLog { path: config.dir.clone(), found, wanted });
            }
            (Some(wanted), _) => wanted.clone(),
            (None, Some(found)) => found,
            (None, None) => new_origin()?,
        };
        let signer = read_signer(&config.signing_key_file, &origin)?;
        let vouched = config.verifier_keys_file.as_deref().map(read_keys).transpose();
        let vouched = vouched.map_err(|source| StartError::Keys { source })?.unwrap_or_default();
        let trusted = std::iter::once(signer.verifier().clone()).chain(vouched).collect();
        Ok(Self { signer: Arc::new(signer), trusted, listed })
    }

    /// Whether a log was begun here.
    pub(super) const fn is_known_here(&self) -> bool {
        self.listed.is_some()
    }

    /// The key that signed before, where ours is another one.
    pub(super) fn replaced(&self) -> Option<&VerifierKey> {
        self.listed.as_ref()?.first().filter(|last| *last != self.signer.verifier())
    }

    /// Lists our key in the directory, before the older ones.
    pub(super) fn list(&self, storage: &mut impl Storage) -> io::Result<()> {
        if self.is_known_here() && self.replaced().is_none() {
            return Ok(());
        }
        let ours = self.signer.verifier();
        let older = self.listed.iter().flatten().filter(|key| *key != ours);
        let text: String = std::iter::once(ours).chain(older).fold(String::new(), |text, key| format!("{text}{key}\n"));
        super::notary::put(storage, Path::new(KEYS_FILE), text.as_bytes(), true)?;
        storage.sync_names()
    }
}

/// Reads an Ed25519 key in PKCS#8, PEM.
fn read_signer(path: &Path, origin: &str) -> Result<Signer, StartError> {
    let failed = |source| StartError::SigningKeyUnread { path: path.to_path_buf(), source };
    let wrong = |source| StartError::SigningKey { path: path.to_path_buf(), source };
    let pem = zeroize_on_drop(fs::read(path).map_err(failed)?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| wrong(KeyError::Private))?;
    Signer::from_pkcs8(origin, key.secret_pkcs8_der()).map_err(wrong)
}

/// The file's bytes are a secret as much as what they are read into.
fn zeroize_on_drop(bytes: Vec<u8>) -> secrecy::zeroize::Zeroizing<Vec<u8>> {
    bytes.into()
}

/// The name in the newest checkpoint, which nobody has verified: by another key it will not be taken.
fn signed_origin(dir: &Path) -> Option<String> {
    let note = Note::parse(&fs::read_to_string(dir.join(CHECKPOINT_FILE)).ok()?).ok()?;
    Checkpoint::parse(note.unverified_text()).map(|checkpoint| checkpoint.origin)
}

fn new_origin() -> Result<String, StartError> {
    let mut bytes = [0; 8];
    let failed = |_unspecified| StartError::Random;
    aws_lc_rs::rand::fill(&mut bytes).map_err(failed)?;
    Ok(format!("{ORIGIN_PREFIX}{:016x}", u64::from_be_bytes(bytes)))
}
