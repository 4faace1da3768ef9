//! What keep-alives do to a session, and what they leave alone.

use super::*;

#[test]
fn polls_follow_each_other_after_200_to_500_ms() {
    let mut bench = Bench::active();
    for _ in 0..20 {
        let before = bench.now;
        assert_eq!(bench.wake(), ["keep alive 1.0"]);
        assert!((200..=500).contains(&(bench.now - before).as_millis()), "{:?}", bench.now - before);
        assert_eq!(bench.step(Event::Tick), [""; 0], "one at a time");
        bench.now += Duration::from_secs(10);
        bench.keep_alive(1, 0, Ok(None));
    }
}

#[test]
fn heartbeats_come_after_the_interval_or_a_little_sooner_and_never_later() {
    let mut bench = Bench::with(Rules { keep_alive: KeepAlive::Heartbeat, ..rules() });
    bench.want();
    bench.read("a", false);
    bench.sign_in_works();
    for _ in 0..20 {
        let before = bench.now;
        assert_eq!(bench.wake(), ["keep alive 1.0"]);
        assert!((24_000..=30_000).contains(&(bench.now - before).as_millis()), "{:?}", bench.now - before);
        bench.keep_alive(1, 0, Ok(None));
    }
}

#[test]
fn a_keep_alive_that_is_refused_ends_the_session_quietly() {
    for (code, next) in [("100-006", "read"), ("100-008", "read"), ("000-003", "sign out")] {
        let mut bench = Bench::active();
        bench.wake();
        let effects = bench.keep_alive(1, 0, Err(refused(code)));
        assert!(effects.len() == 1 && effects[0].starts_with("record Lost"), "{effects:?}");
        assert_eq!(bench.want(), [next], "{code}: what may still live is signed out when it is needed");
    }
}

#[test]
fn a_keep_alive_refused_for_an_older_guid_is_made_again() {
    let mut bench = Bench::active();
    bench.wake();
    bench.step(learned(1, 0, 2));
    assert_eq!(bench.keep_alive(1, 0, Err(refused("100-006"))), [""; 0]);
    assert_eq!(bench.wake(), ["keep alive 1.1"]);
}

#[test]
fn the_late_answer_to_an_older_sessions_keep_alive_says_nothing() {
    let mut bench = Bench::active();
    bench.wake();
    bench.reject(1, 0, LossCause::Forgotten);
    bench.read("a", false);
    bench.sign_in_works();
    let (start, due) = (bench.now, bench.session.wake_at());
    bench.after(Duration::from_millis(100)).keep_alive(1, 0, Ok(Some(guid(9))));
    assert_eq!(bench.session.wake_at(), due, "its own keep-alive is due as before");
    assert_eq!(bench.want(), ["grant 2.0"]);
    bench.wake();
    assert_eq!(bench.keep_alive(1, 0, Err(refused("100-006"))), [""; 0]);
    assert_eq!(bench.wake(), ["record Lost { cause: Silent }"]);
    assert_eq!(bench.now - start, MAXTIME, "it did not count as alive");
}

#[test]
fn a_network_that_fails_is_tried_again_until_maxtime() {
    let mut bench = Bench::active();
    let start = bench.now;
    let mut tries = 0;
    loop {
        let effects = bench.wake();
        if effects != ["keep alive 1.0"] {
            assert_eq!(effects, ["record Lost { cause: Silent }"]);
            break;
        }
        tries += 1;
        assert_eq!(bench.want(), ["grant 1.0"], "it is still handed out");
        let error = match tries % 3 {
            0 => unreachable(),
            1 => Arc::new(upstream::Error::Timeout),
            _ => refused("000-004"),
        };
        assert_eq!(bench.keep_alive(1, 0, Err(error)), [""; 0]);
    }
    assert_eq!(bench.now - start, MAXTIME);
    assert!((20..=40).contains(&tries), "{tries}");
    assert_eq!(bench.want(), ["sign out"]);
}

#[test]
fn a_keep_alive_that_hangs_does_not_keep_a_session() {
    let mut bench = Bench::active();
    bench.wake();
    assert_eq!(bench.wake(), ["record Lost { cause: Silent }"]);
}

#[test]
fn the_wrong_keep_alive_is_told_once_and_the_session_ends() {
    let mut bench = Bench::active();
    bench.wake();
    assert_eq!(bench.keep_alive(1, 0, Err(refused("000-001"))), ["record WrongKeepAlive"]);
    assert_eq!(bench.want(), ["grant 1.0"]);
    assert_eq!(bench.wake(), ["record Lost { cause: Silent }"]);
}
