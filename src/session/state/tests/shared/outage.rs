//! How long a session is kept while the store is away.

use super::*;

/// An owner whose session nobody uses any more and whose tenure ends soon, for good.
fn cut_off() -> Shared {
    let mut shared = Shared::owner();
    shared.step(Event::Released);
    shared
}

/// Lets time pass with a gateway that answers everything and a store that answers nothing: when keep-alives were made,
/// and whether the session was lost.
fn pass(shared: &mut Shared, time: Duration) -> (Vec<Instant>, bool) {
    let until = shared.now + time;
    let (mut beats, mut lost) = (Vec::new(), false);
    while let Some(at) = shared.session.wake_at().filter(|at| *at < until) {
        shared.now = at.max(shared.now);
        let mut events = vec![Event::Tick];
        while let Some(event) = events.pop() {
            for effect in shared.effects(event) {
                match effect {
                    Effect::KeepAlive { version, .. } => {
                        beats.push(shared.now);
                        events.push(Event::KeepAliveAnswered { version, result: Ok(None) });
                    }
                    Effect::Store(_) => events.push(Event::Stored(Err(away()))),
                    Effect::Record(SessionEvent::Lost { .. }) => lost = true,
                    _ => {}
                }
            }
        }
    }
    shared.now = until;
    (beats, lost)
}

#[test]
fn an_idle_session_is_not_kept_for_as_long_as_the_store_is_away() {
    let mut shared = cut_off();
    let (begun, idle) = (shared.now, rules().idle_sign_out);
    let (beats, lost) = pass(&mut shared, Duration::from_hours(3));
    assert!(beats.last().is_some_and(|last| *last > begun + idle / 2), "until then somebody may come: {beats:?}");
    assert!(beats.iter().all(|beat| *beat <= begun + idle), "{:?}", beats.last().map(|last| *last - begun));
    assert!(lost, "the gateway has forgotten it, and whoever wants to can sign in");
}

#[test]
fn a_session_that_is_used_is_kept_while_the_store_is_away() {
    let mut shared = Shared::owner();
    let (beats, lost) = pass(&mut shared, Duration::from_hours(3));
    assert!(!lost && beats.len() > 100, "{}", beats.len());
    shared.step(Event::Released);
    let (_, lost) = pass(&mut shared, rules().idle_sign_out + Duration::from_secs(1));
    assert!(!lost, "not at once");
    // Somebody comes in the last moment.
    shared.want();
    assert_eq!(shared.step(Event::Stored(Err(away()))), ["grant 100.0"]);
    let (beats, lost) = pass(&mut shared, Duration::from_hours(3));
    assert!(!lost && beats.len() > 100, "{}", beats.len());
}

#[test]
fn an_idle_session_is_kept_on_where_the_store_comes_back_in_time() {
    let mut shared = cut_off();
    let (_, lost) = pass(&mut shared, rules().idle_sign_out + Duration::from_secs(1));
    assert!(!lost);
    shared.beat(true);
    shared.step(Event::Reconfirm);
    shared.written();
    assert_eq!(shared.wake(), ["keep alive 100.0"], "and is asked about when it has been idle again");
}

/// An owner whose tenure has ended and that makes a sparing keep-alive.
fn sparing(mut shared: Shared) -> (Shared, Version) {
    let mut events = vec![Event::Tick];
    loop {
        let effects = events.pop().map(|event| shared.effects(event)).unwrap_or_default();
        for effect in effects {
            match effect {
                Effect::KeepAlive { version, .. } if shared.now > shared.tenure.until.expect("a time") => {
                    return (shared, version);
                }
                Effect::KeepAlive { version, .. } => {
                    shared.now += Duration::from_secs(1);
                    events.push(Event::KeepAliveAnswered { version, result: Ok(None) });
                }
                Effect::Store(_) => events.push(Event::Stored(Err(away()))),
                _ => {}
            }
        }
        if events.is_empty() {
            shared.now = shared.session.wake_at().expect("a time").max(shared.now);
            events.push(Event::Tick);
        }
    }
}

fn superseded() -> Event {
    Event::Stored(Err(store::Error::Superseded))
}

/// Were the agent just forgotten here, its record would stand in the store as ours for as long as this process lives.
#[test]
fn a_session_that_is_gone_by_then_is_let_go_when_the_store_says_that_it_was_ours() {
    for (code, lost, next) in [("100-006", "Forgotten", "release"), ("000-003", "Refused", "seek")] {
        let gone = || {
            let (mut shared, version) = sparing(Shared::owner());
            let answer = Event::KeepAliveAnswered { version, result: Err(refused(code)) };
            assert_eq!(shared.step(answer), ["write live"]);
            assert_eq!(shared.want(), [""; 0], "the store is being asked");
            shared
        };
        let mut shared = gone();
        assert_eq!(shared.written(), [format!("record Lost {{ cause: {lost} }}"), "seek".to_owned()], "not handed out");
        let gone = || {
            let mut shared = gone();
            assert_eq!(shared.step(Event::Stored(Err(away()))), ["refuse store_unavailable"], "never used again");
            shared.beat(true);
            assert_eq!(shared.step(Event::Reconfirm), ["write live"]);
            shared
        };
        assert_eq!(gone().written(), [format!("record Lost {{ cause: {lost} }}"), next.to_owned()]);
        assert_eq!(gone().step(superseded()), ["drop keep-alive", "record HandedOver"], "it was another's");
    }
}

#[test]
fn a_new_guid_that_does_not_come_ends_no_session_that_is_ours_still() {
    let missed = || {
        let mut shared = Shared::owner();
        shared.step(Event::Released);
        for rotation in 0..2 {
            shared.after(Duration::from_mins(1)).beat(false);
            let answer = Event::KeepAliveAnswered { version: version(rotation), result: Ok(Some(guid(10 + rotation))) };
            shared.step(answer);
            shared.written();
        }
        let (mut shared, version) = sparing(shared);
        shared.step(Event::KeepAliveAnswered { version, result: Ok(None) });
        // That one was not due to bring one.
        shared.step(Event::Stored(Err(away())));
        let (mut shared, version) = sparing(shared);
        shared.step(Event::KeepAliveAnswered { version, result: Ok(None) });
        shared.step(Event::Stored(Err(away())));
        let (beats, lost) = pass(&mut shared, Duration::from_secs(25));
        assert_eq!((beats.len(), lost), (0, false), "who may follow its Guids is left alone");
        assert_eq!(shared.want(), ["write live"]);
        shared
    };
    let mut shared = missed();
    assert_eq!(shared.step(superseded()), ["drop keep-alive", "record HandedOver", "seek"], "somebody does");
    let mut shared = missed();
    assert_eq!(shared.written(), ["grant 100.2"], "nobody had until then");
    assert_eq!(pass(&mut shared, Duration::from_secs(1)), (Vec::new(), false), "but the tenure has ended");
    let mut shared = missed();
    assert_eq!(shared.step(Event::Stored(Err(away()))), ["refuse store_unavailable"]);
    shared.beat(true);
    assert_eq!(shared.step(Event::Reconfirm), ["write live"]);
    shared.written();
    assert_eq!(shared.want(), ["grant 100.2"]);
    assert_eq!(shared.wake(), ["keep alive 100.2"], "nobody does");
}
