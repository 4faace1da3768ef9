//! Requests at the replicas: each wants a session, sends its Guid, rejects it once if it is refused, holds it for a while.

use std::collections::BTreeMap;

use super::model_gateway::Number;
use super::replica::Replica;
use super::wires::Asked;
use super::world::{Inner, MILLI, SECOND, What, World};
use super::*;

/// How often each replica must serve after the faults.
const ENOUGH: u32 = 3;

#[derive(Debug, Default)]
struct Client {
    granted: Option<Granted>,
    /// It has rejected a Guid already.
    rejected: bool,
    /// It has asked again because its Guid was no longer fresh.
    renewed: bool,
}

/// Everybody who wants a session.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: BTreeMap<u64, Client>,
    last: u64,
    served: u64,
    /// By replica, after the faults.
    served_in_calm: BTreeMap<u32, u32>,
}

impl Clients {
    pub(super) fn served(&self) -> u64 {
        self.served
    }

    pub(super) fn all_served(&self, replicas: &[Replica]) -> bool {
        replicas.iter().all(|replica| self.served_in_calm.get(&replica.id).is_some_and(|served| *served >= ENOUGH))
    }
}

impl World {
    /// Requests come in bursts, with times between in which nobody wants anything.
    pub(super) fn plan_clients(&mut self) {
        let mut at = self.between(0, 2 * SECOND);
        while at < self.plan.faults_until {
            for slot in 0..self.replicas.len() {
                for _ in 0..self.rng.u64(0..3) {
                    let soon = at + self.between(0, 300 * MILLI);
                    self.plan_client(slot, soon);
                }
            }
            at += match self.rng.u32(0..12) {
                0 => self.between(20 * SECOND, 50 * SECOND),
                _ => self.between(SECOND / 2, 5 * SECOND),
            };
        }
    }

    fn plan_client(&mut self, slot: usize, at: u64) {
        self.clients.last += 1;
        let client = self.clients.last;
        self.at(at, What::Request { slot, client });
    }

    pub(super) fn request(&mut self, slot: usize, client: u64) {
        let replica = &self.replicas[slot];
        let id = replica.id;
        if replica.runs && replica.ready && !replica.stopping {
            self.clients.all.insert(client, Client::default());
            self.after(0, What::To(id, Inner::Arrives { client }));
        }
        if self.is_calm() {
            self.plan_client(slot, self.now + SECOND);
        }
    }

    /// One after the other at each replica, until the end.
    pub(super) fn ask_in_calm(&mut self) {
        for slot in 0..self.replicas.len() {
            let at = self.now + self.between(0, SECOND);
            self.plan_client(slot, at);
        }
    }

    pub(super) fn arrives(&mut self, slot: usize, client: u64) {
        self.wait(slot, client);
        self.step(slot, Event::Want { rejected: None });
    }

    fn wait(&mut self, slot: usize, client: u64) {
        let now = self.now;
        if self.replicas[slot].stopping {
            return self.failed(client, "shutting_down");
        }
        self.replicas[slot].waiters.push((client, now));
    }

    pub(super) fn grant(&mut self, slot: usize, granted: &Granted) {
        self.check_grant(slot, granted);
        let (id, waiters) = (self.replicas[slot].id, std::mem::take(&mut self.replicas[slot].waiters));
        for (client, _) in waiters {
            self.replicas[slot].holds += 1;
            let known = self.clients.all.entry(client).or_default();
            known.granted = Some(granted.clone());
            let takes = self.between(0, 3 * MILLI);
            self.after(takes, What::To(id, Inner::Sends { client }));
        }
        // The hold that the actor has meanwhile.
        if self.replicas[slot].holds == 0 {
            self.after(0, What::To(id, Inner::Released));
        }
    }

    pub(super) fn refuse(&mut self, slot: usize, error: &Error) {
        for (client, _) in std::mem::take(&mut self.replicas[slot].waiters) {
            self.failed(client, error.code());
        }
    }

    fn failed(&mut self, client: u64, code: &'static str) {
        self.clients.all.remove(&client);
        self.watch.refused(code);
    }

    pub(super) fn sends(&mut self, slot: usize, client: u64) {
        let Some(known) = self.clients.all.get_mut(&client) else { return };
        let Some(granted) = known.granted.clone() else { return };
        let renewed = std::mem::replace(&mut known.renewed, true);
        let fresh = granted.fresh_until.is_none_or(|until| self.instant(self.now) < until);
        if !fresh && !renewed {
            self.wait(slot, client);
            self.step(slot, Event::Want { rejected: None });
            return self.let_go(slot);
        }
        let token = self.token();
        self.ask_gateway(slot, token, Asked::Download { client, guid: Number::of(&granted.guid) });
    }

    fn let_go(&mut self, slot: usize) {
        let replica = &mut self.replicas[slot];
        replica.holds -= 1;
        if replica.holds == 0 {
            let id = replica.id;
            self.after(0, What::To(id, Inner::Released));
        }
    }

    pub(super) fn served(&mut self, slot: usize, client: u64, result: Result<(), &'static str>) {
        let id = self.replicas[slot].id;
        let Some(known) = self.clients.all.get_mut(&client) else { return };
        let Some(granted) = known.granted.clone() else { return };
        match result {
            Ok(()) => {
                self.clients.served += 1;
                let takes = self.between(0, if self.is_calm() { SECOND } else { 8 * SECOND });
                if self.is_calm() {
                    *self.clients.served_in_calm.entry(id).or_default() += 1;
                }
                self.after(takes, What::To(id, Inner::Ends { client }));
            }
            Err(code) if !known.rejected => {
                known.rejected = true;
                let cause = if code == "000-003" { LossCause::Refused } else { LossCause::Forgotten };
                let rejected = Rejected { version: granted.version, guid: granted.guid, cause };
                self.wait(slot, client);
                self.step(slot, Event::Want { rejected: Some(rejected) });
                self.let_go(slot);
            }
            Err(code) => {
                self.failed(client, code);
                self.let_go(slot);
            }
        }
    }

    pub(super) fn ends(&mut self, slot: usize, client: u64) {
        self.clients.all.remove(&client);
        self.let_go(slot);
    }
}
