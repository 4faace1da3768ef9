//! Agents' own apps at the actors' door, with the clock in hand.

use super::*;
use crate::session::store::Kind;
use crate::upstream::{DeskAnswer, DeskSignIn};

fn body(form: SignInForm) -> DeskSignIn {
    DeskSignIn::parse(form, br#"{"password":"planted-password"}"#).expect("a sign-in")
}

impl World {
    async fn desk_signs_in(&self, form: SignInForm) -> Result<DeskAnswer, Error> {
        self.sessions.desk_sign_in(agent(1001), body(form)).await
    }
}

fn code(answer: Result<DeskAnswer, Error>) -> String {
    answer.expect("the gateway's answer").retcode.to_string()
}

#[tokio::test(start_paused = true)]
async fn an_app_and_its_downloads_share_one_session() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = SECOND);
    let (signed_in, leases) = tokio::join!(
        world.desk_signs_in(SignInForm::Full),
        join_all((0..200).map(|_| async {
            sleep(SECOND / 2).await;
            world.sessions.lease(agent(1001)).await
        }))
    );
    let signed_in = signed_in.expect("signed in");
    assert!(signed_in.guid.is_none(), "the Guid stays here");
    let desk = world.sessions.desk(agent(1001)).await.expect("its session");
    for lease in leases {
        let lease = lease.expect("a lease");
        assert_eq!((lease.kind(), lease.tag()), (Kind::Desk, desk.tag()));
    }
    assert_eq!(world.gateway.story(), ["desk signs in Full", "DeskSignedIn { form: Full }"]);
    assert_eq!(world.metric("ccgate_session_sign_ins_total{outcome=\"ok\"}").as_deref(), Some("1"));
    assert_eq!(world.metric("ccgate_sessions{state=\"active\"}").as_deref(), Some("1"));
    let shown = world.sessions.show(agent(1001)).await.expect("shown");
    assert_eq!((shown.kind, shown.owned, shown.state), (Some(Kind::Desk), true, "active"));
    assert_eq!(code(world.sessions.desk_sign_out(agent(1001)).await), "0");
    assert_eq!(world.gateway.story()[2..], ["sign out", "DeskSignedOut"]);
    assert!(matches!(world.sessions.desk(agent(1001)).await, Err(Error::NoDesk)));
    sleep(SECOND).await;
    assert!(world.sessions.actors().handles.is_empty(), "and nothing is left");
}

#[tokio::test(start_paused = true)]
async fn a_session_of_ours_is_signed_out_for_the_app_and_no_call_overlaps() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = SECOND);
    let _lease = world.sessions.lease(agent(1001)).await.expect("a lease");
    assert_eq!(code(world.desk_signs_in(SignInForm::Platform).await), "0");
    let page_loaded_again = world.desk_signs_in(SignInForm::Platform).await;
    assert_eq!(code(page_loaded_again), "0");
    let away = ["sign out", "SignedOut { why: Desk }", "desk signs in Platform", "DeskSignedIn { form: Platform }"];
    assert_eq!(world.gateway.story()[2..], [away, away].concat());
}

#[tokio::test(start_paused = true)]
async fn one_sign_in_of_an_app_at_a_time_and_none_for_an_app_that_has_gone() {
    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    let (first, second) = tokio::join!(world.desk_signs_in(SignInForm::Full), async {
        sleep(SECOND).await;
        world.desk_signs_in(SignInForm::Full).await
    });
    assert_eq!(code(first), "0");
    assert!(matches!(second, Err(Error::DeskSigningIn)), "{second:?}");

    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    let (own, ()) = tokio::join!(world.sessions.lease(agent(1001)), async {
        sleep(SECOND).await;
        let gone = timeout(SECOND, world.desk_signs_in(SignInForm::Force)).await;
        assert!(gone.is_err(), "it hung up while our own sign-in was in flight");
    });
    assert!(own.is_ok());
    sleep(20 * SECOND).await;
    assert_eq!(world.gateway.count("desk signs in Force"), 0);
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0", "and the next is let in");

    let world = World::new();
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    assert!(timeout(SECOND, world.desk_signs_in(SignInForm::Full)).await.is_err(), "it hangs up when it is sent");
    assert!(world.sessions.desk(agent(1001)).await.is_ok(), "the sign-in goes on");
}

#[tokio::test(start_paused = true)]
async fn apps_sign_in_no_faster_than_the_gate_lets_them() {
    let world = World::with(|config| config.sign_ins_at_once = 1);
    world.gateway.set(|gateway| gateway.delay = SECOND);
    let start = Instant::now();
    let all = (1001..1006).map(|number| world.sessions.desk_sign_in(agent(number), body(SignInForm::Full)));
    assert!(join_all(all).await.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_hangs_up_while_it_waits_at_the_gate_is_not_signed_in() {
    let world = World::with(|config| config.sign_ins_at_once = 1);
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    let (other, ()) = tokio::join!(world.sessions.desk_sign_in(agent(1002), body(SignInForm::Full)), async {
        sleep(SECOND).await;
        let gone = timeout(SECOND, world.desk_signs_in(SignInForm::Force)).await;
        assert!(gone.is_err(), "it hung up while another's sign-in had the gate");
    });
    assert_eq!(code(other), "0");
    sleep(60 * SECOND).await;
    assert_eq!(world.gateway.count("desk signs in Force"), 0);
    assert!(!world.gateway.is_live(agent(1001)));
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0", "and the next is let in");

    // The next need not wait until the gate is free: the one that has gone gives way at once.
    let world = World::with(|config| config.sign_ins_at_once = 1);
    world.gateway.set(|gateway| gateway.delay = 5 * SECOND);
    let start = Instant::now();
    let (_, next) = tokio::join!(world.sessions.desk_sign_in(agent(1002), body(SignInForm::Full)), async {
        sleep(SECOND).await;
        assert!(timeout(SECOND, world.desk_signs_in(SignInForm::Force)).await.is_err());
        sleep(SECOND).await;
        world.desk_signs_in(SignInForm::Full).await
    });
    assert_eq!((code(next), start.elapsed()), ("0".to_owned(), 10 * SECOND));
    assert_eq!(world.gateway.count("desk signs in Force"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_apps_session_lives_as_long_as_its_app_says() {
    let world = World::with(|config| config.idle_sign_out = 60 * SECOND);
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0");
    for _ in 0..10 {
        sleep(100 * SECOND).await;
        world.sessions.desk(agent(1001)).await.expect("its session").alive();
    }
    assert!(world.gateway.log().iter().all(|line| line != "poll"), "it polls, not we");
    sleep(119 * SECOND).await;
    assert!(world.sessions.desk(agent(1001)).await.is_ok());
    sleep(2 * SECOND).await;
    assert!(matches!(world.sessions.desk(agent(1001)).await, Err(Error::NoDesk)));
    assert_eq!(world.gateway.count("Lost { cause: Silent }"), 1);
    assert_eq!(world.gateway.count("sign out"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_a_poll_brings_and_tells_is_known_to_downloads() {
    let world = World::new();
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0");
    let newer = Guid::from_text("planted-newer-guid.AgentGateway0").expect("a Guid");
    let poll = world.sessions.desk(agent(1001)).await.expect("its session");
    let download = world.sessions.lease(agent(1001)).await.expect("a lease");
    poll.learned_by_all(newer.clone()).await;
    assert!(!download.is_fresh(), "to be asked for again before it is sent");
    assert!(world.sessions.lease(agent(1001)).await.expect("a lease").guid().same_as(&newer));
    poll.lost(LossCause::Forgotten);
    assert!(world.sessions.desk(agent(1001)).await.is_ok(), "of the older Guid");
    world.sessions.desk(agent(1001)).await.expect("its session").lost(LossCause::Forgotten);
    assert!(matches!(world.sessions.desk(agent(1001)).await, Err(Error::NoDesk)));
    assert_eq!(world.gateway.count("Lost { cause: Forgotten }"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_app_without_an_account_file_signs_in_and_a_download_after_it_cannot() {
    let world = World::new();
    let signed_in = world.sessions.desk_sign_in(agent(2002), body(SignInForm::Full)).await;
    assert_eq!(code(signed_in), "0");
    assert!(world.sessions.lease(agent(2002)).await.is_ok());
    assert_eq!(code(world.sessions.desk_sign_out(agent(2002)).await), "0");
    assert_eq!(world.sessions.lease(agent(2002)).await.expect_err("no account").code(), "account_missing");
}

#[tokio::test(start_paused = true)]
async fn a_sign_out_that_is_refused_is_handed_down_and_the_session_lives_on() {
    let world = World::new();
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0");
    world.gateway.set(|gateway| gateway.sign_out_faults.extend([Fault::Code("100-010"), Fault::Unreachable]));
    assert_eq!(code(world.sessions.desk_sign_out(agent(1001)).await), "100-010");
    let unanswered = world.sessions.desk_sign_out(agent(1001)).await.expect_err("no network");
    assert_eq!(unanswered.code(), "upstream_unreachable");
    assert!(world.sessions.desk(agent(1001)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_signs_no_app_out_and_an_operator_does() {
    let world = World::new();
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0");
    world.sessions.shut_down(10 * SECOND).await;
    assert!(world.gateway.is_live(agent(1001)));
    assert_eq!(world.gateway.story()[2..], ["HandedOver"]);
    assert!(matches!(world.desk_signs_in(SignInForm::Full).await, Err(Error::ShuttingDown)));
    assert!(matches!(world.sessions.desk(agent(1001)).await, Err(Error::ShuttingDown)));

    let world = World::new();
    assert_eq!(code(world.desk_signs_in(SignInForm::Full).await), "0");
    world.sessions.sign_out(agent(1001)).await.expect("signed out");
    assert!(!world.gateway.is_live(agent(1001)));
}
