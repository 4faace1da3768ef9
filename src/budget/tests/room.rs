//! Downloads at once, people without limits, other limits, and how much is remembered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[tokio::test(start_paused = true)]
async fn downloads_at_once_are_limited_for_a_person_and_for_an_agent() {
    let limits = Limits { at_once_per_subject: Some(2), at_once_per_agent: Some(3), ..Limits::default() };
    let world = World::new(limits);
    let (one, _two) = (world.reserve("alice", 1).expect("one"), world.reserve("alice", 1).expect("two"));
    assert_eq!(world.wait("alice", 1), Some(("downloads_at_once_per_subject", 1)));
    let _three = world.reserve("bob", 1).expect("three");
    assert_eq!(world.wait("carol", 1), Some(("downloads_at_once_per_agent", 1)));
    let other = reserve(&world.budgets, authorized("carol", 4978, 1, &["agent"]));
    assert!(other.is_ok(), "another agent's session");
    drop(one);
    assert!(world.reserve("carol", 1).is_ok());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _held = world.reserve("carol", 1).expect("there is room");
        panic!("in a download");
    }));
    assert!(panicked.is_err());
    assert!(world.reserve("carol", 1).is_ok(), "given back");
    assert_eq!(world.metrics.decided("downloads_at_once_per_agent", "refuse"), 1);
}

#[tokio::test(start_paused = true)]
async fn roles_without_limits_are_counted_and_go_on() {
    let limits = Limits {
        recordings_per_hour: Some(1),
        at_once_per_subject: Some(1),
        at_once_per_agent: Some(2),
        exempt_roles: ["auditor".to_owned()].into(),
        ..Limits::default()
    };
    let world = World::new(limits);
    let exempt = |call| reserve(&world.budgets, authorized("alice", 4977, call, &["agent", "auditor"]));
    let mut held = Vec::new();
    for call in 1..=2 {
        let mut reservation = exempt(call).expect("no limit");
        reservation.handed_over(1);
        held.push(reservation);
    }
    let agent = exempt(3).expect_err("the agent's session has a limit for all");
    assert_eq!(agent.limit, Limit::AtOncePerAgent);
    held.clear();
    assert_eq!(world.alerts(), []);
    assert!(world.wait("alice", 3).is_some(), "without the role the use counts");
}

#[tokio::test(start_paused = true)]
async fn a_download_without_limits_silences_no_alert_of_one_with_limits() {
    let exempt_roles = ["auditor".to_owned()].into();
    let world = World::new(Limits { bytes_per_hour: Some(100), exempt_roles, ..Limits::default() });
    let mut limited = world.reserve("alice", 1).expect("room");
    let exempt = reserve(&world.budgets, authorized("alice", 4977, 2, &["auditor"])).expect("no limit");
    limited.handed_over(95);
    world.budgets.shared.look_around();
    assert_eq!(world.alerts(), [("name of alice".to_owned(), "bytes_per_hour", 95)]);
    drop((limited, exempt));
}

#[tokio::test(start_paused = true)]
async fn other_limits_hold_for_the_same_use() {
    let world = World::new(Limits { recordings_per_hour: Some(2), ..Limits::default() });
    world.take("alice", 1, 1).expect("the first");
    let running = world.reserve("alice", 2).expect("the second");
    let tighter = world.budgets.with_limits(Limits { recordings_per_hour: Some(1), ..Limits::default() });
    assert!(reserve(&tighter, authorized("alice", 4977, 3, &[])).is_err());
    let wider = tighter.with_limits(Limits { recordings_per_hour: Some(3), ..Limits::default() });
    assert!(reserve(&wider, authorized("alice", 4977, 3, &[])).is_ok());
    let none = wider.with_limits(Limits::default());
    assert!(reserve(&none, authorized("alice", 4977, 4, &[])).is_ok() && none.limits().are_none());
    drop(running);
    assert!(world.wait("alice", 5).is_none(), "the second gave nothing");
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_is_remembered() {
    let world = World::new(Limits::default());
    world.take("alice", 1, 1).expect("no limit");
    assert_eq!(world.budgets.subjects(), 0);
}

#[tokio::test(start_paused = true)]
async fn crowding_others_out_gives_nobody_a_new_budget() {
    let world = World::new(Limits { recordings_per_hour: Some(1), ..Limits::default() });
    world.take("alice", 1, 1).expect("the first");
    for number in 0..65_535 {
        let (subject, recording) = (&*format!("name of {number}"), "r");
        let at = world.clock.now();
        world.budgets.recall(Past::Taken { at, issuer: ISSUER, subject, recording, bytes: Some(1) });
    }
    assert_eq!(world.wait("mallory", 1), Some(("memory", 60)));
    assert_eq!(world.wait("alice", 2).map(|(limit, _)| limit), Some("recordings_per_hour"), "still known");
    pass(25 * 3_600).await;
    assert_eq!(world.wait("mallory", 1), None);
    assert!(world.budgets.subjects() < 10, "{}", world.budgets.subjects());
}

#[tokio::test(start_paused = true)]
async fn who_has_taken_nothing_for_a_day_is_forgotten_and_who_downloads_is_not() {
    let world = World::new(Limits { recordings_per_hour: Some(1), ..Limits::default() });
    world.take("alice", 1, 1).expect("the first");
    let _running = world.reserve("bob", 1).expect("another");
    for _ in 0..26 {
        pass(3_600).await;
        world.budgets.shared.look_around();
        world.budgets.shared.rest(false);
    }
    assert_eq!(world.budgets.subjects(), 1);
    assert!(world.wait("bob", 2).is_some(), "the first still runs");
}

#[tokio::test(start_paused = true)]
async fn many_at_once_take_no_more_than_there_is() {
    const LIMIT: u32 = 7;
    let world = World::new(Limits { recordings_per_day: Some(LIMIT), ..Limits::default() });
    let runtime = tokio::runtime::Handle::current();
    let taken = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (world, taken, runtime) = (&world, &taken, &runtime);
            scope.spawn(move || {
                let _clock = runtime.enter();
                for call in 0..50 {
                    if world.take("alice", thread * 1_000 + call, 1).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), LIMIT as usize);
}
