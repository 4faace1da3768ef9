//! What the files of a configuration hold, as far as one can tell by it whether they have changed. Secrets are kept as
//! hashes with a key of this process's own, and never told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};

use super::Named;
use crate::config::problem::Problem;
use crate::config::{Loaded, hex, read};

/// Most bytes of a file, or of all files of a folder: as much as anything that a configuration names may have.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most rules of a folder: twice as many as a policy may have.
const FILES_MAX: usize = 512;

/// The key of the hashes of one process: nobody outside can search for a secret by one of them.
#[derive(Clone)]
pub struct Salt([u8; 32]);

impl Salt {
    /// A new one.
    pub fn random() -> Self {
        let mut key = [0_u8; 32];
        // Without randomness hashes tell changes all the same, and they do not leave the process.
        let _ = aws_lc_rs::rand::fill(&mut key);
        Self(key)
    }
}

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt(REDACTED)")
    }
}

/// What a configuration and the files that it names held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// SHA-256 of the configuration's file, in hex; empty where it cannot be read.
    file: String,
    named: BTreeMap<PathBuf, Print>,
    hash: String,
}

/// What one file held.
#[derive(Clone, PartialEq, Eq)]
enum Print {
    Hash([u8; 32]),
    /// Nothing, and why.
    Missing(&'static str),
}

impl std::fmt::Debug for Print {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hash(_) => f.write_str("Hash"),
            Self::Missing(why) => f.debug_tuple("Missing").field(why).finish(),
        }
    }
}

impl Contents {
    /// Of a configuration that was loaded: of its file what was read then, of the others what they hold now. Blocks on the
    /// file system.
    pub fn of(loaded: &Loaded, salt: &Salt) -> Self {
        Self::holding(loaded.hash.clone(), &loaded.named(), salt)
    }

    /// Of a configuration's file and these files now. Blocks on the file system.
    pub fn now(file: &Path, named: &[Named], salt: &Salt) -> Self {
        let file = read(file).map(|text| crate::config::hash(text.as_bytes()));
        Self::holding(file.unwrap_or_default(), named, salt)
    }

    /// Of a configuration's file by the SHA-256 of what was read of it, in hex, and of these files now. Blocks on the file
    /// system.
    pub fn holding(file: String, named: &[Named], salt: &Salt) -> Self {
        let mut prints = BTreeMap::new();
        let mut public = Context::new(&SHA256);
        public.update(file.as_bytes());
        for named in named {
            let held = if named.folder { folder(&named.path) } else { bytes(&named.path, BYTES_MAX) };
            if !named.secret && !named.start_only {
                let held = held.as_deref().unwrap_or_default();
                public.update(named.key.as_bytes());
                public.update(&(held.len() as u64).to_be_bytes());
                public.update(held);
            }
            let print = match held {
                Ok(held) => Print::Hash(*blake3::keyed_hash(&salt.0, &held).as_bytes()),
                Err(error) => Print::Missing(cause(&error)),
            };
            prints.insert(named.path.clone(), print);
        }
        Self { file, named: prints, hash: hex(public.finish().as_ref()) }
    }

    /// SHA-256, in hex, of the configuration's file and of every file that it names but those that hold secrets and those
    /// that are read at a start only. Replicas with the same files have the same.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Which of the files held something else before, or nothing.
    pub fn changed(&self, before: &Self) -> BTreeSet<PathBuf> {
        let differs = |(path, print): &(&PathBuf, &Print)| before.named.get(*path) != Some(print);
        self.named.iter().filter(differs).map(|(path, _)| path.clone()).collect()
    }

    /// What cannot be read of what is needed while running; by key, with nothing of a secret.
    pub fn problems(&self, named: &[Named]) -> Vec<Problem> {
        let missing = |named: &Named| match self.named.get(&named.path) {
            Some(Print::Missing(why)) if !named.start_only => {
                let name =
                    if named.secret { "the file that it names".to_owned() } else { named.path.display().to_string() };
                Some(Problem::error(named.key.clone(), format!("{name}: {why}"), ""))
            }
            _ => None,
        };
        named.iter().filter_map(missing).collect()
    }
}

/// All of a file. A pipe would keep us waiting for a writer, so nothing but a regular file is opened.
fn bytes(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge));
    }
    Ok(bytes)
}

/// All rules of a folder, by name, each with its length before it: what the policy reads there, and nothing else, or a note
/// beside them could hide every change. Hidden ones are an editor's, or Kubernetes' own.
fn folder(path: &Path) -> io::Result<Vec<u8>> {
    // Read through one generation of a Kubernetes volume, as whoever reads it for use does.
    let path = fs::canonicalize(path.join("..data")).unwrap_or_else(|_| path.to_owned());
    let mut names = Vec::new();
    for entry in fs::read_dir(&path)? {
        let name = entry?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".cedar") && !bytes.starts_with(b".") {
            names.push(name);
        }
        if names.len() > FILES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
    }
    names.sort();
    let mut all = Vec::new();
    for name in names {
        let file = path.join(&name);
        if !fs::metadata(&file)?.is_file() {
            continue;
        }
        let left = BYTES_MAX.saturating_sub(all.len() as u64);
        let held = bytes(&file, left)?;
        for part in [name.as_encoded_bytes(), &held] {
            all.extend((part.len() as u64).to_be_bytes());
            all.extend(part);
        }
    }
    Ok(all)
}

fn cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "it is not there",
        io::ErrorKind::PermissionDenied => "this user may not read it",
        io::ErrorKind::InvalidInput => "not a regular file",
        io::ErrorKind::FileTooLarge => "larger than 4 MiB, or more than 512 rules",
        _ => "cannot be read",
    }
}
