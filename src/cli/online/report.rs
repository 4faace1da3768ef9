//! What `check --online` found, one line each, as it comes. It asks nobody.

use std::io::{self, Write};

use crate::cli::Exit;

/// How an answer is to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grade {
    Ok,
    Warning,
    Problem,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    grade: Grade,
    key: String,
    what: String,
    next: String,
}

impl Finding {
    pub(super) fn ok(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, key: key.into(), what: what.into(), next: String::new() }
    }

    pub(super) fn warning(key: impl Into<String>, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, key: key.into(), what: what.into(), next: next.into() }
    }

    pub(super) fn problem(key: impl Into<String>, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { grade: Grade::Problem, key: key.into(), what: what.into(), next: next.into() }
    }

    pub(super) const fn is_ok(&self) -> bool {
        matches!(self.grade, Grade::Ok)
    }
}

/// The line without its indent: `problem  sessions.keep_alive: what is seen; what to do`.
impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let grade = match self.grade {
            Grade::Ok => "ok",
            Grade::Warning => "warning",
            Grade::Problem => "problem",
        };
        write!(f, "{grade:<8} {}: {}", self.key, self.what)?;
        if self.next.is_empty() { Ok(()) } else { write!(f, "; {}", self.next) }
    }
}

/// Tells findings and counts them.
pub(super) struct Report<'a> {
    out: &'a mut dyn Write,
    problems: usize,
    warnings: usize,
}

impl<'a> Report<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, problems: 0, warnings: 0 }
    }

    /// Prints at once: the next answer may take its time.
    pub(super) fn tell(&mut self, finding: &Finding) -> io::Result<()> {
        match finding.grade {
            Grade::Ok => {}
            Grade::Warning => self.warnings += 1,
            Grade::Problem => self.problems += 1,
        }
        writeln!(self.out, "  {finding}")?;
        self.out.flush()
    }

    /// The last line, and what the process ends with.
    pub(super) fn end(self) -> io::Result<Exit> {
        let plural = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        match (self.problems, self.warnings) {
            (0, 0) => writeln!(self.out, "online: good")?,
            (0, warnings) => writeln!(self.out, "online: good, {}", plural(warnings, "warning"))?,
            (problems, _) => writeln!(self.out, "online: {}", plural(problems, "problem"))?,
        }
        Ok(if self.problems == 0 { Exit::Ok } else { Exit::Failed })
    }
}

/// An error with its causes, on one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some libraries print their cause as well as handing it out.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
