//! Tests of the agents' state, with time as an argument.

use super::*;

const AGENT: u32 = 1001;
const BUSY: &str = r#"{"password":"simulated","status":3,"autoenteridle":false,"checkInWebm":false}"#;
const PUSHED: &str = r#"{"password":"simulated","status":3,"autoenteridle":false,"checkInWebm":false,
    "callBackUri":"https://receiver/","serviceToken":"token"}"#;

/// A site with Guids of 60 s (120 s after) and a time-out of 120 s.
struct Site {
    agents: Agents,
    rules: Arc<Rules>,
}

impl Site {
    fn new(config: Config) -> Self {
        let rules = Arc::new(Rules::default());
        Self { agents: Agents::new(Arc::new(config), Arc::clone(&rules)), rules }
    }

    fn try_sign_in(&mut self, now: u64, form: SignInForm, body: &str) -> Result<String, Retcode> {
        let asked = SignIn::parse(body.as_bytes(), false).unwrap();
        self.agents.sign_in(at(now), AGENT, form, asked).map(|guid| guid.reveal())
    }

    fn sign_in(&mut self, now: u64) -> String {
        self.try_sign_in(now, SignInForm::Platform, BUSY).unwrap()
    }

    fn check(&mut self, now: u64, guid: &str) -> Result<(), Retcode> {
        self.agents.check(at(now), AGENT, guid).map(|_| ())
    }

    fn poll(&mut self, now: u64, guid: &str) -> Result<Option<String>, Retcode> {
        let poll = self.agents.begin_poll(at(now), AGENT, guid)?;
        self.agents.end_poll(at(now), poll).map(|fresh| fresh.map(|fresh| fresh.reveal()))
    }

    /// The broken rules so far, forgotten by asking.
    fn broken(&self) -> Vec<Rule> {
        let broken = self.rules.list().into_iter().map(|broken| broken.rule).collect();
        self.rules.clear();
        broken
    }
}

fn site() -> Site {
    Site::new(Config::default())
}

/// Seconds.
fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn refused<T>(retcode: &str) -> Result<T, Retcode> {
    Err(retcode.to_owned())
}

#[test]
fn a_session_lives_by_its_requests() {
    let mut site = site();
    let guid = site.sign_in(0);
    assert_eq!(site.check(119, &guid), Ok(()));
    assert_eq!(site.check(238, &guid), Ok(()));
    assert_eq!(site.broken(), []);
    assert_eq!(site.check(358, &guid), refused("100-006"));
    assert_eq!(site.broken(), [Rule::DeadGuid]);
    assert_eq!(site.agents.signed_in(at(358), AGENT), None);
    site.sign_in(359);
    assert_eq!(site.broken(), []);
}

#[test]
fn a_waiting_poll_keeps_a_session_alive() {
    let mut site = site();
    let guid = site.sign_in(0);
    let poll = site.agents.begin_poll(at(1), AGENT, &guid).unwrap();
    assert_eq!(site.check(500, &guid), Ok(()));
    site.agents.drop_poll(at(600), poll);
    assert_eq!(site.check(719, &guid), Ok(()));
}

#[test]
fn polls_replace_the_guid_and_the_old_one_stays_for_a_while() {
    let mut site = site();
    let first = site.sign_in(0);
    assert_eq!(site.poll(59, &first), Ok(None));
    let second = site.poll(60, &first).unwrap().unwrap();
    assert_ne!(first, second);
    assert_eq!(site.check(100, &first), Ok(()));
    assert_eq!(site.check(179, &first), Ok(()));
    assert_eq!(site.broken(), []);
    assert_eq!(site.check(180, &first), refused("100-006"));
    assert_eq!(site.broken(), [], "it may have been on its way");
    assert_eq!(site.check(181, &first), refused("100-006"));
    assert_eq!(site.broken(), [Rule::DeadGuid]);
    assert_eq!(site.check(181, &second), Ok(()));
}

#[test]
fn a_guid_dies_when_its_successor_is_replaced() {
    let mut site = site();
    let first = site.sign_in(0);
    let second = site.poll(60, &first).unwrap().unwrap();
    let third = site.poll(120, &second).unwrap().unwrap();
    assert_eq!(site.check(121, &second), Ok(()));
    assert_eq!(site.check(121, &third), Ok(()));
    assert_eq!(site.check(121, &first), refused("100-006"));
    assert_eq!(site.broken(), [Rule::DeadGuid]);
}

#[test]
fn whose_successor_nobody_used_may_be_sent_for_a_second_more() {
    let mut site = site();
    let first = site.sign_in(0);
    // The answer goes down with the client that asked; another one goes on with what it knows.
    site.poll(60, &first).unwrap().unwrap();
    let third = site.poll(120, &first).unwrap().unwrap();
    assert_eq!(site.check(120, &first), refused("100-006"));
    assert_eq!(site.broken(), []);
    assert_eq!(site.check(121, &first), refused("100-006"));
    assert_eq!(site.broken(), [Rule::DeadGuid]);
    assert_eq!(site.check(121, &third), Ok(()));
}

#[test]
fn static_guids_stay() {
    let mut site = Site::new(Config { guid_mode: GuidMode::Static, ..Config::default() });
    let guid = site.sign_in(0);
    for now in [60, 120, 180] {
        assert_eq!(site.poll(now, &guid), Ok(None));
    }
    assert_eq!(site.agents.update_guid(at(181), AGENT, &guid).unwrap().reveal(), guid);
}

#[test]
fn a_guid_is_refreshed_with_the_current_one_only() {
    let mut site = site();
    let first = site.sign_in(0);
    let second = site.agents.update_guid(at(1), AGENT, &first).unwrap().reveal();
    assert_ne!(first, second);
    assert!(site.agents.update_guid(at(2), AGENT, &first).is_err());
    assert_eq!(site.poll(60, &second), Ok(None), "its age counts from the refresh");
    assert!(site.poll(61, &second).unwrap().is_some());
}

#[test]
fn what_became_of_a_guid_is_told_apart() {
    let mut site = Site::new(Config { dead_guid_retcode: "000-003".to_owned(), ..Config::default() });
    assert_eq!(site.check(0, "made-up"), refused("000-003"));
    assert_eq!(site.broken(), [Rule::UnknownGuid]);
    let guid = site.sign_in(0);
    assert!(site.agents.check(at(1), 1002, &guid).is_err());
    assert_eq!(site.broken(), [Rule::ForeignGuid]);
    assert_eq!(site.agents.sign_out(at(2), AGENT, &guid), Ok(()));
    assert_eq!(site.agents.sign_out(at(3), AGENT, &guid), refused("000-003"));
    assert_eq!(site.broken(), [Rule::DeadGuid]);
}

#[test]
fn who_is_thrown_out_cannot_know() {
    let mut site = site();
    let guid = site.sign_in(0);
    site.agents.throw_out(at(0), AGENT, false);
    assert_eq!(site.check(1, &guid), refused("100-006"));
    let guid = site.sign_in(2);
    site.agents.restart(at(0));
    assert_eq!(site.check(3, &guid), refused("100-006"));
    site.sign_in(4);
    assert_eq!(site.broken(), []);
}

#[test]
fn a_second_sign_in_is_refused() {
    let mut site = site();
    let guid = site.sign_in(0);
    assert_eq!(site.try_sign_in(1, SignInForm::Full, BUSY), refused("100-002"));
    assert_eq!(site.broken(), [Rule::SecondSignIn]);
    assert_eq!(site.check(2, &guid), Ok(()));
}

#[test]
fn an_agent_held_elsewhere_yields_to_force_only() {
    let mut site = site();
    let guid = site.sign_in(0);
    site.agents.throw_out(at(0), AGENT, true);
    assert_eq!(site.check(1, &guid), refused("100-006"));
    assert_eq!(site.try_sign_in(2, SignInForm::Platform, BUSY), refused("100-002"));
    assert_eq!(site.broken(), [], "nobody can know before");
    let forced = site.try_sign_in(3, SignInForm::Forced, BUSY).unwrap();
    assert_eq!(site.check(4, &forced), Ok(()));
    assert_eq!(site.broken(), []);
    site.agents.throw_out(at(0), AGENT, true);
    site.agents.release(AGENT);
    site.sign_in(5);
}

#[test]
fn a_client_that_forces_ends_its_own_session() {
    let mut site = Site::new(Config { forbid_force: true, ..Config::default() });
    let guid = site.sign_in(0);
    site.try_sign_in(1, SignInForm::Forced, BUSY).unwrap();
    assert_eq!(site.broken(), [Rule::Forced]);
    assert_eq!(site.check(2, &guid), refused("100-006"));
    assert_eq!(site.broken(), [Rule::DeadGuid]);
}

#[test]
fn wrong_passwords_lock_the_account() {
    let mut site = Site::new(Config { lockout_after: 3, ..Config::default() });
    let wrong = r#"{"password":"x","status":3,"autoenteridle":false,"checkInWebm":false}"#;
    assert_eq!(site.try_sign_in(0, SignInForm::Platform, wrong), refused("100-004"));
    assert_eq!(site.broken(), []);
    assert_eq!(site.try_sign_in(1, SignInForm::Platform, wrong), refused("100-004"));
    assert_eq!(site.broken(), [Rule::PasswordRetried]);
    site.agents.allow_password_retry(AGENT);
    assert_eq!(site.try_sign_in(2, SignInForm::Platform, wrong), refused("100-004"));
    assert_eq!(site.broken(), [], "it was allowed");
    site.agents.allow_password_retry(AGENT);
    assert_eq!(site.try_sign_in(3, SignInForm::Platform, BUSY), refused("100-004"), "locked");
    site.agents.unlock(AGENT);
    site.agents.allow_password_retry(AGENT);
    site.sign_in(4);
    assert_eq!(site.broken(), []);
}

#[test]
fn passwords_are_each_agents_own_and_can_change() {
    let list = vec![super::super::config::Agent { id: AGENT, password: "own".to_owned(), inspector: false }];
    let mut site = Site::new(Config { agents: AgentSource::List(list), ..Config::default() });
    let body = |password: &str| format!(r#"{{"password":"{password}"}}"#);
    assert_eq!(site.try_sign_in(0, SignInForm::Platform, &body("simulated")), refused("100-004"));
    assert!(site.try_sign_in(1, SignInForm::Platform, &body("own")).is_ok());
    site.agents.throw_out(at(0), AGENT, false);
    site.agents.set_password(AGENT, "new".to_owned());
    assert_eq!(site.try_sign_in(2, SignInForm::Platform, &body("own")), refused("100-004"));
    assert!(site.try_sign_in(3, SignInForm::Platform, &body("new")).is_ok());
    let stranger = SignIn::parse(body("own").as_bytes(), false).unwrap();
    assert!(site.agents.sign_in(at(4), 2002, SignInForm::Platform, stranger).is_err());
}

#[test]
fn signing_in_to_take_calls_breaks_rules() {
    let mut site = site();
    site.try_sign_in(0, SignInForm::Platform, r#"{"password":"simulated","more":1}"#).unwrap();
    let all = [Rule::SignedInIdle, Rule::AutoEnterIdle, Rule::CheckInWebm, Rule::UnknownSignInField];
    assert_eq!(site.broken(), all);
    let mut lenient = Site::new(Config { forbid_idle: false, ..Config::default() });
    lenient.try_sign_in(0, SignInForm::Platform, r#"{"password":"simulated"}"#).unwrap();
    assert_eq!(lenient.broken(), []);
    let signed_in = lenient.agents.signed_in(at(1), AGENT).unwrap();
    assert_eq!((signed_in.status, signed_in.auto_enter_idle, signed_in.check_in_webm), (4, true, true));
}

#[test]
fn unanswered_calls_exclude_each_other() {
    let mut site = site();
    for (running, called, rule) in [
        (Running::SignIn, Running::SignIn, Rule::SignInRepeated),
        (Running::SignOut, Running::SignIn, Rule::SignInDuringSignOut),
        (Running::SignIn, Running::SignOut, Rule::SignOutDuringSignIn),
        (Running::SignOut, Running::SignOut, Rule::SignOutRepeated),
    ] {
        assert_eq!(site.agents.begin(AGENT, running), Ok(()));
        assert_eq!(site.agents.begin(AGENT, called), refused("000-007"));
        assert_eq!(site.agents.begin(1002, called), Ok(()), "another agent");
        site.agents.end(1002, called);
        site.agents.end(AGENT, running);
        assert_eq!(site.broken(), [rule]);
    }
    assert_eq!(site.agents.begin(AGENT, Running::SignOut), Ok(()));
}

#[test]
fn polls_keep_their_distance() {
    let mut site = site();
    let guid = site.sign_in(0);
    let poll = site.agents.begin_poll(at(1), AGENT, &guid).unwrap();
    assert_eq!(site.agents.begin_poll(at(1), AGENT, &guid), refused("000-007"));
    assert_eq!(site.broken(), [Rule::PollsOverlap]);
    site.agents.end_poll(at(2), poll).unwrap();
    let soon = site.agents.begin_poll(at(2) + Duration::from_millis(199), AGENT, &guid).unwrap();
    assert_eq!(site.broken(), [Rule::PollTooFast]);
    site.agents.end_poll(at(3), soon).unwrap();
    site.agents.begin_poll(at(3) + Duration::from_millis(200), AGENT, &guid).unwrap();
    assert_eq!(site.broken(), []);
}

#[test]
fn a_poll_ends_with_its_session() {
    let mut site = site();
    let guid = site.sign_in(0);
    let poll = site.agents.begin_poll(at(1), AGENT, &guid).unwrap();
    site.agents.throw_out(at(0), AGENT, false);
    site.sign_in(2);
    assert!(!site.agents.is_polling(poll), "another session is not this poll's");
    assert!(site.agents.end_poll(at(3), poll).is_err());
}

#[test]
fn the_two_event_modes_exclude_each_other() {
    let mut polling = site();
    let guid = polling.sign_in(0);
    assert!(polling.agents.heartbeat(at(1), AGENT, &guid).is_err_and(|retcode| retcode == "000-001"));
    assert_eq!(polling.broken(), [Rule::WrongEventMode]);

    let mut push = Site::new(Config { push_mode: true, ..Config::default() });
    let guid = push.try_sign_in(0, SignInForm::Full, PUSHED).unwrap();
    assert_eq!(push.poll(1, &guid), refused("000-001"));
    assert_eq!(push.broken(), [Rule::WrongEventMode]);
    assert!(push.agents.heartbeat(at(59), AGENT, &guid).unwrap().is_none());
    assert!(push.agents.heartbeat(at(60), AGENT, &guid).unwrap().is_some());
    assert_eq!(push.broken(), []);

    let mut mistaken = Site::new(Config { push_mode: true, ..Config::default() });
    let guid = mistaken.sign_in(0);
    assert_eq!(mistaken.broken(), [Rule::CallbackMode]);
    assert!(mistaken.agents.heartbeat(at(1), AGENT, &guid).is_err(), "signed in without a callback");
}

#[test]
fn the_dead_that_are_remembered_are_bounded() {
    let mut site = site();
    let mut guid = site.sign_in(0);
    for _ in 0..100 {
        guid = site.agents.update_guid(at(1), AGENT, &guid).unwrap().reveal();
    }
    assert_eq!(site.agents.states[&AGENT].dead.len(), REMEMBERED_DEAD);
    assert_eq!(site.agents.live(at(1)).len(), 1);
}
