//! Reads policy files, whole and bounded. It knows nothing of what stands in them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::error::{Cause, Problem};

/// Most policy text, all files together. The built-in rules have 2 KiB.
pub(super) const POLICY_BYTES_MAX: u64 = 1 << 20;

/// Longest entities file: some 500,000 agents in teams.
pub(super) const ENTITIES_BYTES_MAX: u64 = 4 << 20;

/// Most policy files; there can be no more rules than this either.
pub(super) const FILES_MAX: usize = 256;

/// One policy file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Its name without the directory.
    pub(super) name: Arc<str>,
    /// All of its text.
    pub(super) text: Arc<str>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str) -> Self {
        Self { name: Arc::from(name), text: Arc::from(text) }
    }
}

/// Reads every `*.cedar` of a directory, in the order of names. Names with a leading dot are an editor's, not a policy's.
pub(super) fn read_dir(dir: &Path) -> Result<Vec<Source>, Vec<Problem>> {
    let shown = dir.display().to_string();
    let whole = |cause| vec![Problem::of_file(&shown, cause)];
    let dir = generation(dir);
    let names = names(&dir).map_err(&whole)?;
    if names.is_empty() {
        return Err(whole(Cause::NoFiles));
    }
    if names.len() > FILES_MAX {
        return Err(whole(Cause::TooMany { what: "files", max: FILES_MAX }));
    }
    let (mut sources, mut problems, mut left) = (Vec::new(), Vec::new(), POLICY_BYTES_MAX);
    for name in names {
        match read_bounded(&dir.join(&name), left) {
            Ok(Some(text)) => {
                left = left.saturating_sub(text.len() as u64);
                sources.push(Source::new(&name, &text));
            }
            Ok(None) => problems.push(Problem::of_file(&name, Cause::TooLarge { bytes_max: POLICY_BYTES_MAX })),
            Err(cause) => problems.push(Problem::of_file(&name, cause)),
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

/// Reads the entities file.
pub(super) fn read_entities(path: &Path) -> Result<Source, Vec<Problem>> {
    let name = path.display().to_string();
    let text = match read_bounded(path, ENTITIES_BYTES_MAX) {
        Ok(Some(text)) => text,
        Ok(None) => {
            return Err(vec![Problem::of_file(&name, Cause::TooLarge { bytes_max: ENTITIES_BYTES_MAX })]);
        }
        Err(cause) => return Err(vec![Problem::of_file(&name, cause)]),
    };
    Ok(Source::new(&name, &text))
}

/// SHA-256, in hex, of all that a decision depends on: policies by name, entities, schema. Lengths stand before the
/// texts, so that no two sets of files have one hash.
pub(super) fn hash(policies: &[Source], entities: Option<&Source>, schema: &str) -> Arc<str> {
    let mut context = Context::new(&SHA256);
    let mut add = |text: &str| {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    };
    add("ccgate policy 1");
    add(schema);
    // The entities file's name is a path of this machine and decides nothing.
    add(entities.map_or("", |source| &source.text));
    for source in policies {
        add(&source.name);
        add(&source.text);
    }
    let digest = context.finish();
    hex(digest.as_ref()).into()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The directory to read from. A Kubernetes volume replaces all its files at once by pointing `..data` elsewhere; read
/// through the links one by one, and a replacement in between gives half of each.
fn generation(dir: &Path) -> PathBuf {
    fs::canonicalize(dir.join("..data")).unwrap_or_else(|_| dir.to_owned())
}

fn names(dir: &Path) -> Result<Vec<String>, Cause> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(Cause::Unreadable)? {
        let name = entry.map_err(Cause::Unreadable)?.file_name();
        let bytes = name.as_encoded_bytes();
        if bytes.ends_with(b".cedar") && !bytes.starts_with(b".") {
            names.push(name.into_string().map_err(|_| Cause::NotText)?);
        }
        // One more than is taken tells that there are too many.
        if names.len() > FILES_MAX {
            break;
        }
    }
    names.sort();
    Ok(names)
}

/// Reads a file of at most `bytes_max`; `None` where it is longer.
fn read_bounded(path: &Path, bytes_max: u64) -> Result<Option<String>, Cause> {
    // A pipe would keep the process waiting for a writer.
    if !fs::metadata(path).map_err(Cause::Unreadable)?.is_file() {
        return Err(Cause::NotAFile);
    }
    let mut text = String::new();
    let file = File::open(path).map_err(Cause::Unreadable)?;
    match file.take(bytes_max + 1).read_to_string(&mut text) {
        Ok(_) if text.len() as u64 > bytes_max => Ok(None),
        Ok(_) => Ok(Some(text)),
        // A character that the bound cuts in half is no fault of the text's.
        Err(_) if fs::metadata(path).is_ok_and(|file| file.len() > bytes_max) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Cause::NotText),
        Err(error) => Err(Cause::Unreadable(error)),
    }
}
