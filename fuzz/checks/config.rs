//! What holds for any configuration: it is read, or told as errors that name a line and quote no secret.

use std::cell::RefCell;
use std::fs;

use ccgate::config::{self, Overrides, Problem, parse_flag};

/// What stands between the file and what is laid over it: a line of its own.
const BETWEEN: &str = "\n==\n";

thread_local! {
    static PLACE: RefCell<Option<tempfile::NamedTempFile>> = const { RefCell::new(None) };
}

/// The input is the file; behind the separator come variables (`CCGATE_…=…`) and flags (`key=value`), a line each.
/// Says whether it is good.
pub fn check(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let (file, laid) = text.split_once(BETWEEN).unwrap_or((&text, ""));
    // Bytes that are no UTF-8 reach the reader as they came, where nothing is laid over them.
    let bytes = if laid.is_empty() { data } else { file.as_bytes() };
    PLACE.with_borrow_mut(|place| {
        let place = place.get_or_insert_with(|| tempfile::NamedTempFile::new().expect("a file"));
        fs::write(place.path(), bytes).expect("written");
        let overrides = overrides(laid);
        let loaded = config::load(place.path(), &overrides);
        let problems = match &loaded {
            Ok(loaded) => {
                assert_eq!(loaded.hash.len(), 64);
                loaded.warnings.clone()
            }
            Err(errors) => {
                assert!(!errors.problems.is_empty(), "refused without a reason");
                errors.problems.clone()
            }
        };
        for problem in &problems {
            check_problem(problem, &text);
        }
        let again = config::load(place.path(), &overrides);
        assert_eq!(format!("{again:?}"), format!("{loaded:?}"), "the same file, read again");
        loaded.is_ok()
    })
}

fn overrides(laid: &str) -> Overrides {
    let mut overrides = Overrides::default();
    for line in laid.lines().take(16) {
        match line.split_once('=') {
            Some((name, value)) if name.starts_with("CCGATE_") => {
                overrides.variables.push((name.into(), value.into()));
            }
            _ => match parse_flag(line) {
                Ok(flag) => overrides.flags.push(flag),
                Err(error) => assert!(error.len() < 400 && !error.chars().any(char::is_control), "{error:?}"),
            },
        }
    }
    overrides
}

fn check_problem(problem: &Problem, text: &str) {
    let line = problem.to_string();
    assert_ne!(problem.what, "not readable", "what fits the schema can be read: {line}");
    // The longest list a person is shown is that of a group's keys.
    assert!(line.len() < 2_000 && !line.chars().any(char::is_control), "{line:?}");
    // Everything that a credential in a URL, a token or a PEM block is recognised by.
    let marked = ["hunter2@", "?hunter2", "eyJhunter2", "-----hunter2"];
    let marks: usize = marked.iter().map(|mark| text.matches(mark).count()).sum();
    if marks == text.matches("hunter2").count() {
        assert!(!line.contains("hunter2"), "{line:?}");
    }
}
