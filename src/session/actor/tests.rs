//! The actors with the clock in hand: many callers, one session, before a gateway that keeps the vendor's rules.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};

use super::*;
use crate::session::{BarCause, SessionEvent, SignIn};

mod desk;
mod rules;
mod world;

use world::{Fault, PASSWORD, World, agent};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn r18_two_hundred_parallel_requests_make_one_sign_in() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = SECOND);
    let leases = join_all((0..200).map(|_| world.sessions.lease(agent(1001)))).await;
    let leases: Vec<Lease> = leases.into_iter().collect::<Result<_, _>>().expect("200 leases");
    assert!(leases.iter().all(|lease| lease.tag() == leases[0].tag() && lease.agent() == agent(1001)));
    assert_eq!(world.gateway.count("sign in Platform"), 1);
    assert_eq!(world.metric("ccgate_session_sign_ins_total{outcome=\"ok\"}").as_deref(), Some("1"));
    assert_eq!(world.metric("ccgate_sessions{state=\"active\"}").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn fifty_agents_sign_in_side_by_side() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = SECOND);
    (2001..2051).for_each(|number| world.account(agent(number), ""));
    let all = join_all((2001..2051).map(|number| world.sessions.lease(agent(number))));
    let leases = timeout(2 * SECOND, all).await.expect("not one after the other");
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(world.gateway.count("sign in Platform"), 50);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_neither_stops_nor_repeats_the_sign_in() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    let gone = timeout(SECOND, world.sessions.lease(agent(1001))).await;
    assert!(gone.is_err(), "it hung up");
    let lease = timeout(5 * SECOND, world.sessions.lease(agent(1001))).await.expect("the same sign-in goes on");
    assert!(lease.is_ok());
    assert_eq!(world.gateway.count("sign in Platform"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_took_is_signed_out_when_idle() {
    let world = World::with(|config| config.idle_sign_out = 60 * SECOND);
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    assert!(timeout(SECOND, world.sessions.lease(agent(1001))).await.is_err());
    sleep(30 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)));
    sleep(60 * SECOND).await;
    assert!(!world.gateway.is_live(agent(1001)));
}

#[tokio::test(start_paused = true)]
async fn a_rotation_reaches_the_next_lease_and_spares_the_running_one() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.rotates = true);
    let first = world.sessions.lease(agent(1001)).await.expect("a lease");
    sleep(60 * SECOND).await;
    let second = world.sessions.lease(agent(1001)).await.expect("a lease");
    assert_ne!(first.tag(), second.tag());
    let newer = first.reject(LossCause::Forgotten).await.expect("the newer Guid");
    assert_eq!(newer.tag(), second.tag(), "and no fresh session");
    assert_eq!(world.gateway.count("sign in Platform"), 1);
    let rotations = world.metric("ccgate_session_guid_rotations_total").expect("a number");
    assert!(rotations.parse::<u32>().expect("a number") >= 5, "{rotations}");
    assert_eq!(world.gateway.count("Rotated { count: 5 }"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_guid_that_an_answer_brought_is_handed_out() {
    let world = World::new();
    let lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    let newer = |text: &str| Guid::from_text(&format!("{text}-newer-guid.AgentGateway0")).expect("a Guid");
    lease.learned(newer("first"));
    lease.learned(newer("late"));
    let next = world.sessions.lease(agent(1001)).await.expect("a lease");
    assert!(next.guid().same_as(&newer("first")), "the second answer was to the same, older Guid");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_who_reject_the_same_guid_share_one_fresh_session() {
    for (cause, story) in [
        (LossCause::Forgotten, ["sign in Platform", "SignedIn { form: Platform }"].as_slice()),
        (
            LossCause::Refused,
            &["sign out", "SignedOut { why: Lost }", "sign in Platform", "SignedIn { form: Platform }"],
        ),
    ] {
        let world = World::new();
        world.gateway.set(|gateway| gateway.delay = SECOND);
        let leases = join_all((0..100).map(|_| world.sessions.lease(agent(1001)))).await;
        if cause == LossCause::Forgotten {
            world.gateway.release(agent(1001));
        }
        let fresh = leases.into_iter().map(|lease| lease.expect("a lease").reject(cause));
        let fresh: Vec<Lease> = join_all(fresh).await.into_iter().collect::<Result<_, _>>().expect("100 leases");
        assert!(fresh.iter().all(|lease| lease.tag() == fresh[0].tag()));
        let all = world.gateway.story();
        assert_eq!(all[2], format!("Lost {{ cause: {cause:?} }}"));
        assert_eq!(all[3..], *story);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_while_it_cools_down_is_told_at_once() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.sign_in_faults.extend([Fault::Unreachable, Fault::Code("000-004")]));
    let error = world.sessions.lease(agent(1001)).await.expect_err("no network");
    assert_eq!(error.code(), "upstream_unreachable");
    let before = Instant::now();
    let again = world.sessions.lease(agent(1001)).await.expect_err("still");
    assert_eq!((again.code(), before.elapsed()), ("upstream_unreachable", Duration::ZERO));
    assert_eq!(world.metric("ccgate_sessions{state=\"cooling\"}").as_deref(), Some("1"));
    sleep(again.retry_after().expect("a time")).await;
    let error = world.sessions.lease(agent(1001)).await.expect_err("switching over");
    assert_eq!(error.code(), "upstream_switching");
    sleep(error.retry_after().expect("a time")).await;
    assert!(world.sessions.lease(agent(1001)).await.is_ok());
    assert_eq!(world.gateway.count("sign in Platform"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_sign_in_that_timed_out_meets_its_ghost_until_maxtime() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.sign_in_faults.push_back(Fault::TimeoutAfterAll));
    let start = Instant::now();
    let mut error = world.sessions.lease(agent(1001)).await.expect_err("no answer");
    assert_eq!(error.code(), "upstream_timeout");
    while start.elapsed() < 120 * SECOND {
        sleep(error.retry_after().expect("a time")).await;
        error = world.sessions.lease(agent(1001)).await.expect_err("busy");
        assert_eq!(error.code(), "agent_busy");
    }
    world.gateway.release(agent(1001));
    sleep(error.retry_after().expect("a time")).await;
    assert!(world.sessions.lease(agent(1001)).await.is_ok());
    assert!(world.gateway.count("sign in Platform") <= 10, "{:?}", world.gateway.story());
    assert_eq!(world.gateway.count("sign in Force"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_works_elsewhere_is_thrown_out_only_with_takeover() {
    let world = World::new();
    world.gateway.hold_elsewhere(agent(1001));
    assert_eq!(world.sessions.lease(agent(1001)).await.expect_err("busy").code(), "agent_busy");
    world.account(agent(1002), "takeover: true\n");
    world.gateway.hold_elsewhere(agent(1002));
    assert!(world.sessions.lease(agent(1002)).await.is_ok());
    let story = world.gateway.story();
    assert_eq!(
        story[2..],
        ["sign in Platform", "Forced { by: Own }", "sign in Force", "SignedIn { form: Force }"],
        "recorded before it is done"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_not_tried_again_until_the_file_changes() {
    let world = World::new();
    let path = world.accounts.path().join("1001.yaml");
    std::fs::write(&path, "password: wrong").expect("a file");
    for _ in 0..5 {
        let error = world.sessions.lease(agent(1001)).await.expect_err("wrong");
        assert!(matches!(error, Error::AccountRejected { cause: BarCause::WrongPassword }), "{error:?}");
        sleep(3_600 * SECOND).await;
    }
    assert_eq!(world.gateway.count("sign in Platform"), 1);
    assert_eq!(world.gateway.count("Barred { cause: WrongPassword }"), 1);
    assert_eq!(world.metric("ccgate_sessions{state=\"barred\"}").as_deref(), Some("1"));
    world.account(agent(1001), "");
    assert!(world.sessions.lease(agent(1001)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_password_that_must_be_changed_is_no_session() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.sign_in_faults.push_back(Fault::MustChange));
    let error = world.sessions.lease(agent(1001)).await.expect_err("must change");
    assert!(matches!(error, Error::AccountRejected { cause: BarCause::MustChangePassword }), "{error:?}");
    sleep(SECOND).await;
    assert!(!world.gateway.is_live(agent(1001)));
}

#[tokio::test(start_paused = true)]
async fn agents_without_a_usable_account_leave_no_actor_behind() {
    let world = World::with(|config| config.agents_max = 2);
    std::fs::write(world.accounts.path().join("2000.yaml"), "nonsense").expect("a file");
    assert_eq!(world.sessions.lease(agent(2000)).await.expect_err("nonsense").code(), "account_unusable");
    for number in 3000..3010 {
        assert_eq!(world.sessions.lease(agent(number)).await.expect_err("none").code(), "account_missing");
        sleep(SECOND).await;
    }
    assert!(world.sessions.actors().handles.is_empty());
    assert_eq!(world.metric("ccgate_sessions{state=\"absent\"}").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn agents_are_bounded() {
    let world = World::with(|config| config.agents_max = 2);
    (1002..1004).for_each(|number| world.account(agent(number), ""));
    assert!(world.sessions.lease(agent(1001)).await.is_ok() && world.sessions.lease(agent(1002)).await.is_ok());
    assert!(matches!(world.sessions.lease(agent(1003)).await, Err(Error::TooManyAgents)));
    assert!(world.sessions.lease(agent(1001)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiters_are_bounded_and_wait_no_longer_than_they_may() {
    let world = World::with(|config| config.waiters_max = 10);
    world.gateway.set(|gateway| gateway.delay = 60 * SECOND);
    let start = Instant::now();
    let answers = join_all((0..13).map(|_| world.sessions.lease(agent(1001)))).await;
    let codes: Vec<_> = answers.iter().map(|answer| answer.as_ref().expect_err("none in time").code()).collect();
    assert_eq!(codes[..10], ["upstream_timeout"; 10]);
    assert_eq!(codes[10..], ["sessions_exhausted"; 3]);
    assert_eq!(start.elapsed(), 30 * SECOND);
    sleep(31 * SECOND).await;
    assert!(world.sessions.lease(agent(1001)).await.is_ok(), "the sign-in went on, and nobody waits any more");
    assert_eq!(world.gateway.count("sign in Platform"), 1);
}

#[tokio::test(start_paused = true)]
async fn those_who_have_hung_up_take_no_room() {
    let world = World::with(|config| config.waiters_max = 10);
    let (_commands, receiver) = mpsc::channel(1);
    let mut actor = Actor::new(agent(1002), world.sessions.clone(), receiver);
    let (reply, stays) = oneshot::channel();
    actor.command(Command::Ask { rejected: None, reply });
    for _ in 0..1_000 {
        let (reply, hangs_up) = oneshot::channel();
        actor.command(Command::Ask { rejected: None, reply });
        drop(hangs_up);
        assert!(actor.waiters.len() <= 10, "{}", actor.waiters.len());
    }
    actor.perform(Effect::Refuse(Error::ShuttingDown));
    assert!(matches!(stays.await, Ok(Err(Error::ShuttingDown))), "who still waits is answered");
}

#[tokio::test(start_paused = true)]
async fn a_session_in_use_is_kept_and_an_idle_one_is_signed_out() {
    let world = World::with(|config| config.idle_sign_out = 60 * SECOND);
    let lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    let hold = lease.hold();
    drop(lease);
    sleep(600 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)), "a body still runs");
    drop(hold);
    sleep(59 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)));
    sleep(2 * SECOND).await;
    assert!(!world.gateway.is_live(agent(1001)));
    assert_eq!(world.gateway.story().last().map(String::as_str), Some("SignedOut { why: Idle }"));
    assert!(world.sessions.actors().handles.is_empty(), "the actor is gone");
    assert!(world.sessions.lease(agent(1001)).await.is_ok(), "and comes back");
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_as_the_last_one_ends_keeps_the_session() {
    let world = World::with(|config| config.idle_sign_out = 60 * SECOND);
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    // The actor hears of the wish before it hears of the release.
    let _lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    sleep(600 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)));
}

#[tokio::test(start_paused = true)]
async fn the_keep_alive_of_a_lost_session_is_dropped() {
    let world = World::new();
    let lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    sleep(SECOND).await;
    world.gateway.set(|gateway| {
        assert_eq!(gateway.keep_alives_open, 1);
        gateway.delay = 5 * SECOND;
    });
    world.gateway.release(agent(1001));
    assert!(timeout(SECOND, lease.reject(LossCause::Forgotten)).await.is_err(), "the sign-in takes its time");
    world.gateway.set(|gateway| assert_eq!(gateway.keep_alives_open, 0));
}

#[tokio::test(start_paused = true)]
async fn a_wish_during_the_sign_out_waits_for_its_answer() {
    let world = World::with(|config| config.idle_sign_out = 60 * SECOND);
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    sleep(61 * SECOND).await;
    assert_eq!(world.gateway.count("sign out"), 1);
    assert!(world.sessions.lease(agent(1001)).await.is_ok());
    let story = world.gateway.story();
    assert_eq!(story[2..], ["sign out", "SignedOut { why: Idle }", "sign in Platform", "SignedIn { form: Platform }"]);
}

#[tokio::test(start_paused = true)]
async fn a_keep_alive_that_fails_leaves_running_downloads_alone() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.keep_alive_faults.extend([Fault::Unreachable, Fault::Code("000-003")]));
    let lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    sleep(60 * SECOND).await;
    assert_eq!(world.gateway.count("Lost { cause: Refused }"), 1);
    assert_eq!(world.gateway.count("sign out"), 0, "its Guid may still carry the download");
    let fresh = world.sessions.lease(agent(1001)).await.expect("a fresh one");
    assert_ne!(lease.tag(), fresh.tag());
    assert_eq!(world.gateway.count("sign out"), 1, "now its ghost is in the way");
    assert_eq!(world.metric("ccgate_session_keep_alives_total{outcome=\"session_lost\"}").as_deref(), Some("1"));
    assert_eq!(world.metric("ccgate_session_keep_alives_total{outcome=\"unreachable\"}").as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn push_mode_beats_and_says_where_to_push() {
    let world = World::with(|config| {
        config.sign_in = SignIn::Full;
        config.keep_alive = KeepAlive::Heartbeat;
        let service_token = secrecy::SecretString::from("planted-token");
        config.callback = Some(upstream::Callback { uri: "https://ccgate.example/events".to_owned(), service_token });
    });
    world.account(agent(1001), "phone_number: \"88001001\"\n");
    let _lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    sleep(600 * SECOND).await;
    assert_eq!(world.gateway.count("sign in Full, push mode"), 1);
    assert_eq!(world.gateway.count("poll"), 0);
    let beats = world.gateway.count("heartbeat");
    // Each answer of this gateway takes 10 s, so a round takes about 40 s.
    assert!((13..=17).contains(&beats), "{beats}");
}

#[tokio::test(start_paused = true)]
async fn the_first_expiry_of_a_password_is_shown() {
    const SERIES: &str = "ccgate_account_password_expiry_timestamp_seconds";
    let world = World::new();
    world.account(agent(1002), "");
    assert_eq!(world.metric(SERIES), None, "nothing is known");
    world.gateway.set(|gateway| gateway.password_days_left = Some(30));
    let _first = world.sessions.lease(agent(1001)).await;
    assert_eq!(world.metric(SERIES).as_deref(), Some("2592000"));
    world.gateway.set(|gateway| gateway.password_days_left = Some(7));
    let second = world.sessions.lease(agent(1002)).await.expect("a lease");
    assert_eq!(world.metric(SERIES).as_deref(), Some("604800"));
    world.gateway.set(|gateway| gateway.password_days_left = None);
    let _renewed = second.reject(LossCause::Refused).await;
    assert_eq!(world.metric(SERIES).as_deref(), Some("2592000"));
}

#[tokio::test(start_paused = true)]
async fn an_expiry_is_shown_no_longer_than_its_actor_lives() {
    const SERIES: &str = "ccgate_account_password_expiry_timestamp_seconds";
    let world = World::with(|config| config.idle_sign_out = 60 * SECOND);
    world.gateway.set(|gateway| gateway.password_days_left = Some(30));
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    assert_eq!(world.metric(SERIES).as_deref(), Some("2592000"));
    sleep(61 * SECOND).await;
    assert!(world.sessions.actors().handles.is_empty());
    assert_eq!(world.metric(SERIES), None);

    let _lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    assert!(world.metric(SERIES).is_some());
    world.gateway.set(|gateway| gateway.sign_out_faults.push_back(Fault::Hang));
    world.sessions.shut_down(SECOND).await;
    assert_eq!(world.metric(SERIES), None, "nor is that of an actor that was cut off");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_signs_all_out_side_by_side_but_not_all_at_once() {
    let world = World::new();
    (2001..2151).for_each(|number| world.account(agent(number), ""));
    let leases = join_all((2001..2151).map(|number| world.sessions.lease(agent(number)))).await;
    assert!(leases.iter().all(Result::is_ok));
    world.gateway.set(|gateway| gateway.delay = SECOND);
    let start = Instant::now();
    world.sessions.shut_down(10 * SECOND).await;
    assert_eq!(start.elapsed(), 3 * SECOND, "150 in three rounds of at most 64");
    assert_eq!(world.gateway.count("SignedOut { why: Shutdown }"), 150);
    world.gateway.set(|gateway| assert_eq!(gateway.sign_outs_at_once_max, 64));
    assert!(matches!(world.sessions.lease(agent(1001)).await, Err(Error::ShuttingDown)));
    assert_eq!(world.gateway.count("sign in Platform"), 150, "nothing signs in any more");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_a_sign_in_and_signs_it_out() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = 2 * SECOND);
    let (lease, ()) = tokio::join!(world.sessions.lease(agent(1001)), async {
        sleep(SECOND).await;
        world.sessions.shut_down(10 * SECOND).await;
    });
    assert!(matches!(lease, Err(Error::ShuttingDown)), "{lease:?}");
    assert!(!world.gateway.is_live(agent(1001)));
    assert!(world.sessions.actors().handles.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_signs_in_while_others_are_signed_out() {
    let world = World::new();
    world.account(agent(1002), "");
    let _lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    world.gateway.set(|gateway| gateway.delay = 2 * SECOND);
    let ((), late) = tokio::join!(world.sessions.shut_down(10 * SECOND), async {
        sleep(SECOND).await;
        world.sessions.lease(agent(1002)).await
    });
    assert!(matches!(late, Err(Error::ShuttingDown)), "{late:?}");
    assert_eq!(world.gateway.count("sign in Platform"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_at_its_deadline() {
    let world = World::new();
    let _lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    world.gateway.set(|gateway| gateway.sign_out_faults.push_back(Fault::Hang));
    let start = Instant::now();
    world.sessions.shut_down(3 * SECOND).await;
    assert_eq!(start.elapsed(), 3 * SECOND);
    assert!(world.sessions.actors().handles.is_empty());
    assert_eq!(world.metric("ccgate_sessions{state=\"leaving\"}").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn a_defect_in_a_call_ends_one_actor_and_not_the_agent() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.sign_in_faults.push_back(Fault::Panic));
    assert!(matches!(world.sessions.lease(agent(1001)).await, Err(Error::Interrupted)));
    assert!(world.sessions.lease(agent(1001)).await.is_ok());
    assert_eq!(world.metric("ccgate_sessions{state=\"active\"}").as_deref(), Some("1"));
    assert_eq!(world.metric("ccgate_sessions{state=\"signing_in\"}").as_deref(), Some("0"));
}

#[tokio::test(start_paused = true)]
async fn r17_no_output_shows_a_guid_or_a_password() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.rotates = true);
    let lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    sleep(30 * SECOND).await;
    let page = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).expect("a page");
    let shown = format!("{lease:?} {:?} {:?} {} {page}", lease.hold(), lease.guid(), world.gateway.log().join(" "));
    assert!(!shown.contains("planted"), "{shown}");
    assert!(!shown.contains(PASSWORD), "{shown}");
    assert!(!page.contains("1001"), "no agent in a label: {page}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_knows_when_its_guid_was_replaced() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.rotates = true);
    let lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    assert!(lease.is_fresh());
    sleep(60 * SECOND).await;
    assert!(!lease.is_fresh(), "whoever sends it now asks first");
    let (old, renewed) = (lease.tag(), lease.renewed().await.expect("the newer"));
    assert!(renewed.is_fresh() && renewed.tag() != old);
}

#[tokio::test(start_paused = true)]
async fn an_operator_is_told_whether_the_gateway_signed_the_agent_out() {
    let world = World::new();
    drop(world.sessions.lease(agent(1001)).await.expect("a lease"));
    let shown = world.sessions.show(agent(1001)).await.expect("known");
    assert_eq!((shown.state, shown.since), ("active", Timestamp::UNIX_EPOCH), "by the clock that stands");
    world.gateway.set(|gateway| gateway.sign_out_faults.push_back(Fault::Code("100-010")));
    let refused = world.sessions.sign_out(agent(1001)).await.expect_err("it talks");
    assert_eq!(refused.code(), "sign_out_failed");
    world.gateway.release(agent(1001));
    drop(world.sessions.lease(agent(1001)).await.expect("another session"));
    world.sessions.sign_out(agent(1001)).await.expect("signed out");
    let none = world.sessions.sign_out(agent(1001)).await.expect_err("nobody is signed in");
    assert_eq!(none.code(), "session_not_owned");
}
