//! Which of the gateway's URLs a call may go to, and in which order. It sends nothing.
//!
//! A sign-in may go to every URL of `urls`, in turn. A call that carries a Guid goes to the session's node where `nodes`
//! names it, and nowhere else. Without that any URL may lead to the session (load balancers) or only one (gateways that
//! share nothing), and nothing says which; so its home is the URL where this very Guid was issued or last answered, it is
//! asked first, and its word alone counts that the session is gone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::uri::Authority;
use tokio::time::Instant;

use super::Config;
use super::breaker::{Breaker, Ease};
use super::homes::Homes;
use super::metrics::{Lights, Metrics, Operation};
use crate::cc::{Guid, NodeName};

/// Every URL that can be asked.
#[derive(Debug)]
pub(super) struct Servers {
    /// Those of `urls` first, in their order; then those that only `nodes` names, in the order of the names.
    all: Vec<Server>,
    /// How many of them are in `urls`.
    entrances: usize,
    nodes: BTreeMap<NodeName, usize>,
    homes: Homes,
    turn: AtomicUsize,
    lights: Arc<Lights>,
}

/// One URL.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) authority: Authority,
    pub(super) breaker: Breaker,
}

/// Where a call may go.
#[derive(Debug)]
pub(super) struct Way<'a> {
    /// In this order, the first that answers; none where all but a home that can't be asked have just said no.
    pub(super) order: Vec<&'a Server>,
    /// Whose word alone counts that the session is gone, whether it can be asked or not; `None`: that of all together.
    pub(super) home: Option<Authority>,
}

impl Servers {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let mut authorities: Vec<&Authority> = config.urls.iter().collect();
        for authority in config.nodes.values() {
            if !authorities.contains(&authority) {
                authorities.push(authority);
            }
        }
        let sign_in_takes = config.client.connect_timeout.saturating_add(config.client.response_timeout);
        let lights = Arc::new(metrics.lights(authorities.len(), config.urls.len()));
        let place = |authority: &Authority| authorities.iter().position(|known| *known == authority);
        let nodes = config.nodes.iter().filter_map(|(name, authority)| Some((name.clone(), place(authority)?)));
        let nodes = nodes.collect();
        let all = authorities.iter().enumerate().map(|(index, authority)| Server {
            authority: (*authority).clone(),
            breaker: Breaker::new(Arc::clone(&lights), index, fastrand::u64(..), sign_in_takes),
        });
        Self {
            all: all.collect(),
            entrances: config.urls.len(),
            nodes,
            homes: Homes::default(),
            // Replicas must not all begin with the same one.
            turn: AtomicUsize::new(fastrand::usize(..)),
            lights,
        }
    }

    /// Where a call may go: who answers before who is being left alone.
    pub(super) fn way(&self, operation: Operation, guid: Option<&Guid>, now: Instant) -> Way<'_> {
        let Some(guid) = guid else { return self.way_in(now) };
        if let Some(server) = guid.node().and_then(|node| self.nodes.get(node)).and_then(|index| self.all.get(*index)) {
            return Way { order: vec![server], home: Some(server.authority.clone()) };
        }
        let mut order: Vec<_> = self.all.iter().take(self.entrances).collect();
        // Also one that a reload has taken out: the word of those that are left is not its word. Of a session that another
        // process signed in its node tells as much.
        let hint = self.homes.hint(guid);
        let taken_out = |at: &Authority| !order.iter().any(|server| server.authority == *at);
        let home = self.homes.of(guid, now).or_else(|| hint.clone().filter(taken_out));
        if self.homes.keeps_to_it(guid, now) {
            order.retain(|server| home.as_ref() == Some(&server.authority));
            return Way { order, home };
        }
        if let [only] = order[..] {
            return Way { home: home.or_else(|| Some(only.authority.clone())), order };
        }
        let first = home.clone().or(hint);
        // Both are stable: those that are alike stay in the order of the configuration.
        order.sort_by_key(|server| first.as_ref() != Some(&server.authority));
        order.sort_by_key(|server| server.breaker.ease(operation, now));
        Way { order, home }
    }

    /// In turn; whoever may be tried out has its turn too, or nobody would find out that it is back.
    fn way_in(&self, now: Instant) -> Way<'_> {
        let mut order: Vec<_> = self.all.iter().take(self.entrances).collect();
        if order.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % order.len();
            order.rotate_left(turn);
            order.sort_by_key(|server| server.breaker.ease(Operation::SignIn, now) == Ease::Rests);
        }
        Way { order, home: None }
    }

    /// A call with this Guid succeeded there, or it was issued there. Also where that is known without: a reload can take the
    /// only URL out, or a node.
    pub(super) fn learn(&self, guid: &Guid, server: &Server, now: Instant) {
        self.homes.learn(guid, &server.authority, now);
    }

    /// An answer brought another Guid in this one's place.
    pub(super) fn replaced(&self, guid: &Guid, now: Instant) {
        self.homes.replaced(guid, now);
    }

    /// All but the home of this Guid's session say that they know none.
    pub(super) fn keep_to_home(&self, guid: &Guid, now: Instant) {
        self.homes.keep_to(guid, now);
    }

    /// These are the ones in force: what is known of them is shown.
    pub(super) fn show(&self) {
        self.lights.light();
    }

    /// Takes the place of others, and on what is known of the URLs that stay.
    pub(super) fn follow(&self, before: &Self) {
        for server in &self.all {
            if let Some(old) = before.all.iter().find(|old| old.authority == server.authority) {
                server.breaker.follow(&old.breaker);
            }
        }
        self.homes.follow(&before.homes);
        self.lights.replace(&before.lights);
    }
}
