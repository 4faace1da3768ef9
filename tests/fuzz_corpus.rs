//! Replays the corpus of the fuzz target through the function that is fuzzed, on the toolchain of every day.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what is wrong by panicking")]
#![allow(unreachable_pub, reason = "nobody imports a test")]

#[path = "../fuzz/fuzz_targets/reader.rs"]
mod reader;

use std::fs;
use std::path::Path;

#[test]
fn the_corpus_is_read_without_a_panic_and_so_is_each_half_of_it() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/audit_reader");
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("the corpus") {
        let bytes = fs::read(entry.expect("an entry").path()).expect("a file");
        for part in [&bytes[..], &bytes[..bytes.len() / 2], &bytes[bytes.len() / 3..]] {
            reader::read(part);
        }
        count += 1;
    }
    assert!(count >= 5, "the corpus has {count} files");
}
