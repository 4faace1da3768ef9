//! Random sequences of events against what must never happen (ARCHITECTURE: never a second try after `100-004`, …).

use super::*;

/// What a run does next. Answers are only given to calls that are in flight; the rest can come at any time.
#[derive(Debug, Clone)]
enum Move {
    Want,
    Reject {
        older: u64,
        refused: bool,
    },
    /// The account file as it is now: 0 is missing.
    Account {
        contents: u8,
        takeover: bool,
    },
    SignIn(u8),
    SignOut(u8),
    KeepAlive {
        older: u64,
        answer: u8,
    },
    Learned {
        older: u64,
        guid: u64,
    },
    Released,
    Wait {
        millis: u64,
    },
    Stop,
    /// The agent's own app wants to sign in.
    DeskSignIn {
        force: bool,
    },
    /// It wants to poll.
    DeskAsks,
    DeskSignOut,
    DeskSignedIn(u8),
    DeskSignedOut(u8),
    /// Its poll answered.
    DeskPolled {
        older: u64,
        answer: u8,
    },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => Just(Move::Want),
        3 => (0..3_u64, any::<bool>()).prop_map(|(older, refused)| Move::Reject { older, refused }),
        6 => (0..4_u8, any::<bool>()).prop_map(|(contents, takeover)| Move::Account { contents, takeover }),
        8 => (0..10_u8).prop_map(Move::SignIn),
        4 => (0..4_u8).prop_map(Move::SignOut),
        6 => (0..2_u64, 0..7_u8).prop_map(|(older, answer)| Move::KeepAlive { older, answer }),
        2 => (0..2_u64, 0..50_u64).prop_map(|(older, guid)| Move::Learned { older, guid }),
        2 => Just(Move::Released),
        5 => (0..200_000_u64).prop_map(|millis| Move::Wait { millis }),
        1 => Just(Move::Stop),
        3 => any::<bool>().prop_map(|force| Move::DeskSignIn { force }),
        3 => Just(Move::DeskAsks),
        2 => Just(Move::DeskSignOut),
        5 => (0..6_u8).prop_map(Move::DeskSignedIn),
        4 => (0..4_u8).prop_map(Move::DeskSignedOut),
        2 => (0..2_u64, 0..3_u8).prop_map(|(older, answer)| Move::DeskPolled { older, answer }),
    ];
    proptest::collection::vec(one, 0..120)
}

const CODES: [&str; 6] = ["100-002", "100-004", "100-003", "100-012", "000-003", "000-000"];

/// The world around the machine, as the rules want it.
#[allow(clippy::struct_excessive_bools, reason = "independent facts of a test, not states")]
struct World {
    bench: Bench,
    waiters: usize,
    /// Calls of the agent's own app that wait: its sign-in, its sign-out, and who want its session.
    app_signs_in: bool,
    app_signs_out: bool,
    app_asks: usize,
    /// The session that lives is the app's.
    desk: bool,
    /// The call in flight: `read`, `in`, `out`, `desk in` or `desk out`.
    call: Option<&'static str>,
    pulse: bool,
    /// Contents that the gateway refused for good, since the last sign-in that worked.
    refused: Option<Fingerprint>,
    account: Option<Arc<Account>>,
    /// The last sign-in call was a forced one.
    forced: bool,
    /// Until when we may be signed in without a Guid, as far as anybody can know.
    doubt_until: Option<Instant>,
    /// The last sign-in call met 100-002.
    busy: bool,
    forced_recorded: bool,
    newest: Option<Version>,
    /// Until when a session of ours lives upstream, as far as anybody can know; `None`: none does.
    live_until: Option<Instant>,
    /// Until when the gateway may still be at a sign-out of ours that was not answered.
    sign_out_due: Option<Instant>,
    stopped: bool,
    guids: u64,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Bench::new(),
            waiters: 0,
            app_signs_in: false,
            app_signs_out: false,
            app_asks: 0,
            desk: false,
            call: None,
            pulse: false,
            refused: None,
            account: None,
            forced: false,
            doubt_until: None,
            busy: false,
            forced_recorded: false,
            newest: None,
            live_until: None,
            sign_out_due: None,
            stopped: false,
            guids: 100,
        }
    }

    fn make(&mut self, step: &Move) {
        let event = match step {
            Move::Want => Event::Want { rejected: None },
            Move::Reject { older, refused } => {
                let Some(version) = self.older(*older) else { return };
                let cause = if *refused { LossCause::Refused } else { LossCause::Forgotten };
                let current = self.bench.newest.as_ref().filter(|(newest, _)| *newest == version);
                let guid = current.map_or_else(|| Arc::new(guid(1)), |(_, guid)| Arc::clone(guid));
                Event::Want { rejected: Some(Rejected { version, guid, cause }) }
            }
            Move::Account { .. } if self.call != Some("read") => return,
            Move::Account { contents: 0, .. } => Event::AccountRead(Err(Error::AccountMissing)),
            Move::Account { contents, takeover } => {
                let account = account(&format!("{contents} {takeover}"), *takeover);
                self.account = Some(Arc::clone(&account));
                Event::AccountRead(Ok(account))
            }
            Move::SignIn(_) if self.call != Some("in") => return,
            Move::SignIn(answer) => self.sign_in(*answer),
            Move::SignOut(_) if self.call != Some("out") => return,
            Move::SignOut(answer) => Event::SignOutAnswered(match answer {
                0 => Ok(()),
                1 => Err(refused("100-006")),
                2 => Err(unreachable()),
                _ => Err(Arc::new(upstream::Error::Timeout)),
            }),
            Move::KeepAlive { older, answer } => {
                let Some(version) = self.older(*older).filter(|_| self.pulse) else { return };
                self.pulse = false;
                Event::KeepAliveAnswered { version, result: self.keep_alive(*answer) }
            }
            Move::Learned { older, guid: number } => {
                let Some(version) = self.older(*older) else { return };
                Event::Learned { version, guid: guid(*number) }
            }
            Move::Released => Event::Released,
            Move::Wait { millis } => {
                self.bench.now += Duration::from_millis(*millis);
                match self.bench.session.wake_at() {
                    Some(at) if at <= self.bench.now => Event::Tick,
                    _ => return,
                }
            }
            Move::Stop => Event::Stop,
            Move::DeskSignedIn(_) if self.call != Some("desk in") => return,
            Move::DeskSignedOut(_) if self.call != Some("desk out") => return,
            other => match self.app(other) {
                Some(event) => event,
                None => return,
            },
        };
        self.take(event);
    }

    /// What the agent's own app does, and what the gateway answers to it.
    fn app(&mut self, step: &Move) -> Option<Event> {
        match step {
            // Whoever runs the machine lets one in.
            Move::DeskSignIn { .. } if self.app_signs_in => None,
            Move::DeskSignIn { force } => {
                self.app_signs_in = true;
                Some(desk::asks_to_sign_in(if *force { SignInForm::Force } else { SignInForm::Full }))
            }
            Move::DeskAsks => {
                self.app_asks += 1;
                Some(desk::asks())
            }
            Move::DeskSignOut if self.app_signs_out => None,
            Move::DeskSignOut => {
                let version = self.newest?;
                self.app_signs_out = true;
                Some(desk::asks_to_sign_out(version.fence, version.rotation))
            }
            Move::DeskSignedIn(answer) => {
                self.guids += 1;
                self.forced_recorded = false;
                let doubt = matches!(answer, 3 | 4).then(|| self.bench.now + MAXTIME);
                self.doubt_until = if *answer < 2 { None } else { doubt.or(self.doubt_until) };
                Some(match answer {
                    0 | 1 => desk::signed_in(self.guids),
                    2 => desk::sign_in_refused("100-002"),
                    3 => desk::sign_in_refused("0"),
                    4 => desk::sign_in_unanswered(Arc::new(upstream::Error::Timeout)),
                    _ => desk::sign_in_unanswered(unreachable()),
                })
            }
            Move::DeskSignedOut(answer) => Some(match answer {
                0 => desk::signed_out("0"),
                1 => desk::signed_out("100-006"),
                2 => desk::signed_out("100-010"),
                _ => Event::Desk(DeskEvent::SignOutAnswered(Err(unreachable()))),
            }),
            Move::DeskPolled { older, answer } => {
                let version = self.older(*older)?;
                Some(Event::Desk(match answer {
                    0 => DeskEvent::Alive(version),
                    1 => DeskEvent::Lost(version, LossCause::Forgotten),
                    _ => DeskEvent::Lost(version, LossCause::Refused),
                }))
            }
            _ => None,
        }
    }

    fn older(&self, by: u64) -> Option<Version> {
        self.newest.map(|version| Version { rotation: version.rotation.saturating_sub(by), ..version })
    }

    fn sign_in(&mut self, answer: u8) -> Event {
        self.busy = false;
        if answer < 2 {
            self.doubt_until = None;
            self.refused = None;
            self.guids += 1;
            let must_change_password = answer == 1;
            if must_change_password {
                self.refused = self.account.as_ref().map(|account| account.fingerprint);
            }
            let fresh = Fresh { guid: guid(self.guids), must_change_password };
            return Event::SignInAnswered(Ok(fresh));
        }
        if answer == 9 {
            self.doubt_until = Some(self.bench.now + MAXTIME);
            return Event::SignInAnswered(Err(Arc::new(upstream::Error::Timeout)));
        }
        let Some(code) = CODES.get(usize::from(answer - 2)) else {
            return Event::SignInAnswered(Err(unreachable()));
        };
        self.busy = *code == "100-002";
        // A forced sign-in asks for more than the one to the platform, which can still work.
        if *code == "100-004" || (*code == "100-012" && !self.forced) {
            self.refused = self.account.as_ref().map(|account| account.fingerprint);
        }
        Event::SignInAnswered(Err(refused(code)))
    }

    fn keep_alive(&mut self, answer: u8) -> Result<Option<Guid>, Arc<upstream::Error>> {
        self.guids += 1;
        match answer {
            0 | 1 => Ok(None),
            2 => Ok(Some(guid(self.guids))),
            3 => Err(refused("100-006")),
            4 => Err(refused("000-003")),
            5 => Err(refused("000-001")),
            _ => Err(unreachable()),
        }
    }

    fn take(&mut self, event: Event) {
        match &event {
            Event::Want { .. } => self.waiters += 1,
            Event::SignOutAnswered(Err(error)) if !matches!(**error, upstream::Error::Refused { .. }) && !self.desk => {
                self.call = None;
                // One that was lost before is forgotten no later for it.
                self.live_until = self.live_until.map(|until| until.min(self.bench.now + MAXTIME));
                if matches!(**error, upstream::Error::Timeout) {
                    self.sign_out_due = Some(self.bench.now + DOUBT_COOLING);
                }
            }
            Event::AccountRead(_)
            | Event::SignInAnswered(_)
            | Event::Desk(DeskEvent::SignInAnswered(_) | DeskEvent::SignOutAnswered(_)) => self.call = None,
            Event::SignOutAnswered(_) => (self.call, self.sign_out_due) = (None, None),
            Event::Stop => self.stopped = true,
            _ => {}
        }
        let stopped = self.stopped;
        for effect in self.bench.effects(event) {
            match effect {
                Effect::ReadAccount => self.begin("read"),
                Effect::SignIn { account, form, .. } => {
                    assert!(!stopped, "nothing signs in after a stop");
                    assert_ne!(Some(account.fingerprint), self.refused, "a refused account is not tried again");
                    self.forced = form == SignInForm::Force;
                    if self.forced {
                        let doubted = self.doubt_until.is_some_and(|until| self.bench.now < until);
                        assert!(!doubted, "forced, though it may be our own ghost");
                        assert!(account.takeover && self.busy, "forced without need or leave");
                        assert!(self.forced_recorded, "forced without a record before");
                    }
                    self.may_sign_in();
                    self.begin("in");
                }
                Effect::SignOut { .. } => {
                    assert!(!self.desk || self.app_signs_in, "the app's session is the app's to end");
                    self.begin("out");
                }
                Effect::Desk(effect) => self.desk_effect(&effect),
                Effect::KeepAlive { version, .. } => {
                    assert!(!self.pulse, "one keep-alive at a time");
                    assert_eq!(Some(version), self.newest, "with the newest Guid");
                    self.pulse = true;
                }
                Effect::Grant(Granted { version, .. }) => {
                    assert!(!stopped);
                    assert!(self.newest <= Some(version), "{version:?} after {:?}", self.newest);
                    self.newest = Some(version);
                    self.waiters = 0;
                }
                Effect::Refuse(_) => self.waiters = 0,
                Effect::Record(event) => self.record(&event),
                Effect::Seek { .. }
                | Effect::Take { .. }
                | Effect::Retire { .. }
                | Effect::Store(_)
                | Effect::DropKeepAlive => {
                    unreachable!("answered by the bench")
                }
            }
        }
        self.look();
    }

    fn may_sign_in(&self) {
        let lives = self.live_until.is_some_and(|until| self.bench.now < until);
        assert!(!lives, "a session of ours that lives is signed out first");
        let leaving = self.sign_out_due.is_some_and(|until| self.bench.now < until);
        assert!(!leaving, "the gateway may still be at a sign-out");
        let unanswered = self.doubt_until.is_some_and(|until| self.bench.now + MAXTIME < until + DOUBT_COOLING);
        assert!(!unanswered, "the gateway may still be at the sign-in before");
    }

    fn desk_effect(&mut self, effect: &DeskEffect) {
        match effect {
            DeskEffect::SignIn { .. } => {
                assert!(!self.stopped && self.app_signs_in, "for an app that waits");
                if let State::DeskSigningIn { form: SignInForm::Force, .. } = self.bench.session.state() {
                    assert!(self.forced_recorded, "forced without a record before");
                }
                self.may_sign_in();
                self.begin("desk in");
            }
            DeskEffect::SignOut { .. } => {
                assert!(self.desk && self.app_signs_out);
                self.begin("desk out");
            }
            DeskEffect::Grant(granted) => {
                assert!(!self.stopped && granted.kind == Kind::Desk, "its own and no other");
                assert!(self.newest <= Some(granted.version));
                self.newest = Some(granted.version);
                self.app_asks = 0;
            }
            DeskEffect::Refuse(_) => self.app_asks = 0,
            DeskEffect::AnswerSignIn(_) => self.app_signs_in = false,
            DeskEffect::AnswerSignOut(_) => self.app_signs_out = false,
        }
    }

    fn begin(&mut self, call: &'static str) {
        assert_eq!(self.call, None, "{call} while a call is in flight");
        self.call = Some(call);
    }

    fn record(&mut self, event: &SessionEvent) {
        self.forced_recorded = matches!(event, SessionEvent::Forced { .. });
        match event {
            SessionEvent::SignedIn { .. } => self.live_until = Some(self.bench.now + 1_000 * MAXTIME),
            SessionEvent::Lost { cause: LossCause::Forgotten, .. }
            | SessionEvent::SignedOut { .. }
            | SessionEvent::DeskSignedIn { .. } => self.live_until = None,
            // Of the app's nothing is known any more; whoever signs in is told.
            SessionEvent::Lost { .. } if self.desk => {}
            SessionEvent::Lost { .. } => self.live_until = Some(self.bench.now + MAXTIME),
            _ => {}
        }
    }

    fn look(&mut self) {
        let session = &self.bench.session;
        if let State::Active(active) = session.state() {
            assert!(self.newest <= Some(active.version()), "a newer Guid was replaced by an older");
            self.newest = Some(active.version());
            self.desk = active.kind() == Kind::Desk;
            assert!(!self.desk || !self.pulse, "the app keeps its session alive");
        } else {
            self.pulse = false;
            self.desk = matches!(session.state(), State::DeskLeaving { .. });
        }
        if self.call.is_none() {
            assert_eq!(self.waiters, 0, "somebody waits for nothing in {:?}", session.state());
            let app = (self.app_signs_in, self.app_signs_out, self.app_asks);
            assert_eq!(app, (false, false, 0), "the app waits for nothing in {:?}", session.state());
            let idle = session.wake_at().is_some() || session.is_done() || matches!(session.state(), State::Barred);
            assert!(idle, "nothing will ever move {:?}", session.state());
        } else {
            assert!(!session.is_done(), "done while a call is in flight");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r18_no_sequence_of_events_breaks_the_gateways_rules(moves in moves()) {
        let mut world = World::new();
        for step in &moves {
            world.make(step);
        }
    }
}
