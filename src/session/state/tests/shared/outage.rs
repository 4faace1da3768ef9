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
