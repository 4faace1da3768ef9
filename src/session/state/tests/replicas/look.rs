//! Looks at everything after each step: sessions that nobody knows, two owners, deaths in care, what does not heal.

use super::model_gateway::{Death, Number};
use super::replica::word;
use super::watch::MAXTIME_MICROS;
use super::world::{SECOND, World};
use super::*;

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
        let missed = self.watch.missed.contains(&sign_in).then_some("a new Guid did not come to its owner");
        let half = self.watch.half_known.get(&sign_in).copied().or(missed);
        match self.watch.excuse.or(half).or(stepped).or(lost) {
            Some(why) => {
                self.say(&format!("    nobody knows session {sign_in} any more: {why}"));
                self.watch.allow(why);
                self.watch.orphans.insert(sign_in, why);
            }
            None => self.broken("forgotten", format!("nobody knows session {sign_in} any more")),
        }
    }

    /// Another replica becomes the owner: what the one before has found and not written may be lost with it.
    pub(super) fn not_written_yet(&mut self) {
        let why = "a new owner ended before it could write what it had found";
        self.watch.excuse = Some(why);
        let lives = self.gateway.session.as_ref().map(|session| session.guid.sign_in);
        if let (Some(sign_in), None) = (lives, self.store.left()) {
            self.watch.half_known.entry(sign_in).or_insert(why);
        }
    }

    /// Whoever asked knows no more of the session, or not for long.
    pub(super) fn not_answered(&mut self) {
        let why = "a sign-in or sign-out was not answered, or refused";
        self.watch.excuse = Some(why);
        if let Some(sign_in) = self.gateway.session.as_ref().map(|session| session.guid.sign_in) {
            self.watch.half_known.entry(sign_in).or_insert(why);
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
}
