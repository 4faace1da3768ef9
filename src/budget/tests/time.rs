//! What is used up over an hour and a day.

use super::*;

fn hourly(recordings: u32) -> Limits {
    Limits { recordings_per_hour: Some(recordings), ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn different_recordings_count_once_however_often_and_the_wait_is_exact() {
    let world = World::new(hourly(2));
    for call in [1, 1, 1, 2, 1, 2] {
        world.take("alice", call, 10).expect("within the limit");
    }
    // 12:00:20, so the minute of both is 12:00, which leaves at 13:01.
    assert_eq!(world.wait("alice", 3), Some(("recordings_per_hour", 3_640)));
    assert_eq!(world.wait("alice", 2), None, "one that counts already");
    assert_eq!(world.wait("bob", 3), None, "another person");
    pass(3_639).await;
    assert_eq!(world.wait("alice", 3), Some(("recordings_per_hour", 1)));
    pass(1).await;
    assert_eq!(world.wait("alice", 3), None);
    assert_eq!(world.metrics.decided("recordings_per_hour", "refuse"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_recording_leaves_an_hour_after_it_was_last_taken() {
    let world = World::new(hourly(1));
    world.take("alice", 1, 10).expect("the first");
    pass(1_800).await;
    world.take("alice", 1, 10).expect("again");
    pass(1_840).await;
    assert_eq!(world.wait("alice", 2), Some(("recordings_per_hour", 1_800)));
}

#[tokio::test(start_paused = true)]
async fn one_that_gave_nothing_is_given_back() {
    let world = World::new(hourly(1));
    let running = world.reserve("alice", 1).expect("the first");
    assert!(world.wait("alice", 2).is_some(), "it counts while it runs");
    drop(running);
    world.take("alice", 2, 1).expect("no byte of the first came");
    assert!(world.wait("alice", 1).is_some());
}

#[tokio::test(start_paused = true)]
async fn bytes_count_while_they_run_and_nobody_is_cut_off() {
    let world = World::new(Limits { bytes_per_hour: Some(1_000), bytes_per_day: Some(1_500), ..Limits::default() });
    let mut running = world.reserve("alice", 1).expect("the first");
    running.handed_over(999);
    assert!(world.reserve("alice", 2).is_ok(), "there is a byte left");
    running.handed_over(1);
    assert_eq!(world.wait("alice", 2), Some(("bytes_per_hour", 3_640)));
    running.handed_over(400);
    pass(3_640).await;
    assert!(world.reserve("alice", 2).is_ok(), "those of the first hour have left");
    running.handed_over(100);
    drop(running);
    // All are of today: the half hours of 12:00 and 13:00.
    assert_eq!(world.wait("alice", 2), Some(("bytes_per_day", 24 * 3_600 + 1_800 - 3_660)));
}

#[tokio::test(start_paused = true)]
async fn of_several_limits_the_one_that_lasts_longest_is_told() {
    let limits = Limits { recordings_per_day: Some(1), bytes_per_hour: Some(5), ..hourly(1) };
    let world = World::new(limits);
    world.take("alice", 1, 10).expect("the first");
    assert_eq!(world.wait("alice", 2).map(|(limit, _)| limit), Some("recordings_per_day"));
    assert_eq!(world.wait("alice", 1).map(|(limit, _)| limit), Some("bytes_per_hour"));
}

#[tokio::test(start_paused = true)]
async fn an_alert_is_told_once_for_a_person_a_limit_and_a_window() {
    let world = World::new(Limits { bytes_per_hour: Some(1_000), ..hourly(5) });
    let mut alerts = Vec::new();
    for call in 1..=5 {
        world.take("alice", call, 10).expect("within the limit");
        world.budgets.shared.look_around();
        if call == 4 {
            alerts.push(("name of alice".to_owned(), "recordings_per_hour", 4));
        }
        assert_eq!(world.alerts(), alerts, "{call}");
    }
    assert!(world.wait("alice", 6).is_some());
    assert_eq!(world.alerts(), alerts);
    let mut running = world.reserve("alice", 5).expect("a repeat");
    running.handed_over(760);
    world.budgets.shared.look_around();
    alerts.push(("name of alice".to_owned(), "bytes_per_hour", 810));
    assert_eq!(world.alerts(), alerts, "while it runs");
    running.handed_over(760);
    world.budgets.shared.look_around();
    drop(running);
    assert_eq!(world.alerts(), alerts);
    // A window later it is news again.
    pass(3_700).await;
    for call in 1..=4 {
        world.take("alice", call, 10).expect("a new hour");
    }
    alerts.push(("name of alice".to_owned(), "recordings_per_hour", 4));
    assert_eq!(world.alerts(), alerts);
    assert_eq!(world.metrics.decided("recordings_per_hour", "alert"), 2);
    assert_eq!(world.metrics.decided("bytes_per_hour", "alert"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_gives_nothing_back_and_takes_no_more_than_a_window() {
    let world = World::new(hourly(1));
    world.take("alice", 1, 10).expect("the first");
    let earlier = Clock::fixed("2026-11-20T00:00:00Z".parse().expect("a time"));
    let mut budgets = world.budgets.clone();
    let shared = Arc::get_mut(&mut budgets.shared);
    assert!(shared.is_none(), "the same counts");
    // The clock of the counts is what `Clock::resync` would have made of it.
    let state = {
        let name = ("name of alice", minute(earlier.now()));
        let person = world.budgets.shared.key.subject(ISSUER, name.0);
        let person = world.budgets.shared.subjects.find(person, name.1, &world.metrics).expect("known");
        let mut state = person.state();
        state.catch_up(0, name.1);
        let (call, at) = (world.budgets.shared.key.recording("name of call:1621413752-2"), name.1);
        let before = state.usage.judge(call, world.budgets.limits());
        state.catch_up(0, at + 61);
        (before.map_err(|stopped| stopped.until), state.usage.judge(call, world.budgets.limits()).is_ok())
    };
    assert_eq!(state, (Err(Some(minute(earlier.now()) + 61)), true));
}

#[tokio::test(start_paused = true)]
async fn the_past_counts_as_the_present_does() {
    let world = World::new(Limits { bytes_per_day: Some(500), ..hourly(2) });
    let at = |text: &str| text.parse().expect("a time");
    let recall = |ended: &str, subject: &str, recording: &str, bytes: Option<u64>| {
        let (issuer, at) = (ISSUER, at(ended));
        world.budgets.recall(Past::Taken { at, issuer, subject, recording, bytes });
    };
    recall("2026-11-20T12:00:00Z", "name of alice", "name of call:1621413752-9", Some(10_000));
    recall("2026-11-22T03:00:00Z", "name of alice", "name of call:1621413752-1", Some(100));
    recall("2026-11-22T11:30:00Z", "name of alice", "name of call:1621413752-2", Some(100));
    recall("2026-11-22T11:31:00Z", "name of alice", "name of call:1621413752-3", Some(0));
    recall("2026-11-22T11:40:00Z", "name of alice", "name of call:1621413752-4", None);
    // From ahead of the clock.
    recall("2026-11-22T18:00:00Z", "name of bob", "name of call:1621413752-1", Some(499));
    assert_eq!(world.wait("alice", 2), None, "it counts already");
    assert_eq!(world.wait("alice", 3), Some(("recordings_per_hour", (31 + 60 - 60) * 60 - 20)));
    assert_eq!(world.wait("bob", 2), None);
    world.take("bob", 2, 1).expect("the last byte");
    assert_eq!(world.wait("bob", 2).map(|(limit, _)| limit), Some("bytes_per_day"));
    pass(12 * 3_600 + 1_800).await;
    assert_eq!(world.wait("bob", 2).map(|(limit, _)| limit), Some("bytes_per_day"));
    pass(12 * 3_600).await;
    assert_eq!(world.wait("bob", 2), None);
}

#[tokio::test(start_paused = true)]
async fn an_alert_of_the_past_is_not_told_again() {
    let world = World::new(hourly(1));
    for (subject, budget) in [("name of alice", "recordings_per_hour"), ("name of bob", "something else")] {
        let at = "2026-11-22T11:59:00Z".parse().expect("a time");
        world.budgets.recall(Past::Alerted { at, issuer: ISSUER, subject, budget });
    }
    world.take("alice", 1, 1).expect("within the limit");
    world.take("bob", 1, 1).expect("within the limit");
    assert_eq!(world.alerts(), [("name of bob".to_owned(), "recordings_per_hour", 1)]);
}
