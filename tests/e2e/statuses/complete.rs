//! No failure without a row: every code that the sources can print is in the golden files, or stands here with a reason.

use std::collections::BTreeSet;
use std::path::Path;

use ccgate::policy::NotYourSeat;

use super::golden;

/// Codes that no request to the data plane of one gateway can cause from outside.
const ELSEWHERE: [(&str, &str); 5] = [
    ("internal", "a panic of ours: none is known to be caused from outside"),
    ("internal_error", "an agent's task that ends without an answer: none is known to be caused from outside"),
    ("session_not_owned", "of `ccgate sessions sign-out` on the admin plane: tests/e2e/sessions.rs, tests/replicas"),
    (
        "shutting_down",
        "the data plane is closed before sessions end, so the answer is lost: src/session/actor/tests.rs",
    ),
    ("sign_out_failed", "of `ccgate sessions sign-out` on the admin plane: src/session/tests"),
];
/// The words of a rule in these tests: a site's own, which no source of ours holds.
const RULES: [&str; 1] = ["closed_centre"];
/// What stands in src/serve/problem.rs as one word and is no code.
const NO_CODES: [&str; 2] = ["close", "refused"];

#[test]
fn every_code_is_caused_and_shown() {
    let (known, shown) = (known(), shown());
    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().map(|(code, _reason)| (*code).to_owned()).collect();
    let missing: Vec<_> = known.difference(&shown).filter(|code| !elsewhere.contains(*code)).collect();
    assert!(missing.is_empty(), "no row of tests/e2e/statuses causes {missing:?}");
    let stale: Vec<_> = elsewhere.iter().filter(|code| shown.contains(*code) || !known.contains(*code)).collect();
    assert!(stale.is_empty(), "needs no reason any more: {stale:?}");
    let strange: Vec<_> = shown.difference(&known).filter(|code| !RULES.contains(&code.as_str())).collect();
    assert!(strange.is_empty(), "in no source that was looked at: {strange:?}");
    assert!(known.len() >= 40, "{known:?}");
}

/// The codes of the sources that make them.
fn known() -> BTreeSet<String> {
    let mut codes: BTreeSet<_> = words("src/serve/problem.rs").into_iter().collect();
    codes.retain(|code| !NO_CODES.contains(&code.as_str()));
    for file in ["src/authn/error.rs", "src/session/error.rs"] {
        codes.extend(words(file).into_iter().filter(|word| word.contains('_')));
    }
    codes.insert(NotYourSeat::REASON.to_owned());
    codes
}

/// The literals of a source that could be codes: words in lower case with underscores between.
fn words(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap().replace("\\\"", "");
    let word = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    code.split('"').skip(1).step_by(2).filter(word).map(str::to_owned).collect()
}

/// The codes of the golden files.
fn shown() -> BTreeSet<String> {
    let files = std::fs::read_dir(golden::folder()).unwrap();
    let text: String = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let behind = text.split("\"code\":\"").skip(1);
    behind.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}
