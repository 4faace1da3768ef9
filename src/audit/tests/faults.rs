//! Faults: the N-th call fails, the disk is full, hangs, or loses the file. After each the log is read again.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use super::super::faulty::Form;
use super::super::{ConfigChange, Event, SessionChange};
use super::*;

/// Opens and closes a few entries through whatever fails, and reports how many were refused.
async fn work(world: &World) -> usize {
    let mut refused = 0;
    for _ in 0..3 {
        match world.open().await {
            Ok(entry) => entry.close(finished()),
            Err(Error::Unavailable(_)) => refused += 1,
        }
    }
    refused
}

/// The first call after those that the start of an empty log makes.
fn after_start() -> usize {
    World::new().plan.calls() + 1
}

#[tokio::test]
async fn r14_each_call_fails_once_in_every_form_and_the_log_goes_on() {
    for form in [Form::Fail(ErrorKind::Other), Form::FailButPersist, Form::FailHalfway, Form::Panic] {
        // Faults before that are the start's own test.
        for first in after_start().. {
            let world = World::with(Plan::new(form, first, 1), |_| {});
            let refused = work(&world).await;
            let unused = world.plan.is_unused();
            assert!(!unused || refused == 0, "{form:?} {first}: refused without a fault");
            world.until("writable again", |world| world.log.is_writable()).await;
            assert!(world.ready.is_ready());
            // The same work goes through now, though the fault may still come.
            work(&world).await;
            let ended = world.stop().await;
            assert_eq!(ended, Ended { entries_without_end: 0, complete: true }, "{form:?} {first}");
            let unused = world.plan.is_unused();
            let raw = world.lines();
            // A checkpoint that fails is made by the next try; a panic in one is a gap as any panic is.
            let signing = world.metric("ccgate_audit_checkpoint_failures_total") > 0.0 || form == Form::Panic;
            assert!(unused || signing || events(&raw).contains(&"audit.gap"), "{form:?} {first}: {raw:#?}");
            assert!(world.metric("ccgate_audit_records_lost_total").abs() < 0.1, "{form:?} {first}");
            let world = world.killed_and_started_again().await;
            check(&world.lines());
            world.stop().await;
            drop(world.log);
            assert!(losses(world.dir.path()).is_none(), "{form:?} {first}");
            if unused {
                break;
            }
        }
    }
}

#[tokio::test]
async fn r14_the_process_dies_while_broken_and_the_next_start_reads_what_is_there() {
    for form in [Form::Fail(ErrorKind::Other), Form::FailButPersist, Form::FailHalfway] {
        for first in (after_start()..).take(6) {
            let world = World::with(Plan::new(form, first, usize::MAX / 2), |_| {});
            let held = world.open().await;
            work(&world).await;
            assert!(!world.log.is_writable());
            drop(held);
            let world = world.killed_and_started_again().await;
            check(&world.lines());
            assert_eq!(work(&world).await, 0);
            world.stop().await;
            check(&world.lines());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_end_for_each_entry_under_load_with_faults_and_openers_that_leave() {
    for (form, every) in [(Form::FailButPersist, 23), (Form::FailHalfway, 16), (Form::Fail(ErrorKind::Other), 29)] {
        let plan = Plan::never();
        let world = World::with(Arc::clone(&plan), |config| config.segment_bytes_max = 16 << 10);
        plan.every.store(every, Ordering::SeqCst);
        let mut openers = tokio::task::JoinSet::new();
        for number in 0..90_u64 {
            let log = world.log.clone();
            openers.spawn(async move {
                tokio::time::sleep(Duration::from_millis(number)).await;
                loop {
                    let open = log.open(budgeted(&format!("req-{number}")), session());
                    // Every third leaves after a moment that lies around the time of a sync.
                    let leaves = number % 3 == 0;
                    let patience = if leaves { Duration::from_micros(number * 20) } else { Duration::from_secs(9) };
                    match tokio::time::timeout(patience, open).await {
                        Ok(Ok(entry)) if number % 7 == 0 => return drop(entry),
                        Ok(Ok(entry)) => return entry.close(finished()),
                        Ok(Err(Error::Unavailable(_))) => tokio::time::sleep(Duration::from_millis(30)).await,
                        Err(_left) => return,
                    }
                }
            });
        }
        while let Some(done) = openers.join_next().await {
            done.expect("no panic");
        }
        // A busy machine makes few, large batches: a fault is waited for, not hoped for. Each turn is two calls or more.
        for _turn in 0..every {
            work(&world).await;
        }
        plan.every.store(0, Ordering::SeqCst);
        world.until("writable", |world| world.log.is_writable()).await;
        assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true }, "{form:?}");
        let world = world.killed_and_started_again().await;
        let lines = world.lines();
        check(&lines);
        let seen = events(&lines);
        let count = |event| seen.iter().filter(|seen| **seen == event).count();
        assert!(count("finished") > 20 && count("audit.gap") > 0, "{form:?}: {seen:?}");
        assert_eq!(count("unknown"), 0, "{form:?}: the writer ends by itself what it has written");
    }
}

#[tokio::test]
async fn r14_a_full_disk_refuses_opens_keeps_ends_and_mends_itself() {
    let world = World::new();
    let before = world.open().await.expect("an entry");
    world.plan.full.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(world.open().await.expect_err("the disk is full"), Error::Unavailable(Why::Broken));
    assert!(begun.elapsed() < Duration::from_millis(1_900), "not only after the deadline of 2 s");
    assert!(!world.log.is_writable() && !world.ready.is_ready());
    world.until("shown", |world| world.metric("ccgate_audit_writable").abs() < 0.1).await;
    before.close(finished());
    world.log.note(Event::Session {
        agent: agent(4977),
        change: SessionChange::Lost,
        guid: None,
        retcode: None,
        detail: None,
    });
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!world.ready.is_ready(), "still");
    world.plan.full.store(false, Ordering::SeqCst);
    world.until("ready", |world| world.ready.is_ready()).await;
    work(&world).await;
    world.stop().await;
    let lines = world.lines();
    check(&lines);
    let gap = lines.iter().find(|line| line["event"] == "audit.gap").expect("a gap record");
    assert_eq!((&gap["reason"], &gap["lost"]), (&"disk_full".into(), &0.into()));
    assert_eq!(events(&lines).iter().filter(|event| **event == "session.lost").count(), 1);
    assert!(segments(world.dir.path()).len() <= 3, "a full disk does not leave a file for every try");
}

#[tokio::test]
async fn r14_a_deleted_or_replaced_file_is_noticed_while_idle() {
    for replace in [false, true] {
        let world = World::new();
        let entry = world.open().await.expect("an entry");
        let path = world.dir.path().join(segment_name(1));
        if replace {
            let copy = world.dir.path().join("copy");
            std::fs::copy(&path, &copy).expect("a copy");
            std::fs::rename(copy, &path).expect("it is replaced at once");
        } else {
            std::fs::rename(&path, world.dir.path().join("moved-away")).expect("it is moved");
        }
        let begun = Instant::now();
        world.until("a new segment", |world| segments(world.dir.path()).len() > usize::from(replace)).await;
        // Looked at every 250 ms; the rest is for a busy machine.
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        world.until("ready", |world| world.ready.is_ready()).await;
        entry.close(finished());
        assert_eq!(work(&world).await, 0);
        world.stop().await;
        let lines = world.lines();
        let gap = lines.iter().find(|line| line["event"] == "audit.gap").expect("a gap record");
        assert_eq!(gap["reason"], if replace { "segment_replaced" } else { "segment_deleted" });
        assert_eq!(gap["missing"], serde_json::json!({"first": 1, "last": 2}));
        let world = world.killed_and_started_again().await;
        assert_eq!(world.open().await.expect("an entry").id().to_string().len(), 32);
    }
}

#[tokio::test]
async fn a_batch_written_into_a_deleted_file_is_not_acknowledged() {
    let world = World::new();
    std::fs::remove_file(world.dir.path().join(segment_name(1))).expect("it is deleted");
    assert_eq!(world.open().await.expect_err("nobody would find it"), Error::Unavailable(Why::Broken));
    world.until("ready", |world| world.ready.is_ready()).await;
    world.open().await.expect("an entry").close(finished());
    world.stop().await;
    check(&world.lines());
}

#[tokio::test]
async fn r14_a_disk_that_hangs_refuses_in_time_and_a_late_record_gets_its_end() {
    let world = World::with(Plan::never(), |config| config.write_timeout = Duration::from_millis(300));
    world.plan.hangs.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(world.open().await.expect_err("it hangs"), Error::Unavailable(Why::TimedOut));
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    world.until("not ready", |world| !world.ready.is_ready()).await;
    assert_eq!(world.open().await.expect_err("known to hang"), Error::Unavailable(Why::Stalled));
    world.plan.hangs.store(false, Ordering::SeqCst);
    world.until("ready", |world| world.ready.is_ready()).await;
    world.stop().await;
    let lines = world.lines();
    check(&lines);
    let failed = lines.iter().find(|line| line["event"] == "failed").expect("the late record has an end");
    assert_eq!((&failed["reason"], &failed["delivery"]["client_bytes"]), (&"audit_unavailable".into(), &0.into()));
}

#[tokio::test]
async fn an_opener_that_leaves_is_recorded_as_a_client_that_left() {
    let world = World::new();
    world.plan.hangs.store(true, Ordering::SeqCst);
    let left = tokio::time::timeout(Duration::from_millis(100), world.open()).await;
    assert!(left.is_err(), "the opener leaves before its record is durable");
    world.plan.hangs.store(false, Ordering::SeqCst);
    assert_eq!(world.stop().await, Ended { entries_without_end: 0, complete: true });
    let lines = world.lines();
    check(&lines);
    let aborted = lines.iter().find(|line| line["event"] == "aborted").expect("an end");
    assert_eq!(aborted["reason"], "client");
}

#[tokio::test]
async fn a_dropped_entry_and_a_panicking_holder_end_their_entries() {
    let world = World::new();
    drop(world.open().await.expect("an entry"));
    let entry = world.open().await.expect("an entry");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let _held = entry;
        panic!("a planned panic");
    });
    assert!(tasks.join_next().await.expect("a task").is_err());
    world.stop().await;
    let lines = world.lines();
    check(&lines);
    let reasons: Vec<_> = lines.iter().filter(|line| line["event"] == "failed").map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["dropped", "panic"]);
}

#[tokio::test]
async fn an_entry_that_is_dropped_while_the_upstream_is_asked_was_left() {
    let world = World::new();
    let shutdown = tokio_util::sync::CancellationToken::new();
    for _ in 0..2 {
        let mut entry = world.open().await.expect("an entry");
        entry.asking(shutdown.clone());
        drop(entry);
        shutdown.cancel();
    }
    world.stop().await;
    let lines = world.lines();
    check(&lines);
    let reasons: Vec<_> = lines.iter().filter(|line| line["event"] == "aborted").map(|line| &line["reason"]).collect();
    assert_eq!(reasons, ["client", "shutdown"]);
}

#[tokio::test]
async fn below_the_free_space_minimum_no_entry_is_opened_but_ends_are_written() {
    let world = World::with(Plan::never(), |config| config.free_bytes_min = 1_000);
    let entry = world.open().await.expect("an entry");
    world.plan.free.store(999, Ordering::SeqCst);
    world.until("not ready", |world| !world.ready.is_ready()).await;
    assert_eq!(world.open().await.expect_err("low"), Error::Unavailable(Why::DiskLow));
    entry.close(finished());
    world.until("the end is written", |world| events(&world.lines()).contains(&"finished")).await;
    assert!((world.metric("ccgate_audit_disk_free_bytes") - 999.0).abs() < 0.1);
    world.plan.free.store(1_000, Ordering::SeqCst);
    world.until("ready", |world| world.ready.is_ready()).await;
    drop(world.open().await.expect("an entry"));
    world.stop().await;
    check(&world.lines());
}

#[tokio::test]
async fn r15_what_cannot_be_queued_is_counted_and_a_gap_record_tells() {
    let world = World::new();
    world.plan.hangs.store(true, Ordering::SeqCst);
    let note = || Event::Session {
        agent: agent(4977),
        change: SessionChange::Rotated,
        guid: None,
        retcode: None,
        detail: None,
    };
    for _ in 0..5_000 {
        world.log.note(note());
    }
    let lost = world.metric("ccgate_audit_records_lost_total");
    assert!((lost - 904.0).abs() < 0.1, "4,096 fit: {lost}");
    world.plan.hangs.store(false, Ordering::SeqCst);
    world.stop().await;
    let lines = world.lines();
    check(&lines);
    assert_eq!(events(&lines).iter().filter(|event| **event == "session.rotated").count(), 4_096);
    let gaps: Vec<_> = lines.iter().filter(|line| line["event"] == "audit.gap").collect();
    assert_eq!(gaps.iter().filter_map(|gap| gap["lost"].as_u64()).sum::<u64>(), 904, "{gaps:?}");
    assert_eq!(gaps[0]["reason"], "records_dropped");
}

#[tokio::test]
async fn r15_what_a_stopped_or_broken_log_cannot_take_is_counted() {
    let world = World::new();
    let late = world.open().await.expect("an entry");
    let ended = world.log.shut_down(Duration::from_millis(50)).await;
    assert_eq!(ended, Ended { entries_without_end: 1, complete: true });
    assert_eq!(world.open().await.expect_err("stopped"), Error::Unavailable(Why::Stopped));
    late.close(finished());
    // The refusal of the opener and the late end.
    assert!((world.metric("ccgate_audit_records_lost_total") - 2.0).abs() < 0.1);
    let world = world.killed_and_started_again().await;
    check(&world.lines());
    assert_eq!(events(&world.lines()).iter().filter(|event| **event == "unknown").count(), 1);

    let world = World::new();
    let entry = world.open().await.expect("an entry");
    world.plan.always.store(true, Ordering::SeqCst);
    entry.close(finished());
    let ended = world.stop().await;
    assert_eq!((ended.entries_without_end, ended.complete), (1, false));
    // The end and the stop record.
    assert!((world.metric("ccgate_audit_records_lost_total") - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn r15_a_record_that_has_its_place_is_not_left_out_however_full_the_queue_is() {
    let world = World::with(Plan::never(), |config| config.write_timeout = Duration::from_millis(100));
    let place = world.log.note_place().await.expect("there is room");
    let before = world.log.progress().borrow().durable;
    world.plan.hangs.store(true, Ordering::SeqCst);
    let event =
        |generation| Event::Config { change: ConfigChange::Loaded, hash: "ab".repeat(32), generation, reason: None };
    (0..5_000).for_each(|_| world.log.note(event(1)));
    assert_eq!(world.log.note_place().await.expect_err("no room in time"), Error::Unavailable(Why::Full));
    place.note(event(2));
    world.plan.hangs.store(false, Ordering::SeqCst);
    world.until("all that was queued", |world| world.log.progress().borrow().durable >= before + 4_096).await;
    world.stop().await;
    let of_generation = |generation: u64| world.lines().iter().filter(|line| line["generation"] == generation).count();
    assert_eq!((of_generation(1), of_generation(2)), (4_095, 1));
}
