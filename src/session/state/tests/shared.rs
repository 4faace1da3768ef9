//! What the machine does where other processes share the agent: seeking, borrowing, taking over, handing over, and what it
//! does while its tenure has ended. Events in, effects by name out; the store answers when the test says so.

use super::*;
use crate::session::store::{Live, Trouble};

mod outage;
mod stranded;
mod told_on;

const LEASE: Duration = Duration::from_secs(10);
/// Of what the store gives away first.
const FENCE: u64 = 100;

/// A machine that shares its agent, and its tenure.
struct Shared {
    session: Session,
    now: Instant,
    tenure: Tenure,
}

impl Shared {
    fn new() -> Self {
        let now = Instant::now();
        let session = Session::new(Rules { lease: Some(LEASE), ..rules() }, 7);
        Self { session, now, tenure: Tenure { until: Some(now + LEASE), generation: 1 } }
    }

    fn effects(&mut self, event: Event) -> Vec<Effect> {
        self.session.step(event, self.now, self.tenure)
    }

    /// That a sign-in or a sign-out is under way is taken by the store at once, and left out.
    fn step(&mut self, event: Event) -> Vec<String> {
        let short =
            |name: String| if name.starts_with("record HandedOver") { "record HandedOver".to_owned() } else { name };
        let mut all: Vec<String> = names(&self.effects(event)).into_iter().map(short).collect();
        if let Some(at) = all.iter().position(|name| name == "write signing in") {
            all.remove(at);
            all.extend(self.step(Event::Stored(Ok(()))));
        }
        all
    }

    fn want(&mut self) -> Vec<String> {
        self.step(Event::Want { rejected: None })
    }

    fn reject(&mut self, version: Version, guid: Guid, cause: LossCause) -> Vec<String> {
        self.step(Event::Want { rejected: Some(Rejected { version, guid: Arc::new(guid), cause }) })
    }

    fn owned(&mut self, fence: u64, left: Option<Left>) -> Vec<String> {
        self.step(Event::Sought(Ok(Found::Owned { fence, left })))
    }

    fn theirs(&mut self, fence: u64, entry: Option<Left>) -> Vec<String> {
        self.step(Event::Sought(Ok(Found::Theirs { fence, entry })))
    }

    fn written(&mut self) -> Vec<String> {
        self.step(Event::Stored(Ok(())))
    }

    /// The tenure is renewed; `forgotten`: after its end.
    fn beat(&mut self, forgotten: bool) {
        self.tenure.until = Some(self.now + LEASE);
        self.tenure.generation += u64::from(forgotten);
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn wake(&mut self) -> Vec<String> {
        self.now = self.session.wake_at().expect("a time to wake").max(self.now);
        self.step(Event::Tick)
    }

    /// Owns a session that it has signed in and that the store knows, with Guid 1.
    fn owner() -> Self {
        let mut shared = Self::new();
        assert_eq!(shared.want(), ["seek"]);
        assert_eq!(shared.owned(FENCE, None), ["read"]);
        assert_eq!(shared.step(Event::AccountRead(Ok(account("a", false)))), ["sign in Platform"]);
        let fresh = Fresh { guid: guid(1), must_change_password: false };
        let effects = shared.step(Event::SignInAnswered(Ok(fresh)));
        assert_eq!(effects, ["record SignedIn { form: Platform }", "write live"]);
        assert_eq!(shared.written(), ["grant 100.0"], "when the store knows of it");
        shared
    }

    /// Borrows a session of another process, with Guid 5.
    fn borrower() -> Self {
        let mut shared = Self::new();
        shared.want();
        assert_eq!(shared.theirs(FENCE, live(5, 0)), ["grant 100.0"]);
        shared
    }
}

fn entry(number: u64, rotation: u64) -> Live {
    Live {
        guid: guid(number),
        rotation,
        form: SignInForm::Platform,
        kind: Kind::Own,
        decides: false,
        alive_ago: Duration::ZERO,
        issued_ago: Duration::ZERO,
        rotates_every: Some(Duration::from_mins(1)),
        poll_takes: Duration::from_secs(10),
    }
}

#[allow(clippy::unnecessary_wraps, reason = "as the store hands it out")]
fn live(number: u64, rotation: u64) -> Option<Left> {
    Some(Left { entry: Some(Entry::Live(entry(number, rotation))), age: Duration::from_secs(1) })
}

fn away() -> store::Error {
    store::Error::Unavailable { why: "away", source: None, retry_after: Duration::from_secs(1) }
}

const fn version(rotation: u64) -> Version {
    Version { fence: FENCE, rotation }
}

#[test]
fn whose_the_agent_is_comes_first() {
    let cooling = |lasts, doubt_lasts| {
        let cooling = Cooling { trouble: Trouble::Unreachable, lasts, doubt_lasts };
        Some(Left { entry: Some(Entry::Cooling(cooling)), age: Duration::from_secs(1) })
    };
    let second = Duration::from_secs(1);
    let nothing = |age| Some(Left { entry: None, age });
    let resumed = ["record Resumed { kind: Own }", "grant 100.0", "write live"].map(str::to_owned).to_vec();
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let table = [
        ("nobody's", None, words(&["read"])),
        ("one that lives", live(5, 3), resumed),
        ("a cooling", cooling(20 * second, Duration::ZERO), words(&["refuse upstream_unreachable", "write cooling"])),
        ("a cooling that is over", cooling(second, Duration::ZERO), words(&["read"])),
        ("an owner that may be signing in", nothing(second), words(&["refuse store_unavailable", "write cooling"])),
        ("one that has given up by now", nothing(DOUBT_COOLING), words(&["read"])),
        ("long ago", nothing(MAXTIME), words(&["read"])),
    ];
    for (what, left, expected) in table {
        let mut shared = Shared::new();
        assert_eq!(shared.want(), ["seek"]);
        assert_eq!(shared.owned(FENCE, left), expected, "{what}");
    }
}

#[test]
fn who_borrows_uses_the_newest_guid_and_never_keeps_alive() {
    let mut shared = Shared::borrower();
    assert_eq!(shared.want(), ["grant 100.0"]);
    assert_eq!(shared.step(Event::Changed), ["seek"]);
    assert_eq!(shared.step(Event::Changed), [""; 0], "one seek at a time");
    assert_eq!(shared.theirs(FENCE, live(6, 1)), ["seek"], "something changed meanwhile");
    assert_eq!(shared.theirs(FENCE, live(6, 1)), [""; 0]);
    assert_eq!(shared.want(), ["grant 100.1"]);
    for _ in 0..20 {
        assert_eq!(shared.wake(), ["seek"], "by itself, too");
        shared.theirs(FENCE, live(6, 1));
    }
}

#[test]
fn what_was_not_confirmed_for_a_lease_is_not_used() {
    let mut shared = Shared::borrower();
    assert_eq!(shared.after(LEASE).want(), ["seek"]);
    assert_eq!(shared.step(Event::Sought(Err(away()))), ["refuse store_unavailable"]);
    let mut shared = Shared::borrower();
    assert_eq!(shared.step(Event::LostSight), [""; 0]);
    assert_eq!(shared.want(), ["seek"], "changes may have been missed");
}

#[test]
fn an_owner_that_is_about_to_sign_in_is_waited_for() {
    let mut shared = Shared::new();
    shared.want();
    assert_eq!(shared.theirs(FENCE, None), [""; 0]);
    assert_eq!(shared.wake(), ["seek"]);
    assert_eq!(shared.theirs(FENCE, None), [""; 0]);
    assert_eq!(shared.step(Event::Changed), ["seek"], "sooner, where it is told");
    assert_eq!(shared.theirs(FENCE, live(5, 0)), ["grant 100.0"]);
}

#[test]
fn r18_a_borrower_goes_on_where_its_owner_ended() {
    let mut shared = Shared::borrower();
    assert_eq!(shared.wake(), ["seek"]);
    let effects = shared.owned(FENCE + 7, live(5, 3));
    assert_eq!(effects, ["record Resumed { kind: Own }", "grant 107.0", "write live"], "no sign-in");
    shared.written();
    let first = shared.session.wake_at().expect("a keep-alive") - shared.now;
    assert!(first >= Duration::from_secs(10), "the poll of the one before may be unanswered: {first:?}");
    shared.beat(false);
    while shared.session.wake_at().is_some_and(|at| at < shared.now + LEASE / 2) {
        shared.wake();
    }
}

#[test]
fn a_borrower_tells_the_owner_of_a_refusal_and_waits_for_another_guid() {
    let mut shared = Shared::borrower();
    assert_eq!(shared.reject(version(0), guid(5), LossCause::Forgotten), ["seek"]);
    assert_eq!(shared.theirs(FENCE, live(5, 0)), ["tell 100.0 forgotten"]);
    assert_eq!(shared.written(), [""; 0]);
    assert_eq!(shared.step(Event::Changed), ["seek"]);
    assert_eq!(shared.theirs(FENCE + 1, live(9, 0)), ["grant 101.0"], "of the fresh session");
    let mut shared = Shared::borrower();
    shared.reject(version(0), guid(5), LossCause::Forgotten);
    assert_eq!(shared.theirs(FENCE, live(6, 1)), ["grant 100.1"], "it was replaced meanwhile");
}

#[test]
fn an_owner_that_hears_of_a_refusal_makes_a_fresh_session() {
    let mut shared = Shared::owner();
    let refused = |version| Event::BorrowerRefused { version, cause: LossCause::Forgotten };
    assert_eq!(shared.step(refused(Version { fence: 99, rotation: 0 })), ["write live"], "of an older one");
    shared.written();
    assert_eq!(shared.step(refused(version(0))), ["record Lost { cause: Forgotten }", "seek"]);
    assert_eq!(shared.owned(FENCE + 1, None), ["read"]);
}

#[test]
fn a_session_that_was_refused_is_signed_out_before_anybody_else_can_own_the_agent() {
    let mut shared = Shared::owner();
    assert_eq!(shared.reject(version(0), guid(1), LossCause::Refused), ["record Lost { cause: Refused }", "seek"]);
    assert_eq!(shared.step(Event::Sought(Err(away()))), ["refuse store_unavailable"], "and it is not released");
    assert_eq!(shared.wake(), ["seek"], "it is asked again");
    assert_eq!(shared.owned(FENCE + 1, None), ["sign out"]);
    assert_eq!(shared.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Lost }", "release"]);
    assert!(matches!(shared.session.state(), State::Absent), "nobody waits for a fresh one");
    let mut shared = Shared::owner();
    shared.reject(version(0), guid(1), LossCause::Refused);
    shared.owned(FENCE + 1, None);
    assert_eq!(shared.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Lost }", "read"]);
}

#[test]
fn what_a_keep_alive_finds_refused_is_signed_out_at_once() {
    let mut shared = Shared::owner();
    shared.wake();
    let refusal = Event::KeepAliveAnswered { version: version(0), result: Err(refused("000-003")) };
    assert_eq!(shared.step(refusal), ["record Lost { cause: Refused }", "seek"], "nobody else knows it");
    assert_eq!(shared.owned(FENCE + 1, None), ["sign out"]);
    assert_eq!(shared.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Lost }", "release"]);
}

#[test]
fn r18_nothing_is_signed_in_or_out_or_kept_alive_when_the_tenure_has_ended() {
    let mut shared = Shared::new();
    shared.want();
    shared.owned(FENCE, None);
    shared.after(LEASE);
    let read = Event::AccountRead(Ok(account("a", false)));
    assert_eq!(shared.step(read), ["refuse store_unavailable", "release"]);

    let mut shared = Shared::owner();
    assert_eq!(shared.wake(), ["keep alive 100.0"]);
    assert_eq!(shared.after(LEASE).step(Event::Tick), ["drop keep-alive"]);
    assert_eq!(shared.step(Event::SignOutAsked), [""; 0], "an operator's wish");
    assert_eq!(
        shared.step(Event::Stop),
        ["refuse shutting_down", "drop keep-alive", "record HandedOver"],
        "it lives, and is not signed out"
    );
}

#[test]
fn a_process_that_was_stopped_asks_the_store_before_it_gives_its_guid_away() {
    let mut shared = Shared::owner();
    shared.after(LEASE);
    assert_eq!(shared.want(), ["write live"]);
    let superseded = || Event::Stored(Err(store::Error::Superseded));
    assert_eq!(shared.step(superseded()), ["drop keep-alive", "record HandedOver", "seek"]);
    assert_eq!(shared.theirs(FENCE + 5, live(8, 0)), ["grant 105.0"], "the newer owner's");

    let mut shared = Shared::owner();
    shared.after(LEASE);
    shared.want();
    let effects = shared.step(Event::Stored(Err(away())));
    assert_eq!(effects, ["grant 100.0"], "where the store is away, sessions in hand go on");
    shared.after(MAXTIME);
    assert_eq!(shared.step(Event::Tick)[0], "record Lost { cause: Silent }");
}

#[test]
fn a_session_is_kept_through_an_outage_sparingly_and_never_in_a_hurry() {
    let mut shared = Shared::owner();
    shared.beat(false);
    shared.after(LEASE).step(Event::Tick);
    let mut beats = Vec::new();
    while shared.now < shared.tenure.until.expect("a time") + Duration::from_secs(90) {
        if shared.wake() == ["keep alive 100.0"] {
            beats.push(shared.now);
            let refusal = Err(refused("000-007"));
            assert_eq!(shared.step(Event::KeepAliveAnswered { version: version(0), result: refusal }), [""; 0]);
        }
    }
    assert!((3..=40).contains(&beats.len()), "{}", beats.len());
    let pauses = beats.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(pauses.clone().all(|pause| pause >= Duration::from_millis(200)), "{:?}", pauses.collect::<Vec<_>>());
}

#[test]
fn r18_an_owner_that_was_superseded_hands_over_what_lives() {
    let mut shared = Shared::owner();
    assert_eq!(shared.step(Event::Changed), ["write live"], "another process says that the agent is its");
    assert_eq!(shared.step(Event::Stored(Err(store::Error::Superseded))), ["drop keep-alive", "record HandedOver"]);
    assert!(shared.session.is_done());
}

#[test]
fn a_session_that_nobody_else_can_know_is_signed_out_where_the_agent_is_lost() {
    let mut shared = Shared::new();
    shared.want();
    shared.owned(FENCE, None);
    shared.step(Event::AccountRead(Ok(account("a", false))));
    shared.step(Event::SignInAnswered(Ok(Fresh { guid: guid(1), must_change_password: false })));
    assert_eq!(shared.step(Event::Stored(Err(store::Error::Superseded))), ["sign out"]);
    let answered = shared.step(Event::SignOutAnswered(Ok(())));
    assert_eq!(answered, ["record SignedOut { why: Superseded }", "seek"], "somebody still waits");
}

#[test]
fn r18_a_fresh_session_after_a_sign_out_has_another_version() {
    let mut shared = Shared::owner();
    assert_eq!(shared.step(Event::SignOutAsked), ["sign out"]);
    assert_eq!(shared.want(), [""; 0]);
    assert_eq!(shared.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Operator }", "read"]);
    assert_eq!(shared.step(Event::AccountRead(Ok(account("a", false)))), ["sign in Platform"]);
    let fresh = Fresh { guid: guid(2), must_change_password: false };
    assert_eq!(shared.step(Event::SignInAnswered(Ok(fresh))), ["record SignedIn { form: Platform }", "write live"]);
    assert_eq!(shared.written(), ["grant 100.1"], "or a late refusal of the old one would end it");
}

#[test]
fn after_its_tenure_was_forgotten_an_owner_writes_before_it_goes_on() {
    let mut shared = Shared::owner();
    shared.after(LEASE).step(Event::Tick);
    shared.beat(true);
    assert_eq!(shared.step(Event::Reconfirm), ["write live"]);
    assert!(!shared.session.holds(shared.now), "not before the store agrees");
    shared.written();
    assert!(shared.session.holds(shared.now));
    assert_eq!(shared.wake(), ["keep alive 100.0"]);
}

#[test]
fn whoever_is_idle_or_ends_asks_whether_others_use_the_session() {
    let idle = |answer| {
        let mut shared = Shared::owner();
        shared.step(Event::Released);
        shared.after(Duration::from_mins(1)).beat(false);
        shared.step(Event::KeepAliveAnswered { version: version(0), result: Ok(None) });
        shared.after(Duration::from_mins(1)).beat(false);
        shared.step(Event::Stop);
        shared.step(Event::Retired(answer))
    };
    assert_eq!(idle(Ok(Retired::Unused)), ["sign out"]);
    let used = Retired::InUse { ago: Duration::from_secs(3) };
    assert_eq!(idle(Ok(used)), ["drop keep-alive", "record HandedOver"], "it is the other's now");
    assert_eq!(idle(Err(away())), ["drop keep-alive", "record HandedOver"], "not known");
    assert_eq!(idle(Err(store::Error::Superseded)), ["drop keep-alive", "record HandedOver"]);
}

#[test]
fn a_ghost_is_signed_out_at_the_end_only_by_the_owner() {
    let mut shared = Shared::owner();
    shared.reject(version(0), guid(1), LossCause::Refused);
    shared.after(LEASE);
    let effects = shared.step(Event::Stop);
    assert_eq!(effects, ["refuse shutting_down"], "another may be signing in, or finds it and signs it out");
    let mut shared = Shared::owner();
    shared.reject(version(0), guid(1), LossCause::Refused);
    assert_eq!(shared.step(Event::Stop), ["refuse shutting_down", "sign out"]);
    assert_eq!(shared.owned(FENCE + 1, None), [""; 0], "not let go before the sign-out has answered");
    assert_eq!(shared.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Shutdown }", "release"]);
}

#[test]
fn that_it_signs_in_tells_nobody_of_the_session_that_came_of_it() {
    let mut shared = Shared::new();
    shared.want();
    shared.owned(FENCE, None);
    let read = names(&shared.effects(Event::AccountRead(Ok(account("a", false)))));
    assert_eq!(read, ["sign in Platform", "write signing in"]);
    let fresh = Fresh { guid: guid(1), must_change_password: false };
    assert_eq!(shared.step(Event::SignInAnswered(Ok(fresh))), ["record SignedIn { form: Platform }"]);
    assert_eq!(shared.written(), ["write live"], "the answer to what was written before");
    assert_eq!(shared.step(Event::Stored(Err(store::Error::Superseded))), ["sign out"], "nobody else can");
}

#[test]
fn a_seek_without_an_answer_is_repeated_though_nobody_waits_any_more() {
    let mut shared = Shared::new();
    shared.want();
    assert_eq!(shared.step(Event::Sought(Err(away()))), ["refuse store_unavailable"]);
    assert!(!shared.session.is_done(), "the agent may be ours");
    assert_eq!(shared.wake(), ["seek"]);
    let effects = shared.owned(FENCE, live(5, 3));
    assert_eq!(effects, ["record Resumed { kind: Own }", "grant 100.0", "write live"], "what was left is not lost");

    let mut shared = Shared::new();
    shared.want();
    shared.step(Event::Sought(Err(away())));
    shared.wake();
    assert_eq!(shared.owned(FENCE, None), ["release"], "nobody wants a sign-in");
    shared.written();
    assert!(shared.session.is_done());
}

#[test]
fn a_borrower_looks_for_its_owner_within_a_second() {
    let mut shared = Shared::borrower();
    for _ in 0..5 {
        let before = shared.now;
        assert_eq!(shared.wake(), ["seek"]);
        assert!(shared.now - before < Duration::from_secs(1), "{:?}", shared.now - before);
        shared.theirs(FENCE, live(5, 0));
    }
}

#[test]
fn a_session_that_lives_is_told_in_place_of_its_sign_in() {
    let mut shared = Shared::new();
    shared.want();
    shared.owned(FENCE, None);
    shared.effects(Event::AccountRead(Ok(account("a", false))));
    let fresh = Fresh { guid: guid(1), must_change_password: false };
    assert_eq!(shared.step(Event::SignInAnswered(Ok(fresh))), ["record SignedIn { form: Platform }"]);
    let effects = shared.step(Event::Stored(Err(away())));
    assert_eq!(effects, ["grant 100.0"], "whoever waits does not wait for the store");
    let told = std::iter::repeat_with(|| shared.wake()).take(3).flatten().find(|name| name.starts_with("write"));
    assert_eq!(told.as_deref(), Some("write live"), "and not that it signs in");
}

/// Whoever takes over from a process that dies finds the Guid that was written last.
#[test]
fn a_guid_that_the_store_did_not_take_is_written_again_soon_and_then_less_and_less_often() {
    let mut shared = Shared::owner();
    assert_eq!(shared.wake(), ["keep alive 100.0"]);
    let answer = Event::KeepAliveAnswered { version: version(0), result: Ok(Some(guid(2))) };
    assert!(shared.step(answer).contains(&"write live".to_owned()));
    let pause = |shared: &mut Shared| {
        let since = shared.now;
        assert!(!shared.step(Event::Stored(Err(away()))).contains(&"write live".to_owned()), "not at once");
        shared.beat(false);
        while !shared.wake().contains(&"write live".to_owned()) {}
        shared.now - since
    };
    let pauses: Vec<_> = std::iter::repeat_with(|| pause(&mut shared)).take(20).collect();
    assert!(pauses[0] <= Duration::from_millis(100), "{pauses:?}");
    assert!(pauses[..3].iter().sum::<Duration>() <= Duration::from_millis(700), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= WRITE_AGAIN), "{pauses:?}");
    assert!(pauses[6..].iter().all(|pause| *pause == WRITE_AGAIN), "{pauses:?}");
    shared.written();
    let answer = Event::KeepAliveAnswered { version: version(1), result: Ok(Some(guid(3))) };
    assert!(shared.step(answer).contains(&"write live".to_owned()));
    assert!(pause(&mut shared) <= Duration::from_millis(100), "soon again");
}
