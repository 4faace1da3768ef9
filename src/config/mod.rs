//! The configuration: from a file, the environment and flags to checked values, or to all problems at once. It starts
//! nothing, and nothing it prints holds a secret.
//!
//! ```text
//! YAML ---> Node (values with lines) ---> Raw (fits the schema) ---> Config (parsed, rules checked) ---> check (files)
//!            tree, overrides               shape, schema, raw          parse, grammar                    files
//! ```

mod files;
mod grammar;
mod overrides;
mod parse;
mod problem;
mod raw;
mod schema;
mod sections;
mod shape;
mod tree;
mod units;

use std::io::Read as _;
use std::path::Path;

pub use files::{HeadersError, check, read_headers, read_secret};
pub use overrides::{CONFIG_VARIABLE, FILTER_VARIABLE, Overrides, parse_flag};
pub use problem::{Errors, Origin, Problem, Severity};
pub use schema::schema;
pub use sections::{
    Admin, Audit, Callback, Config, Digest, Drain, Durability, Format, KeepAlive, Level, Log, Otlp, Redis, Server,
    Sessions, Ship, SignIn, SignIns, StateFile, Store, Upstream,
};
pub use units::{Duration, Size, UnitError};

use parse::Parser;
use tree::Node;

/// Largest config file, in bytes; a `ConfigMap` can't be larger either.
const BYTES_MAX: u64 = 1024 * 1024;

/// A configuration that is good as far as its own text tells.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// SHA-256 of the file's bytes, hex; what is laid over it does not count.
    pub hash: String,
    /// What a person should look at.
    pub warnings: Vec<Problem>,
    tree: Node,
}

impl Loaded {
    /// Opens the files that the configuration names, as [`check`] does, and says on which line each problem's key stands.
    pub fn check(&self) -> Vec<Problem> {
        check(&self.config).into_iter().map(|problem| self.located(problem)).collect()
    }

    /// The refusal of a command that asks the admin plane without TLS.
    pub fn without_tls(&self, file: &Path) -> Errors {
        let next = "probe it over https, as Kubernetes' httpGet with scheme: HTTPS does";
        let problem = Problem::error("admin.tls", "this command asks without TLS", next);
        Errors::one(file, self.located(problem))
    }

    /// The same problem with the line, variable or flag where its key was written.
    pub fn located(&self, problem: Problem) -> Problem {
        let origin = self.tree.origin(&problem.path);
        problem.at(origin)
    }
}

/// Reads a config file and lays `overrides` over it. Relative names of files start from the file's own folder.
///
/// # Errors
/// All that is wrong, in the order of the file; what is wrong in its syntax comes alone, since nothing behind it is known.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Loaded, Errors> {
    let text = read(path).map_err(|problem| Errors::one(path, problem))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (config, tree, mut problems) =
        interpret(&text, folder, overrides).map_err(|problem| Errors::one(path, problem))?;
    problems.sort_by(|a, b| a.origin.cmp(&b.origin));
    let (errors, warnings): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| problem.severity == Severity::Error);
    match config {
        Some(config) if errors.is_empty() => Ok(Loaded { config, hash: hash(text.as_bytes()), warnings, tree }),
        _ => Err(Errors { file: path.to_owned(), problems: errors }),
    }
}

/// The text of a config file; at most [`BYTES_MAX`].
fn read(path: &Path) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes));
    if let Err(error) = file {
        return Err(Problem::error("", format!("cannot be read: {error}"), "name the config file with --config"));
    }
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Problem::error("", format!("larger than {BYTES_MAX} bytes"), ""));
    }
    String::from_utf8(bytes).map_err(|_| Problem::error("", "not UTF-8", "save it as UTF-8 without other encodings"))
}

/// Everything but reading the file; an error is one of syntax.
fn interpret(
    text: &str,
    folder: &Path,
    overrides: &Overrides,
) -> Result<(Option<Config>, Node, Vec<Problem>), Problem> {
    let mut tree = Node::parse(text)?;
    let mut problems = overrides.apply(&mut tree);
    let findings = shape::fit(&mut tree);
    problems.extend(findings.problems);
    let Ok(raw) = serde_json::from_value(tree.clone().into_json()) else {
        // What fits the schema can be read; a test holds it. The text of the cause could hold a value.
        return Err(Problem::error("", "not readable", "please report this, with the keys that are used"));
    };
    let mut parser = Parser { tree: &tree, dropped: &findings.dropped, folder, problems: Vec::new() };
    let config = parser.config(raw);
    problems.extend(parser.problems);
    Ok((config, tree, problems))
}

fn hash(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let digits = digest.as_ref().iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests;
