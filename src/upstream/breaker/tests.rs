//! The breaker by itself: a clock that is set by hand, outcomes that are made up, and outages at random.

use http::StatusCode;
use prometheus::Registry;

use super::super::Metrics;
use super::*;
use crate::cc::Retcode;

/// A breaker and a clock that is set by hand.
struct Bench {
    breaker: Breaker,
    now: Instant,
}

type Outcome = Result<(), Error>;

fn bench() -> Bench {
    seeded(7)
}

fn seeded(seed: u64) -> Bench {
    let lights = Arc::new(Metrics::register(&Registry::new()).unwrap().lights(1, 1));
    lights.light();
    Bench { breaker: Breaker::new(lights, 0, seed, Duration::from_secs(35)), now: Instant::now() }
}

fn unreachable() -> Outcome {
    Err(Error::Unreachable { source: "no route".into() })
}

fn refused(code: &str) -> Outcome {
    Err(Error::Refused { retcode: Retcode::parse(code).unwrap(), message: String::new() })
}

fn status(status: u16) -> Outcome {
    Err(Error::Status(StatusCode::from_u16(status).unwrap()))
}

impl Bench {
    fn pass(&mut self, after: Duration) {
        self.now += after;
    }

    fn admit(&self, operation: Operation) -> Result<Pass, Error> {
        self.breaker.admit(operation, self.now)
    }

    fn settle(&self, pass: Pass, outcome: &Outcome) {
        self.breaker.settle(pass, outcome, self.now);
    }

    fn call(&self, operation: Operation, outcome: &Outcome) {
        let pass = self.admit(operation).expect("let through");
        self.settle(pass, outcome);
    }

    fn fail(&self, times: usize) {
        for _ in 0..times {
            self.call(Operation::Heartbeat, &unreachable());
        }
    }

    /// How long it says to wait.
    fn rests(&self, operation: Operation) -> Option<(Rest, Duration)> {
        match self.admit(operation) {
            Ok(_) => None,
            Err(Error::Resting { why, retry_after }) => Some((why, retry_after)),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn is_open(&self) -> bool {
        self.breaker.lights.gauge(Rest::Unanswered).get() == 1
    }

    fn sign_ins_rest(&self) -> bool {
        self.breaker.lights.gauge(Rest::Switching).get() == 1
    }
}

#[test]
fn five_failures_in_a_row_open_it_and_an_answer_between_them_does_not() {
    let bench = bench();
    bench.fail(4);
    bench.call(Operation::Poll, &Ok(()));
    bench.fail(4);
    assert!(!bench.is_open());
    bench.call(Operation::SignIn, &unreachable());
    assert!(bench.is_open());
    for operation in [Operation::SignIn, Operation::SignOut, Operation::Heartbeat, Operation::Poll] {
        let (why, wait) = bench.rests(operation).expect("a rest");
        assert_eq!(why, Rest::Unanswered);
        assert!((Duration::from_millis(800)..=Duration::from_secs(1)).contains(&wait), "{wait:?}");
    }
}

#[test]
fn each_outcome_says_what_it_says() {
    let closed = || Err(Error::Closed { source: "reset".into(), stale: false });
    let of_an_old_connection = || Err(Error::Closed { source: "reset".into(), stale: true });
    let nobody = [unreachable(), Err(Error::Timeout), closed(), status(500), status(503)];
    let answers = [
        Ok(()),
        refused("100-004"),
        refused("100-003"),
        refused("000-004"),
        status(404),
        Err(Error::Protocol("no JSON")),
        Err(Error::Truncated { source: "cut".into() }),
    ];
    for outcome in nobody {
        let mut bench = bench();
        (0..5).for_each(|_| bench.call(Operation::SignIn, &outcome));
        assert!(bench.is_open(), "{outcome:?}");
        bench.pass(Duration::from_secs(1));
        bench.call(Operation::SignIn, &outcome);
        assert!(bench.rests(Operation::SignIn).is_some(), "as a try-out: {outcome:?}");
    }
    for outcome in answers {
        let mut bench = bench();
        bench.fail(5);
        bench.pass(Duration::from_secs(1));
        bench.call(Operation::Heartbeat, &outcome);
        assert!(!bench.is_open(), "{outcome:?}");
    }
    let bench = bench();
    bench.fail(4);
    for _ in 0..9 {
        bench.call(Operation::SignIn, &Err(Error::Untrusted { source: "unknown issuer".into() }));
    }
    assert!(!bench.is_open(), "somebody else's certificate opens nothing");
    for operation in [Operation::SignIn, Operation::Heartbeat, Operation::Download].into_iter().cycle().take(9) {
        bench.call(operation, &of_an_old_connection());
    }
    assert!(!bench.is_open(), "nor do connections that were closed for their age");
    bench.fail(1);
    assert!(bench.is_open(), "and is no answer");
}

#[test]
fn a_rest_doubles_to_half_a_minute_and_is_never_longer_than_the_trouble_before_it() {
    let mut bench = bench();
    let start = bench.now;
    bench.fail(5);
    let mut rests = Vec::new();
    for _ in 0..9 {
        let (_, rest) = bench.rests(Operation::SignOut).expect("a rest");
        let trouble = (bench.now - start).max(Duration::from_secs(1));
        assert!(rest <= trouble && rest <= Duration::from_secs(30), "{rest:?} after {trouble:?}");
        rests.push(rest.as_secs_f64());
        bench.pass(rest);
        bench.fail(1);
    }
    for (rest, at_least) in rests.iter().zip([0.8, 0.8, 1.2, 2.0, 3.5, 7.0, 14.0, 24.0, 24.0]) {
        assert!(*rest >= at_least, "{rests:?}");
    }
    // Nobody asked for an hour: the next rest only doubles.
    let mut bench = seeded(8);
    bench.fail(5);
    bench.pass(Duration::from_hours(1));
    bench.fail(1);
    assert!(bench.rests(Operation::SignIn).expect("a rest").1 <= Duration::from_secs(2));
}

#[test]
fn replicas_do_not_come_back_in_step() {
    let mut rests: Vec<_> = (0..20)
        .map(|seed| {
            let bench = seeded(seed);
            bench.fail(5);
            bench.rests(Operation::SignIn).expect("a rest").1
        })
        .collect();
    rests.sort_unstable();
    rests.dedup();
    assert!(rests.len() > 15, "{rests:?}");
}

#[test]
fn calls_that_were_under_way_when_it_opened_do_not_lengthen_the_rest() {
    let mut bench = bench();
    let passes: Vec<_> = (0..200).map(|_| bench.admit(Operation::SignIn).expect("let through")).collect();
    for pass in &passes {
        bench.settle(*pass, &unreachable());
    }
    let (_, rest) = bench.rests(Operation::SignIn).expect("a rest");
    assert!(rest <= Duration::from_secs(1), "{rest:?}");
    // Nor does one that fails long after, when others have found the gateway there again.
    bench.pass(rest);
    bench.call(Operation::SignIn, &Ok(()));
    for pass in &passes {
        bench.settle(*pass, &Err(Error::Timeout));
    }
    assert!(!bench.is_open());
}

#[test]
fn a_late_answer_to_a_call_from_before_closes_it() {
    let bench = bench();
    let poll = bench.admit(Operation::Poll).expect("let through");
    bench.fail(5);
    bench.settle(poll, &Ok(()));
    assert!(!bench.is_open());
    assert!(bench.rests(Operation::SignIn).is_none());
}

#[test]
fn one_call_tries_it_out_while_the_others_wait_and_none_holds_the_place_for_ever() {
    let mut bench = bench();
    bench.fail(5);
    bench.pass(Duration::from_secs(1));
    let probe = bench.admit(Operation::SignIn).expect("the first after the rest");
    for operation in [Operation::SignIn, Operation::SignOut, Operation::Heartbeat] {
        let (why, wait) = bench.rests(operation).expect("a rest");
        assert!(why == Rest::Unanswered && wait <= WHILE_PROBED, "{wait:?}");
    }
    // It was dropped, or hangs: the next may try after five seconds, of sign-ins after as long as the first can hang.
    bench.pass(Duration::from_millis(4_990));
    assert_eq!(bench.rests(Operation::Heartbeat), Some((Rest::Unanswered, Duration::from_millis(10))));
    bench.pass(Duration::from_millis(10));
    let (_, wait) = bench.rests(Operation::SignIn).expect("a person waits for each");
    assert!(wait <= WHILE_PROBED, "{wait:?}");
    let second = bench.admit(Operation::Heartbeat).expect("the place is free");
    // Both fail in the end: that is one more rest, not two.
    bench.settle(probe, &Err(Error::Timeout));
    bench.settle(second, &Err(Error::Timeout));
    let (_, rest) = bench.rests(Operation::SignIn).expect("a rest");
    assert!(rest <= Duration::from_secs(2), "{rest:?}");
}

#[test]
fn a_poll_that_tries_it_out_holds_back_polls_only() {
    let mut bench = bench();
    bench.fail(5);
    bench.pass(Duration::from_secs(1));
    bench.admit(Operation::Poll).expect("the first after the rest");
    assert!(bench.rests(Operation::Poll).is_some());
    bench.call(Operation::SignIn, &Ok(()));
    assert!(bench.rests(Operation::Poll).is_none());
}

#[test]
fn downloads_are_let_through_always_and_only_what_is_sure_counts() {
    let mut bench = bench();
    let vague = [Err(Error::Timeout), Err(Error::Closed { source: "reset".into(), stale: false }), status(503)];
    vague.iter().cycle().take(30).for_each(|outcome| bench.call(Operation::Download, outcome));
    assert!(!bench.is_open(), "it can be about one recording");
    (0..5).for_each(|_| bench.call(Operation::Download, &unreachable()));
    assert!(bench.is_open());
    let (_, rest) = bench.rests(Operation::Heartbeat).expect("a rest");
    for _ in 0..100 {
        bench.call(Operation::Download, &unreachable());
        for outcome in &vague {
            bench.call(Operation::Download, outcome);
        }
    }
    assert_eq!(bench.rests(Operation::Heartbeat), Some((Rest::Unanswered, rest)), "nobody let them through to try");
    bench.pass(rest / 2);
    bench.call(Operation::Download, &refused("100-006"));
    assert!(!bench.is_open());
}

#[test]
fn three_sign_ins_that_meet_a_switch_over_let_sign_ins_rest_and_nothing_else() {
    let mut bench = bench();
    let switching = || refused("000-004");
    (0..9).for_each(|_| bench.call(Operation::Heartbeat, &switching()));
    bench.call(Operation::SignIn, &switching());
    bench.call(Operation::SignIn, &switching());
    assert!(!bench.sign_ins_rest());
    bench.call(Operation::SignIn, &switching());
    assert!(bench.sign_ins_rest() && !bench.is_open());
    let mut longest = Duration::ZERO;
    for _ in 0..9 {
        let (why, rest) = bench.rests(Operation::SignIn).expect("a rest");
        assert_eq!(why, Rest::Switching);
        longest = longest.max(rest);
        for operation in [Operation::Heartbeat, Operation::Poll, Operation::SignOut, Operation::Download] {
            bench.call(operation, &Ok(()));
        }
        bench.pass(rest);
        bench.call(Operation::SignIn, &switching());
    }
    assert!((Duration::from_secs(8)..=Duration::from_secs(10)).contains(&longest), "{longest:?}");
    bench.pass(Duration::from_secs(10));
    let probe = bench.admit(Operation::SignIn).expect("the first after the rest");
    assert!(bench.rests(Operation::SignIn).is_some());
    bench.settle(probe, &refused("100-002"));
    assert!(!bench.sign_ins_rest(), "any other answer of a sign-in ends it");
    assert!(bench.rests(Operation::SignIn).is_none());
}

#[test]
fn a_sign_in_that_rests_for_a_switch_over_does_not_hold_the_place_of_who_tries_out() {
    let mut bench = bench();
    (0..3).for_each(|_| bench.call(Operation::SignIn, &refused("000-004")));
    bench.pass(Duration::from_secs(2));
    bench.call(Operation::SignIn, &refused("000-004"));
    bench.fail(5);
    bench.pass(Duration::from_secs(1));
    assert!(matches!(bench.rests(Operation::SignIn), Some((Rest::Switching, _))), "its rest is the longer one");
    assert!(bench.admit(Operation::Heartbeat).is_ok());
}

/// Forty sessions that beat every 30 s and try again after 1 to 5 s, as the state machine does, over an outage.
/// Returns the calls made in vain, and the longest silence of a session from the gateway's return on.
fn outage(seed: u64, down_for: Duration, hang: Duration) -> (usize, Duration) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bench = seeded(seed);
    let start = bench.now;
    let step = Duration::from_millis(50);
    let mut due: Vec<_> = (0..40).map(|_| start + Duration::from_secs(30).mul_f64(rng.f64())).collect();
    let mut under_way: Vec<(Instant, usize, Pass)> = Vec::new();
    let (mut in_vain, mut back) = (0, vec![None; due.len()]);
    while back.contains(&None) {
        bench.pass(step);
        let retry = |rng: &mut fastrand::Rng, now: Instant| {
            now + Duration::from_secs(1) + Duration::from_secs(4).mul_f64(rng.f64())
        };
        for (at, agent, pass) in under_way.extract_if(.., |(at, ..)| *at <= bench.now).collect::<Vec<_>>() {
            bench.breaker.settle(pass, &unreachable(), at);
            due[agent] = retry(&mut rng, bench.now);
        }
        for (agent, due) in due.iter_mut().enumerate().filter(|(_, due)| **due <= bench.now) {
            *due = bench.now + Duration::from_hours(1);
            match bench.admit(Operation::Heartbeat) {
                Err(_) => *due = retry(&mut rng, bench.now),
                Ok(pass) if bench.now - start < down_for => {
                    in_vain += 1;
                    under_way.push((bench.now + hang, agent, pass));
                }
                Ok(pass) => {
                    bench.settle(pass, &Ok(()));
                    back[agent] = Some((bench.now - start).saturating_sub(down_for));
                    *due = bench.now + Duration::from_secs(30);
                }
            }
        }
    }
    (in_vain, back.into_iter().flatten().max().unwrap_or_default())
}

#[test]
fn a_living_session_is_kept_alive_in_time_whatever_the_outage() {
    let mut rng = fastrand::Rng::with_seed(1);
    for seed in 0..300 {
        let down_for = Duration::from_secs(3) + Duration::from_secs(57).mul_f64(rng.f64());
        let hang = Duration::from_secs(10).mul_f64(if rng.bool() { 0.0 } else { rng.f64() });
        let (in_vain, silence) = outage(seed, down_for, hang);
        // A beat's own interval, or the rest (no longer than the outage), a try that hangs and the retries around it.
        let bound = Duration::from_secs(30).max(down_for.min(Duration::from_secs(30)) + hang + Duration::from_secs(11));
        assert!(silence <= bound, "seed {seed}: silent for {silence:?} after {down_for:?}, hang {hang:?}");
        assert!(down_for + silence < Duration::from_secs(115), "seed {seed}: the gateway forgets after 120 s");
        let at_most = if hang.is_zero() { 5 + 8 } else { 40 + 16 };
        assert!(in_vain <= at_most, "seed {seed}: {in_vain} calls in {down_for:?}, hang {hang:?}");
    }
}

#[test]
fn sign_ins_try_it_out_one_after_the_other() {
    for (outcome, times) in [(unreachable(), 5), (refused("000-004"), 3)] {
        let mut bench = bench();
        (0..times).for_each(|_| bench.call(Operation::SignIn, &outcome));
        bench.pass(Duration::from_secs(1));
        let mut tried = 0;
        // Each hangs until its deadline.
        for _ in 0..350 {
            tried += usize::from(bench.admit(Operation::SignIn).is_ok());
            bench.pass(Duration::from_millis(100));
        }
        assert_eq!(tried, 1, "in 35 s");
        assert!(bench.admit(Operation::SignIn).is_ok(), "none holds the place for ever");
    }
}
