//! Sign-ins whose answer did not come, and forced ones that ask for more than the account gives.

use super::*;
use crate::net;

fn no_answers() -> Vec<Arc<upstream::Error>> {
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
    vec![
        Arc::new(net::Error::Untrusted(alert.into()).into()),
        Arc::new(upstream::Error::Timeout),
        Arc::new(upstream::Error::Closed { source: "reset".into(), stale: true }),
        Arc::new(upstream::Error::Truncated { source: "reset".into() }),
        Arc::new(upstream::Error::Protocol("no Set-GUID")),
        Arc::new(upstream::Error::Status(StatusCode::BAD_GATEWAY)),
    ]
}

/// A machine whose sign-in has just ended without an answer.
fn in_doubt(error: Arc<upstream::Error>) -> Bench {
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", true);
    bench.sign_in_fails(error);
    bench
}

#[test]
fn a_sign_in_without_an_answer_cools_for_at_least_half_a_minute() {
    for error in no_answers() {
        let code = Error::Upstream { source: Arc::clone(&error), retry_after: Duration::ZERO }.code();
        let mut bench = in_doubt(error);
        bench.after(Duration::from_millis(29_999));
        assert_eq!(bench.want(), [format!("refuse {code}")], "the gateway may still be at it");
        assert_eq!(bench.after(Duration::from_millis(1)).want(), ["read"], "{code}");
    }
}

#[test]
fn nobody_is_thrown_out_who_may_be_we_ourselves() {
    for error in no_answers() {
        let mut bench = in_doubt(error);
        let start = bench.now;
        bench.after(DOUBT_COOLING);
        while bench.now - start < MAXTIME {
            assert_eq!(bench.want(), ["read"]);
            bench.read("a", true);
            let effects = bench.effects(Event::SignInAnswered(Err(refused("100-002"))));
            let Some(Effect::Refuse(error)) = effects.last() else { panic!("{effects:?}") };
            assert_eq!(error.code(), "agent_busy");
            bench.now += error.retry_after().expect("a time");
        }
        bench.want();
        bench.read("a", true);
        assert_eq!(
            bench.sign_in_fails(refused("100-002")),
            ["record Forced { by: Own }", "sign in Force"],
            "it is somebody else"
        );
    }
}

#[test]
fn the_doubt_outlives_the_cooling_and_ends_at_maxtime() {
    let mut bench = in_doubt(Arc::new(upstream::Error::Timeout));
    let start = bench.now;
    while !bench.session.is_done() {
        bench.wake();
    }
    assert_eq!(bench.now - start, MAXTIME);
    let mut bench = in_doubt(Arc::new(upstream::Error::Timeout));
    bench.after(DOUBT_COOLING).want();
    bench.step(Event::AccountRead(Err(Error::AccountMissing)));
    assert!(!bench.session.is_done(), "a file that is gone for a moment ends no doubt");
}

#[test]
fn a_sign_in_that_works_ends_the_doubt() {
    let mut bench = in_doubt(Arc::new(upstream::Error::Timeout));
    bench.after(DOUBT_COOLING).want();
    bench.read("a", true);
    bench.sign_in_works();
    bench.reject(bench.fence, 0, LossCause::Forgotten);
    bench.read("a", true);
    assert_eq!(bench.sign_in_fails(refused("100-002")), ["record Forced { by: Own }", "sign in Force"]);
}

#[test]
fn a_forced_sign_in_whose_parameters_are_refused_bars_no_platform_account() {
    for (form, bars) in [(SignInForm::Platform, false), (SignInForm::Full, true)] {
        let mut bench = Bench::with(Rules { form, ..rules() });
        bench.want();
        bench.read("a", true);
        bench.sign_in_fails(refused("100-002"));
        let effects = bench.sign_in_fails(refused("100-013"));
        assert_eq!(effects.last().map(String::as_str) == Some("refuse account_rejected"), bars, "{effects:?}");
        bench.after(Duration::from_secs(2)).want();
        let next = if bars { "refuse account_rejected".to_owned() } else { format!("sign in {form:?}") };
        assert_eq!(bench.read("a", true), [next], "the agent may be free by now");
    }
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", true);
    bench.sign_in_fails(refused("100-002"));
    assert_eq!(bench.sign_in_fails(refused("100-004")).last().map(String::as_str), Some("refuse account_rejected"));
}
