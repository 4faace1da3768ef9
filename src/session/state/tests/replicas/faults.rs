//! What goes wrong, and when: drawn once for a run. After the last fault all is mended and must heal.

use super::model_gateway::micros;
use super::model_store::Data;
use super::wires::{Asked, Op};
use super::world::{Inner, SECOND, What, World};
use super::*;

/// How long a replica that is told to end may take.
const SHUT_DOWN: u64 = 20 * SECOND;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Kill {
        slot: usize,
    },
    Start {
        slot: usize,
    },
    Stop {
        slot: usize,
    },
    Pause {
        slot: usize,
        lasts: u64,
    },
    Cut {
        slot: usize,
        lasts: u64,
    },
    Mend {
        slot: usize,
    },
    StoreDown {
        back: Back,
        lasts: u64,
    },
    StoreUp {
        back: Back,
    },
    /// What a server that comes back with old data will have.
    Snapshot,
    ClockStep {
        seconds: i64,
    },
    /// The gateway restarts.
    Forgets,
    /// Somebody signs in at a desk and throws us out.
    Desk {
        lasts: u64,
    },
    DeskLeaves,
    RightMissing {
        lasts: u64,
    },
    SignOut {
        slot: usize,
    },
}

/// What a store knows that comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Back {
    Whole,
    Empty,
    Old,
}

impl World {
    pub(super) fn plan_faults(&mut self) {
        let until = self.plan.faults_until;
        let busy = self.rng.bool();
        let mut at = self.between(3 * SECOND, 15 * SECOND);
        while at < until {
            let fault = self.draw_fault();
            self.at(at, What::Fault(fault));
            at += if busy { self.between(SECOND / 10, 6 * SECOND) } else { self.between(SECOND, 30 * SECOND) };
        }
        self.at(until, What::Calm);
    }

    fn draw_fault(&mut self) -> Fault {
        let slot = self.rng.usize(0..self.replicas.len());
        let lasts = match self.rng.u32(0..3) {
            0 => self.between(SECOND / 10, 2 * SECOND),
            _ => self.between(SECOND, 30 * SECOND),
        };
        match self.rng.u32(0..32) {
            0..6 => Fault::Kill { slot },
            6..11 => Fault::Pause { slot, lasts },
            11..16 => Fault::Cut { slot, lasts },
            16..21 => {
                let back = [Back::Whole, Back::Empty, Back::Old][self.rng.usize(0..3)];
                Fault::StoreDown { back, lasts: lasts.min(15 * SECOND) }
            }
            21..23 => Fault::Snapshot,
            23 if self.plan.clock_steps => Fault::ClockStep { seconds: [3_600, -3_600, 25, -25][self.rng.usize(0..4)] },
            23..25 => Fault::Forgets,
            25 => Fault::Desk { lasts },
            26 => Fault::RightMissing { lasts },
            27..29 => Fault::SignOut { slot },
            _ => Fault::Stop { slot },
        }
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        if self.is_calm() && !matches!(fault, Fault::Start { .. }) {
            return;
        }
        if !matches!(fault, Fault::Start { .. } | Fault::Snapshot) {
            self.watch.fault_at(self.now);
        }
        match fault {
            Fault::Kill { slot } if self.replicas[slot].runs => self.kill(slot),
            Fault::Start { slot } if !self.replicas[slot].runs => self.start(slot),
            Fault::Stop { slot } if self.replicas[slot].runs => {
                let id = self.replicas[slot].id;
                self.at(self.now, What::To(id, Inner::Stop));
            }
            Fault::Pause { slot, lasts } => self.replicas[slot].paused_until = self.now + lasts,
            Fault::Cut { slot, lasts } => self.cut(slot, lasts),
            Fault::Mend { slot } => self.mend(slot),
            Fault::StoreDown { back, lasts } if self.store_up => {
                self.store_up = false;
                self.sight_is_lost();
                self.after(lasts, What::Fault(Fault::StoreUp { back }));
            }
            Fault::Kill { .. } | Fault::Start { .. } | Fault::Stop { .. } | Fault::StoreDown { .. } => {}
            Fault::StoreUp { back } => self.store_back(back),
            Fault::Snapshot => self.old = self.store.data.clone(),
            Fault::ClockStep { seconds } => {
                self.watch.clock_stepped(self.now, seconds);
                self.store.offset += seconds * 1_000_000;
            }
            Fault::Forgets => self.take_away(false),
            Fault::Desk { lasts } => {
                self.take_away(true);
                self.after(lasts, What::Fault(Fault::DeskLeaves));
            }
            Fault::DeskLeaves => self.gateway.elsewhere = false,
            Fault::RightMissing { lasts } => self.watch.right_missing_until = self.now + lasts.min(5 * SECOND),
            Fault::SignOut { slot } => {
                let id = self.replicas[slot].id;
                self.at(self.now, What::To(id, Inner::SignOutAsked));
            }
        }
    }

    fn kill(&mut self, slot: usize) {
        self.expect_takeover(slot);
        self.end(slot, Some("a replica was killed"));
        let back = self.between(SECOND / 5, 20 * SECOND);
        self.after(back, What::Fault(Fault::Start { slot }));
    }

    fn end(&mut self, slot: usize, why: Option<&'static str>) {
        if let Some(why) = why {
            self.watch.excuse = Some(why);
            self.only_store_knows(why);
        }
        let replica = &mut self.replicas[slot];
        let (id, pulse) = (replica.id, replica.pulse.take());
        (replica.runs, replica.session) = (false, None);
        replica.waiters.clear();
        if let Some(token) = pulse {
            let takes = self.between(SECOND / 1_000, SECOND / 10);
            self.after(takes, What::Gateway { from: id, token, asked: Asked::Drop });
        }
    }

    pub(super) fn stop(&mut self, slot: usize) {
        let replica = &mut self.replicas[slot];
        if replica.stopping {
            return;
        }
        replica.stopping = true;
        let id = replica.id;
        if !self.store_up || self.replicas[slot].cut {
            self.only_store_knows("the owner ended while the store was away");
        }
        if self.replicas[slot].session.is_none() {
            return self.ended(slot);
        }
        self.after(SHUT_DOWN, What::To(id, Inner::Cut));
        self.step(slot, Event::Stop);
    }

    /// A replica that was told to end has nothing left to do.
    pub(super) fn ended(&mut self, slot: usize) {
        let token = self.token();
        self.ask_store(slot, token, Op::Leave);
        self.end(slot, None);
        let back = self.between(SECOND / 5, 10 * SECOND);
        self.after(back, What::Fault(Fault::Start { slot }));
    }

    pub(super) fn cut_off(&mut self, slot: usize) {
        let token = self.token();
        self.ask_store(slot, token, Op::Leave);
        self.end(slot, Some("a shutdown took too long"));
        let back = self.between(SECOND / 5, 10 * SECOND);
        self.after(back, What::Fault(Fault::Start { slot }));
    }

    fn cut(&mut self, slot: usize, lasts: u64) {
        self.replicas[slot].cut = true;
        let id = self.replicas[slot].id;
        // A connection whose packets vanish is found out by its ping.
        let seen = micros(self.plan.lease) / 3 + self.plan.timeout;
        self.after(seen, What::To(id, Inner::LostSight));
        self.after(lasts, What::Fault(Fault::Mend { slot }));
    }

    fn mend(&mut self, slot: usize) {
        self.replicas[slot].cut = false;
    }

    fn sight_is_lost(&mut self) {
        for slot in 0..self.replicas.len() {
            let id = self.replicas[slot].id;
            self.after(SECOND / 1_000, What::To(id, Inner::LostSight));
        }
    }

    fn store_back(&mut self, back: Back) {
        let data = match back {
            Back::Whole => self.store.data.clone(),
            Back::Empty => Data::default(),
            Back::Old => self.old.clone(),
        };
        if back != Back::Whole {
            self.watch.data_lost(self.now, back == Back::Old);
        }
        self.store.restart(data);
        self.store_up = true;
    }

    /// All is mended, and who is stopped wakes before long; whatever is wrong from now on must heal by itself.
    pub(super) fn calm(&mut self) {
        self.watch.fault_at(self.now);
        if !self.store_up {
            self.store_back(Back::Whole);
        }
        self.gateway.elsewhere = false;
        self.watch.right_missing_until = self.now;
        for slot in 0..self.replicas.len() {
            self.mend(slot);
            if !self.replicas[slot].runs {
                self.start(slot);
            }
        }
        self.ask_in_calm();
        let bound = self.heal_bound();
        self.watch.heals_by(self.now + bound);
    }
}
