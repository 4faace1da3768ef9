//! Who may sit where: a seat is its own agent's alone. The rules are not asked, so none of them can give it away.

use std::sync::Arc;

use super::Policy;
use crate::authn::Caller;
use crate::cc::AgentId;
use crate::route::{Arrival, Seat, SeatAct};

/// A call about a seat by the agent whose seat it is. Only [`Policy::seat`] makes one.
#[derive(Debug)]
#[must_use = "a permission that is not used should not have been asked for"]
pub struct Seated(Asked);

/// A call about somebody else's seat, or by somebody who is no agent.
#[derive(Debug)]
pub struct NotYourSeat {
    asked: Asked,
    policy_hash: Arc<str>,
}

#[derive(Debug)]
struct Asked {
    caller: Caller,
    seat: Seat,
    arrival: Arrival,
}

impl Policy {
    /// Decides about a call to sign in, poll, beat or sign out: the caller's agent claim must be the path's agent, for
    /// inspectors too.
    pub fn seat(&self, caller: Caller, seat: Seat, arrival: Arrival) -> Result<Seated, Box<NotYourSeat>> {
        let own = caller.agent() == Some(seat.agent());
        let asked = Asked { caller, seat, arrival };
        if own { Ok(Seated(asked)) } else { Err(Box::new(NotYourSeat { asked, policy_hash: Arc::clone(&self.hash) })) }
    }
}

impl Seated {
    /// Who asks.
    pub const fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Whose seat it is: the caller's own.
    pub const fn agent(&self) -> AgentId {
        self.0.seat.agent()
    }

    /// What is asked for.
    pub const fn seat(&self) -> Seat {
        self.0.seat
    }

    /// What is done.
    pub const fn act(&self) -> SeatAct {
        self.0.seat.act()
    }

    /// How the request came in.
    pub const fn arrival(&self) -> &Arrival {
        &self.0.arrival
    }
}

impl NotYourSeat {
    /// The word for it in records, labels and answers.
    pub const REASON: &'static str = "not_your_seat";

    /// Who asked.
    pub const fn caller(&self) -> &Caller {
        &self.asked.caller
    }

    /// What was asked for.
    pub const fn seat(&self) -> Seat {
        self.asked.seat
    }

    /// How the request came in.
    pub const fn arrival(&self) -> &Arrival {
        &self.asked.arrival
    }

    /// SHA-256 of the policy that was in force, in hex.
    pub fn policy_hash(&self) -> &str {
        &self.policy_hash
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::authn::Inspects;
    use crate::cc::SignInForm;
    use crate::route::{RequestId, Source};

    fn agent(number: u32) -> AgentId {
        AgentId::try_from(number).expect("an agent")
    }

    fn arrival() -> Arrival {
        let source = Source { peer: "192.0.2.1:1".parse().expect("an address"), forwarded: None, certificate: None };
        Arrival { at: Timestamp::UNIX_EPOCH, source, request_id: RequestId::random(), trace: None }
    }

    #[test]
    fn a_seat_is_its_own_agents_alone() {
        let policy = Policy::builtin().expect("the built-in rules");
        let everybody = Inspects { all: true, ..Inspects::default() };
        let caller = |own: Option<u32>| Caller::for_test(own.map(agent), &["inspector"], everybody.clone(), &["a"]);
        for act in [SeatAct::SignIn(SignInForm::Force), SeatAct::SignOut, SeatAct::Handshake, SeatAct::Events] {
            let seat = Seat::for_test(agent(1001), act);
            let seated = policy.seat(caller(Some(1001)), seat, arrival()).expect("its own");
            assert_eq!((seated.agent(), seated.act()), (agent(1001), act));
            for other in [Some(1002), None] {
                let refused = policy.seat(caller(other), seat, arrival()).expect_err("another's");
                assert_eq!((refused.seat(), refused.policy_hash()), (seat, policy.hash()), "{other:?}");
            }
        }
    }
}
