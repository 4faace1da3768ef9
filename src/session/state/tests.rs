//! The state machine rule by rule: events in, effects by name out.

use std::collections::VecDeque;

use http::StatusCode;
use proptest::prelude::*;
use secrecy::SecretString;

use super::store::{Cooling, Entry, Found, Kind, Left, Retire, Retired};
use super::*;
use crate::cc::Retcode;
use crate::net;
use crate::session::accounts::Account;
use crate::session::journal::SessionEvent;

mod desk;
mod doubt;
mod ghost;
mod keep_alive;
mod properties;
mod records;
mod replicas;
mod shared;
mod stop;

/// A machine and its clock.
struct Bench {
    session: Session,
    now: Instant,
    /// Counts the seeks, as a store does.
    fence: u64,
    /// Counts the Guids.
    guids: u64,
    /// The newest Guid that was granted.
    newest: Option<(Version, Arc<Guid>)>,
}

fn rules() -> Rules {
    Rules {
        form: SignInForm::Platform,
        keep_alive: KeepAlive::Poll,
        keep_alive_interval: Duration::from_secs(30),
        idle_sign_out: Duration::from_mins(15),
        lease: None,
        pacer: Arc::default(),
        tag_key: Arc::new(GuidTagKey::random()),
    }
}

fn account(contents: &str, takeover: bool) -> Arc<Account> {
    Arc::new(Account {
        password: SecretString::from("secret"),
        phone_number: None,
        takeover,
        fingerprint: Fingerprint::of(contents.as_bytes()),
    })
}

fn guid(number: u64) -> Guid {
    Guid::from_text(&format!("{number:048x}.AgentGateway0")).expect("a Guid")
}

fn refused(code: &str) -> Arc<upstream::Error> {
    let retcode = Retcode::parse(code).expect("a code");
    Arc::new(upstream::Error::Refused { retcode, message: "text".to_owned() })
}

fn unreachable() -> Arc<upstream::Error> {
    Arc::new(upstream::Error::Unreachable { source: "no route".into() })
}

fn granted(effects: &[Effect]) -> Option<Granted> {
    effects.iter().find_map(|effect| match effect {
        Effect::Grant(granted) => Some(granted.clone()),
        _ => None,
    })
}

/// Effects by name, so that a table can be read.
fn names(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::ReadAccount => "read".to_owned(),
            Effect::SignIn { form, .. } => format!("sign in {form:?}"),
            Effect::SignOut { .. } => "sign out".to_owned(),
            Effect::KeepAlive { version, .. } => format!("keep alive {}.{}", version.fence, version.rotation),
            Effect::Grant(Granted { version, .. }) => format!("grant {}.{}", version.fence, version.rotation),
            Effect::Seek { .. } => "seek".to_owned(),
            Effect::Retire { .. } => "retire".to_owned(),
            Effect::DropKeepAlive => "drop keep-alive".to_owned(),
            Effect::Store(Out::Write { entry, .. }) => format!("write {}", entry_name(entry)),
            Effect::Store(Out::Release { .. }) => "release".to_owned(),
            Effect::Store(Out::Tell { version, cause }) => {
                format!("tell {}.{} {}", version.fence, version.rotation, cause.as_str())
            }
            Effect::Refuse(error) => format!("refuse {}", error.code()),
            Effect::Record(event) => format!("record {}", event.shown()),
            Effect::Take { .. } | Effect::Desk(_) => desk::name(effect),
        })
        .collect()
}

fn entry_name(entry: &Entry) -> &'static str {
    match entry {
        Entry::SigningIn => "signing in",
        Entry::Live(_) => "live",
        Entry::Cooling(_) => "cooling",
        Entry::Barred { .. } => "barred",
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(rules())
    }

    fn with(rules: Rules) -> Self {
        Self { session: Session::new(rules, 7), now: Instant::now(), fence: 0, guids: 0, newest: None }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        names(&self.effects(event))
    }

    /// Steps, and answers what is asked of the store as the store of one process does: at once.
    fn effects(&mut self, event: Event) -> Vec<Effect> {
        let (mut all, mut events) = (Vec::new(), VecDeque::from([event]));
        while let Some(event) = events.pop_front() {
            for effect in self.session.step(event, self.now, Tenure::ALONE) {
                match effect {
                    Effect::Seek { .. } | Effect::Take { .. } => {
                        self.fence += 1;
                        events.push_back(Event::Sought(Ok(Found::Owned { fence: self.fence, left: None })));
                    }
                    Effect::Retire { .. } => events.push_back(Event::Retired(Ok(Retired::Unused))),
                    Effect::Store(_) => events.push_back(Event::Stored(Ok(()))),
                    Effect::DropKeepAlive => {}
                    other => all.push(other),
                }
            }
        }
        if let Some(Granted { version, guid, .. }) = granted(&all) {
            self.newest = Some((version, guid));
        }
        all
    }

    fn want(&mut self) -> Vec<String> {
        self.step(Event::Want { rejected: None })
    }

    fn reject(&mut self, fence: u64, rotation: u64, cause: LossCause) -> Vec<String> {
        let version = Version { fence, rotation };
        let guid = match &self.newest {
            Some((newest, guid)) if *newest == version => Arc::clone(guid),
            _ => Arc::new(guid(1_000_000 + fence * 1_000 + rotation)),
        };
        self.step(Event::Want { rejected: Some(Rejected { version, guid, cause }) })
    }

    fn read(&mut self, contents: &str, takeover: bool) -> Vec<String> {
        self.step(Event::AccountRead(Ok(account(contents, takeover))))
    }

    fn sign_in_works(&mut self) -> Vec<String> {
        self.guids += 1;
        let fresh = Fresh { guid: guid(self.guids << 32), must_change_password: false };
        self.step(Event::SignInAnswered(Ok(fresh)))
    }

    fn sign_in_fails(&mut self, error: Arc<upstream::Error>) -> Vec<String> {
        self.step(Event::SignInAnswered(Err(error)))
    }

    fn keep_alive(
        &mut self,
        fence: u64,
        rotation: u64,
        result: Result<Option<Guid>, Arc<upstream::Error>>,
    ) -> Vec<String> {
        self.step(Event::KeepAliveAnswered { version: Version { fence, rotation }, result })
    }

    /// Moves the clock to the next time that the machine asked for.
    fn wake(&mut self) -> Vec<String> {
        self.now = self.session.wake_at().expect("a time to wake").max(self.now);
        self.step(Event::Tick)
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// A session, just signed in and in use.
    fn active() -> Self {
        let mut bench = Self::new();
        bench.want();
        bench.read("a", false);
        assert_eq!(bench.sign_in_works(), ["record SignedIn { form: Platform }", "grant 1.0"]);
        bench
    }
}

#[test]
fn the_way_to_a_session() {
    let mut bench = Bench::new();
    assert_eq!(bench.want(), ["read"]);
    assert_eq!(bench.want(), [""; 0], "the second waits for the same");
    assert_eq!(bench.read("a", false), ["sign in Platform"]);
    assert_eq!(bench.want(), [""; 0]);
    assert_eq!(bench.sign_in_works(), ["record SignedIn { form: Platform }", "grant 1.0"]);
    assert_eq!(bench.want(), ["grant 1.0"]);
}

#[test]
fn the_form_comes_from_the_rules() {
    let mut bench = Bench::with(Rules { form: SignInForm::Full, ..rules() });
    bench.want();
    assert_eq!(bench.read("a", false), ["sign in Full"]);
}

#[test]
fn what_may_pass_cools_down_and_what_may_not_bars() {
    let unknown_issuer = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
    let table = [
        (refused("100-003"), "upstream_switching"),
        (refused("000-004"), "upstream_switching"),
        (refused("100-002"), "agent_busy"),
        (unreachable(), "upstream_unreachable"),
        (Arc::new(net::Error::Untrusted(unknown_issuer.into()).into()), "upstream_untrusted"),
        (Arc::new(upstream::Error::Status(StatusCode::NOT_FOUND)), "upstream_protocol"),
        (refused("000-000"), "upstream_refused"),
        (refused("000-007"), "upstream_refused"),
    ];
    for (error, code) in table {
        let mut bench = Bench::new();
        bench.want();
        bench.read("a", false);
        let failed = bench.sign_in_fails(error);
        assert!(failed[0].starts_with(&format!("record SignInFailed {{ code: \"{code}\"")), "{failed:?}");
        assert_eq!(failed[1..], [format!("refuse {code}")]);
        assert_eq!(bench.want(), [format!("refuse {code}")], "at once, and nothing is asked");
        assert_eq!(bench.after(Duration::from_secs(2)).want(), ["read"], "the first cooling is 1 s to 2 s");
    }
    for code in ["100-004", "100-001", "100-011", "100-012", "100-013"] {
        let mut bench = Bench::new();
        bench.want();
        bench.read("a", false);
        let effects = bench.sign_in_fails(refused(code));
        assert!(effects[0].starts_with("record Barred"), "{effects:?}");
        assert_eq!(effects[1..], ["refuse account_rejected"]);
    }
}

#[test]
fn cooling_doubles_up_to_a_minute_and_is_forgotten_after_a_sign_in() {
    let mut bench = Bench::new();
    for attempt in 0..12_u32 {
        assert_eq!(bench.want(), ["read"]);
        bench.read("a", false);
        let effects = bench.effects(Event::SignInAnswered(Err(unreachable())));
        let Some(Effect::Refuse(error)) = effects.last() else { panic!("{effects:?}") };
        let delay = error.retry_after().expect("a time");
        let base = Duration::from_secs(1 << attempt.min(5)).min(Duration::from_secs(30));
        assert!((base..=base * 2).contains(&delay), "{attempt}: {delay:?}");
        bench.now += delay;
    }
    bench.want();
    bench.read("a", false);
    bench.sign_in_works();
    bench.reject(bench.fence, 0, LossCause::Forgotten);
    bench.read("a", false);
    bench.sign_in_fails(unreachable());
    assert_eq!(bench.after(Duration::from_secs(2)).want(), ["read"]);
}

#[test]
fn a_cooled_down_agent_is_dropped_after_a_while() {
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", false);
    bench.sign_in_fails(unreachable());
    assert!(!bench.session.is_done(), "the count of failures is remembered");
    assert_eq!(bench.wake(), [""; 0]);
    assert!(bench.session.is_done());
}

#[test]
fn a_barred_account_is_tried_again_only_when_its_file_changed() {
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", false);
    bench.sign_in_fails(refused("100-004"));
    for _ in 0..3 {
        assert_eq!(bench.after(Duration::from_hours(24)).want(), ["read"]);
        assert_eq!(bench.read("a", false), ["refuse account_rejected"]);
    }
    bench.want();
    assert_eq!(bench.step(Event::AccountRead(Err(Error::AccountMissing))), ["refuse account_missing"]);
    assert!(!bench.session.is_done(), "a file that is gone for a moment lifts no bar");
    bench.want();
    assert_eq!(bench.read("b", false), ["sign in Platform"]);
    bench.sign_in_fails(unreachable());
    bench.after(Duration::from_mins(1)).want();
    assert_eq!(bench.read("a", false), ["refuse account_rejected"], "the old file is still barred");
    bench.want();
    bench.read("b", false);
    bench.sign_in_works();
    assert!(bench.session.bar.is_none());
}

#[test]
fn a_password_that_must_be_changed_bars_and_signs_out() {
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", false);
    let fresh = Fresh { guid: guid(1), must_change_password: true };
    let effects = bench.step(Event::SignInAnswered(Ok(fresh)));
    assert_eq!(effects[1..], ["record Barred { cause: MustChangePassword }", "refuse account_rejected", "sign out"]);
    assert_eq!(bench.want(), [""; 0], "waits for the sign-out");
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: MustChangePassword }", "read"]);
    assert_eq!(bench.read("a", false), ["refuse account_rejected"]);
}

#[test]
fn an_account_that_is_missing_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.want();
    assert_eq!(bench.step(Event::AccountRead(Err(Error::AccountMissing))), ["refuse account_missing"]);
    assert!(bench.session.is_done());
}

#[test]
fn a_busy_agent_is_thrown_out_only_with_takeover_and_recorded_first() {
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", true);
    assert_eq!(bench.sign_in_fails(refused("100-002")), ["record Forced { by: Own }", "sign in Force"]);
    let failed = "record SignInFailed { code: \"agent_busy\", retcode: Some(Retcode(\"100-002\")) }";
    assert_eq!(bench.sign_in_fails(refused("100-002")), [failed, "refuse agent_busy"], "once");
    let mut bench = Bench::new();
    bench.want();
    bench.read("a", true);
    bench.sign_in_fails(refused("100-002"));
    assert_eq!(bench.sign_in_works(), ["record SignedIn { form: Force }", "grant 1.0"]);
}

#[test]
fn r18_only_the_answer_to_the_current_guid_rotates() {
    let mut bench = Bench::active();
    bench.wake();
    assert_eq!(bench.step(learned(1, 0, 2)), ["record Rotated { count: 1 }"]);
    assert_eq!(bench.keep_alive(1, 0, Ok(Some(guid(3)))), [""; 0], "late: it may be the older one");
    assert_eq!(bench.want(), ["grant 1.1"]);
    assert_eq!(bench.step(learned(1, 1, 2)), [""; 0], "the same Guid is no rotation");
    assert_eq!(bench.wake(), ["keep alive 1.1"]);
    assert_eq!(bench.keep_alive(1, 1, Ok(Some(guid(4)))), ["record Rotated { count: 2 }"]);
    assert_eq!(bench.step(learned(0, 2, 5)), [""; 0], "of an older session");
    let effects = bench.effects(Event::Want { rejected: None });
    assert!(matches!(&effects[..], [Effect::Grant(granted)] if granted.guid.same_as(&guid(4))));
}

fn learned(fence: u64, rotation: u64, number: u64) -> Event {
    Event::Learned { version: Version { fence, rotation }, guid: guid(number) }
}

#[test]
fn rejecting_an_older_guid_gives_the_newer() {
    let mut bench = Bench::active();
    bench.step(learned(1, 0, 2));
    assert_eq!(bench.reject(1, 0, LossCause::Forgotten), ["grant 1.1"]);
    assert_eq!(bench.reject(1, 1, LossCause::Forgotten), ["record Lost { cause: Forgotten }", "read"]);
    assert_eq!(bench.reject(1, 1, LossCause::Forgotten), [""; 0], "shares the fresh session");
    bench.read("a", false);
    bench.sign_in_works();
    assert_eq!(bench.reject(1, 1, LossCause::Forgotten), ["grant 2.0"], "a slow one gets it too");
}

#[test]
fn a_refused_session_is_signed_out_before_the_fresh_one() {
    let mut bench = Bench::active();
    assert_eq!(bench.reject(1, 0, LossCause::Refused), ["record Lost { cause: Refused }", "sign out"]);
    assert_eq!(bench.want(), [""; 0]);
    assert_eq!(bench.step(Event::SignOutAnswered(Err(refused("100-006")))), ["record SignedOut { why: Lost }", "read"]);
    bench.read("a", false);
    assert_eq!(bench.sign_in_works(), ["record SignedIn { form: Platform }", "grant 2.0"]);
    // The fresh session has decided: it is the right that is missing.
    assert_eq!(bench.reject(2, 0, LossCause::Refused), ["record RightMissing { form: Platform }", "grant 2.0"]);
    assert_eq!(bench.reject(2, 0, LossCause::Refused), ["grant 2.0"], "told once");
    assert_eq!(bench.reject(2, 0, LossCause::Forgotten)[0], "record Lost { cause: Forgotten }");
}

#[test]
fn a_missing_right_is_known_for_the_sessions_life() {
    let mut bench = Bench::active();
    bench.reject(1, 0, LossCause::Refused);
    bench.step(Event::SignOutAnswered(Ok(())));
    bench.read("a", false);
    bench.sign_in_works();
    bench.step(learned(2, 0, 77));
    assert_eq!(bench.reject(2, 1, LossCause::Refused), ["record RightMissing { form: Platform }", "grant 2.1"]);
    for _ in 0..100 {
        bench.after(Duration::from_mins(10));
        assert_eq!(bench.reject(2, 1, LossCause::Refused), ["grant 2.1"], "no other sign-in, told once");
    }
    bench.keep_alive(2, 1, Err(refused("000-003")));
    assert_eq!(bench.want(), ["sign out"], "a session that really died is seen by its keep-alive");
    bench.step(Event::SignOutAnswered(Ok(())));
    bench.read("a", false);
    bench.sign_in_works();
    assert_eq!(bench.reject(3, 0, LossCause::Refused)[0], "record Lost { cause: Refused }", "not made for a 000-003");
}

#[test]
fn a_sign_out_that_gets_no_answer_is_made_again_before_the_sign_in() {
    let mut bench = Bench::active();
    bench.reject(1, 0, LossCause::Refused);
    assert_eq!(
        bench.step(Event::SignOutAnswered(Err(unreachable()))),
        ["record SignOutFailed { retcode: None }", "refuse upstream_unreachable"]
    );
    assert_eq!(bench.after(Duration::from_secs(2)).want(), ["sign out"]);
    bench.step(Event::SignOutAnswered(Err(unreachable())));
    assert_eq!(bench.after(MAXTIME).want(), ["read"], "the gateway has forgotten it");
}

#[test]
fn an_idle_session_is_signed_out_and_one_in_use_is_not() {
    let mut bench = Bench::with(Rules { idle_sign_out: Duration::from_secs(5), ..rules() });
    bench.want();
    bench.read("a", false);
    bench.sign_in_works();
    bench.after(Duration::from_mins(1)).wake();
    bench.keep_alive(1, 0, Ok(None));
    bench.step(Event::Released);
    bench.after(Duration::from_secs(4));
    assert_eq!(bench.want(), ["grant 1.0"]);
    bench.after(Duration::from_secs(6));
    assert_eq!(bench.step(Event::Tick), ["keep alive 1.0"]);
    bench.step(Event::Released);
    assert_eq!(bench.wake(), ["sign out"]);
    assert_eq!(bench.want(), [""; 0], "no sign-in before the sign-out answered");
    assert_eq!(bench.step(Event::SignOutAnswered(Ok(()))), ["record SignedOut { why: Idle }", "read"]);
}

#[test]
fn a_session_that_left_leaves_nothing_behind() {
    let mut bench = Bench::active();
    bench.step(Event::Released);
    bench.now += Duration::from_secs(110);
    bench.keep_alive(1, 0, Ok(None));
    while bench.session.wake_at().is_some() {
        if bench.wake() == ["keep alive 1.0"] {
            bench.now += Duration::from_secs(10);
            bench.keep_alive(1, 0, Ok(None));
        }
    }
    bench.step(Event::SignOutAnswered(Ok(())));
    assert!(bench.session.is_done());
}
