//! The ways between replicas, store and gateway: how long a call takes, and whether it or its answer is lost.

use secrecy::ExposeSecret;

use super::model_gateway::{Death, Number, Token};
use super::model_store::{Caller, Id, Told, Trouble};
use super::replica::{Answer, Failure, away};
use super::world::{Inner, MILLI, SECOND, What, World};
use super::*;

/// How long a caller waits for the gateway.
const GATEWAY_BOUND: u64 = 30 * SECOND;

/// What is asked of the store.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Beat,
    Leave,
    Seek { floor: u64 },
    Write { fence: u64, entry: Entry },
    Release { fence: u64 },
    Reject { version: Version, cause: LossCause },
    Retire { fence: u64, why: Retire },
    Admit,
}

/// What is asked of the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    SignIn {
        forced: bool,
    },
    SignOut {
        guid: Number,
    },
    KeepAlive {
        guid: Number,
        version: Version,
    },
    /// The client of a keep-alive has gone.
    Drop,
    Download {
        client: u64,
        guid: Number,
    },
}

impl Number {
    pub(super) fn guid(self) -> Guid {
        guid((self.sign_in << 16) | self.index)
    }

    pub(super) fn of(guid: &Guid) -> Self {
        let text = guid.as_secret().expose_secret();
        let number = text.get(32..48).and_then(|text| u64::from_str_radix(text, 16).ok()).expect("a number");
        Self { sign_in: number >> 16, index: number & 0xffff }
    }
}

impl Op {
    fn unanswered(&self) -> Answer {
        match self {
            Self::Beat => Answer::Beaten(None),
            Self::Seek { .. } => Answer::Sought(Err(away())),
            Self::Retire { .. } => Answer::Retired(Err(away())),
            Self::Admit => Answer::Admitted(Err(away())),
            Self::Write { .. } | Self::Release { .. } | Self::Reject { .. } | Self::Leave => Answer::Told(Err(away())),
        }
    }
}

impl World {
    pub(super) fn ask_store(&mut self, slot: usize, token: Token, op: Op) {
        let (from, expected) = (self.replicas[slot].id, self.replicas[slot].expected(self.now));
        if let Op::Write { entry: Entry::Live(live), .. } = &op {
            self.watch.on_its_way(token, Number::of(&live.guid));
        }
        let takes = self.store_latency();
        let sent = self.now;
        // One connection: nothing overtakes.
        let at = (sent + takes).max(self.replicas[slot].last_at_store);
        self.replicas[slot].last_at_store = at;
        self.at(at, What::Store { from, token, sent, expected, op });
    }

    fn store_latency(&mut self) -> u64 {
        if !self.is_calm() && self.one_in(40) {
            return self.between(5 * MILLI, 900 * MILLI);
        }
        self.between(200, 3 * MILLI)
    }

    /// Nothing comes back: the caller waits as long as it waits for any call.
    fn lost(&mut self, from: Id, (token, sent): (Token, u64), answer: Answer) {
        let at = sent + self.plan.timeout;
        self.at(at, What::To(from, Inner::Answer { token, sent, by_store: false, answer }));
    }

    pub(super) fn at_store(&mut self, from: Id, (token, sent): (Token, u64), expected: i64, op: Op) {
        self.watch.arrived(token);
        let cut = self.replicas.iter().any(|replica| replica.id == from && replica.cut);
        let stray = !self.is_calm() && self.one_in(150);
        if cut || stray {
            self.watch.excuse = Some("a write to the store was lost");
            return self.lost(from, (token, sent), op.unanswered());
        }
        if !self.store_up {
            self.watch.excuse = Some("a write to the store was lost");
            let takes = self.between(200, 3 * MILLI);
            let answer = Inner::Answer { token, sent, by_store: false, answer: op.unanswered() };
            return self.after(takes, What::To(from, answer));
        }
        let answer = self.run_script(from, expected, &op);
        self.publish();
        if !self.is_calm() && self.one_in(150) {
            self.watch.excuse = Some("the store's answer was lost");
            return self.lost(from, (token, sent), op.unanswered());
        }
        if let Answer::Sought(Ok(Found::Owned { left: Some(Left { entry: Some(Entry::Live(live)), .. }), .. })) =
            &answer
        {
            self.watch.on_its_way(token, Number::of(&live.guid));
        }
        let mut takes = self.store_latency();
        if matches!(op, Op::Admit) && !self.is_calm() && self.one_in(8) {
            // Its turn comes later.
            takes += self.between(100 * MILLI, 20 * SECOND);
            self.watch.waited_for_turn.insert(token);
        }
        let late = sent + self.plan.timeout;
        if self.now + takes > late && !matches!(op, Op::Admit) {
            self.watch.arrived(token);
            self.watch.excuse = Some("the store's answer was late");
            return self.lost(from, (token, sent), op.unanswered());
        }
        self.after(takes, What::To(from, Inner::Answer { token, sent, by_store: true, answer }));
    }

    fn run_script(&mut self, from: Id, expected: i64, op: &Op) -> Answer {
        let (now, caller) = (self.now, Caller { me: from, expected });
        match op.clone() {
            Op::Beat => Answer::Beaten(Some(self.store.beat(now, caller))),
            Op::Leave => {
                self.store.leave(now, caller);
                Answer::Told(Ok(()))
            }
            Op::Seek { floor } => {
                let owner = self.store.owner();
                let found = self.store.seek(now, caller, floor);
                if let Ok(Found::Owned { fence, .. }) = &found {
                    if owner.is_some_and(|owner| owner != from) {
                        self.not_written_yet();
                    }
                    self.check_owned(from, *fence);
                }
                if matches!(found, Err(Trouble::Lapsed)) {
                    self.after(MILLI, What::To(from, Inner::Inbox));
                }
                Answer::Sought(found.map_err(Into::into))
            }
            Op::Write { fence, entry } => {
                let written = self.store.write(now, caller, fence, entry);
                self.check_taken(from, fence, written.is_ok());
                Answer::Told(written.map_err(Into::into))
            }
            Op::Release { fence } => {
                let released = self.store.release(now, caller, fence);
                self.check_taken(from, fence, released.is_ok());
                Answer::Told(released.map_err(Into::into))
            }
            Op::Reject { version, cause } => {
                self.store.reject(now, caller, version, cause);
                Answer::Told(Ok(()))
            }
            Op::Retire { fence, why } => {
                let retired = self.store.retire(now, caller, fence, why);
                self.check_taken(from, fence, retired.is_ok());
                Answer::Retired(retired.map_err(Into::into))
            }
            Op::Admit => {
                self.store.admit(now, caller);
                Answer::Admitted(Ok(()))
            }
        }
    }

    fn publish(&mut self) {
        for told in std::mem::take(&mut self.store.told) {
            for slot in 0..self.replicas.len() {
                let replica = &self.replicas[slot];
                let id = replica.id;
                if !replica.runs || !replica.subscribed || replica.cut {
                    continue;
                }
                let inner = match told {
                    Told::Changed { by } if by != id => Inner::Changed,
                    Told::Inbox { owner } if owner == id => Inner::Inbox,
                    _ => continue,
                };
                if !self.is_calm() && self.one_in(30) {
                    continue;
                }
                let takes = self.store_latency();
                self.after(takes, What::To(id, inner));
            }
        }
    }

    pub(super) fn ask_gateway(&mut self, slot: usize, token: Token, asked: Asked) {
        let from = self.replicas[slot].id;
        self.watch.asked(token, from, self.now, asked);
        match asked {
            Asked::KeepAlive { .. } => self.check_keep_alive(slot),
            Asked::SignOut { .. } => self.check_sign_out(slot, token),
            _ => {}
        }
        let takes = self.between(500, 20 * MILLI);
        self.after(takes, What::Gateway { from, token, asked });
    }

    pub(super) fn at_gateway(&mut self, from: Id, token: Token, asked: Asked) {
        let now = self.now;
        if self.watch.is_dropped(token, asked) {
            return;
        }
        let (result, takes) = match asked {
            Asked::SignIn { .. } | Asked::SignOut { .. } => (self.gateway.begin(token), self.gateway_latency()),
            Asked::KeepAlive { guid, .. } if self.plan.rules.keep_alive == KeepAlive::Poll => {
                (self.gateway.begin_poll(now, guid, token), self.plan.poll_takes)
            }
            Asked::KeepAlive { .. } | Asked::Download { .. } => (Ok(()), self.between(MILLI, 10 * MILLI)),
            Asked::Drop => {
                self.gateway.drop_poll(now, token);
                return self.judge(from, token, asked);
            }
        };
        self.judge(from, token, asked);
        let bound = self.watch.sent(token) + GATEWAY_BOUND;
        if result.is_ok() && self.now + takes > bound {
            self.gives_up(from, token, asked, bound);
        }
        match result {
            Ok(()) => self.after(takes, What::Worked { from, token, asked }),
            Err(code) => self.answer(from, token, asked, Err(Failure::Code(code))),
        }
    }

    fn gateway_latency(&mut self) -> u64 {
        match self.rng.u32(0..20) {
            _ if self.is_calm() => self.between(5 * MILLI, 100 * MILLI),
            0 => self.between(SECOND, 40 * SECOND),
            _ => self.between(5 * MILLI, 400 * MILLI),
        }
    }

    pub(super) fn worked(&mut self, from: Id, token: Token, asked: Asked) {
        let now = self.now;
        let result = match asked {
            Asked::SignIn { forced } => {
                let result = self.gateway.sign_in(now, forced);
                self.gateway.end(token);
                self.signed_in(result);
                result.map(Some)
            }
            Asked::SignOut { guid } => {
                let result = self.gateway.sign_out(now, guid);
                self.gateway.end(token);
                result.map(|()| None)
            }
            Asked::KeepAlive { guid, .. } if self.plan.rules.keep_alive == KeepAlive::Poll => {
                self.gateway.end_poll(now, guid, token)
            }
            Asked::KeepAlive { guid, .. } => self.gateway.heartbeat(now, guid),
            Asked::Download { guid, .. } => {
                let refused = self.watch.right_missing_until > now;
                self.gateway.check(now, guid).map(|_| None).and_then(|ok| if refused { Err("000-003") } else { Ok(ok) })
            }
            Asked::Drop => return,
        };
        self.judge(from, token, asked);
        let waits = self
            .slot(from)
            .is_some_and(|slot| [self.replicas[slot].call, self.replicas[slot].pulse].contains(&Some(token)));
        if let (false, Ok(Some(guid))) = (waits, &result) {
            self.watch.missed.insert(guid.sign_in);
        }
        if !waits {
            self.watch.excuse = Some("an answer of the gateway has no reader");
        }
        self.answer(from, token, asked, result.map_err(Failure::Code));
    }

    /// The caller waits no longer; the gateway works on.
    fn gives_up(&mut self, from: Id, token: Token, asked: Asked, at: u64) {
        let answer = match asked {
            Asked::SignIn { .. } => Answer::SignedIn(Err(Failure::Timeout)),
            _ => Answer::SignedOut(Err(Failure::Timeout)),
        };
        self.at(at, What::To(from, Inner::Answer { token, sent: at, by_store: false, answer }));
    }

    /// Brings an answer on its way, if it is not lost.
    fn answer(&mut self, from: Id, token: Token, asked: Asked, result: Result<Option<Number>, Failure>) {
        let sent = self.watch.sent(token);
        let stray = !self.is_calm() && self.one_in(100) && !matches!(asked, Asked::Download { .. });
        let late = self.now > sent + GATEWAY_BOUND;
        let lost = stray && self.rng.bool();
        if let (true, Ok(Some(guid))) = (lost || late || stray, &result) {
            self.watch.missed.insert(guid.sign_in);
        }
        let result = match result {
            _ if lost || late => Err(Failure::Timeout),
            _ if stray => Err(Failure::Closed),
            result => result,
        };
        let inner = match (asked, result) {
            (Asked::SignIn { .. }, result) => Answer::SignedIn(result.map(|guid| guid.expect("a Guid"))),
            (Asked::SignOut { .. }, result) => Answer::SignedOut(result.map(drop)),
            (Asked::KeepAlive { version, .. }, result) => Answer::KeptAlive(version, result),
            (Asked::Download { client, .. }, result) => {
                let result = result.map(drop).map_err(|failure| match failure {
                    Failure::Code(code) => code,
                    Failure::Timeout | Failure::Closed => "no answer",
                });
                let takes = self.between(500, 20 * MILLI);
                return self.after(takes, What::To(from, Inner::Served { client, result }));
            }
            (Asked::Drop, _) => return,
        };
        if let Answer::SignedIn(Ok(number)) | Answer::KeptAlive(_, Ok(Some(number))) = &inner {
            self.watch.on_its_way(token, *number);
        } else if lost || late || stray {
            self.watch.excuse = Some("an answer of the gateway was lost");
        }
        let takes = self.between(500, 20 * MILLI);
        let at = if lost || late { (sent + GATEWAY_BOUND).max(self.now) } else { self.now + takes };
        self.at(at, What::To(from, Inner::Answer { token, sent, by_store: false, answer: inner }));
    }

    /// The gateway forgets the session, as after a restart, or somebody else takes it.
    pub(super) fn take_away(&mut self, elsewhere: bool) {
        self.gateway.die(Death::Taken);
        self.gateway.elsewhere = elsewhere;
    }
}
