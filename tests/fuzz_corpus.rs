//! What `make fuzz` checks for hours, checked for seconds on the toolchain of every day: each corpus is replayed, and then
//! changed a bounded number of times, in the same way at every run.
//!
//! `FUZZ_SEED=7` changes it in another way, `FUZZ_RUNS=100000` more often; a failure says how to repeat it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]
#![allow(clippy::indexing_slicing, clippy::string_slice, reason = "an index that is wrong ends the test, as it shall")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "how often, and what to do about a finding")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

#[path = "../fuzz/checks/audit_questions.rs"]
mod audit_questions;
#[path = "../fuzz/checks/audit_reader.rs"]
mod audit_reader;
#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../fuzz/checks/file_ref.rs"]
mod file_ref;
#[path = "../fuzz/checks/jwks.rs"]
mod jwks;
#[path = "../fuzz/checks/log_dir.rs"]
mod log_dir;
#[path = "../fuzz/checks/note.rs"]
mod note;
#[path = "../fuzz/checks/request.rs"]
mod request;
#[path = "../fuzz/checks/set_guid.rs"]
mod set_guid;
#[path = "../fuzz/checks/sign_in.rs"]
mod sign_in;
#[path = "../fuzz/checks/token.rs"]
mod token;

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Longest input that is made, as in `make fuzz`.
const BYTES_MAX: usize = 4_096;

/// A check, its name, how often its corpus is changed (less often where a run is dearer), and the seeds that are taken: a
/// check that refuses all of them would hold as well.
struct Target {
    name: &'static str,
    check: fn(&[u8]) -> bool,
    runs: usize,
    taken: &'static [&'static str],
}

const TARGETS: [Target; 11] = [
    Target {
        name: "audit_questions",
        check: audit_questions::check,
        runs: 150,
        taken: &[
            "all-events-1",
            "all-events-2",
            "all-events-3",
            "edited",
            "large-numbers",
            "refusals-left-out",
            "sound",
            "torn",
        ],
    },
    Target { name: "audit_reader", check: audit_reader::check, runs: 150, taken: &["cosigned", "sound"] },
    Target {
        name: "config",
        check: config::check,
        runs: 250,
        taken: &["heartbeat", "laid-over-well", "production", "reference", "smallest"],
    },
    Target {
        name: "envelope",
        check: envelope::check,
        runs: 5_000,
        taken: &["escaped-name", "event", "long-message", "msg", "number", "ok", "refusal", "twice"],
    },
    Target { name: "file_ref", check: file_ref::check, runs: 2_000, taken: &["agent-call", "messages"] },
    Target {
        name: "jwks",
        check: jwks::check,
        runs: 500,
        taken: &[
            "all-kinds",
            "off-the-curve",
            "one",
            "other-algorithm",
            "private",
            "same-kid-twice",
            "two-usable",
            "weak-rsa",
        ],
    },
    Target {
        name: "note",
        check: note::check,
        runs: 2_000,
        taken: &[
            "checkpoint",
            "consistency",
            "cosigned",
            "inclusion",
            "other-log",
            "proof",
            "proof-of-a-tombstone",
            "two-proofs",
        ],
    },
    Target {
        name: "request",
        check: request::check,
        runs: 5_000,
        taken: &[
            "chat",
            "ivr-message",
            "recording",
            "recording-ex",
            "seat-events",
            "seat-force",
            "seat-handshake",
            "seat-sign-in",
            "seat-sign-in-chunked",
            "seat-sign-out",
            "third-party-message",
            "video",
        ],
    },
    Target {
        name: "set_guid",
        check: set_guid::check,
        runs: 2_000,
        taken: &["dots", "hex", "no-node", "short-secret", "uuid"],
    },
    Target { name: "sign_in", check: sign_in::check, runs: 5_000, taken: &["all", "as-strings", "empty-password"] },
    Target { name: "token", check: token::check, runs: 1_000, taken: &["deep", "everybody", "good", "smallest"] },
];

macro_rules! replay {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            run(stringify!($name));
        }
    )*};
}

/// One test for each target, so that they run beside each other.
mod corpus {
    use super::run;

    replay!(audit_questions, audit_reader, config, envelope, file_ref, jwks, note, request, set_guid, sign_in, token);
}

#[test]
fn the_targets_of_the_package_are_those_that_are_replayed() {
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("the manifest");
    let in_package: BTreeSet<_> =
        manifest.lines().filter_map(|line| line.strip_prefix("path = \"targets/")?.strip_suffix(".rs\"")).collect();
    let here: BTreeSet<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(in_package, here);
    let corpora = fs::read_dir(folder("corpus")).expect("the corpora");
    let corpora: BTreeSet<_> = corpora.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(corpora.iter().map(String::as_str).eq(here), "{corpora:?}");
}

#[test]
fn the_corpora_stay_small() {
    let bytes: usize = TARGETS.iter().flat_map(|target| seeds(target.name)).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < 200 * 1024, "{bytes} bytes");
}

fn run(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seeds = seeds(name);
    assert!(seeds.len() >= 5, "the corpus has {} files", seeds.len());
    let mut taken = BTreeSet::new();
    for (path, bytes) in &seeds {
        if attempt(target, bytes, &path.display().to_string()) {
            taken.insert(path.file_name().unwrap().to_str().unwrap());
        }
        for part in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 3..]] {
            attempt(target, part, &format!("a part of {}", path.display()));
        }
    }
    assert_eq!(taken, target.taken.iter().copied().collect(), "the seeds of {name} that are taken");
    // What fuzzing on this machine has found, where it is named: for the figures of coverage.
    let found = std::env::var_os("FUZZ_FOUND").map(|folder| Path::new(&folder).join(name));
    for path in found.filter(|folder| folder.exists()).iter().flat_map(|folder| files(folder)) {
        attempt(target, &fs::read(&path).expect("an input"), &path.display().to_string());
    }
    let number = |name: &str| Some(std::env::var(name).ok()?.parse::<u64>().expect("a number"));
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let runs = number("FUZZ_RUNS").map_or(target.runs, |runs| usize::try_from(runs).unwrap());
    let mut changer = Changer { words: words(name), random: fastrand::Rng::with_seed(seed) };
    for run in 0..runs {
        let input = changer.change(&seeds);
        attempt(target, &input, &format!("FUZZ_SEED={seed}, run {run}"));
    }
    println!("{name}: {} seeds, {runs} changes of them (FUZZ_SEED={seed})", seeds.len());
}

/// Runs the check; an input that it does not hold for is kept where `cargo fuzz` keeps its own.
fn attempt(target: &Target, input: &[u8], what: &str) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.check)(input))).unwrap_or_else(|panic| {
        let kept = folder("artifacts").join(target.name);
        let file = kept.join(format!("test-{}", input.len()));
        let _ = fs::create_dir_all(&kept).and_then(|()| fs::write(&file, input));
        let shown = input.escape_ascii();
        let name = target.name;
        eprintln!(
            "{name} does not hold for {what}, kept in {}; as a seed: fuzz/corpus/{name}/\n{shown}",
            file.display()
        );
        std::panic::resume_unwind(panic)
    })
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

/// The corpus.
fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| (path.clone(), fs::read(path).expect("a seed"));
    files(&folder("corpus").join(name)).into_iter().map(read).collect()
}

/// A folder's files in the order of their names, so that a seed gives the same run on every machine.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder).expect("a folder").map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The words of the target's dictionary, of libFuzzer's form: `"text with \x00"`, one on a line.
fn words(name: &str) -> Vec<Vec<u8>> {
    let text = fs::read_to_string(folder("dict").join(format!("{name}.dict"))).unwrap_or_default();
    let quoted = |line: &str| Some(line.trim().strip_prefix('"')?.strip_suffix('"')?.to_owned());
    text.lines().filter_map(quoted).map(|word| unescape(&word)).collect()
}

fn unescape(word: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = word;
    while let Some((before, escaped)) = rest.split_once('\\') {
        bytes.extend(before.bytes());
        // `\x2e`, or the character itself.
        if let Some(hex) = escaped.strip_prefix('x') {
            bytes.push(u8::from_str_radix(&hex[..2], 16).expect("two hex digits"));
            rest = &hex[2..];
        } else {
            bytes.extend(escaped[..1].bytes());
            rest = &escaped[1..];
        }
    }
    bytes.extend(rest.bytes());
    bytes
}

/// Makes inputs out of seeds, one after the other, always the same.
struct Changer {
    words: Vec<Vec<u8>>,
    random: fastrand::Rng,
}

impl Changer {
    fn change(&mut self, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let mut input = self.pick(seeds).1.clone();
        for _ in 0..self.random.usize(1..=4) {
            self.step(&mut input, seeds);
        }
        input.truncate(BYTES_MAX);
        input
    }

    fn step(&mut self, input: &mut Vec<u8>, seeds: &[(PathBuf, Vec<u8>)]) {
        let at = self.random.usize(0..=input.len());
        let end = (at + self.random.usize(0..=16)).min(input.len());
        match self.random.u8(0..8) {
            0 if at < input.len() => input[at] ^= 1 << self.random.u8(0..8),
            1 if at < input.len() => input[at] = self.random.u8(..),
            2 => drop(input.drain(at..end)),
            3 => {
                let part = input[at..end].to_vec();
                let _ = input.splice(at..at, part);
            }
            4 => {
                // The beginning of this one and the end of another.
                let other = &self.pick(seeds).1.clone();
                let from = self.random.usize(0..=other.len());
                input.truncate(at);
                input.extend(&other[from..]);
            }
            5 => input.truncate(at),
            _ if !self.words.is_empty() => {
                let word = self.words[self.random.usize(0..self.words.len())].clone();
                let over = if self.random.bool() { at..at } else { at..end };
                let _ = input.splice(over, word);
            }
            _ => input.insert(at, self.random.u8(b' '..=b'~')),
        }
    }

    fn pick<'s>(&mut self, seeds: &'s [(PathBuf, Vec<u8>)]) -> &'s (PathBuf, Vec<u8>) {
        &seeds[self.random.usize(0..seeds.len())]
    }
}
