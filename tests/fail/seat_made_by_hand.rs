//! Rule: a call about a seat is parsed from a request's head, never put together.

use ccgate::cc::AgentId;
use ccgate::route::{Seat, SeatAct};

fn main() {
    let agent: AgentId = "1001".parse().unwrap();
    let _ = Seat { agent, act: SeatAct::SignOut };
}
