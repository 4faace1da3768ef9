//! Holds the sources against the house rules: the module line, no cycles, forbidden calls, file length and names. It reads
//! text, so a rule is broken only by what is written, never by what a macro makes of it.

#[path = "architecture/check.rs"]
mod check;
#[path = "architecture/checker_tests.rs"]
mod checker_tests;
#[path = "architecture/paths.rs"]
mod paths;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use std::path::{Path, PathBuf};

use check::{File, Violation, check};

/// Files of the project below these folders, as they are now.
fn project(folders: &[&str]) -> std::io::Result<Vec<File>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in folders {
        if root.join(folder).is_dir() {
            collect(&root, &root.join(folder), &mut files)?;
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push(File { path: relative, text: std::fs::read_to_string(&path)? });
        }
    }
    Ok(())
}

fn listing(violations: &[Violation]) -> String {
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    lines.join("\n")
}

#[test]
fn the_project_keeps_the_house_rules() {
    let files = project(&["src", "tests", "benches"]).unwrap();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "src/lib.rs was not read");
    let broken = check(&files);
    assert!(broken.is_empty(), "{} broken house rules:\n{}", broken.len(), listing(&broken));
}

#[test]
fn a_bad_file_in_the_real_tree_is_found() {
    let mut files = project(&["src"]).unwrap();
    files.push(File { path: "src/sim/planted.rs".to_owned(), text: "//! Planted.\nuse crate::cc::Guid;\n".to_owned() });
    let broken = check(&files);
    assert!(broken.iter().any(|violation| violation.path == "src/sim/planted.rs"), "{}", listing(&broken));
}

#[test]
fn a_caller_without_a_verified_token_is_for_one_command_only() {
    let planted = |path: &str, text: &str| {
        let mut files = project(&["src"]).unwrap();
        files.push(File { path: path.to_owned(), text: format!("//! Planted.\n{text}\n") });
        check(&files).into_iter().any(|violation| violation.path == path && violation.rule == check::Rule::Ban)
    };
    for text in [
        "use crate::authn::supposed_caller;",
        "use crate::authn::{Caller, supposed_caller as caller};",
        "fn f() { crate::authn::supposed_caller(config, claims); }",
    ] {
        for path in ["src/serve/planted.rs", "src/app/planted.rs", "src/policy/planted.rs", "src/cli/planted.rs"] {
            assert!(planted(path, text), "{path}: {text}");
        }
    }
    assert!(!planted("src/serve/planted.rs", "use crate::authn::Caller;"));
}
