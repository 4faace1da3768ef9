//! Agents' own apps in one process: what they may, what gives way to them, and what never happens to their sessions.

use super::*;
use crate::upstream::DeskAnswer;

mod shared;

pub(super) fn name(effect: &Effect) -> String {
    let effect = match effect {
        Effect::Desk(effect) => effect,
        Effect::Take { fence } => return format!("take {fence}"),
        other => panic!("{other:?} is not for an app"),
    };
    let told = |answer: &Result<DeskAnswer, Error>| match answer {
        Ok(answer) => answer.retcode.to_string(),
        Err(error) => error.code().to_owned(),
    };
    match effect {
        DeskEffect::SignIn { .. } => "desk signs in".to_owned(),
        DeskEffect::SignOut { .. } => "desk signs out".to_owned(),
        DeskEffect::Grant(Granted { version, .. }) => format!("desk gets {}.{}", version.fence, version.rotation),
        DeskEffect::Refuse(error) => format!("desk is refused {}", error.code()),
        DeskEffect::AnswerSignIn(answer) => format!("signing in is told {}", told(answer)),
        DeskEffect::AnswerSignOut(answer) => format!("signing out is told {}", told(answer)),
    }
}

fn answer(guid: Option<Guid>, code: &str) -> DeskAnswer {
    DeskAnswer::for_test(guid, Retcode::parse(code).expect("a code"))
}

pub(super) fn signed_in(number: u64) -> Event {
    Event::Desk(DeskEvent::SignInAnswered(Ok(answer(Some(guid(number)), "0"))))
}

pub(super) fn sign_in_refused(code: &str) -> Event {
    Event::Desk(DeskEvent::SignInAnswered(Ok(answer(None, code))))
}

pub(super) fn sign_in_unanswered(error: Arc<upstream::Error>) -> Event {
    Event::Desk(DeskEvent::SignInAnswered(Err(error)))
}

pub(super) fn signed_out(code: &str) -> Event {
    Event::Desk(DeskEvent::SignOutAnswered(Ok(answer(None, code))))
}

pub(super) fn asks_to_sign_in(form: SignInForm) -> Event {
    Event::Desk(DeskEvent::SignInAsked(form))
}

pub(super) fn asks() -> Event {
    Event::Desk(DeskEvent::Asked)
}

pub(super) fn asks_to_sign_out(fence: u64, rotation: u64) -> Event {
    Event::Desk(DeskEvent::SignOutAsked(Version { fence, rotation }))
}

fn alive(fence: u64) -> Event {
    Event::Desk(DeskEvent::Alive(Version { fence, rotation: 0 }))
}

fn lost(fence: u64, rotation: u64, cause: LossCause) -> Event {
    Event::Desk(DeskEvent::Lost(Version { fence, rotation }, cause))
}

impl Bench {
    /// An app that is signed in.
    fn desk() -> Self {
        let mut bench = Self::new();
        assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), ["desk signs in"]);
        assert_eq!(bench.step(signed_in(7)), ["record DeskSignedIn { form: Full }", "signing in is told 0"]);
        bench
    }
}

#[test]
fn an_app_signs_in_uses_its_session_and_signs_out() {
    let mut bench = Bench::desk();
    assert_eq!(bench.step(asks()), ["desk gets 1.0"]);
    assert_eq!(bench.want(), ["grant 1.0"], "downloads use it");
    assert_eq!(bench.step(learned(1, 0, 8)), ["record Rotated { count: 1 }"]);
    assert_eq!(bench.step(learned(1, 0, 9)), [""; 0], "late");
    assert_eq!(bench.step(asks()), ["desk gets 1.1"]);
    assert_eq!(bench.step(asks_to_sign_out(1, 1)), ["desk signs out"]);
    assert_eq!(bench.want(), [""; 0], "waits for the answer");
    assert_eq!(bench.step(asks()), [""; 0]);
    assert_eq!(
        bench.step(signed_out("0")),
        ["record DeskSignedOut", "signing out is told 0", "read", "desk is refused not_signed_in"],
        "and the download goes on with a sign-in of our own"
    );
}

#[test]
fn nothing_is_signed_in_for_a_poll() {
    let mut bench = Bench::new();
    assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"]);
    assert!(bench.session.is_done());
    assert_eq!(bench.step(asks_to_sign_out(1, 0)), ["signing out is told not_signed_in"]);

    let mut bench = Bench::active();
    assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"], "a session of ours is not the app's");
    assert_eq!(bench.step(asks_to_sign_out(1, 0)), ["signing out is told not_signed_in"]);
    assert_eq!(bench.want(), ["grant 1.0"]);

    let mut bench = Bench::new();
    bench.want();
    assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"], "we are about to sign in");
    bench.read("a", false);
    assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"]);
}

#[test]
fn a_session_of_ours_gives_way_and_so_does_an_older_one_of_the_apps() {
    let mut bench = Bench::active();
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Platform)), ["sign out"]);
    assert_eq!(bench.want(), [""; 0]);
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Desk }", "desk signs in"]);
    assert_eq!(bench.want(), [""; 0], "still waits");
    assert_eq!(
        bench.step(signed_in(5)),
        ["record DeskSignedIn { form: Platform }", "signing in is told 0", "grant 1.1"],
        "another version: late answers to the older session do not meet it"
    );
    // The page is loaded again.
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), ["sign out"]);
    let gone = Err(refused("100-006"));
    assert_eq!(bench.step(Event::SignOutAnswered(gone)), ["record SignedOut { why: Desk }", "desk signs in"]);
    assert_eq!(bench.step(signed_in(6)), ["record DeskSignedIn { form: Full }", "signing in is told 0"]);
}

#[test]
fn an_older_session_of_the_apps_that_is_not_let_go_lives_on_until_the_sign_in_works() {
    let not_let_go = "record SignOutFailed { retcode: Some(Retcode(\"100-010\")) }";
    let mut bench = Bench::desk();
    bench.step(asks_to_sign_in(SignInForm::Full));
    assert_eq!(bench.step(Event::SignOutAnswered(Err(refused("100-010")))), [not_let_go, "desk signs in"]);
    let told = bench.step(sign_in_refused("100-002"));
    assert_eq!(told[0], "signing in is told 100-002");
    assert_eq!(bench.step(asks()), ["desk gets 1.0"], "as before");

    bench.step(asks_to_sign_in(SignInForm::Force));
    let forced = ["record Forced { by: Desk }", "desk signs in"];
    assert_eq!(bench.step(Event::SignOutAnswered(Err(refused("100-010"))))[1..], forced);
    let told = bench.step(signed_in(9));
    assert_eq!(told[..2], ["record SignedOut { why: Desk }", "record DeskSignedIn { form: Force }"]);

    let unanswered = Err(unreachable());
    bench.step(asks_to_sign_in(SignInForm::Full));
    assert_eq!(
        bench.step(Event::SignOutAnswered(unanswered)),
        ["record SignOutFailed { retcode: None }", "signing in is told upstream_unreachable"]
    );
    assert_eq!(bench.step(asks()), ["desk gets 1.1"], "it may live");
}

#[test]
fn r18_an_app_waits_for_whatever_call_of_ours_is_in_flight() {
    let mut bench = Bench::new();
    bench.want();
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), [""; 0]);
    assert_eq!(bench.read("a", false), ["desk signs in"], "instead of ours");

    let mut bench = Bench::new();
    bench.want();
    bench.step(asks_to_sign_in(SignInForm::Full));
    let missing = bench.step(Event::AccountRead(Err(Error::AccountMissing)));
    assert_eq!(missing, ["refuse account_missing", "desk signs in"], "an app needs no account file");

    let mut bench = Bench::new();
    bench.want();
    bench.read("a", false);
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), [""; 0]);
    assert_eq!(bench.sign_in_works(), ["record SignedIn { form: Platform }", "sign out"]);
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Desk }", "desk signs in"]);
    let told = bench.step(signed_in(9));
    assert_eq!(told.last().map(String::as_str), Some("grant 1.1"), "who waited for ours gets the app's");

    let mut bench = Bench::new();
    bench.want();
    bench.read("a", false);
    bench.step(asks_to_sign_in(SignInForm::Full));
    let failed = bench.sign_in_fails(refused("100-002"));
    assert_eq!(failed[1..], ["refuse agent_busy", "desk signs in"], "its own answer, at once");

    let mut bench = Bench::active();
    bench.step(Event::SignOutAsked);
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), [""; 0]);
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Operator }", "desk signs in"]);

    let mut bench = Bench::active();
    bench.step(Event::SignOutAsked);
    bench.step(asks_to_sign_in(SignInForm::Full));
    let failed = bench.step(Event::SignOutAnswered(Err(unreachable())));
    assert_eq!(failed[..2], ["record SignOutFailed { retcode: None }", "refuse upstream_unreachable"]);
    assert_eq!(failed[2..], ["sign out"], "once more, as the ghost is in its way");
    let failed = bench.step(Event::SignOutAnswered(Err(unreachable())));
    assert_eq!(failed[2..], ["signing in is told upstream_unreachable"], "and no further");
}

#[test]
fn a_forced_sign_in_is_on_the_record_before_it_is_made() {
    let mut bench = Bench::new();
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Force)), ["record Forced { by: Desk }", "desk signs in"]);
    let told = bench.step(sign_in_refused("100-002"));
    let failed = "record SignInFailed { code: \"agent_busy\", retcode: Some(Retcode(\"100-002\")) }";
    assert_eq!(told, ["signing in is told 100-002", failed]);
    assert!(bench.session.is_done(), "an app's sign-in that is refused leaves nothing behind");
}

#[test]
fn an_apps_sign_in_without_an_answer_leaves_the_agent_in_doubt() {
    for error in [upstream::Error::Timeout, upstream::Error::Protocol("no envelope")] {
        let mut bench = Bench::new();
        bench.step(asks_to_sign_in(SignInForm::Full));
        let told = bench.step(sign_in_unanswered(Arc::new(error)));
        assert!(told.last().is_some_and(|last| last.starts_with("signing in is told upstream_")), "{told:?}");
        let start = bench.now;
        bench.after(Duration::from_millis(29_999));
        let told = bench.step(asks_to_sign_in(SignInForm::Full));
        assert_eq!(told, ["signing in is told upstream_timeout", "refuse upstream_timeout"]);
        assert!(!told.contains(&"desk signs in".to_owned()), "the gateway may still be at the first");
        assert!(bench.want()[0].starts_with("refuse upstream_"));
        bench.now = start + DOUBT_COOLING;
        assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), ["desk signs in"]);
        bench.step(sign_in_refused("100-002"));
        bench.want();
        bench.read("a", true);
        let failed = bench.sign_in_fails(refused("100-002"));
        assert_eq!(failed[1..], ["refuse agent_busy"], "whom we would throw out may be the app itself");
    }
}

#[test]
fn downloads_that_waited_for_an_app_that_is_refused_are_answered() {
    let waiting = |event| {
        let mut bench = Bench::new();
        bench.step(asks_to_sign_in(SignInForm::Full));
        assert_eq!(bench.want(), [""; 0]);
        let told = bench.step(event);
        (bench, told)
    };
    let (mut bench, told) = waiting(sign_in_refused("100-004"));
    assert_eq!(told.last().map(String::as_str), Some("read"), "the password was the app's, ours may be right");
    assert_eq!(bench.read("a", false), ["sign in Platform"]);
    let (_, told) = waiting(sign_in_refused("100-002"));
    assert_eq!(told.last().map(String::as_str), Some("refuse agent_busy"));
    let (_, told) = waiting(sign_in_refused("100-003"));
    assert_eq!(told.last().map(String::as_str), Some("refuse upstream_switching"));
    let (_, told) = waiting(sign_in_unanswered(unreachable()));
    assert_eq!(told[1..], ["refuse upstream_unreachable", "signing in is told upstream_unreachable"]);
    let (_, told) = waiting(sign_in_refused("0"));
    assert_eq!(told.last().map(String::as_str), Some("refuse upstream_protocol"), "no Guid, no session");
    let late = Event::SignInNotMade(Error::TooManySignIns { retry_after: Duration::from_secs(5) });
    let (bench, told) = waiting(late);
    assert_eq!(told, ["signing in is told sessions_exhausted", "refuse sessions_exhausted"]);
    assert!(bench.session.is_done());
    let (_, told) = waiting(Event::SignInNotMade(Error::Timeout));
    assert_eq!(told, ["signing in is told upstream_timeout", "read"], "the app had gone");
}

#[test]
fn an_apps_session_is_kept_by_its_app_alone() {
    let mut bench = Bench::desk();
    bench.step(Event::Released);
    let start = bench.now;
    assert_eq!(bench.session.wake_at(), Some(start + MAXTIME), "no keep-alive, no idling");
    bench.after(Duration::from_secs(100));
    assert_eq!(bench.step(alive(1)), [""; 0]);
    assert_eq!(bench.step(Event::Tick), [""; 0]);
    assert_eq!(bench.session.wake_at(), Some(bench.now + MAXTIME));
    assert_eq!(bench.step(alive(2)), [""; 0], "of another session");
    assert_eq!(bench.wake(), ["record Lost { cause: Silent }"]);
    assert_eq!(bench.want(), ["read"], "no ghost of it is signed out");
}

#[test]
fn r18_an_app_whose_polls_reached_the_gateway_unanswered_is_not_thrown_out() {
    let mut bench = Bench::desk();
    assert_eq!(bench.wake(), ["record Lost { cause: Silent }"]);
    let start = bench.now;
    while bench.now - start < SILENT_DOUBT {
        assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"], "nothing of the app's goes out any more");
        assert_eq!(bench.want(), ["read"]);
        bench.read("a", true);
        let effects = bench.effects(Event::SignInAnswered(Err(refused("100-002"))));
        let Some(Effect::Refuse(error)) = effects.last() else { panic!("{effects:?}") };
        assert_eq!(error.code(), "agent_busy", "its last poll may be what keeps it signed in");
        bench.now += error.retry_after().expect("a time");
    }
    bench.want();
    bench.read("a", true);
    assert_eq!(bench.sign_in_fails(refused("100-002")), ["record Forced { by: Own }", "sign in Force"]);

    let mut bench = Bench::desk();
    bench.wake();
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), ["desk signs in"], "the app itself may at once");
    let mut bench = Bench::desk();
    bench.wake();
    let start = bench.now;
    while !bench.session.is_done() {
        bench.wake();
    }
    assert_eq!(bench.now - start, SILENT_DOUBT);
}

#[test]
fn a_download_never_ends_an_apps_session_and_believes_the_gateway_that_it_has_ended() {
    let mut bench = Bench::desk();
    bench.want();
    assert_eq!(bench.reject(1, 0, LossCause::Refused), ["record RightMissing { form: Full }", "grant 1.0"]);
    assert_eq!(bench.reject(1, 0, LossCause::Refused), ["grant 1.0"], "told once");
    assert_eq!(bench.reject(1, 0, LossCause::Forgotten), ["record Lost { cause: Forgotten }", "read"]);
    bench.read("a", false);
    let failed = bench.sign_in_fails(refused("100-002"));
    assert_eq!(failed[1..], ["refuse agent_busy"], "it lives at another desk");
}

#[test]
fn a_poll_that_says_so_ends_the_session() {
    for cause in [LossCause::Forgotten, LossCause::Refused] {
        let mut bench = Bench::desk();
        assert_eq!(bench.step(lost(1, 1, cause)), [""; 0], "of a newer Guid, which cannot be");
        bench.step(learned(1, 0, 8));
        assert_eq!(bench.step(lost(1, 0, cause)), [""; 0], "of an older Guid");
        assert_eq!(bench.step(lost(1, 1, cause)), [format!("record Lost {{ cause: {cause:?} }}")]);
        assert!(bench.session.is_done(), "and nothing is signed out");
        assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"]);
    }
    let mut bench = Bench::active();
    assert_eq!(bench.step(lost(1, 0, LossCause::Forgotten)), [""; 0], "of ours our keep-alive tells");
}

#[test]
fn a_sign_out_that_the_gateway_refuses_or_leaves_unanswered_ends_nothing() {
    for code in ["100-010", "000-003", "100-003"] {
        let mut bench = Bench::desk();
        bench.step(asks_to_sign_out(1, 0));
        assert_eq!(bench.step(signed_out(code)), [format!("signing out is told {code}")]);
        assert_eq!(bench.step(asks()), ["desk gets 1.0"]);
    }
    for code in ["100-006", "100-008"] {
        let mut bench = Bench::desk();
        bench.step(asks_to_sign_out(1, 0));
        assert_eq!(bench.step(signed_out(code)), ["record DeskSignedOut", &format!("signing out is told {code}")]);
        assert!(bench.session.is_done());
    }
    let mut bench = Bench::desk();
    bench.step(asks_to_sign_out(1, 0));
    bench.want();
    assert_eq!(bench.step(learned(1, 0, 3)), ["record Rotated { count: 1 }"], "by a poll that was in flight");
    let unanswered = Event::Desk(DeskEvent::SignOutAnswered(Err(Arc::new(upstream::Error::Timeout))));
    assert_eq!(bench.step(unanswered), ["signing out is told upstream_timeout", "grant 1.1"]);
}

#[test]
fn an_operator_signs_an_app_out() {
    let mut bench = Bench::desk();
    assert_eq!(bench.step(Event::SignOutAsked), ["sign out"]);
    assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"]);
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Operator }"]);
    assert!(bench.session.is_done());
}

#[test]
fn at_the_end_of_the_process_an_apps_session_lives_on() {
    let mut bench = Bench::desk();
    assert_eq!(bench.step(Event::Stop), ["refuse shutting_down", "record HandedOver"]);
    assert!(bench.session.is_done());
    assert_eq!(bench.step(asks()), ["desk is refused shutting_down"]);
    assert_eq!(bench.step(asks_to_sign_in(SignInForm::Full)), ["signing in is told shutting_down"]);

    let mut bench = Bench::new();
    bench.step(asks_to_sign_in(SignInForm::Full));
    bench.step(Event::Stop);
    assert!(!bench.session.is_done(), "its answer is waited for");
    let told = bench.step(signed_in(4));
    assert_eq!(told, ["record DeskSignedIn { form: Full }", "signing in is told 0", "record HandedOver"]);
    assert!(bench.session.is_done());

    let mut bench = Bench::desk();
    bench.step(asks_to_sign_out(1, 0));
    bench.step(Event::Stop);
    assert_eq!(bench.step(signed_out("100-010")), ["signing out is told 100-010", "record HandedOver"]);

    let mut bench = Bench::new();
    bench.want();
    bench.step(asks_to_sign_in(SignInForm::Full));
    assert_eq!(bench.step(Event::Stop), ["refuse shutting_down", "signing in is told shutting_down"]);
}

#[test]
fn polls_of_who_is_not_signed_in_do_not_end_a_cooling_or_a_bar() {
    let mut bench = Bench::new();
    for attempt in 0..4_u32 {
        bench.want();
        bench.read("a", false);
        bench.sign_in_fails(unreachable());
        assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"]);
        assert_eq!(bench.want(), ["refuse upstream_unreachable"]);
        let State::Cooling { until, .. } = bench.session.state() else { panic!("{:?}", bench.session.state()) };
        assert!(*until - bench.now >= Duration::from_secs(1 << attempt), "doubling all the same");
        bench.now = *until;
        assert_eq!(bench.step(asks()), ["desk is refused not_signed_in"]);
    }
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", false);
    bench.sign_in_fails(refused("100-004"));
    bench.step(asks());
    bench.step(asks_to_sign_in(SignInForm::Full));
    bench.step(signed_in(3));
    bench.step(asks_to_sign_out(bench.fence, 0));
    bench.step(signed_out("0"));
    bench.want();
    assert_eq!(bench.read("a", false), ["refuse account_rejected"], "the app's password says nothing about ours");
}
