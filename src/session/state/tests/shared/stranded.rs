//! Records that an owner has left behind, and others who go by them.

use super::*;

fn of_age(age: Duration) -> Option<Left> {
    live(5, 0).map(|left| Left { age, ..left })
}

#[test]
fn what_the_gateway_has_forgotten_is_not_borrowed_and_its_owner_is_told() {
    let mut shared = Shared::new();
    shared.want();
    assert_eq!(shared.theirs(FENCE, of_age(MAXTIME)), [""; 0]);
    let since = shared.now;
    let told = loop {
        assert_eq!(shared.wake(), ["seek"]);
        match shared.theirs(FENCE, of_age(MAXTIME + (shared.now - since))).as_slice() {
            [] => assert!(shared.now - since < Duration::from_secs(4), "never"),
            told => break told.to_vec(),
        }
    };
    assert_eq!(told, ["tell 100.0 forgotten"]);
    assert!(shared.now - since >= Duration::from_secs(3), "an owner that has just come back writes it anew before");
    shared.written();
    assert_eq!(shared.step(Event::Changed), ["seek"]);
    assert_eq!(shared.owned(FENCE + 1, None), ["read"], "it has let go");

    let mut shared = Shared::new();
    shared.want();
    shared.theirs(FENCE, of_age(MAXTIME));
    assert_eq!(shared.wake(), ["seek"]);
    assert_eq!(shared.theirs(FENCE, live(5, 0)), ["grant 100.0"], "it was only late");

    let mut shared = Shared::borrower();
    assert_eq!(shared.wake(), ["seek"]);
    assert_eq!(shared.theirs(FENCE, of_age(MAXTIME)), [""; 0]);
    assert!(shared.session.is_done(), "nobody waits for it");
}

#[test]
fn what_nobody_here_knows_of_any_more_is_let_go_when_others_are_refused_with_it() {
    let begun = || {
        let mut shared = Shared::new();
        let refusal = Event::BorrowerRefused { version: version(0), cause: LossCause::Forgotten };
        assert_eq!(shared.step(refusal), ["seek"]);
        assert!(!shared.session.is_done());
        shared
    };
    let mut shared = begun();
    assert_eq!(shared.owned(FENCE + 1, None), ["release"], "and nobody is signed in");
    shared.written();
    assert!(shared.session.is_done());
    let mut shared = begun();
    assert_eq!(shared.theirs(FENCE + 1, None), ["refuse upstream_timeout"], "it is another's by now");
    assert!(shared.session.is_done());
    let mut shared = begun();
    assert_eq!(shared.want(), [""; 0]);
    assert_eq!(shared.owned(FENCE + 1, None), ["read"], "somebody came meanwhile");
}

#[test]
fn an_agent_is_not_sought_for_those_who_have_gone() {
    let waiting = || {
        let mut shared = Shared::new();
        shared.want();
        assert_eq!(shared.theirs(FENCE, None), [""; 0]);
        assert_eq!(shared.step(Event::Unwanted), [""; 0]);
        shared
    };
    let mut shared = waiting();
    assert_eq!(shared.wake(), ["seek"], "once more: it may be ours by now, and to be let go");
    assert_eq!(shared.theirs(FENCE, None), ["refuse upstream_timeout"]);
    assert!(shared.session.is_done());
    let mut shared = waiting();
    assert_eq!(shared.wake(), ["seek"]);
    assert_eq!(shared.owned(FENCE + 1, None), ["release"]);
    let mut shared = waiting();
    shared.want();
    for _ in 0..20 {
        assert_eq!(shared.wake(), ["seek"]);
        assert_eq!(shared.theirs(FENCE, None), [""; 0], "somebody waits again");
    }
    let mut shared = Shared::borrower();
    shared.reject(version(0), guid(5), LossCause::Forgotten);
    shared.step(Event::Unwanted);
    assert_eq!(shared.theirs(FENCE, live(5, 0)), ["refuse upstream_timeout", "tell 100.0 forgotten"]);
}

/// Whoever was stopped while the answer lay there has an old one.
#[test]
fn an_answer_of_the_store_is_as_old_as_its_question() {
    let mut shared = Shared::new();
    shared.want();
    let (asked, late) = (shared.now, Duration::from_secs(8));
    shared.after(late);
    let effects = shared.effects(Event::Sought(Ok(Found::Theirs { fence: FENCE, entry: live(5, 0) })));
    assert_eq!(granted(&effects).expect("a session").fresh_until, Some(asked + LEASE));
}
