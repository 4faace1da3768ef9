//! What must never happen, whatever goes wrong, and what is allowed because nobody could have avoided it.

use std::collections::{BTreeMap, BTreeSet};

use super::model_gateway::{Death, Note, Number, Token};
use super::model_store::Id;
use super::replica::{Replica, word};
use super::wires::Asked;
use super::world::{SECOND, What, World};
use super::*;

/// The manual's longest time for anything: a session that nobody knows of stands in the way for so long.
const MAXTIME_MICROS: u64 = 120 * SECOND;
/// As long as one sign-in may take at the gateway before whoever made it is refused another.
/// The record tells since when the agent is owned, which is a little longer.
const SIGN_IN_BOUND: u64 = 29 * SECOND;

#[derive(Debug)]
pub(super) struct Watch {
    lease: u64,
    pub(super) broken: Option<(&'static str, String)>,
    /// What made this step lose something, where that was no step of the machine.
    pub(super) excuse: Option<&'static str>,
    /// Guids that are on their way to somebody.
    in_flight: BTreeMap<Token, Number>,
    dropped: BTreeSet<Token>,
    /// Sign-outs of sessions that only their former owner knew.
    superseded: BTreeSet<Token>,
    last_keep_alive: BTreeMap<(Id, u64), u64>,
    /// Sign-ins that waited for their turn at the gate.
    pub(super) waited_for_turn: BTreeSet<Token>,
    calls: BTreeMap<Token, (Id, u64, Asked)>,
    /// The newest ownership, by fence, whose and since when.
    newest: Option<(u64, Id, u64)>,
    /// Sessions that nobody knows of any more, and why.
    orphans: BTreeMap<u64, &'static str>,
    seen: BTreeMap<Id, u64>,
    /// Sessions that ended: how many faults there were until then, and how often each was resumed since.
    ended: BTreeMap<u64, (u64, u64)>,
    born: BTreeMap<u64, u64>,
    /// Sessions of which the store knows an older Guid only, and why.
    told: BTreeSet<u64>,
    /// Sessions of which a new owner has found a Guid that was replaced twice.
    outdated: BTreeSet<u64>,
    /// Sessions of which a new Guid did not come to its owner in time.
    pub(super) missed: BTreeSet<u64>,
    half_known: BTreeMap<u64, &'static str>,
    pub(super) sign_ins: u32,
    pub(super) tries: u32,
    pub(super) losses: u32,
    pub(super) right_missing_until: u64,
    last_fault: u64,
    faults: u64,
    data_lost_at: Option<u64>,
    old_data: bool,
    clock_stepped_at: Option<u64>,
    set_back: bool,
    heals_by: Option<u64>,
    pub(super) refusals: BTreeMap<&'static str, u32>,
    /// How often something was allowed, by what.
    pub(super) allowed: BTreeMap<&'static str, u32>,
    pub(super) took_over: Vec<u64>,
}

impl Watch {
    pub(super) fn new(lease: u64) -> Self {
        Self {
            lease,
            broken: None,
            excuse: None,
            in_flight: BTreeMap::new(),
            dropped: BTreeSet::new(),
            superseded: BTreeSet::new(),
            last_keep_alive: BTreeMap::new(),
            waited_for_turn: BTreeSet::new(),
            calls: BTreeMap::new(),
            newest: None,
            orphans: BTreeMap::new(),
            seen: BTreeMap::new(),
            ended: BTreeMap::new(),
            born: BTreeMap::new(),
            told: BTreeSet::new(),
            outdated: BTreeSet::new(),
            missed: BTreeSet::new(),
            half_known: BTreeMap::new(),
            sign_ins: 0,
            tries: 0,
            losses: 0,
            right_missing_until: 0,
            last_fault: 0,
            faults: 0,
            data_lost_at: None,
            old_data: false,
            clock_stepped_at: None,
            set_back: false,
            heals_by: None,
            refusals: BTreeMap::new(),
            allowed: BTreeMap::new(),
            took_over: Vec::new(),
        }
    }

    pub(super) fn on_its_way(&mut self, token: Token, guid: Number) {
        self.in_flight.insert(token, guid);
    }

    pub(super) fn arrived(&mut self, token: Token) {
        self.in_flight.remove(&token);
    }

    pub(super) fn asked(&mut self, token: Token, from: Id, at: u64, asked: Asked) {
        if !matches!(asked, Asked::Drop) {
            self.calls.insert(token, (from, at, asked));
        }
    }

    /// Whether its connection was closed before it arrived.
    pub(super) fn is_dropped(&mut self, token: Token, asked: Asked) -> bool {
        if matches!(asked, Asked::Drop) {
            self.dropped.insert(token);
            return false;
        }
        self.dropped.contains(&token)
    }

    pub(super) fn sent(&self, token: Token) -> u64 {
        self.calls.get(&token).map_or(0, |(_, at, _)| *at)
    }

    pub(super) fn refused(&mut self, code: &'static str) {
        *self.refusals.entry(code).or_default() += 1;
    }

    pub(super) fn fault_at(&mut self, now: u64) {
        (self.last_fault, self.faults) = (now, self.faults + 1);
    }

    pub(super) fn data_lost(&mut self, now: u64, old: bool) {
        self.data_lost_at = Some(now);
        self.old_data |= old;
    }

    pub(super) fn clock_stepped(&mut self, now: u64, seconds: i64) {
        self.clock_stepped_at = Some(now);
        self.set_back |= seconds < 0;
    }

    pub(super) fn heals_by(&mut self, at: u64) {
        self.heals_by = Some(at);
    }

    fn allow(&mut self, what: &'static str) {
        *self.allowed.entry(what).or_default() += 1;
    }

    /// The store has forgotten the newest ownership, so that nobody could be told of it.
    fn forgot_newest(&self) -> bool {
        self.newest.is_some_and(|(_, _, since)| self.data_lost_at.is_some_and(|lost| lost >= since))
    }
}

impl World {
    /// Looks at everything after each step.
    pub(super) fn look(&mut self) {
        self.gateway.expire(self.now);
        self.look_at_deaths();
        self.look_for_orphans();
        self.look_for_two_owners();
        if self.watch.heals_by.is_some_and(|by| by < self.now) {
            let states: Vec<_> = self.replicas.iter().map(|r| r.session.as_ref().map(|s| word(s.state()))).collect();
            self.broken("heals", format!("{states:?}, refused {:?}", self.watch.refusals));
        }
    }

    fn look_at_deaths(&mut self) {
        for (guid, death) in self.gateway.fresh_deaths() {
            self.watch.losses += 1;
            self.watch.ended.insert(guid.sign_in, (self.watch.faults, 0));
            self.say(&format!("    gateway: session {} ends: {death:?}", guid.sign_in));
            if death == Death::TimedOut && !self.watch.orphans.contains_key(&guid.sign_in) {
                self.check_timed_out(guid);
            }
        }
    }

    /// A session in the hands of an owner that runs, and that nothing has stopped, is kept alive.
    fn check_timed_out(&mut self, guid: Number) {
        let now = self.instant(self.now);
        let quiet = self.watch.last_fault + MAXTIME_MICROS < self.now;
        let cared = self.replicas.iter().any(|replica| {
            let Some(session) = &replica.session else { return false };
            let State::Active(active) = session.state() else { return false };
            replica.runs && session.holds(now) && Number::of(&active.guid).sign_in == guid.sign_in
        });
        if quiet && cared {
            self.broken("dies in care", format!("{guid:?}"));
        }
    }

    /// Whether anybody has a Guid with which the session can be used or ended.
    fn is_known(&self) -> bool {
        let takes = |guid: &Guid| self.gateway.takes(Number::of(guid));
        let kept = [self.store.entry(), self.store.left()];
        let by_store = kept.into_iter().flatten().any(|entry| matches!(entry, Entry::Live(live) if takes(&live.guid)));
        let on_its_way = self.watch.in_flight.values().any(|guid| self.gateway.takes(*guid));
        on_its_way
            || by_store
            || self.replicas.iter().filter_map(|replica| replica.session.as_ref()).any(|session| {
                let ghost = session.ghost.as_ref().is_some_and(|ghost| takes(&ghost.guid));
                let outbox =
                    session.outbox.entries().any(|entry| matches!(entry, Entry::Live(live) if takes(&live.guid)));
                ghost
                    || outbox
                    || match session.state() {
                        State::Active(active) | State::Retiring { active, .. } => takes(&active.guid),
                        State::Leaving { guid, .. } => takes(guid),
                        _ => false,
                    }
            })
    }

    fn look_for_orphans(&mut self) {
        let Some(sign_in) = self.gateway.session.as_ref().map(|session| session.guid.sign_in) else { return };
        if self.watch.orphans.contains_key(&sign_in) || self.is_known() {
            return;
        }
        let stepped = self.watch.clock_stepped_at.map(|_| "the store's clock was set");
        let lost = self.watch.data_lost_at.map(|_| "the store lost its data");
        let half = self.watch.half_known.get(&sign_in).copied();
        match self.watch.excuse.or(half).or(stepped).or(lost) {
            Some(why) => {
                self.say(&format!("    nobody knows session {sign_in} any more: {why}"));
                self.watch.allow(why);
                self.watch.orphans.insert(sign_in, why);
            }
            None => self.broken("forgotten", format!("nobody knows session {sign_in} any more")),
        }
    }

    /// The owner ends. What it knows better than the store nobody will know.
    pub(super) fn only_store_knows(&mut self, why: &'static str) {
        let Some(current) = self.gateway.session.as_ref().map(|session| session.guid) else { return };
        let newest = matches!(self.store.entry(), Some(Entry::Live(live)) if Number::of(&live.guid) == current);
        if !newest {
            self.watch.half_known.insert(current.sign_in, why);
        }
    }

    fn look_for_two_owners(&mut self) {
        let now = self.instant(self.now);
        let owns = |slot: &usize| {
            let replica = &self.replicas[*slot];
            let awake = replica.runs && replica.paused_until <= self.now;
            let acts = |session: &Session| {
                use State::{Active, Leaving, Reading, SigningIn};
                matches!(session.state(), Active(_) | Leaving { .. } | Reading | SigningIn(_)) && session.holds(now)
            };
            awake && replica.session.as_ref().is_some_and(acts)
        };
        let owners: Vec<usize> = (0..self.replicas.len()).filter(owns).collect();
        if owners.len() > 1 {
            let lately = |lost| self.now < lost + 32 * SECOND + self.watch.lease;
            let lost = self.watch.data_lost_at.is_some_and(lately);
            if lost || self.watch.clock_stepped_at.is_some() {
                return self.watch.allow("two owners: the store forgot the newer, or its clock was set");
            }
            self.broken("two owners", format!("{owners:?}"));
        }
    }

    pub(super) fn check_owned(&mut self, id: Id, fence: u64) {
        let before = self.watch.newest.map_or(0, |(fence, ..)| fence);
        self.say(&format!("    store: {id} owns it, fence {fence}"));
        if fence <= before && !(self.watch.set_back && self.watch.data_lost_at.is_some()) {
            self.broken("fence", format!("{fence} after {before}"));
        }
        self.watch.newest = Some((fence, id, self.now));
        let lives = self.gateway.session.as_ref().map(|session| session.guid);
        if let (Some(lives), Some(Entry::Live(live))) = (lives, self.store.left())
            && !self.gateway.takes(Number::of(&live.guid))
            && Number::of(&live.guid).sign_in == lives.sign_in
        {
            let why = "its owner was cut off while the Guid was replaced twice";
            self.watch.outdated.insert(lives.sign_in);
            self.watch.half_known.insert(lives.sign_in, why);
        }
    }

    /// A write of an owner that is none any more changes nothing.
    pub(super) fn check_taken(&mut self, id: Id, fence: u64, taken: bool) {
        let Some((newest, owner, _)) = self.watch.newest.filter(|_| taken) else { return };
        if let Some(Entry::Live(live)) = self.store.entry() {
            self.watch.told.insert(Number::of(&live.guid).sign_in);
        }
        if self.kind.blind {
            return;
        }
        if (fence, id) != (newest, owner) {
            if self.watch.forgot_newest() || self.watch.clock_stepped_at.is_some() {
                return self.watch.allow("an older owner's write: the store forgot the newer");
            }
            self.broken("superseded write", format!("{id} with {fence}, where {owner} has {newest}"));
        }
    }

    pub(super) fn check_grant(&mut self, slot: usize, granted: &Granted) {
        let id = self.replicas[slot].id;
        let seen = self.watch.seen.entry(id).or_default();
        if granted.version.fence < *seen && !(self.watch.set_back && self.watch.data_lost_at.is_some()) {
            let detail = format!("{id} saw {seen} and grants {:?}", granted.version);
            return self.broken("fence", detail);
        }
        *seen = granted.version.fence;
    }

    /// At the moment when it is sent.
    pub(super) fn check_sign_in(&mut self, slot: usize) {
        self.watch.tries += 1;
        let replica = &self.replicas[slot];
        let fence = replica.session.as_ref().and_then(|session| session.claim).map(|claim| claim.fence);
        let id = replica.id;
        let newest = self.watch.newest.map(|(fence, id, _)| (fence, id));
        if newest != fence.map(|fence| (fence, id)) {
            if self.watch.forgot_newest() || self.watch.clock_stepped_at.is_some() {
                return self
                    .watch
                    .allow("a sign-in of an older owner: the store forgot the newer, or its clock was set");
            }
            self.broken("sign-in without ownership", format!("{id} with {fence:?}, newest {newest:?}"));
        }
    }

    /// No two that are convinced keep it alive at once.
    pub(super) fn check_keep_alive(&mut self, slot: usize) {
        let (id, fence) =
            (self.replicas[slot].id, self.replicas[slot].session.as_ref().map_or(0, |session| session.floor));
        let last = self.watch.last_keep_alive.insert((id, fence), self.now);
        if last.is_some_and(|last| self.now < last + SECOND / 6) {
            self.broken("poll too fast", format!("{id}, again after {} us", self.now - last.unwrap_or_default()));
        }
        let now = self.instant(self.now);
        let convinced = |replica: &Replica| {
            replica.runs
                && replica.paused_until <= self.now
                && replica.pulse.is_some()
                && replica.session.as_ref().is_some_and(|session| session.holds(now))
        };
        let others =
            (0..self.replicas.len()).filter(|other| *other != slot && convinced(&self.replicas[*other])).count();
        if others > 0 && convinced(&self.replicas[slot]) && !self.watch.forgot_newest() {
            self.broken("kept alive twice", "");
        }
    }

    pub(super) fn check_waiters(&mut self, slot: usize) {
        let replica = &self.replicas[slot];
        if replica.waiters.is_empty() || replica.session.is_none() {
            if !replica.waiters.is_empty() {
                self.broken("waits", "nobody is there who could answer");
            }
            return;
        }
        let Some(session) = &replica.session else { return };
        let moves = replica.call.is_some() || replica.seek.is_some() || replica.telling.is_some();
        if !moves && session.wake_at().is_none() {
            let state = word(session.state());
            return self.broken("waits", format!("nothing moves in {state}"));
        }
        // A sign-out, a sign-in that waits its turn, and a forced one after it.
        let bound = 130 * SECOND;
        if let Some((client, since)) = replica.waiters.iter().find(|(_, since)| self.now > since + bound) {
            let detail = format!("{client} since {since} in {}", word(session.state()));
            self.broken("waits", detail);
        }
    }

    /// A sign-in has worked, or not, at the gateway.
    pub(super) fn signed_in(&mut self, result: Result<Number, &'static str>) {
        if let Ok(number) = result {
            self.watch.sign_ins += 1;
            self.watch.born.insert(number.sign_in, self.now);
        }
    }

    pub(super) fn recorded(&mut self, slot: usize, event: &SessionEvent) {
        match event {
            SessionEvent::Resumed { .. } => {
                let Some(session) = &self.replicas[slot].session else { return };
                let State::Active(active) = session.state() else { return };
                let number = Number::of(&active.guid);
                if self.gateway.takes(number) || self.watch.old_data {
                    return;
                }
                let Some((faults, times)) = self.watch.ended.get_mut(&number.sign_in) else { return };
                *times += 1;
                // Whoever resumes it may be killed before it finds out.
                if *times > 1 + self.watch.faults - *faults {
                    self.broken("resumed twice", format!("session {} is dead", number.sign_in));
                }
            }
            SessionEvent::SignedOut { why, .. } => self.say(&format!("    signed out: {}", why.as_str())),
            _ => {}
        }
    }

    /// What the gateway noted while it dealt with a call.
    pub(super) fn judge(&mut self, from: Id, token: Token, asked: Asked) {
        for note in std::mem::take(&mut self.gateway.notes) {
            self.say(&format!("    gateway notes {note:?} of {from}"));
            self.judge_note((from, token), asked, note);
        }
    }

    fn judge_note(&mut self, (from, token): (Id, Token), asked: Asked, note: Note) {
        let unavoidable = self.watch.forgot_newest() || self.watch.clock_stepped_at.is_some();
        match note {
            Note::Overlap { unanswered } => self.judge_overlap(from, asked, (token, unanswered)),
            Note::SecondSignIn { lives } | Note::ThrownOut { lived: lives } => {
                match self.watch.orphans.get(&lives.sign_in) {
                    Some(_) => self.watch.allow("a sign-in while a session lives that nobody knows of"),
                    None if self.never_told(lives) => {
                        self.watch.allow("a second sign-in: the owner was stopped before it could tell the store");
                    }
                    None if self.watch.outdated.contains(&lives.sign_in) => {
                        self.watch.allow("a second sign-in: the owner was cut off while the Guid was replaced twice");
                    }
                    None if unavoidable || self.owner_was_away(lives) => {
                        self.watch.allow("a second sign-in: the store forgot, or its clock was set")
                    }
                    None => self.broken("second sign-in", format!("{from}: {lives:?} lives")),
                }
            }
            Note::PollsOverlap { unanswered } => {
                let (other, ..) = self.watch.calls[&unanswered];
                let waits = self.slot(other).is_some_and(|slot| {
                    let replica = &self.replicas[slot];
                    replica.pulse == Some(unanswered) && replica.paused_until <= self.now
                });
                let now = self.instant(self.now);
                let convinced = |id| {
                    let session = self.slot(id).and_then(|slot| self.replicas[slot].session.as_ref());
                    session.is_some_and(|session| session.holds(now))
                };
                if waits && !unavoidable && convinced(from) && convinced(other) {
                    self.broken("polls overlap", format!("{from} while {other} polls"));
                } else {
                    self.watch.allow("a poll while one of an owner that was stopped, killed or cut off is unanswered");
                }
            }
            Note::PollTooFast { after } if self.watch.calls[&after].0 == from => self.broken("poll too fast", ""),
            Note::PollTooFast { .. } => self.watch.allow("a poll just after one of another owner, which was cut off"),
            Note::Overtaken { current, .. } if !matches!(asked, Asked::Download { .. }) => {
                if self.watch.missed.contains(&current.sign_in) {
                    self.watch.outdated.insert(current.sign_in);
                }
            }
            Note::Overtaken { since, current } => {
                let late = self.now - since > self.watch.lease + SECOND;
                let unavoidable =
                    unavoidable || self.watch.old_data || self.watch.orphans.contains_key(&current.sign_in);
                if late && !unavoidable {
                    self.broken("dead Guid", format!("{from}: {asked:?} {note:?}"));
                }
            }
            Note::AfterSignOut => self.watch.allow("a Guid of a session that was signed out"),
        }
    }

    /// Its owner was stopped or cut off before it could tell the store.
    fn never_told(&self, lives: Number) -> bool {
        !self.watch.told.contains(&lives.sign_in)
    }

    /// The store lost its data while the session's owner was away, which could not write them again in time.
    fn owner_was_away(&self, lives: Number) -> bool {
        let born = self.watch.born.get(&lives.sign_in).copied().unwrap_or_default();
        self.watch.data_lost_at.is_some_and(|lost| lost >= born)
    }

    pub(super) fn check_sign_out(&mut self, slot: usize, token: Token) {
        let now = self.instant(self.now);
        if self.replicas[slot].session.as_ref().is_some_and(|session| !session.holds(now)) {
            self.watch.superseded.insert(token);
        }
    }

    fn judge_overlap(&mut self, from: Id, asked: Asked, (token, unanswered): (Token, Token)) {
        let (other, sent, what) = self.watch.calls[&unanswered];
        let waited = self.watch.waited_for_turn.contains(&unanswered);
        let waits = self.slot(other).is_some_and(|slot| {
            self.replicas[slot].call == Some(unanswered) && self.replicas[slot].paused_until <= self.now
        });
        if self.watch.superseded.contains(&unanswered) || self.watch.superseded.contains(&token) {
            return self.watch.allow("calls overlap: a session is signed out that only its former owner knew");
        }
        let long = self.now >= sent + SIGN_IN_BOUND;
        let told = self.watch.data_lost_at.is_none_or(|lost| lost < sent);
        let clock = self.watch.clock_stepped_at.is_none();
        if !waits && long {
            return self.watch.allow("a call that its caller gave up half a minute ago is still unanswered");
        }
        if waited {
            return self.watch.allow("calls overlap: a sign-in had waited for its turn when its owner ended");
        }
        let now = self.instant(self.now);
        let owner = self.slot(other).and_then(|slot| self.replicas[slot].session.as_ref());
        if matches!(what, Asked::SignOut { .. }) && !owner.is_some_and(|session| session.holds(now)) {
            return self
                .watch
                .allow("calls overlap: an owner ended, or was cut off, while its sign-out was unanswered");
        }
        if !told || !clock {
            return self.watch.allow("calls overlap: the store forgot, or its clock was set");
        }
        self.broken("calls overlap", format!("{from}: {asked:?} while {unanswered} of {other} is unanswered"));
    }

    /// After the faults: as long as a session that nobody knows of can stand in the way, and the longest back-off.
    pub(super) fn heal_bound(&self) -> u64 {
        MAXTIME_MICROS + 65 * SECOND + 3 * self.watch.lease
    }

    /// Another replica must go on with the session of one that is killed, where one uses it.
    pub(super) fn expect_takeover(&mut self, slot: usize) {
        let id = self.replicas[slot].id;
        let lives = self.replicas[slot].session.as_ref().is_some_and(|session| {
            matches!(session.state(), State::Active(active) if active.written_at.is_some() && active.kind == Kind::Own
                && self.gateway.takes(Number::of(&active.guid)))
        });
        let used = self.replicas.iter().any(|replica| {
            let borrows = replica.session.as_ref().is_some_and(|session| matches!(session.state(), State::Borrowed(_)));
            borrows && replica.holds > 0 && !replica.cut && replica.paused_until <= self.now && !replica.stopping
        });
        if lives && used && self.store_up && self.store.owner() == Some(id) {
            let bound = self.watch.lease + self.watch.lease / 3 + SECOND;
            let armed = self.watch.faults;
            self.after(bound, What::Takeover { of: id, armed });
        }
    }

    /// Sign-ins are tried for a reason: the first, one after each loss, one more for each fault that ends an owner before it
    /// could tell, and some with growing pauses while a session stands in the way that nobody knows of.
    pub(super) fn check_tries(&mut self) {
        let orphans = u32::try_from(self.watch.orphans.len()).expect("few");
        let faults = u32::try_from(self.watch.faults).expect("few");
        let bound = 3 + 2 * self.watch.losses + faults + 20 * orphans;
        if self.watch.tries > bound {
            self.broken("too many sign-ins", format!("{} tries, bound {bound}", self.watch.tries));
        }
    }

    pub(super) fn check_takeover(&mut self, of: Id, armed: u64) {
        // Other faults came between.
        if self.watch.faults != armed {
            return;
        }
        let newest = self.watch.newest.map(|(_, id, _)| id);
        let since = self.watch.newest.map_or(0, |(.., since)| since);
        if newest == Some(of) {
            return self.broken("takeover", format!("{of} was killed and nobody has taken over"));
        }
        self.watch.took_over.push(since);
    }
}
