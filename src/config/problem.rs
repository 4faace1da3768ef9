//! What is wrong in a configuration, told to the person who wrote it. A problem never holds a secret: values of keys that
//! name secrets' files, and whatever looks like one, are not shown.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file as a whole.
    File,
    /// On a line of the file, counted from 1.
    Line(u64),
    /// In an environment variable of this name.
    Variable(Arc<str>),
    /// With `--set` on the command line.
    Flag,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// ccgate does not start.
    Error,
    /// ccgate starts; a person should look at it.
    Warning,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where the value was written.
    pub origin: Origin,
    /// Path of the key, as in `upstream.url` or `auth.issuers[0].issuer`; empty for the file as a whole.
    pub path: String,
    /// What is wrong: the value where it may be shown, and the bound that it breaks.
    pub what: String,
    /// The next step; may be empty.
    pub next: String,
}

impl Problem {
    /// An error at a key; its origin is filled in by whoever knows the file.
    pub(super) fn error(path: impl Into<String>, what: impl Into<String>, next: impl Into<String>) -> Self {
        let (path, what, next) = (path.into(), what.into(), next.into());
        Self { severity: Severity::Error, origin: Origin::File, path, what, next }
    }

    /// The same as a warning.
    pub(super) fn warning(path: impl Into<String>, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, what, next) }
    }

    /// The same, written there.
    pub(super) fn at(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(line) => write!(f, "line {line}"),
            // The system lets any character into a name, the control of a terminal included.
            Self::Variable(name) => f.write_str(&shown_key(name)),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// One line: `line 4: upstream.url: what is wrong; what to do`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if self.origin != Origin::File {
            write!(f, "{}: ", self.origin)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.what)?;
        if !self.next.is_empty() {
            write!(f, "; {}", self.next)?;
        }
        Ok(())
    }
}

/// Everything that is wrong in a configuration, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    /// The file.
    pub file: PathBuf,
    /// What is wrong in it; never empty.
    pub problems: Vec<Problem>,
}

impl Errors {
    /// One error about the file as a whole.
    pub(super) fn one(file: &Path, problem: Problem) -> Self {
        Self { file: file.to_owned(), problems: vec![problem] }
    }
}

/// The file and one line for each problem.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        write!(f, "{}: {count} problem{}", self.file.display(), if count == 1 { "" } else { "s" })?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Errors {}

/// Longest value or key that is shown, in characters as it is printed.
const SHOWN_MAX: usize = 80;

/// A value as a problem may show it: short, on one line, and nothing that looks like a secret (user info or query of
/// a URL, a token, a key).
pub(super) fn shown(value: &str) -> String {
    match short(value) {
        _ if looks_secret(value) => "the value (not shown: it may hold a secret)".to_owned(),
        Ok(shown) => format!("\"{shown}\""),
        Err(length) => format!("the value (not shown: {length} characters)"),
    }
}

/// A key as a problem may show it: a secret can be pasted where a key belongs.
pub(super) fn shown_key(key: &str) -> String {
    match short(key) {
        _ if looks_secret(key) => "(a key that may hold a secret)".to_owned(),
        Ok(shown) => shown,
        Err(length) => format!("(a key of {length} characters)"),
    }
}

/// The text as it can be shown, or how long it is where that is too long.
fn short(text: &str) -> Result<String, usize> {
    let shown = escaped(text);
    if shown.chars().count() > SHOWN_MAX { Err(text.chars().count()) } else { Ok(shown) }
}

/// Whether a text looks like a URL with user info or a query, a token, or a key. The name of a variable has lost its capitals
/// by then.
pub(super) fn looks_secret(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["@", "?", "-----", "eyj"].iter().any(|mark| text.contains(mark))
}

/// One line of text that moves no cursor.
fn escaped(text: &str) -> String {
    let plain = |char: char| !char.is_control() && !matches!(char, '\u{2028}' | '\u{2029}');
    text.chars().flat_map(|char| if plain(char) { vec![char] } else { char.escape_default().collect() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r17_values_that_look_like_secrets_are_not_shown() {
        for secret in [
            "https://me:hunter2@host",
            "https://h/?key=hunter2",
            "-----BEGIN PRIVATE KEY-----",
            "eyJhbGciOi",
            "eyjhbgcioi",
            &"a".repeat(81),
        ] {
            assert!(!shown(secret).contains(secret), "{secret}");
            assert!(!shown_key(secret).contains(secret), "{secret}");
        }
        assert_eq!(shown("30 s"), "\"30 s\"");
    }

    #[test]
    fn r16_a_value_stays_on_its_line() {
        assert_eq!(shown("a\nb\u{1b}[1m\u{2028}"), "\"a\\nb\\u{1b}[1m\\u{2028}\"");
        assert_eq!(shown_key("a\r"), "a\\r");
        assert_eq!(shown_key(&"\u{18}".repeat(60)), "(a key of 60 characters)");
        assert_eq!(Origin::Variable("CCGATE_A__\u{1b}[2J".into()).to_string(), "CCGATE_A__\\u{1b}[2J");
    }
}
