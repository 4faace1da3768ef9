//! Which requests are one access.

use super::super::made_log::{ALICE, Asked, MadeLog};
use super::super::{Access, Accesses, CountedLines, Filter, Found, Scan};
use std::convert::Infallible;
use std::ops::ControlFlow;

/// The accesses of some logs, of which there are not too many.
pub(super) fn accesses(logs: &[&MadeLog], filter: &Filter) -> Vec<Access> {
    let (all, cut) = accesses_or_cut(logs, filter);
    assert!(!cut);
    all
}

fn accesses_or_cut(logs: &[&MadeLog], filter: &Filter) -> (Vec<Access>, bool) {
    let open = logs.iter().map(|log| CountedLines::open(&log.write()).expect("a log")).collect();
    let (mut found, mut all) = (Accesses::default(), Vec::new());
    let mut done = |access| {
        all.push(access);
        Ok::<_, Infallible>(())
    };
    let scanned = Scan::new(open, filter).run(|piece| {
        match piece {
            Found::Record(record) => found.take(&record, &mut done)?,
            Found::Unreadable(unreadable) => panic!("{unreadable}"),
            Found::Tick(..) => {}
        }
        Ok::<_, Infallible>(ControlFlow::Continue(()))
    });
    let (Ok(_lines), Ok(cut)) = (scanned, found.finish(&mut done));
    (all, cut)
}

/// Requests of each access, in the order of their beginning.
fn requests(log: &MadeLog) -> Vec<u64> {
    accesses(&[log], &Filter::default()).iter().map(|access| access.requests).collect()
}

#[test]
fn ranges_of_one_listening_are_one_access_up_to_ten_minutes_apart() {
    for (gap, wanted) in [(600, vec![2]), (601, vec![1, 1])] {
        let mut log = MadeLog::new();
        // The first download ends at 1 s: from there the ten minutes are counted.
        log.download(0, 1, ALICE);
        log.download(1 + gap, 2, ALICE);
        assert_eq!(requests(&log), wanted, "{gap} s apart");
    }
    let mut log = MadeLog::new();
    for number in 0..7 {
        log.download(i64::from(number) * 500, number, ALICE);
    }
    let all = accesses(&[&log], &Filter::default());
    assert_eq!(all.iter().map(|access| access.requests).collect::<Vec<_>>(), [7], "each is near to the one before");
    assert_eq!((all[0].bytes, all[0].outcomes.finished, all[0].entries.texts.len()), (7_000, 7, 7));
    assert_eq!(
        (all[0].first.to_string(), all[0].last.to_string()),
        ("2026-11-22T12:00:00Z".into(), "2026-11-22T12:50:01Z".into())
    );
}

#[test]
fn a_download_that_runs_keeps_its_access_open_for_a_day() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    log.download(3_000, 2, ALICE);
    log.end(5_000, 1, ALICE, ("finished", 9));
    log.download(5_600, 3, ALICE);
    assert_eq!(requests(&log), [3]);
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    log.begin(86_400, 2, ALICE);
    log.begin(2 * 86_400 + 1, 3, ALICE);
    let all = accesses(&[&log], &Filter::default());
    assert_eq!(all.iter().map(|access| (access.requests, access.outcomes.open)).collect::<Vec<_>>(), [(2, 2), (1, 1)]);
}

#[test]
fn the_next_start_is_no_sign_of_the_person() {
    let mut log = MadeLog::new();
    log.begin(0, 1, ALICE);
    log.end(5_000, 1, ALICE, ("unknown", 0));
    log.download(5_001, 2, ALICE);
    let all = accesses(&[&log], &Filter::default());
    assert_eq!(
        all.iter().map(|access| (access.requests, access.outcomes.unknown)).collect::<Vec<_>>(),
        [(1, 1), (1, 0)]
    );
    assert_eq!(all[0].last, all[0].first);
}

#[test]
fn another_person_recording_or_answer_is_another_access() {
    let mut log = MadeLog::new();
    log.download(0, 1, ALICE);
    log.download(2, 2, Asked { subject: "bob", ..ALICE });
    log.download(4, 3, Asked { issuer: "https://other.example", ..ALICE });
    log.download(6, 4, Asked { recording: "call:1621413752-2011", ..ALICE });
    log.refusal(8, "not_your_recording", ALICE);
    log.refusal(9, "not_your_recording", ALICE);
    log.refusal(10, "agent_busy", ALICE);
    log.download(12, 5, Asked { purpose: "other", rule: "inspect", ..ALICE });
    let all = accesses(&[&log], &Filter::default());
    assert_eq!(all.iter().map(|access| access.requests).collect::<Vec<_>>(), [2, 1, 1, 1, 2, 1]);
    assert_eq!(all[0].purposes.texts, ["complaint 4711", "other"]);
    assert_eq!(all[0].rules.texts, ["own", "inspect"]);
    assert_eq!((all[4].outcomes.denied, all[4].code.as_deref()), (2, Some("not_your_recording")));
}

#[test]
fn refusals_of_nobody_are_told_one_by_one() {
    let mut log = MadeLog::new();
    for second in 0..3 {
        log.add(
            second,
            "denied",
            r#""request_id":"r","from":{"peer":"10.1.2.3:1"},"code":"token_expired","left_out":2"#,
        );
    }
    let all = accesses(&[&log], &Filter::default());
    assert_eq!(all.iter().map(|access| (access.requests, access.left_out)).collect::<Vec<_>>(), [(1, 2); 3]);
}

#[test]
fn replicas_share_an_access_and_tell_it_once() {
    let (mut one, mut other) = (MadeLog::new(), MadeLog::new());
    one.download(0, 1, ALICE);
    other.download(300, 2, ALICE);
    one.download(600, 3, ALICE);
    let all = accesses(&[&other, &one], &Filter::default());
    assert_eq!(all.iter().map(|access| access.requests).collect::<Vec<_>>(), [3]);
    assert_eq!(*all[0].log, *one.path().display().to_string(), "the log that it begins in");
}

#[test]
fn an_end_without_its_beginning_speaks_for_itself() {
    let mut log = MadeLog::new();
    log.raw(format!(r#"{{"seq":1,"erased":true,"leaf":"{}"}}"#, "ab".repeat(32)));
    log.skip(1);
    log.end(1, 1, ALICE, ("finished", 77));
    let all = accesses(&[&log], &Filter::default());
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].requests, all[0].bytes, all[0].subject.as_deref()), (1, 77, Some("alice")));
}

#[test]
fn more_accesses_at_once_than_can_be_held_are_told_early_and_none_is_lost() {
    let mut log = MadeLog::new();
    for entry in 0..20_001 {
        log.begin(0, entry, Asked { recording: &format!("call:{entry}"), ..ALICE });
    }
    log.end(1, 20_000, Asked { recording: "call:20000", ..ALICE }, ("finished", 5));
    let (all, cut) = accesses_or_cut(&[&log], &Filter::default());
    assert!(cut);
    assert_eq!((all.len(), all.iter().map(|access| access.requests).sum::<u64>()), (20_001, 20_001));
    assert!(all.windows(2).all(|pair| pair[0].recording != pair[1].recording));
    assert_eq!(all.last().map(|access| access.outcomes.finished), Some(1));
}
