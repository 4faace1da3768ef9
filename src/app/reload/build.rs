//! From files to everything that is to be put in force, or to a reason against it. It blocks on the file system and changes
//! nothing outside.

use std::path::Path;
use std::sync::Arc;

use crate::app::StartError;
use crate::app::parts::{Ground, Parts, Touched};
use crate::authn::KeysError;
use crate::config::{Contents, Errors, Loaded, Named, Salt, Source};
use crate::{audit, policy, serve};

/// How often files that change while they are read are read once more.
const READS_MAX: usize = 3;
/// What is told of files that changed during each of these readings.
const UNSTEADY: &str = "its files changed while they were read, three times in a row: write them whole, by renaming";

/// What is to be built, and what is in force.
pub(super) struct Order {
    pub(super) source: Source,
    pub(super) salt: Salt,
    pub(super) before: Arc<Loaded>,
    pub(super) contents: Contents,
    pub(super) parts: Arc<Parts>,
    pub(super) ground: Ground,
}

/// All that is to be put in force.
pub(super) struct Built {
    pub(super) loaded: Loaded,
    pub(super) contents: Contents,
    pub(super) parts: Parts,
    pub(super) server: serve::InForce,
}

/// Why nothing is.
#[derive(Debug)]
pub(super) struct Refusal {
    /// On one line, for the record; nothing of a secret.
    pub(super) reason: String,
    /// The same for people, on several.
    pub(super) told: String,
    /// Of the refused configuration's file and the files that it names.
    pub(super) hash: String,
    /// What the files held that it is about.
    pub(super) seen: Contents,
    /// These files.
    pub(super) watched: Vec<Named>,
    /// Whether it can be otherwise though no file changes.
    pub(super) may_pass: bool,
}

impl Order {
    /// Reads everything, and once more where a file has changed meanwhile.
    pub(super) fn build(&self) -> Result<Box<Built>, Box<Refusal>> {
        let read = still(&self.source, &self.before, &self.salt, |loaded, contents| self.parts(loaded, contents))?;
        let Read { loaded, contents, made: (parts, server) } = read;
        Ok(Box::new(Built { loaded, contents, parts, server }))
    }

    fn parts(&self, loaded: &Loaded, contents: &Contents) -> Result<(Parts, serve::InForce), Cause> {
        self.before.admits(loaded)?;
        readable(loaded, contents)?;
        let touched = touched(loaded, contents, &self.contents);
        let (before, config, metrics) = (&self.before.config, &loaded.config, &self.ground.metrics);
        let parts = self.parts.next(before, config, &touched, metrics)?;
        let server = parts.in_force(config, &self.ground)?;
        Ok((parts, server))
    }
}

/// A configuration, what its files held, and what was made of it.
#[derive(Debug)]
struct Read<T> {
    loaded: Loaded,
    contents: Contents,
    made: T,
}

/// Reads a configuration and has something made of it, until that is made of what the files still hold afterwards: no half
/// of one state and half of another counts, neither as good nor as refused.
fn still<T>(
    source: &Source,
    before: &Loaded,
    salt: &Salt,
    make: impl Fn(&Loaded, &Contents) -> Result<T, Cause>,
) -> Result<Read<T>, Box<Refusal>> {
    let mut judged = Judged::once(source, before, salt, &make);
    for _ in 1..READS_MAX {
        if judged.is_still_so(source, salt) {
            return judged.result();
        }
        judged = Judged::once(source, before, salt, &make);
    }
    if judged.is_still_so(source, salt) { judged.result() } else { Err(judged.unsteady()) }
}

/// What was made of a configuration, or what is wrong with it.
struct Judged<T> {
    made: Result<Read<T>, Cause>,
    /// What is told of it.
    hash: String,
    /// What the files held before anything was made of them: what changes later differs from it.
    seen: Contents,
    /// These files: of what is in force and of this, as either can be mended.
    watched: Vec<Named>,
    /// What was judged by is what was seen.
    steady: bool,
}

impl<T> Judged<T> {
    fn once(
        source: &Source,
        before: &Loaded,
        salt: &Salt,
        make: impl Fn(&Loaded, &Contents) -> Result<T, Cause>,
    ) -> Self {
        let loaded = match source.read() {
            Ok(loaded) => loaded,
            Err((errors, file)) => {
                let watched = before.named();
                // Nobody knows which files it would name.
                let hash = Contents::holding(file.clone(), &[], salt).hash().to_owned();
                let seen = Contents::holding(file, &watched, salt);
                return Self { made: Err(Cause::Errors(errors)), hash, seen, watched, steady: true };
            }
        };
        let mut watched = loaded.named();
        let others = before.named().into_iter().filter(|named| watched.iter().all(|other| other.path != named.path));
        let others: Vec<_> = others.collect();
        watched.extend(others);
        let seen = Contents::holding(loaded.hash.clone(), &watched, salt);
        let contents = Contents::of(&loaded, salt);
        let (hash, steady) = (contents.hash().to_owned(), contents.changed(&seen).is_empty());
        let made = make(&loaded, &contents);
        Self { made: made.map(|made| Read { loaded, contents, made }), hash, seen, watched, steady }
    }

    fn is_still_so(&self, source: &Source, salt: &Salt) -> bool {
        self.steady && Contents::now(source.path(), &self.watched, salt) == self.seen
    }

    fn result(self) -> Result<Read<T>, Box<Refusal>> {
        let Self { made, hash, seen, watched, .. } = self;
        made.map_err(|cause| {
            let may_pass = cause.may_pass();
            let (reason, told) = cause.told();
            Box::new(Refusal { reason, told, hash, seen, watched, may_pass })
        })
    }

    /// Of files that changed during each reading. The next look finds them changed, or the same again in a while.
    fn unsteady(self) -> Box<Refusal> {
        let Self { made, hash, seen, watched, .. } = self;
        let (reason, told) = made.err().map_or_else(
            || (UNSTEADY.to_owned(), UNSTEADY.to_owned()),
            |cause| {
                let (reason, told) = cause.told();
                (format!("{reason}; {UNSTEADY}"), format!("{told}\n{UNSTEADY}"))
            },
        );
        Box::new(Refusal { reason, told, hash, seen, watched, may_pass: true })
    }
}

/// What can be wrong.
#[derive(Debug)]
enum Cause {
    Errors(Errors),
    Start(StartError),
}

impl From<Errors> for Cause {
    fn from(errors: Errors) -> Self {
        Self::Errors(errors)
    }
}

impl From<StartError> for Cause {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

impl Cause {
    /// Whether it can be otherwise though no file changes: where something could not be read. What the files hold was seen
    /// apart from that, and accounts are not watched at all.
    fn may_pass(&self) -> bool {
        match self {
            // What is unreadable of these is seen as such, and again when it can be read.
            Self::Errors(_) => false,
            // It lists its causes, and has no chain of them.
            Self::Start(StartError::Policy(error)) => {
                error.problems().iter().any(|problem| matches!(problem.cause, policy::Cause::Unreadable(_)))
            }
            Self::Start(error) => {
                let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| cause.source());
                causes.into_iter().any(<dyn std::error::Error>::is::<std::io::Error>)
            }
        }
    }

    /// On one line for the record, and for people.
    fn told(&self) -> (String, String) {
        match self {
            Self::Errors(errors) => {
                let problems: Vec<_> = errors.problems.iter().map(ToString::to_string).collect();
                (problems.join("; "), errors.to_string())
            }
            Self::Start(error) => (chain(error), chain(error)),
        }
    }
}

impl Built {
    /// No record of it: nothing may be decided by what no record tells of.
    pub(super) fn without_record(self, error: audit::Error) -> Refusal {
        self.refused(format!("config.loaded cannot be recorded: {error}"))
    }

    /// New issuers whose keys do not come: their tokens would get 503, and the process would not be ready.
    pub(super) fn without_keys(self, missing: &[(String, KeysError)]) -> Refusal {
        let told =
            missing.iter().map(|(issuer, error)| format!("the keys of issuer {issuer} do not come: {}", chain(error)));
        let reason = told.collect::<Vec<_>>().join("; ");
        self.refused(reason)
    }

    /// For what may pass.
    fn refused(self, reason: String) -> Refusal {
        let (hash, seen, watched) = (self.contents.hash().to_owned(), self.contents, self.loaded.named());
        Refusal { told: reason.clone(), reason, hash, seen, watched, may_pass: true }
    }
}

/// Refuses what names a file that is not there, by its key and line.
fn readable(loaded: &Loaded, contents: &Contents) -> Result<(), Errors> {
    let problems = contents.problems(&loaded.named());
    if problems.is_empty() {
        return Ok(());
    }
    let file = loaded.source().path().to_owned();
    Err(Errors { file, problems: problems.into_iter().map(|problem| loaded.located(problem)).collect() })
}

/// Which files of a configuration hold something else than before, or are new to it.
pub(super) fn touched(loaded: &Loaded, contents: &Contents, before: &Contents) -> Touched {
    let paths = contents.changed(before);
    let is_touched = |path: &Path| paths.contains(path);
    let keys = loaded.named().into_iter().filter(|named| is_touched(&named.path)).map(|named| named.key).collect();
    Touched { keys, paths }
}

/// Keys whose files are read at a start only and hold something else since.
pub(super) fn at_next_start(loaded: &Loaded, contents: &Contents, at_start: &Contents) -> Vec<String> {
    let changed = contents.changed(at_start);
    let waits = |named: &Named| named.waits() && changed.contains(&named.path);
    loaded.named().into_iter().filter(waits).map(|named| named.key).collect()
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let told = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
