//! Why a policy is not loaded: everything that is wrong with it, at once. It never stops at the first problem.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A policy that was refused as a whole; nothing of it is in force.
#[derive(Debug, thiserror::Error)]
pub struct Error {
    problems: Vec<Problem>,
}

/// One thing that is wrong, and where. It is told whole by its `Display`: a list has no chain of causes to walk.
#[derive(Debug)]
pub struct Problem {
    /// The file's name, as it stands in the policy directory; for the directory and the entities file their path.
    pub file: Arc<str>,
    /// Where in the file; `None` where the file as a whole is meant.
    pub position: Option<Position>,
    /// What is wrong.
    pub cause: Cause,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Counted from 1.
    pub line: u64,
    /// In characters, counted from 1.
    pub column: u64,
}

/// What can be wrong with a policy.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// A file or directory can't be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// A file is not UTF-8, or its name is not.
    #[error("is not UTF-8 text")]
    NotText,
    /// A name ends in `.cedar` and is no file.
    #[error("is not a file")]
    NotAFile,
    /// More text than is taken.
    #[error("is too large: at most {bytes_max} bytes are taken")]
    TooLarge {
        /// The bound; for policies of all files together.
        bytes_max: u64,
    },
    /// The directory has no `*.cedar` file. Without rules everybody would be refused, and nobody would know why.
    #[error("holds no *.cedar file; leave policy.dir out to use the built-in rules")]
    NoFiles,
    /// The files hold no rule.
    #[error("the files hold no rule; leave policy.dir out to use the built-in rules")]
    NoRules,
    /// More files or rules than are taken.
    #[error("too many {what}: at most {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The text is not Cedar.
    #[error("{message}")]
    Syntax {
        /// The parser's message, with its advice.
        message: String,
    },
    /// Brackets within brackets, deeper than is taken.
    #[error("too deep: at most {max} brackets stand within each other")]
    TooDeep {
        /// The bound.
        max: usize,
    },
    /// A rule with more conditions than is taken.
    #[error(
        "too long: a rule has at most {max} of `.`, `&&`, `||`, `+`, `-`, `*`, `if` and clauses; compare with a set, \
             as in [..].contains(..), or write several rules"
    )]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// A rule asks for what the schema does not know, compares what can't be compared, can never hold, or misleads
    /// its reader.
    #[error("rule {rule}: {message}")]
    Invalid {
        /// The rule's name.
        rule: String,
        /// The validator's message, with its advice.
        message: String,
    },
    /// A rule with `?principal` or `?resource`: nothing would ever fill the gap in.
    #[error("templates are not used here")]
    Template,
    /// A rule has no `@id`, or one that is no name.
    #[error("each rule needs an @id of the form [a-z][a-z0-9-]{{0,63}}")]
    BadName,
    /// Two rules have one name.
    #[error("rule {name} stands in {file} already")]
    NameTaken {
        /// The name.
        name: String,
        /// Where the other one stands.
        file: Arc<str>,
    },
    /// An annotation that nothing reads, such as a misspelt `@reason`.
    #[error("@{name} is not known; a rule takes @id, @reason and @doc")]
    UnknownAnnotation {
        /// The annotation.
        name: String,
    },
    /// A `@reason` that is no reason's word.
    #[error("@reason is a word of the form [a-z][a-z0-9_]{{0,39}}, and not policy_error")]
    BadReason,
    /// A `@reason` on a rule that refuses nothing.
    #[error("@reason belongs to a forbid: a permit refuses nothing")]
    ReasonOfPermit,
    /// The entities file is not what it should be.
    #[error("{message}")]
    Entities {
        /// What is wrong, without the text.
        message: String,
    },
    /// The built-in schema is broken. A test of ccgate's own keeps it from happening.
    #[error("the built-in schema is broken: {message}")]
    Schema {
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// Takes the problems, in the order of files and lines.
    pub(super) fn new(mut problems: Vec<Problem>) -> Self {
        // The validator tells what it finds at one place in any order.
        problems.sort_by_cached_key(|problem| (Arc::clone(&problem.file), problem.position, problem.cause.to_string()));
        Self { problems }
    }

    /// Everything that is wrong, in the order of files and lines; never empty.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the policy is refused")?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl Problem {
    pub(super) fn of_file(file: &str, cause: Cause) -> Self {
        Self { file: Arc::from(file), position: None, cause }
    }
}

impl Position {
    /// The place of a byte of `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() as u64 + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() as u64 + 1;
        Self { line, column }
    }
}
