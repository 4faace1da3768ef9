//! What one request is: who asks for what, how they behave, and what they must get. It asks for nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ccgate::sim::Kind;
use serde_json::json;

use crate::cast;
use crate::faults;
use crate::issuer::{Issuer, seconds};
use crate::library::{File, Library, Shelf};
use crate::world::World;

/// A slow client has its file within this, and so within a drain.
const SLOW_TAKES: Duration = Duration::from_secs(8);
/// One that leaves before the head waits so long at most.
const PATIENCE: Duration = Duration::from_millis(20);

/// One request.
#[derive(Debug, Clone)]
pub struct Order {
    /// What it is, for the table.
    pub class: &'static str,
    pub agent: u32,
    pub target: String,
    /// The value of `Authorization`.
    pub token: Option<String>,
    /// The first and last byte that are asked for, and how.
    pub range: Option<(u64, u64, String)>,
    pub manner: Manner,
    pub file: File,
    pub expects: Expects,
    /// What the simulator is to do to it.
    pub fault: Option<Kind>,
}

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Reads as fast as it comes.
    Fast,
    /// So many bytes a second.
    Slow(u64),
    /// Leaves when it has so many.
    LeavesAt(u64),
    /// Leaves after so long without a head.
    LeavesBeforeHead(Duration),
}

/// What it must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// Every byte.
    File,
    /// This status and code.
    Refused(u16, &'static str),
    /// A beginning, visibly broken off.
    Broken,
    /// Half of it, which the site says is all: nobody can know better.
    Half,
    /// Every byte, or this status and code.
    FileOrRefused(u16, &'static str),
    /// Every byte, or that there is no session.
    FileOrTrouble,
    /// Every byte, or what the policy says at the time.
    FileIfOpen,
}

/// Makes orders, the same ones by the same seed.
pub struct Orders {
    random: fastrand::Rng,
    tokens: HashMap<u32, String>,
    world: Arc<World>,
    stranger: Issuer,
}

/// How often each is asked for, in thousandths.
const CLASSES: [(u32, Make); 18] = [
    (505, Orders::small),
    (80, Orders::medium),
    (18, Orders::large),
    (1, Orders::huge),
    (70, Orders::part),
    (15, Orders::beyond),
    (80, Orders::chunked),
    (20, Orders::slow),
    (25, Orders::leaves_in_the_middle),
    (15, Orders::leaves_before_the_head),
    (20, Orders::no_token),
    (25, Orders::bad_token),
    (25, Orders::anothers),
    (20, Orders::malformed),
    (20, Orders::inspector),
    (20, Orders::closed_at_times),
    (6, Orders::human),
    (35, Orders::troubled),
];
type Make = fn(&mut Orders, &Library) -> Order;

impl Orders {
    /// Tokens last longer than any run.
    pub fn new(random: fastrand::Rng, world: Arc<World>) -> Self {
        let token = |agent: u32| match agent {
            cast::INSPECTOR => world.issuer.inspector(agent, &["*"]),
            agent => world.issuer.agent(agent),
        };
        let tokens = cast::everybody().into_iter().map(|agent| (agent, token(agent))).collect();
        Self { random, tokens, world, stranger: Issuer::new("k1") }
    }

    /// The next one. One in a hundred gets a fault of the simulator.
    pub fn next(&mut self, library: &Library) -> Order {
        if self.random.u32(..100) == 0 {
            return self.faulty(library);
        }
        let total: u32 = CLASSES.iter().map(|(weight, _)| weight).sum();
        let mut at = self.random.u32(..total);
        for (weight, make) in CLASSES {
            if at < weight {
                return make(self, library);
            }
            at -= weight;
        }
        unreachable!("weights are added up")
    }

    /// Asks for any recording of a shelf.
    fn any(&mut self, class: &'static str, agent: u32, library: &Library, shelf: Shelf) -> Order {
        let file = library.any(shelf, &mut self.random);
        self.of(class, agent, file)
    }

    fn of(&self, class: &'static str, agent: u32, file: &File) -> Order {
        Order {
            class,
            agent,
            target: file.target(agent),
            token: Some(format!("Bearer {}", self.tokens[&agent])),
            range: None,
            manner: Manner::Fast,
            file: file.clone(),
            expects: Expects::File,
            fault: None,
        }
    }

    fn calm(&mut self) -> u32 {
        self.random.u32(cast::CALM)
    }

    fn small(&mut self, library: &Library) -> Order {
        if self.random.u32(..8) == 0 {
            let (agent, file) = library.any_mounted(&mut self.random);
            return self.of("small", agent, file);
        }
        let agent = self.calm();
        self.any("small", agent, library, Shelf::Small)
    }

    fn medium(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        self.any("medium", agent, library, Shelf::Medium)
    }

    fn large(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        self.any("large", agent, library, Shelf::Large)
    }

    fn huge(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        self.any("huge", agent, library, Shelf::Huge)
    }

    fn chunked(&mut self, library: &Library) -> Order {
        let agent = self.random.u32(cast::CHUNKED);
        let shelf = if self.random.u32(..4) == 0 { Shelf::Medium } else { Shelf::Small };
        let order = self.any("chunked", agent, library, shelf);
        if self.random.u32(..4) == 0 { self.with_part(order) } else { order }
    }

    fn part(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        let order = self.any("range", agent, library, Shelf::Medium);
        self.with_part(order)
    }

    /// Asks for a part in one of the three ways.
    fn with_part(&mut self, order: Order) -> Order {
        let size = order.file.size;
        let first = self.random.u64(..size);
        let last = self.random.u64(first..size);
        let range = match self.random.u32(..3) {
            0 => (first, last, format!("bytes={first}-{last}")),
            1 => (first, size - 1, format!("bytes={first}-")),
            _ => (first, size - 1, format!("bytes=-{}", size - first)),
        };
        Order { range: Some(range), ..order }
    }

    fn beyond(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        let order = self.any("range beyond", agent, library, Shelf::Small);
        let size = order.file.size;
        let range = Some((size, size, format!("bytes={size}-")));
        Order { range, expects: Expects::Refused(416, "range_not_satisfiable"), ..order }
    }

    fn slow(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        let order = self.any("slow", agent, library, Shelf::Medium);
        let seconds = self.random.u64(1..=SLOW_TAKES.as_secs());
        Order { manner: Manner::Slow((order.file.size / seconds).max(1)), ..order }
    }

    fn leaves_in_the_middle(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        let shelf = if self.random.u32(..3) == 0 { Shelf::Large } else { Shelf::Medium };
        let order = self.any("leaves in the middle", agent, library, shelf);
        Order { manner: Manner::LeavesAt(self.random.u64(..order.file.size)), ..order }
    }

    fn leaves_before_the_head(&mut self, library: &Library) -> Order {
        let agent = self.calm();
        let order = self.any("leaves before the head", agent, library, Shelf::Small);
        let patience = self.random.u64(..PATIENCE.as_micros() as u64);
        Order { manner: Manner::LeavesBeforeHead(Duration::from_micros(patience)), ..order }
    }

    fn no_token(&mut self, library: &Library) -> Order {
        let order = self.small(library);
        Order { class: "no token", token: None, expects: Expects::Refused(401, "token_missing"), ..order }
    }

    fn bad_token(&mut self, library: &Library) -> Order {
        let order = self.small(library);
        let agent = json!({ "agent_id": order.agent.to_string() });
        let (issuer, hour_ago) = (&self.world.issuer, seconds() - 3_600);
        let (token, code) = match self.random.u32(..5) {
            0 => ("not.a-token".to_owned(), "token_malformed"),
            1 => (
                issuer.token(&json!({ "agent_id": agent["agent_id"], "iat": hour_ago, "exp": hour_ago + 60 })),
                "token_expired",
            ),
            2 => (issuer.token(&json!({ "agent_id": agent["agent_id"], "aud": "another" })), "token_untrusted"),
            3 => (self.stranger.token(&agent), "token_untrusted"),
            _ => (issuer.token(&json!({ "agent_id": 17 })), "token_claims"),
        };
        let token = Some(format!("Bearer {token}"));
        Order { class: "bad token", token, expects: Expects::Refused(401, code), ..order }
    }

    fn anothers(&mut self, library: &Library) -> Order {
        let order = self.small(library);
        let another = cast::CALM.start + (order.agent + 1 - cast::CALM.start) % cast::CALM.len() as u32;
        let target = order.file.target(another);
        Order { class: "another's", target, expects: Expects::Refused(403, "not_your_recording"), ..order }
    }

    fn malformed(&mut self, library: &Library) -> Order {
        let order = self.small(library);
        let (target, status, code) = match self.random.u32(..3) {
            0 => (format!("{}&drop=table", order.target), 400, "parameter_unknown"),
            1 => (format!("{}&workNo=1&workNo=1", crate::world::call(order.agent, "1-1")), 400, "parameter_repeated"),
            _ => ("/agentgateway/resource/nothing".to_owned(), 404, "not_found"),
        };
        Order { class: "malformed", target, expects: Expects::Refused(status, code), ..order }
    }

    fn inspector(&mut self, library: &Library) -> Order {
        let inspected = self.calm();
        let order = self.any("inspector", cast::INSPECTOR, library, Shelf::Small);
        Order { target: format!("{}&workNo={inspected}", order.target), ..order }
    }

    fn closed_at_times(&mut self, library: &Library) -> Order {
        let order = self.any("closed at times", cast::CLOSED_AT_TIMES, library, Shelf::Small);
        Order { expects: Expects::FileIfOpen, ..order }
    }

    fn human(&mut self, library: &Library) -> Order {
        let order = self.any("a human's", cast::HUMAN, library, Shelf::Small);
        Order { expects: Expects::Refused(409, "agent_busy"), ..order }
    }

    fn troubled(&mut self, library: &Library) -> Order {
        let agent = self.random.u32(cast::TROUBLED);
        let order = self.any("troubled", agent, library, Shelf::Small);
        Order { expects: Expects::FileOrTrouble, ..order }
    }

    fn faulty(&mut self, library: &Library) -> Order {
        let agent = self.random.u32(cast::FAULTY);
        let order = self.any("faulty", agent, library, Shelf::Medium);
        let in_part = self.random.bool();
        let order = if in_part { self.with_part(order) } else { order };
        let bytes = order.range.as_ref().map_or(order.file.size, |(first, last, _)| last - first + 1);
        let shape = faults::Shape { bytes, in_part, chunked: cast::is_chunked(agent) };
        let (fault, expects) = faults::any(shape, &mut self.random);
        Order { fault: Some(fault), expects, ..order }
    }
}
