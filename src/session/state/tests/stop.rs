//! What the end of the process does to an agent, whatever it is doing.

use super::*;

#[test]
fn a_stop_signs_out_whatever_lives_and_lets_nothing_in() {
    let mut bench = Bench::active();
    assert_eq!(bench.step(Event::Stop), ["refuse shutting_down", "sign out"]);
    assert_eq!(bench.want(), ["refuse shutting_down"]);
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Shutdown }"]);
    assert!(bench.session.is_done());

    let mut bench = Bench::active();
    bench.reject(1, 0, LossCause::Refused);
    bench.step(Event::Stop);
    assert_eq!(
        bench.step(Event::SignOutAnswered(Ok(()))),
        ["record SignedOut { why: Lost }"],
        "and no account is read"
    );
    assert!(bench.session.is_done());

    let mut bench = Bench::new();
    bench.want();
    bench.step(Event::Stop);
    assert_eq!(bench.read("a", false), ["refuse shutting_down"], "the account was being read");
    assert!(bench.session.is_done());

    let mut bench = Bench::new();
    bench.want();
    bench.read("a", true);
    bench.step(Event::Stop);
    assert!(!bench.session.is_done(), "a sign-in that is in flight is waited for");
    assert_eq!(bench.sign_in_works(), ["record SignedIn { form: Platform }", "sign out"]);

    let mut bench = Bench::new();
    bench.want();
    bench.read("a", true);
    bench.step(Event::Stop);
    let effects = bench.sign_in_fails(refused("100-002"));
    assert_eq!(effects[1..], ["refuse agent_busy"], "nobody is thrown out any more");
    assert!(bench.session.is_done());

    let mut bench = Bench::active();
    bench.wake();
    bench.keep_alive(1, 0, Err(refused("000-003")));
    assert_eq!(bench.step(Event::Stop), ["refuse shutting_down", "sign out"], "the ghost too");
}
