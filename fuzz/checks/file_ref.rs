//! What holds for any text as a reference to a recording: a value has one spelling, and a path leads nowhere else.

use std::fmt::Display;
use std::str::FromStr;

use ccgate::cc::{
    AgentId, CallId, ChatDate, FileName, FilePath, FileRef, FileType, LocationId, Owner, Uuid, ZoneOffset,
};

/// The input is a list of values, one on a line; each is read as every kind of value. Says whether one is a path.
pub fn check(data: &[u8]) -> bool {
    let mut taken = false;
    for line in data.split(|byte| *byte == b'\n').take(32) {
        let Ok(text) = std::str::from_utf8(line) else { continue };
        one_spelling::<AgentId>(text);
        one_spelling::<CallId>(text);
        one_spelling::<FileType>(text);
        one_spelling::<LocationId>(text);
        one_spelling::<FileName>(text);
        one_spelling::<ZoneOffset>(text);
        one_spelling::<ChatDate>(text);
        one_spelling::<Uuid>(text);
        if let Ok(uuid) = Uuid::any_case(text) {
            assert_eq!(uuid.as_str(), text.to_ascii_lowercase());
        }
        if let Ok(name) = text.parse::<FileName>() {
            assert!(!name.as_str().contains(['/', '\\', ':']) && !name.as_str().starts_with('.'), "{text:?}");
        }
        if let Ok(id) = text.parse::<CallId>() {
            // A day, or none; the check is that no number overflows.
            let _ = id.date();
        }
        if let Ok(path) = text.parse::<FilePath>() {
            check_path(text, &path);
            taken = true;
        }
    }
    taken
}

/// What is read prints as it was written.
fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

fn check_path(text: &str, path: &FilePath) {
    let canonical = path.as_str();
    assert_eq!(canonical.parse::<FilePath>().as_ref(), Ok(path), "the canonical form is read as the same path");
    for alias in [
        text.replace('/', "\\"),
        text.replace('\\', "/"),
        swap_case(text.get(..1).unwrap_or_default()) + text.get(1..).unwrap_or_default(),
    ] {
        assert_eq!(alias.parse::<FilePath>().as_ref(), Ok(path), "{alias:?} is another spelling of {text:?}");
    }
    let (drive, rest) = canonical.split_once(":/").expect("a drive");
    assert!(drive.len() == 1 && drive.bytes().all(|byte| byte.is_ascii_uppercase()), "{canonical}");
    for part in rest.split('/') {
        assert!(!part.is_empty() && !part.starts_with('.') && !part.ends_with(['.', ' ']), "{canonical}");
        assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{canonical}");
    }
    // What is decided by stands in the path itself.
    let parts: Vec<&str> = rest.split('/').collect();
    assert!(parts.contains(&path.vdn().to_string().as_str()), "{canonical}");
    assert!(parts.contains(&path.date().strftime("%Y%m%d").to_string().as_str()), "{canonical}");
    let agent = parts.len().checked_sub(2).and_then(|at| parts[at].parse::<AgentId>().ok());
    if let Some(owner) = path.agent() {
        assert_eq!(Some(owner), agent, "{canonical}");
    }
    let file = FileRef::VideoEx { record: path.clone(), location: None };
    assert_eq!(file.owner(), path.agent().map_or(Owner::Nobody, Owner::Agent));
    assert_eq!(file.reference(), format!("file:{canonical}"));
}

fn swap_case(letter: &str) -> String {
    letter
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect()
}
