//! One replica: the machine, the slots of its actor and the beats of its tenure, as `actor` and `store/redis` run them.

use super::model_gateway::{Number, Token, micros};
use super::model_store::{Beaten, Id};
use super::wires::{Asked, Op};
use super::world::{Inner, MILLI, SECOND, What, World};
use super::*;

/// What a call brought.
#[derive(Debug)]
pub(super) enum Answer {
    Beaten(Option<Beaten>),
    Sought(Result<Found, store::Error>),
    Told(Result<(), store::Error>),
    Retired(Result<Retired, store::Error>),
    Admitted(Result<(), store::Error>),
    Account,
    SignedIn(Result<Number, Failure>),
    SignedOut(Result<(), Failure>),
    KeptAlive(Version, Result<Option<Number>, Failure>),
}

/// Why the gateway gave nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Failure {
    Code(&'static str),
    Timeout,
    Closed,
}

impl Failure {
    fn error(self) -> Arc<upstream::Error> {
        match self {
            Self::Code(code) => refused(code),
            Self::Timeout => Arc::new(upstream::Error::Timeout),
            Self::Closed => Arc::new(upstream::Error::Closed { source: "reset".into(), stale: true }),
        }
    }
}

#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent facts of a test, not states")]
pub(super) struct Replica {
    pub(super) id: Id,
    pub(super) runs: bool,
    /// It has had its first beat.
    pub(super) ready: bool,
    pub(super) stopping: bool,
    pub(super) paused_until: u64,
    /// When its last call to the store arrives.
    pub(super) last_at_store: u64,
    /// Nothing passes between it and the store.
    pub(super) cut: bool,
    pub(super) subscribed: bool,
    subscribe_due: u64,
    pub(super) tenure: Tenure,
    epoch: Option<i64>,
    clock: Option<(i64, u64)>,
    beating: Option<Token>,
    woken: bool,
    failing: bool,
    beat_due: u64,
    pub(super) session: Option<Session>,
    pub(super) call: Option<Token>,
    pub(super) pulse: Option<Token>,
    pub(super) seek: Option<Token>,
    pub(super) telling: Option<Token>,
    signing: Option<(SignInForm, u64)>,
    /// Clients and since when they wait.
    pub(super) waiters: Vec<(u64, u64)>,
    pub(super) holds: usize,
    tick_at: Option<u64>,
}

impl Replica {
    pub(super) fn new(id: Id, now: Instant) -> Self {
        Self {
            id,
            runs: false,
            ready: false,
            stopping: false,
            paused_until: 0,
            last_at_store: 0,
            cut: false,
            subscribed: false,
            subscribe_due: 0,
            tenure: Tenure { until: Some(now), generation: 0 },
            epoch: None,
            clock: None,
            beating: None,
            woken: false,
            failing: false,
            beat_due: 0,
            session: None,
            call: None,
            pulse: None,
            seek: None,
            telling: None,
            signing: None,
            waiters: Vec::new(),
            holds: 0,
            tick_at: None,
        }
    }

    /// The store's clock as it expects it.
    pub(super) fn expected(&self, now: u64) -> i64 {
        self.clock.map_or(0, |(millis, at)| millis + i64::try_from((now - at) / MILLI).expect("a time of a test"))
    }

    fn fence(&self) -> Option<u64> {
        match self.session.as_ref()?.state() {
            State::Active(active) | State::Retiring { active, .. } => Some(active.version().fence),
            _ => None,
        }
    }
}

impl World {
    pub(super) fn start(&mut self, slot: usize) {
        let id = self.fresh_id();
        let fresh = Replica { runs: true, cut: self.replicas[slot].cut, ..Replica::new(id, self.instant(self.now)) };
        self.replicas[slot] = fresh;
        self.at(self.now, What::To(id, Inner::Beat { due: 0 }));
        self.subscribe_after(slot, 50 * MILLI);
    }

    /// Listens again within this time.
    pub(super) fn subscribe_after(&mut self, slot: usize, most: u64) {
        let replica = &mut self.replicas[slot];
        replica.subscribe_due += 1;
        let (id, due) = (replica.id, replica.subscribe_due);
        let takes = self.between(most / 10, most);
        self.after(takes, What::To(id, Inner::Subscribed { due }));
    }

    pub(super) fn happens(&mut self, slot: usize, inner: Inner) {
        match inner {
            Inner::Answer { token, sent, by_store, answer } => self.answered(slot, (token, sent), by_store, answer),
            Inner::Beat { due } if due == self.replicas[slot].beat_due => self.beat(slot),
            Inner::Tick { at } => {
                if self.replicas[slot].tick_at == Some(at) {
                    self.replicas[slot].tick_at = None;
                    self.look_for_waiters(slot);
                    self.step(slot, Event::Tick);
                }
            }
            Inner::Changed => self.step(slot, Event::Changed),
            Inner::Inbox => self.wake_beat(slot),
            Inner::LostSight => {
                self.replicas[slot].subscribed = false;
                self.subscribe_after(slot, 2 * SECOND);
                self.step(slot, Event::LostSight);
            }
            Inner::Subscribed { due } if due == self.replicas[slot].subscribe_due => self.subscribe(slot),
            Inner::Beat { .. } | Inner::Subscribed { .. } => {}
            Inner::Released => {
                if self.replicas[slot].holds == 0 {
                    self.step(slot, Event::Released);
                }
            }
            Inner::SignOutAsked => {
                let session = self.replicas[slot].session.as_ref();
                if session.is_some_and(|session| matches!(session.state(), State::Active(_))) {
                    self.step(slot, Event::SignOutAsked);
                }
            }
            Inner::Stop => self.stop(slot),
            Inner::Cut => self.cut_off(slot),
            Inner::Arrives { client } => self.arrives(slot, client),
            Inner::Sends { client } => self.sends(slot, client),
            Inner::Served { client, result } => self.served(slot, client, result),
            Inner::Ends { client } => self.ends(slot, client),
        }
    }

    fn look_for_waiters(&mut self, slot: usize) {
        let now = self.instant(self.now);
        let replica = &mut self.replicas[slot];
        if let Some(session) = &mut replica.session
            && matches!(session.state(), State::Seeking { .. })
            && replica.waiters.is_empty()
        {
            let effects = session.step(Event::Unwanted, now, replica.tenure);
            for effect in effects {
                self.perform(slot, effect);
            }
        }
    }

    fn subscribe(&mut self, slot: usize) {
        if !self.store_up || self.replicas[slot].cut {
            return self.subscribe_after(slot, 4 * SECOND);
        }
        self.replicas[slot].subscribed = true;
        self.step(slot, Event::LostSight);
    }

    pub(super) fn beat(&mut self, slot: usize) {
        let token = self.token();
        let replica = &mut self.replicas[slot];
        (replica.beating, replica.woken) = (Some(token), false);
        self.ask_store(slot, token, Op::Beat);
    }

    fn wake_beat(&mut self, slot: usize) {
        let replica = &mut self.replicas[slot];
        if replica.beating.is_some() || replica.failing {
            replica.woken = true;
        } else {
            self.beat(slot);
        }
    }

    fn beaten(&mut self, slot: usize, sent: u64, beaten: Option<Beaten>) {
        let (lease, now) = (self.plan.lease, self.instant(self.now));
        let until = self.instant(sent) + lease * 9 / 10;
        let replica = &mut self.replicas[slot];
        replica.beating = None;
        let wait = if let Some(beaten) = &beaten {
            let ended = replica.tenure.until.is_some_and(|until| until <= now);
            let first = replica.epoch.is_none();
            let forgotten = !first && (!beaten.existed || ended || replica.epoch != Some(beaten.epoch));
            let generation = replica.tenure.generation + u64::from(forgotten);
            replica.tenure = Tenure { until: Some(until), generation };
            (replica.epoch, replica.clock) = (Some(beaten.epoch), Some((beaten.now, self.now)));
            (replica.failing, replica.ready) = (false, true);
            if forgotten {
                self.step(slot, Event::Reconfirm);
            }
            for (version, cause) in &beaten.inbox {
                self.step(slot, Event::BorrowerRefused { version: *version, cause: *cause });
            }
            let settles = u64::try_from(beaten.settling).expect("not negative") * MILLI;
            let third = micros(lease / 3);
            if settles == 0 { third } else { settles.min(third) }
        } else {
            replica.failing = true;
            micros((lease / 10).min(Duration::from_secs(1)))
        };
        let wait = if self.replicas[slot].woken && beaten.is_some() { 0 } else { wait };
        let replica = &mut self.replicas[slot];
        replica.beat_due += 1;
        let (id, due) = (replica.id, replica.beat_due);
        self.after(wait, What::To(id, Inner::Beat { due }));
    }

    fn answered(&mut self, slot: usize, (token, sent): (Token, u64), by_store: bool, answer: Answer) {
        let id = self.replicas[slot].id;
        if by_store && self.replicas[slot].cut {
            // It may come as soon as the wire is whole; here it never does.
            self.watch.arrived(token);
            self.watch.excuse = Some("the store's answer was lost");
            let at = (sent + self.plan.timeout).max(self.now);
            let answer = answer.lost();
            return self.at(at, What::To(id, Inner::Answer { token, sent, by_store: false, answer }));
        }
        let replica = &mut self.replicas[slot];
        let place = match &answer {
            Answer::Beaten(_) => &mut replica.beating,
            Answer::Sought(_) => &mut replica.seek,
            Answer::Told(_) => &mut replica.telling,
            Answer::KeptAlive(..) => &mut replica.pulse,
            _ => &mut replica.call,
        };
        if *place != Some(token) {
            self.watch.excuse = Some("its caller had given up");
            return self.watch.arrived(token);
        }
        if !matches!(answer, Answer::Admitted(_)) {
            *place = None;
        }
        self.take(slot, token, sent, answer);
        self.watch.arrived(token);
    }

    fn take(&mut self, slot: usize, token: Token, sent: u64, answer: Answer) {
        if matches!(answer, Answer::SignedOut(Err(_)) | Answer::SignedIn(Err(Failure::Timeout | Failure::Closed))) {
            self.not_answered();
        }
        let event = match answer {
            Answer::Beaten(beaten) => return self.beaten(slot, sent, beaten),
            Answer::Admitted(result) => return self.admitted(slot, token, result),
            Answer::Sought(result) => Event::Sought(result),
            Answer::Told(result) => Event::Stored(result),
            Answer::Retired(result) => Event::Retired(result),
            Answer::Account => Event::AccountRead(Ok(account("a", self.plan.takeover))),
            Answer::SignedIn(result) => Event::SignInAnswered(
                result.map(|number| Fresh { guid: number.guid(), must_change_password: false }).map_err(Failure::error),
            ),
            Answer::SignedOut(result) => Event::SignOutAnswered(result.map_err(Failure::error)),
            Answer::KeptAlive(version, result) => Event::KeepAliveAnswered {
                version,
                result: result.map(|number| number.map(Number::guid)).map_err(Failure::error),
            },
        };
        self.step(slot, event);
    }

    fn admitted(&mut self, slot: usize, token: Token, result: Result<(), store::Error>) {
        let now = self.instant(self.now);
        let replica = &mut self.replicas[slot];
        let Some((form, generation)) = replica.signing.take() else { return };
        let error = match result {
            Ok(()) if replica.tenure.holds(generation, now) || self.kind.ignores_tenure => {
                self.check_sign_in(slot);
                let forced = form == SignInForm::Force;
                return self.ask_gateway(slot, token, Asked::SignIn { forced });
            }
            Ok(()) => Error::tenure_ended(),
            Err(source) => Error::Store { source },
        };
        self.replicas[slot].call = None;
        self.step(slot, Event::SignInNotMade(error));
    }

    pub(super) fn step(&mut self, slot: usize, event: Event) {
        let now = self.instant(self.now);
        let begins = matches!(event, Event::Want { .. } | Event::BorrowerRefused { .. });
        let seed = self.rng.u64(..);
        let replica = &mut self.replicas[slot];
        if replica.session.is_none() && (!begins || replica.stopping) {
            return;
        }
        let rules = self.plan.rules.clone();
        let before = replica.fence();
        let session = replica.session.get_or_insert_with(|| Session::new(rules, seed));
        let tenure = if self.kind.ignores_tenure { Tenure { until: None, ..replica.tenure } } else { replica.tenure };
        let effects = session.step(event, now, tenure);
        if self.tells() {
            let shown = self.replicas[slot].session.as_ref().map(|session| word(session.state()));
            let told = names(&effects).join(", ");
            self.say(&format!("    [{slot}] {} | {told}", shown.unwrap_or_default()));
        }
        for effect in effects {
            self.perform(slot, effect);
        }
        if self.replicas[slot].fence() != before {
            self.drop_pulse(slot);
        }
        self.settle_down(slot);
    }

    /// Drops a machine that has nothing left to remember, or sees to its next tick.
    fn settle_down(&mut self, slot: usize) {
        let id = self.replicas[slot].id;
        self.check_waiters(slot);
        let replica = &mut self.replicas[slot];
        let Some(session) = &replica.session else { return };
        if session.is_done() {
            replica.session = None;
            if replica.stopping {
                self.ended(slot);
            }
            return;
        }
        let Some(at) = session.wake_at().map(|at| self.moment(at).max(self.now)) else { return };
        let replica = &mut self.replicas[slot];
        if replica.tick_at != Some(at) {
            replica.tick_at = Some(at);
            // A timer has a resolution of a millisecond, and is never early.
            self.at(at + MILLI, What::To(id, Inner::Tick { at }));
        }
    }

    fn perform(&mut self, slot: usize, effect: Effect) {
        let token = self.token();
        let id = self.replicas[slot].id;
        let replica = &mut self.replicas[slot];
        match effect {
            Effect::Seek { floor } => {
                replica.seek = Some(token);
                self.ask_store(slot, token, Op::Seek { floor });
            }
            Effect::ReadAccount => {
                replica.call = Some(token);
                let answer = Inner::Answer { token, sent: self.now, by_store: false, answer: Answer::Account };
                let takes = self.between(0, 2 * MILLI);
                self.after(takes, What::To(id, answer));
            }
            Effect::SignIn { form, generation, .. } => {
                (replica.call, replica.signing) = (Some(token), Some((form, generation)));
                self.ask_store(slot, token, Op::Admit);
            }
            Effect::Retire { fence, why } => {
                replica.call = Some(token);
                self.ask_store(slot, token, Op::Retire { fence, why });
            }
            Effect::SignOut { guid } => {
                self.drop_pulse(slot);
                self.replicas[slot].call = Some(token);
                self.ask_gateway(slot, token, Asked::SignOut { guid: Number::of(&guid) });
            }
            Effect::KeepAlive { guid, version } => {
                replica.pulse = Some(token);
                self.ask_gateway(slot, token, Asked::KeepAlive { guid: Number::of(&guid), version });
            }
            Effect::DropKeepAlive => self.drop_pulse(slot),
            Effect::Store(out) => {
                replica.telling = Some(token);
                self.ask_store(
                    slot,
                    token,
                    match out {
                        Out::Write { fence, entry } => Op::Write { fence, entry },
                        Out::Release { fence } => Op::Release { fence },
                        Out::Tell { version, cause } => Op::Reject { version, cause },
                    },
                );
            }
            Effect::Grant(granted) => self.grant(slot, &granted),
            Effect::Refuse(error) => self.refuse(slot, &error),
            Effect::Record(event) => self.recorded(slot, &event),
            Effect::Take { .. } | Effect::Desk(_) => panic!("no app comes through here"),
        }
    }

    fn drop_pulse(&mut self, slot: usize) {
        if let Some(token) = self.replicas[slot].pulse.take() {
            self.ask_gateway(slot, token, Asked::Drop);
        }
    }
}

impl Answer {
    /// As a call ends that gets none.
    pub(super) fn lost(&self) -> Self {
        match self {
            Self::Beaten(_) => Self::Beaten(None),
            Self::Sought(_) => Self::Sought(Err(away())),
            Self::Retired(_) => Self::Retired(Err(away())),
            Self::Admitted(_) => Self::Admitted(Err(away())),
            _ => Self::Told(Err(away())),
        }
    }
}

pub(super) fn away() -> store::Error {
    store::Error::Unavailable { why: "no answer", source: None, retry_after: Duration::from_secs(1) }
}

pub(super) const fn word(state: &State) -> &'static str {
    match state {
        State::Absent => "absent",
        State::Seeking { .. } => "seeking",
        State::Borrowed(_) => "borrowed",
        State::Reading => "reading",
        State::SigningIn(_) => "signing in",
        State::Active(_) => "active",
        State::Retiring { .. } => "retiring",
        State::Leaving { .. } => "leaving",
        State::DeskSigningIn { .. } => "desk signing in",
        State::DeskLeaving { .. } => "desk leaving",
        State::Cooling { .. } => "cooling",
        State::Barred => "barred",
    }
}
