//! The answers as they go out, compared with files of the tree: whoever changes one sees what callers will see.
//!
//! `UPDATE_GOLDEN=1` writes them anew. What differs from run to run is replaced: the request's id, `Ccgate-Audit-Id` and
//! the seconds of `Retry-After`; `Date` is left out.

use std::path::{Path, PathBuf};

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::client::Answer;

/// Where they are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/statuses")
}

/// Compares the answers of a part of the table, each made by [`answer`].
pub fn compare(part: &str, answers: &[String]) {
    let path = folder().join(format!("{part}.txt"));
    let told = answers.join("\n");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(folder()).unwrap();
        std::fs::write(&path, &told).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = told.lines().zip(golden.lines()).find(|(told, golden)| told != golden);
    let at = differs.map(|(told, golden)| format!("first\n+ {told}\n- {golden}\n"));
    assert!(
        told == golden,
        "{} differs {}; UPDATE_GOLDEN=1 writes it anew",
        path.display(),
        at.unwrap_or_else(|| "in length".to_owned())
    );
}

/// One answer: what caused it, the request, the status line, the headers by name, and the problem document as it came.
pub fn answer(cause: &str, request: &str, answer: &Answer) -> String {
    let head = head(answer.status, &answer.headers);
    let body = std::str::from_utf8(&answer.body).unwrap();
    assert!(
        body.is_empty() || serde_json::from_str::<Value>(body).is_ok_and(|document| document.is_object()),
        "{body}"
    );
    let id = answer.header("x-request-id");
    assert!(!id.is_empty(), "{cause}: {answer:?}");
    format!("=== {cause}\n{request}\n\n{head}\n{body}\n").replace(id, "<request id>")
}

fn head(status: StatusCode, headers: &HeaderMap) -> String {
    let mut lines: Vec<_> = headers
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| match name.as_str() {
            "ccgate-audit-id" => format!("{name}: <entry>\n"),
            "retry-after" => format!("{name}: <seconds>\n"),
            _ => format!("{name}: {}\n", value.to_str().unwrap()),
        })
        .collect();
    lines.sort();
    format!("{status}\n{}", lines.concat())
}
