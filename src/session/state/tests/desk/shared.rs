//! Agents' own apps whose calls come through several processes: the session follows them.

use super::*;
use crate::session::store::{Left, Live};

/// A machine whose store answers only when the test says so.
struct Site {
    session: Session,
    now: Instant,
    tenure: Tenure,
}

const LEASE: Duration = Duration::from_secs(10);
const MINE: u64 = 100;
const THEIRS: u64 = 50;

fn live(kind: Kind, number: u64) -> Live {
    Live {
        guid: guid(number),
        rotation: 3,
        form: SignInForm::Full,
        kind,
        decides: kind == Kind::Desk,
        alive_ago: Duration::from_secs(5),
        issued_ago: Duration::from_secs(5),
        rotates_every: None,
        poll_takes: Duration::ZERO,
    }
}

fn left(entry: Entry) -> Left {
    Left { entry: Some(entry), age: Duration::from_secs(1) }
}

fn theirs(entry: Option<Entry>) -> Event {
    Event::Sought(Ok(Found::Theirs { fence: THEIRS, entry: entry.map(left) }))
}

fn owned(entry: Option<Entry>) -> Event {
    Event::Sought(Ok(Found::Owned { fence: MINE, left: entry.map(left) }))
}

fn away() -> store::Error {
    store::Error::Unavailable { why: "cut", source: None, retry_after: Duration::from_secs(1) }
}

impl Site {
    fn new() -> Self {
        let now = Instant::now();
        let rules = Rules { lease: Some(LEASE), ..rules() };
        Self { session: Session::new(rules, 3), now, tenure: Tenure { until: Some(now + LEASE), generation: 1 } }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        names(&self.session.step(event, self.now, self.tenure))
    }

    /// What the store is told is taken, until it is told no more.
    fn settle(&mut self, mut told: Vec<String>) -> Vec<String> {
        let told_store = |name: &String| name.starts_with("write") || name.starts_with("release");
        let mut all = told.clone();
        while told.iter().any(told_store) {
            told = self.step(Event::Stored(Ok(())));
            all.extend(told.clone());
        }
        all
    }

    /// Owns a session that the app has signed in.
    fn desk() -> Self {
        let mut site = Self::new();
        assert_eq!(site.step(asks_to_sign_in(SignInForm::Full)), ["seek"]);
        assert_eq!(site.step(owned(None)), ["desk signs in", "write signing in"]);
        let told = site.step(Event::Stored(Ok(())));
        assert_eq!(told, [""; 0]);
        let told = site.step(signed_in(7));
        assert_eq!(told, ["record DeskSignedIn { form: Full }", "signing in is told 0", "write live"]);
        assert!(!site.session.is_written());
        assert_eq!(site.step(Event::Stored(Ok(()))), [""; 0]);
        assert!(site.session.is_written());
        site
    }
}

#[test]
fn the_session_follows_its_app() {
    let mut site = Site::new();
    assert_eq!(site.step(asks()), ["seek"]);
    assert_eq!(
        site.step(theirs(Some(Entry::Live(live(Kind::Desk, 7))))),
        [format!("grant {THEIRS}.3"), format!("take {THEIRS}")]
    );
    assert_eq!(site.step(Event::Want { rejected: None }), [""; 0], "waits for the store's answer");
    assert_eq!(
        site.step(owned(Some(Entry::Live(live(Kind::Desk, 7))))),
        ["record Resumed { kind: Desk }", "grant 100.0", "desk gets 100.0", "write live"]
    );
    let State::Active(active) = site.session.state() else { panic!("owned") };
    assert_eq!((active.kind, active.pulse, active.decides), (Kind::Desk, Pulse::Stopped, true));
    assert_eq!(site.now - active.alive_at, Duration::from_secs(6), "no new life by it");
}

#[test]
fn who_was_overtaken_asks_again_and_who_finds_nothing_says_so() {
    let mut site = Site::new();
    site.step(asks());
    site.step(theirs(Some(Entry::Live(live(Kind::Desk, 7)))));
    // Another one was quicker.
    let newer = Found::Theirs { fence: 60, entry: Some(left(Entry::Live(live(Kind::Desk, 7)))) };
    assert_eq!(site.step(Event::Sought(Ok(newer))), ["grant 60.3", "take 60"]);
    let told = site.step(owned(None));
    assert_eq!(told, ["desk is refused not_signed_in", "release"], "it has ended meanwhile");

    let mut site = Site::new();
    site.step(asks());
    assert_eq!(site.step(theirs(Some(Entry::SigningIn))), [""; 0], "the app may be the one that is signed in");
    assert_eq!(site.step(Event::Changed), ["seek"]);
    let entry = Entry::Live(live(Kind::Own, 7));
    let told = site.step(theirs(Some(entry.clone())));
    assert_eq!(told.last().map(String::as_str), Some("desk is refused not_signed_in"), "{told:?}");

    let mut site = Site::new();
    site.step(asks());
    assert_eq!(
        site.step(Event::Sought(Err(away()))),
        ["refuse store_unavailable", "desk is refused store_unavailable"]
    );
    site.step(Event::Want { rejected: None });
    site.step(theirs(Some(entry)));
    assert_eq!(site.step(asks()), ["seek"], "the app may have signed in elsewhere a moment ago");
    let told = site.step(theirs(Some(Entry::Live(live(Kind::Desk, 9)))));
    assert_eq!(told, [format!("take {THEIRS}")]);
}

#[test]
fn an_app_takes_the_agent_from_any_owner_before_it_signs_in() {
    for kind in [Kind::Own, Kind::Desk] {
        let mut site = Site::new();
        site.step(asks_to_sign_in(SignInForm::Full));
        let told = site.step(theirs(Some(Entry::Live(live(kind, 7)))));
        assert_eq!(told.last(), Some(&format!("take {THEIRS}")));
        let told = site.step(owned(Some(Entry::Live(live(kind, 7)))));
        assert!(told.contains(&"sign out".to_owned()) && !told.contains(&"desk signs in".to_owned()), "{told:?}");
        let told = site.settle(told);
        assert!(told.contains(&"write signing in".to_owned()), "others wait meanwhile: {told:?}");
        let told = site.step(Event::SignOutAnswered(Ok(())));
        let expected = ["record SignedOut { why: Desk }", "desk signs in", "write signing in"];
        assert_eq!(told, expected, "{kind:?}");
    }
    let cooling =
        Cooling { trouble: store::Trouble::AgentBusy, lasts: Duration::from_secs(30), doubt_lasts: Duration::ZERO };
    let mut site = Site::new();
    site.step(asks_to_sign_in(SignInForm::Full));
    assert_eq!(site.step(theirs(Some(Entry::Cooling(cooling.clone())))), [format!("take {THEIRS}")]);
    assert_eq!(site.step(owned(Some(Entry::Cooling(cooling)))), ["desk signs in", "write signing in"]);
}

#[test]
fn no_sign_in_of_an_apps_without_the_claim() {
    let mut site = Site::new();
    site.step(asks_to_sign_in(SignInForm::Full));
    let told = site.step(Event::Sought(Err(away())));
    assert_eq!(told, ["refuse store_unavailable", "signing in is told store_unavailable"]);

    // The tenure ends while the seek is in flight.
    let mut site = Site::new();
    site.step(asks_to_sign_in(SignInForm::Full));
    site.now += LEASE;
    let told = site.step(owned(None));
    assert_eq!(told[..2], ["refuse store_unavailable", "signing in is told store_unavailable"]);

    // It ends while a session of ours lives, and the store is away: neither signed out nor signed in.
    let mut site = Site::new();
    site.step(Event::Want { rejected: None });
    let told = site.step(owned(Some(Entry::Live(live(Kind::Own, 7)))));
    site.settle(told);
    site.now += LEASE;
    assert_eq!(site.step(asks_to_sign_in(SignInForm::Full)), ["write live"]);
    let told = site.step(Event::Stored(Err(away())));
    assert_eq!(told, ["grant 100.0", "signing in is told store_unavailable"], "in hand, for downloads");

    // Another process became the owner while the app was being signed in.
    let mut site = Site::new();
    site.step(asks_to_sign_in(SignInForm::Full));
    site.step(owned(None));
    site.step(Event::Stored(Err(store::Error::Superseded)));
    let told = site.step(signed_in(7));
    assert_eq!(told, ["record DeskSignedIn { form: Full }", "signing in is told store_unavailable", "sign out"]);
    assert_eq!(site.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Superseded }"]);
}

#[test]
fn an_owner_that_hears_of_a_change_finds_out_that_it_is_none() {
    let mut site = Site::desk();
    assert_eq!(site.step(Event::Changed), ["write live"]);
    assert_eq!(site.step(Event::Stored(Ok(()))), [""; 0], "ours still, and no word of it to ourselves");
    assert_eq!(site.step(Event::LostSight), ["write live"]);
    assert_eq!(site.step(asks()), [format!("desk gets {MINE}.0")]);
    assert_eq!(site.step(Event::Stored(Err(store::Error::Superseded))), ["drop keep-alive", "record HandedOver"]);
    assert_eq!(site.step(Event::Changed), [""; 0]);
    assert!(site.session.is_done(), "and nothing is signed out or released");

    let mut site = Site::new();
    site.step(Event::Want { rejected: None });
    let told = site.step(owned(Some(Entry::Live(live(Kind::Own, 7)))));
    site.settle(told);
    assert_eq!(site.step(asks()), ["write live"], "is it ours still?");
    let told = site.step(Event::Stored(Err(store::Error::Superseded)));
    assert_eq!(told, ["drop keep-alive", "record HandedOver", "seek"]);
    let told = site.step(theirs(Some(Entry::Live(live(Kind::Desk, 9)))));
    assert_eq!(told.last(), Some(&format!("take {THEIRS}")));

    let mut site = Site::new();
    site.step(Event::Want { rejected: None });
    let told = site.step(owned(Some(Entry::Live(live(Kind::Own, 7)))));
    site.settle(told);
    site.step(asks());
    let told = site.step(Event::Stored(Ok(())));
    assert_eq!(told.last().map(String::as_str), Some("desk is refused not_signed_in"), "it is");
}

#[test]
fn a_superseded_session_of_an_apps_is_never_signed_out() {
    let mut site = Site::new();
    site.step(asks_to_sign_in(SignInForm::Full));
    site.step(owned(None));
    site.step(Event::Stored(Ok(())));
    assert_eq!(site.step(signed_in(7)).last().map(String::as_str), Some("write live"));
    assert_eq!(site.step(Event::Stored(Err(store::Error::Superseded))), ["drop keep-alive", "record HandedOver"]);
}

#[test]
fn without_the_stores_word_a_new_guid_is_not_used_and_the_old_one_is() {
    let mut site = Site::desk();
    site.now += LEASE;
    assert_eq!(site.step(asks()), ["write live"], "is it ours still?");
    let told = site.step(Event::Stored(Err(away())));
    assert_eq!(told, [format!("grant {MINE}.0"), format!("desk gets {MINE}.0")], "in hand");
    site.now += Duration::from_secs(1);
    assert_eq!(site.step(learned(MINE, 0, 8)), ["record Rotated { count: 1 }", "write live"]);
    assert!(!site.session.is_written());
    assert_eq!(site.step(asks()), [""; 0], "another process may have a newer one");
    let told = site.step(Event::Stored(Err(away())));
    assert_eq!(told, ["refuse store_unavailable", "desk is refused store_unavailable"]);
    site.step(asks());
    let told = site.step(Event::Stored(Ok(())));
    assert_eq!(told.last(), Some(&format!("desk gets {MINE}.1")));
}

#[test]
fn the_store_hears_of_life_seldom_and_of_all_at_the_end() {
    let mut site = Site::desk();
    for _ in 0..29 {
        site.now += Duration::from_secs(1);
        site.tenure.until = Some(site.now + LEASE);
        let told = site.step(Event::Desk(DeskEvent::Alive(Version { fence: MINE, rotation: 0 })));
        assert_eq!(told, [""; 0]);
    }
    site.now += Duration::from_secs(1);
    let told = site.step(Event::Desk(DeskEvent::Alive(Version { fence: MINE, rotation: 0 })));
    assert_eq!(told, ["write live"]);
    // In flight, and something newer comes up before the process ends.
    site.step(learned(MINE, 0, 8));
    assert_eq!(site.step(Event::Stop), ["refuse shutting_down", "drop keep-alive", "record HandedOver"]);
    assert!(!site.session.is_done());
    let effects = site.session.step(Event::Stored(Ok(())), site.now, site.tenure);
    let [Effect::Store(Out::Write { entry: Entry::Live(live), .. })] = &effects[..] else { panic!("{effects:?}") };
    assert!(live.guid.same_as(&guid(8)), "the newest");
    assert_eq!(site.step(Event::Stored(Ok(()))), [""; 0]);
    assert!(site.session.is_done());
}

#[test]
fn what_is_known_of_an_agent_survives_a_seek_for_a_poll() {
    let mut site = Site::new();
    site.step(asks());
    let barred = Entry::Barred { cause: BarCause::WrongPassword, fingerprint: Fingerprint::of(b"a") };
    let told = site.step(owned(Some(barred)));
    assert_eq!(site.settle(told), ["desk is refused not_signed_in", "write barred", "release"]);

    let mut site = Site::new();
    site.step(asks());
    let told = site.step(Event::Sought(Ok(Found::Owned {
        fence: MINE,
        left: Some(Left { entry: Some(Entry::SigningIn), age: Duration::from_secs(40) }),
    })));
    assert_eq!(site.settle(told), ["desk is refused not_signed_in", "write cooling", "release"], "in doubt");

    let mut site = Site::new();
    site.step(asks());
    let told = site.step(owned(Some(Entry::SigningIn)));
    let told = site.settle(told);
    assert_eq!(told[..2], ["refuse store_unavailable", "desk is refused store_unavailable"], "nobody knows yet");
}

#[test]
fn r18_who_takes_over_from_one_that_took_an_app_for_silent_throws_nobody_out() {
    let is_patient = |mut site: Site, found: Event, told: &[&str]| {
        site.step(Event::Want { rejected: None });
        assert_eq!(site.step(found), told);
        site.step(Event::AccountRead(Ok(account("a", true))));
        site.settle(vec!["write".to_owned()]);
        let told = site.step(Event::SignInAnswered(Err(refused("100-002"))));
        told.contains(&"refuse agent_busy".to_owned())
    };
    // It was told.
    let mut site = Site::desk();
    site.now += MAXTIME;
    site.tenure.until = Some(site.now + LEASE);
    let effects = site.session.step(Event::Tick, site.now, site.tenure);
    let Some(Effect::Store(Out::Write { entry: Entry::Cooling(cooling), .. })) = effects.last() else {
        panic!("{effects:?}");
    };
    assert_eq!((cooling.lasts, cooling.doubt_lasts), (Duration::ZERO, SILENT_DOUBT));
    let found = || owned(Some(Entry::Cooling(cooling.clone())));
    assert!(is_patient(Site::new(), found(), &["read"]));
    let mut site = Site::new();
    site.step(asks_to_sign_in(SignInForm::Full));
    assert_eq!(site.step(found())[0], "desk signs in", "the app itself may at once");

    // It ended before that: what is left is older than the gateway keeps a session without a call.
    for (ago, patient) in [(120, true), (268, true), (270, false)] {
        let silent = Live { alive_ago: Duration::from_secs(ago - 1), ..live(Kind::Desk, 7) };
        assert_eq!(is_patient(Site::new(), owned(Some(Entry::Live(silent))), &["read"]), patient, "{ago}");
        let silent = Live { alive_ago: Duration::from_secs(ago - 1), ..live(Kind::Own, 7) };
        assert!(!is_patient(Site::new(), owned(Some(Entry::Live(silent))), &["read"]), "ours is nobody's desk");
    }
}
