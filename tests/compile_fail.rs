//! Shows that the forbidden orders do not compile: each program of `tests/fail/` breaks one rule of the types, and the
//! compiler's answer beside it (`.stderr`) says that it broke that one and nothing else. Runs no program.

use std::path::PathBuf;

#[test]
fn forbidden_orders_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/fail/*.rs");
}

#[test]
fn every_program_has_the_answer_that_it_must_get() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fail");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let programs: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|it| it == "rs")).collect();
    assert!(!programs.is_empty(), "no program at all");
    let silent: Vec<&PathBuf> = programs.iter().filter(|path| !path.with_extension("stderr").is_file()).collect();
    assert!(
        silent.is_empty(),
        "no `.stderr` beside {silent:?}: `TRYBUILD=overwrite cargo test --test compile_fail` writes it"
    );
}
