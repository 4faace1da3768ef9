//! A month in numbers.

use super::super::made_log::{ALICE, Asked, MadeLog};
use super::super::{Counting, Counts, Filter, Number};
use super::access::accesses;

fn numbers(rows: &[Number]) -> Vec<(&str, u64)> {
    rows.iter().map(|row| (row.name.as_str(), row.count)).collect()
}

#[test]
fn each_access_is_counted_once_for_its_person_and_in_each_of_its_teams() {
    let mut log = MadeLog::new();
    log.download(0, 1, ALICE);
    log.download(5, 2, ALICE);
    log.download(2_000, 3, ALICE);
    let bob = Asked { subject: "bob", teams: "", purpose: "", ..ALICE };
    log.begin(10, 4, bob);
    log.end(20, 4, bob, ("aborted", 10));
    log.refusal(30, "not_your_recording", bob);
    log.refusal(31, "not_your_recording", bob);
    let mut counting = Counting::default();
    for access in accesses(&[&log], &Filter::default()) {
        counting.access(&access);
    }
    let report = counting.report();
    let alice = Counts { accesses: 2, requests: 3, recordings: 1, bytes: 3_000, ..Counts::default() };
    let bob = Counts {
        accesses: 1,
        requests: 1,
        recordings: 1,
        bytes: 10,
        without_purpose: 1,
        aborted: 1,
        refused: 2,
        ..Counts::default()
    };
    let names: Vec<_> = report.people.iter().map(|row| (row.name.subject.as_str(), row.counts)).collect();
    assert_eq!(names, [("alice", alice), ("bob", bob)]);
    let total = Counts { accesses: 3, requests: 4, bytes: 3_010, ..bob };
    assert_eq!(report.total, total, "one recording in all");
    let teams: Vec<_> = report.teams.iter().map(|row| (row.name.name.as_str(), row.counts)).collect();
    assert_eq!(teams, [("north", alice), ("", bob)]);
    assert_eq!(report.roles[0].counts, total);
    assert_eq!(numbers(&report.refusals), [("not_your_recording", 2)]);
    assert_eq!(numbers(&report.purposes), [("complaint 4711", 2), ("", 1)]);
    assert_eq!(numbers(&report.reasons), [("client", 1)]);
    assert!(!report.cut);
}
