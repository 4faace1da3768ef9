//! Looks at all accounts of a folder at once, for `ccgate check`. It tells what is wrong, never what a file holds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Error, SignIn};
use crate::cc::AgentId;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but a person should know.
    Warning,
    /// The agent can't sign in.
    Error,
}

/// One thing that is wrong with the accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Which file or folder.
    pub path: PathBuf,
    /// What is wrong, on one line, with nothing of what the file holds.
    pub what: String,
}

/// Most entries of the folder that are looked at: four times the agents that can have sessions.
const ENTRIES_MAX: usize = 40_000;

/// Tells what is missing, unreadable or malformed in the accounts of a folder, by path. Blocks on the file system.
pub fn check(dir: &Path, sign_in: SignIn) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut found = 0_usize;
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return vec![problem(Severity::Error, dir, format!("cannot be read: {error}"))],
    };
    for entry in entries.take(ENTRIES_MAX) {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => {
                problems.push(problem(Severity::Error, dir, format!("cannot be listed: {error}")));
                continue;
            }
        };
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        // `..data` and its like are how a Secret is mounted; other hidden files are nobody's account either.
        if name.starts_with('.') {
            continue;
        }
        let Some(stem) = name.strip_suffix(".yaml") else { continue };
        if let Err(error) = stem.parse::<AgentId>() {
            problems.push(problem(Severity::Warning, &path, format!("is left out, its name is {error}")));
            continue;
        }
        found += 1;
        check_one(&path, sign_in, &mut problems);
    }
    if found == 0 {
        problems.push(problem(Severity::Warning, dir, "holds no account (`<agentid>.yaml`)".to_owned()));
    }
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    problems
}

fn check_one(path: &Path, sign_in: SignIn, problems: &mut Vec<Problem>) {
    warn_of_mode(path, problems);
    match super::read_file(path, sign_in) {
        Ok(account) => {
            if account.takeover {
                let what = "takeover is on: whoever is signed in as this agent is thrown out".to_owned();
                problems.push(problem(Severity::Warning, path, what));
            }
            // `sign_in: full` is told of as an error before it comes to this.
            if account.takeover && account.phone_number.is_none() {
                let what = "takeover without phone_number: the gateway may refuse to throw anybody out".to_owned();
                problems.push(problem(Severity::Warning, path, what));
            }
        }
        Err(error) => problems.push(of_error(path, &error)),
    }
    if let Some(file) = super::password_file_of(path) {
        warn_of_mode(&file, problems);
    }
}

fn of_error(account: &Path, error: &Error) -> Problem {
    // The problem names the account; a fault in its password file names that file too.
    let what = match error {
        Error::Unreadable { path, source } if path == account => format!("cannot be read: {source}"),
        Error::Malformed { path, line: Some(line), what } if path == account => format!("line {line}: {what}"),
        Error::Malformed { path, line: None, what } if path == account => (*what).to_owned(),
        Error::Unreadable { source, .. } => format!("{error}: {source}"),
        Error::Missing(_) | Error::Malformed { .. } => error.to_string(),
    };
    problem(Severity::Error, account, what)
}

fn warn_of_mode(path: &Path, problems: &mut Vec<Problem>) {
    // A file that can't be looked at is told of by reading it.
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.permissions().mode() & 0o004 != 0 {
        let what = "everybody on this machine can read it; take the right from others (mode 0640)".to_owned();
        problems.push(problem(Severity::Warning, path, what));
    }
}

fn problem(severity: Severity, path: &Path, what: String) -> Problem {
    Problem { severity, path: path.to_owned(), what }
}
