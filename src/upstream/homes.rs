//! Where sessions live, as far as answers have shown it. It keeps no Guid: only a keyed hash of each, for some minutes.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use crate::cc::Guid;

/// So long a home is known after the last answer there. A Guid that lives is used at least every 30 s, and is replaced
/// after a minute or so.
const KNOWN_FOR: Duration = Duration::from_mins(5);

/// So long it is known of a Guid that was replaced: as long as the gateway takes it (`GUIDTIMEOUT`).
const REPLACED_KNOWN_FOR: Duration = Duration::from_mins(2);

/// So long only a home that does not answer is asked, when all others have said that they know no such session. Then they are
/// asked again: a load balancer may have taken over. About as often as a session is kept alive, so that those of a gateway
/// that is gone are no more to the others than sessions of their own.
const KEPT_TO_FOR: Duration = Duration::from_secs(30);

/// Least time between two passes over all homes.
const TIDY_EVERY: Duration = Duration::from_secs(1);

/// Most homes that are known: each of 10,000 sessions with its last few Guids. What is beyond is not learned, and asked for
/// everywhere.
const HOMES_MAX: usize = 65_536;

/// Most nodes whose last home is remembered.
const NODES_MAX: usize = 64;

/// Where each session lives. Locked for a look-up or an insert, never across a wait.
#[derive(Debug, Default)]
pub(super) struct Homes {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Its keys are random: whoever sees a hash can't tell the Guid.
    hasher: RandomState,
    guids: HashMap<u64, Home>,
    /// Where a Guid of this node was last answered: a hint for one that is not known, as another process signed it in.
    nodes: HashMap<String, Authority>,
    /// How many may be known before those that are too old are looked for.
    tidy_at: usize,
    tidied: Option<Instant>,
}

#[derive(Debug, Clone)]
struct Home {
    at: Authority,
    known_until: Instant,
    /// Nobody else knows the session, as far as was found out.
    kept_to_until: Option<Instant>,
}

impl Homes {
    /// A call with this Guid was answered there, or it was issued there.
    pub(super) fn learn(&self, guid: &Guid, home: &Authority, now: Instant) {
        let mut known = self.known();
        let hash = known.hash(guid);
        known.tidy(now);
        if known.guids.len() < HOMES_MAX || known.guids.contains_key(&hash) {
            let home = Home { at: home.clone(), known_until: now + KNOWN_FOR, kept_to_until: None };
            known.guids.insert(hash, home);
        }
        if let Some(node) = guid.node()
            && (known.nodes.len() < NODES_MAX || known.nodes.contains_key(node))
            && known.nodes.get(node) != Some(home)
        {
            known.nodes.insert(node.to_owned(), home.clone());
        }
    }

    /// Where the session of this Guid lives, where an answer has shown it.
    pub(super) fn of(&self, guid: &Guid, now: Instant) -> Option<Authority> {
        let known = self.known();
        let home = known.guids.get(&known.hash(guid))?;
        (now < home.known_until).then(|| home.at.clone())
    }

    /// Whether nobody but its home is worth asking.
    pub(super) fn keeps_to_it(&self, guid: &Guid, now: Instant) -> bool {
        let known = self.known();
        let home = known.guids.get(&known.hash(guid)).filter(|home| now < home.known_until);
        home.and_then(|home| home.kept_to_until).is_some_and(|until| now < until)
    }

    /// All others have said that they know no session of this Guid.
    pub(super) fn keep_to(&self, guid: &Guid, now: Instant) {
        self.change(guid, |home| home.kept_to_until = Some(now + KEPT_TO_FOR));
    }

    /// Another Guid came in this one's place.
    pub(super) fn replaced(&self, guid: &Guid, now: Instant) {
        self.change(guid, |home| home.known_until = home.known_until.min(now + REPLACED_KNOWN_FOR));
    }

    fn change(&self, guid: &Guid, change: impl FnOnce(&mut Home)) {
        let mut known = self.known();
        let hash = known.hash(guid);
        known.guids.get_mut(&hash).map(change).unwrap_or_default();
    }

    /// Where it is worth asking first.
    pub(super) fn hint(&self, guid: &Guid) -> Option<Authority> {
        self.known().nodes.get(guid.node()?).cloned()
    }

    /// Knows what the other one knows.
    pub(super) fn follow(&self, before: &Self) {
        let before = before.known();
        let copy = Known {
            hasher: before.hasher.clone(),
            guids: before.guids.clone(),
            nodes: before.nodes.clone(),
            tidy_at: before.tidy_at,
            tidied: before.tidied,
        };
        drop(before);
        *self.known() = copy;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while the lock is held; if it did, every state is a valid one.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn hash(&self, guid: &Guid) -> u64 {
        self.hasher.hash_one(guid.as_secret().expose_secret())
    }

    /// Takes out what is too old, when as many came as were left the last time.
    fn tidy(&mut self, now: Instant) {
        let paused = self.tidied.is_some_and(|tidied| now < tidied + TIDY_EVERY);
        if self.guids.len() >= self.tidy_at.clamp(1024, HOMES_MAX) && !paused {
            self.guids.retain(|_, home| now < home.known_until);
            (self.tidy_at, self.tidied) = (self.guids.len() * 2, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guid(number: usize) -> Guid {
        Guid::from_text(&format!("{number:048x}.AgentGateway0")).expect("a Guid")
    }

    fn at(text: &'static str) -> Authority {
        Authority::from_static(text)
    }

    #[test]
    fn a_home_is_known_for_minutes_and_the_node_is_a_hint() {
        let (homes, start) = (Homes::default(), Instant::now());
        homes.learn(&guid(1), &at("a:1"), start);
        assert_eq!(homes.of(&guid(1), start), Some(at("a:1")));
        assert_eq!(homes.of(&guid(2), start), None);
        assert_eq!(homes.hint(&guid(2)), Some(at("a:1")));
        homes.learn(&guid(2), &at("b:1"), start);
        assert_eq!((homes.of(&guid(1), start), homes.hint(&guid(3))), (Some(at("a:1")), Some(at("b:1"))));
        assert_eq!(homes.of(&guid(1), start + KNOWN_FOR), None);
        let next = Homes::default();
        next.follow(&homes);
        assert_eq!(next.of(&guid(2), start), Some(at("b:1")));
    }

    #[test]
    fn no_more_are_known_than_may_be_and_old_ones_make_room() {
        let (homes, start) = (Homes::default(), Instant::now());
        (0..HOMES_MAX + 100).for_each(|number| homes.learn(&guid(number), &at("a:1"), start));
        assert_eq!(homes.known().guids.len(), HOMES_MAX);
        assert_eq!(homes.of(&guid(HOMES_MAX + 1), start), None, "not learned, so asked for everywhere");
        homes.learn(&guid(1), &at("b:1"), start);
        assert_eq!(homes.of(&guid(1), start), Some(at("b:1")), "one that is known can move");
        homes.learn(&guid(HOMES_MAX + 1), &at("a:1"), start + KNOWN_FOR);
        assert_eq!(homes.known().guids.len(), 1);
    }

    #[test]
    fn a_guid_that_was_replaced_makes_room_sooner_and_no_look_over_all_is_taken_twice_a_second() {
        let (homes, start) = (Homes::default(), Instant::now());
        // Ten thousand sessions, each with a new Guid every 30 s, over ten minutes.
        for round in 0..20_u32 {
            let now = start + round * Duration::from_secs(30);
            for session in 0..10_000 {
                let number = 1 + session + 10_000 * round as usize;
                homes.learn(&guid(number), &at("a:1"), now);
                if round > 0 {
                    homes.replaced(&guid(number - 10_000), now);
                }
            }
            assert_eq!(homes.of(&guid(10_000 * (round as usize + 1)), now), Some(at("a:1")), "{round}");
        }
        let homes = Homes::default();
        (0..HOMES_MAX).for_each(|number| homes.learn(&guid(number), &at("a:1"), start));
        let tidied = homes.known().tidied;
        homes.learn(&guid(HOMES_MAX), &at("a:1"), start + TIDY_EVERY / 2);
        assert_eq!(homes.known().tidied, tidied);
        homes.learn(&guid(HOMES_MAX), &at("a:1"), start + TIDY_EVERY * 2);
        assert!(homes.known().tidied > tidied);
    }

    #[test]
    fn r17_no_guid_is_kept() {
        let homes = Homes::default();
        let guid = Guid::from_text("279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0").expect("a Guid");
        homes.learn(&guid, &at("a:1"), Instant::now());
        assert!(!format!("{homes:?}").contains("279fe21d"));
    }
}
