//! From files to everything that is to be put in force, or to a reason against it. It blocks on the file system and changes
//! nothing outside.

use std::path::Path;
use std::sync::Arc;

use crate::app::StartError;
use crate::app::parts::{Ground, Parts, Touched};
use crate::authn::KeysError;
use crate::config::{Contents, Errors, Loaded, Named, Salt, Source};
use crate::serve;

/// How often files that change while they are read are read once more.
const READS_MAX: usize = 3;

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
pub(super) struct Refusal {
    /// On one line, for the record; nothing of a secret.
    pub(super) reason: String,
    /// The same for people, on several.
    pub(super) told: String,
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
        let mut built = self.once()?;
        for _ in 1..READS_MAX {
            if Contents::now(self.source.path(), &built.loaded.named(), &self.salt) == built.contents {
                return Ok(built);
            }
            built = self.once()?;
        }
        // What was missed is seen at the next look.
        Ok(built)
    }

    fn once(&self) -> Result<Box<Built>, Box<Refusal>> {
        let loaded = match self.source.read() {
            Ok(loaded) => loaded,
            Err((errors, file)) => {
                let watched = self.before.named();
                let seen = Contents::holding(file, &watched, &self.salt);
                return Err(Box::new(Refusal::of_errors(&errors, seen, watched)));
            }
        };
        // Before anything is made of the files: what changes later is seen at the next look.
        let contents = Contents::of(&loaded, &self.salt);
        match self.parts(&loaded, &contents) {
            Ok((parts, server)) => Ok(Box::new(Built { loaded, contents, parts, server })),
            Err(cause) => {
                let (seen, watched) = self.watch(&loaded);
                Err(Box::new(match cause {
                    Cause::Errors(errors) => Refusal::of_errors(&errors, seen, watched),
                    Cause::Start(error) => Refusal::of_error(&error, seen, watched),
                }))
            }
        }
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

    /// The files of what is in force and of what is refused: either can be mended.
    fn watch(&self, refused: &Loaded) -> (Contents, Vec<Named>) {
        let mut watched = refused.named();
        let others =
            self.before.named().into_iter().filter(|named| watched.iter().all(|other| other.path != named.path));
        let others: Vec<_> = others.collect();
        watched.extend(others);
        (Contents::holding(refused.hash.clone(), &watched, &self.salt), watched)
    }
}

/// What can be wrong.
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

impl Refusal {
    fn of_errors(errors: &Errors, seen: Contents, watched: Vec<Named>) -> Self {
        let problems: Vec<_> = errors.problems.iter().map(ToString::to_string).collect();
        Self { reason: problems.join("; "), told: errors.to_string(), seen, watched, may_pass: false }
    }

    fn of_error(error: &StartError, seen: Contents, watched: Vec<Named>) -> Self {
        let reason = chain(error);
        Self { told: reason.clone(), reason, seen, watched, may_pass: false }
    }
}

impl Built {
    /// New issuers whose keys do not come: their tokens would get 503, and the process would not be ready.
    pub(super) fn without_keys(self, missing: &[(String, KeysError)]) -> Refusal {
        let told =
            missing.iter().map(|(issuer, error)| format!("the keys of issuer {issuer} do not come: {}", chain(error)));
        let reason = told.collect::<Vec<_>>().join("; ");
        let (seen, watched) = (self.contents, self.loaded.named());
        Refusal { told: reason.clone(), reason, seen, watched, may_pass: true }
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
    let waits = |named: &Named| named.start_only && changed.contains(&named.path);
    loaded.named().into_iter().filter(waits).map(|named| named.key).collect()
}

/// An error with its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let told = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}
