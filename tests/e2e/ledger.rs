//! What every audit log must be, whatever happened to the process and its disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ccgate::trail::verify::{Report, verify};
use ccgate::trail::{KEYS_FILE, read_keys};
use serde_json::Value;

const ENDS: [&str; 4] = ["finished", "aborted", "failed", "unknown"];

/// Whether a record is the end of an entry.
pub fn is_end(record: &Value) -> bool {
    ENDS.iter().any(|end| record["event"] == *end)
}

/// Checks a log that no entry is open in any more: numbers without gap or repeat, but for those that a gap record names
/// in the place where they are missing; exactly one end after each `authorized`; no end without one, but for those
/// whose `authorized` was taken away with its file.
pub fn check(records: &[Value]) {
    let mut next = 1;
    let mut taken_away = false;
    for record in records {
        let seq = record["seq"].as_u64().unwrap_or_else(|| panic!("no number: {record}"));
        if seq != next {
            assert!(explains(record, next), "{next} is missing or repeated before {record}");
            taken_away |= !record["missing"].is_null();
        }
        next = seq + 1;
    }
    let (mut opened, mut ends) = (BTreeSet::new(), BTreeMap::<&str, &Value>::new());
    for record in records {
        if record["event"] == "authorized" {
            assert!(opened.insert(entry(record)), "opened twice: {record}");
        } else if is_end(record) {
            assert!(taken_away || opened.contains(entry(record)), "an end before its begin: {record}");
            let earlier = ends.insert(entry(record), record);
            assert!(earlier.is_none(), "two ends: {earlier:?} and {record}");
        }
    }
    let without: Vec<_> = opened.iter().filter(|entry| !ends.contains_key(*entry)).collect();
    assert!(without.is_empty(), "without an end: {without:?}");
}

/// What `ccgate audit verify` says of a log, with the keys that it brings along.
pub fn verified(folder: &Path) -> Report {
    let keys = read_keys(&folder.join(KEYS_FILE)).unwrap();
    verify(folder, &keys, &mut |_, _| {}).unwrap()
}

/// The entry that a record belongs to.
pub fn entry(record: &Value) -> &str {
    record["entry"].as_str().unwrap_or_else(|| panic!("no entry: {record}"))
}

/// Whether a gap record tells of all numbers from `expected` up to its own.
fn explains(record: &Value, expected: u64) -> bool {
    let bounds = |name: &str| Some((record[name]["first"].as_u64()?, record[name]["last"].as_u64()?));
    let ranges: Vec<_> = ["missing", "void"].into_iter().filter_map(bounds).collect();
    record["event"] == "audit.gap"
        && ranges.iter().any(|(first, _)| *first <= expected)
        && ranges.iter().any(|(_, last)| Some(last + 1) == record["seq"].as_u64())
}
