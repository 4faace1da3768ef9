//! What goes wrong with sessions: faults of sign-ins, keep-alives and sign-outs, and others who throw an agent out. It asks
//! for no recording.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use ccgate::sim::{Kind, Scope};
use tokio::time::Instant;

use crate::cast;
use crate::faults;
use crate::gate::put;
use crate::site::Site;
use crate::world::PASSWORD;

/// One in a hundred calls about sessions: some 17 agents poll about every 1.3 s.
const EVERY: Duration = Duration::from_millis(7_500);
/// After so long whoever holds a session that nobody here knows of any more is gone, as after the gateway's `MAXTIME`.
const HEALED_AFTER: Duration = Duration::from_secs(20);
/// Between two troubles of an agent.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// What was brought about.
#[derive(Debug, Default)]
pub struct Troubles {
    /// Faults by what they met and what they were.
    pub faults: BTreeMap<String, u32>,
    pub thrown_out: u32,
    /// Accounts that were to be barred.
    pub barred: u32,
}

/// Makes trouble until `end`.
pub async fn make(site: &Site, mut random: fastrand::Rng, end: Instant) -> Troubles {
    let mut troubles = Troubles::default();
    let (mut last, mut heal) = (HashMap::<u32, Instant>::new(), Vec::<(Instant, u32)>::new());
    let mut next = Instant::now() + EVERY;
    while next < end {
        let due = heal.first().map_or(next, |(due, _)| next.min(*due));
        tokio::time::sleep_until(due).await;
        if let Some((_, agent)) = heal.first().copied().filter(|(due, _)| *due <= Instant::now()) {
            heal.remove(0);
            site.world.sim.throw_out(agent);
            troubles.thrown_out += 1;
            rewrite_account(site, agent, &mut random);
            continue;
        }
        next += EVERY;
        let rested = |agent: &u32| last.get(agent).is_none_or(|last| last.elapsed() >= AGAIN_AFTER);
        let rested: Vec<_> = cast::TROUBLED.filter(rested).collect();
        let Some(agent) = random.choice(rested) else { continue };
        troubles.one(site, agent, &mut random);
        last.insert(agent, Instant::now());
        heal.push((Instant::now() + HEALED_AFTER, agent));
    }
    troubles
}

impl Troubles {
    fn one(&mut self, site: &Site, agent: u32, random: &mut fastrand::Rng) {
        let calls = random.choice([Scope::Poll, Scope::Poll, Scope::SignIn, Scope::SignIn, Scope::SignOut]).unwrap();
        let kind = match (calls, random.u32(..8)) {
            (Scope::SignIn, 0) => {
                self.barred += 1;
                Kind::Retcode("100-004".to_owned())
            }
            (Scope::SignIn, 1) => Kind::Retcode("000-004".to_owned()),
            // The session lives all the same.
            (Scope::Poll, 0) => Kind::Retcode("100-006".to_owned()),
            _ => faults::any_short(random),
        };
        *self.faults.entry(format!("{calls:?} {}", faults::name(&kind))).or_default() += 1;
        site.fault(kind, calls, agent);
        if calls == Scope::SignIn {
            // So that there is one.
            site.world.sim.throw_out(agent);
            self.thrown_out += 1;
        }
    }
}

/// Another content, so that an account that was barred is tried again.
fn rewrite_account(site: &Site, agent: u32, random: &mut fastrand::Rng) {
    let file = site.world.dir().join(format!("accounts/{agent}.yaml"));
    put(&file, &format!("password: {PASSWORD}\n# {}\n", random.u64(..)));
}

/// Whether a rule that was broken is explained by such trouble: the site counts a session as alive that the client was told
/// is dead, or whose sign-in it never heard of; or a Guid that it never heard of has taken the place of its own.
pub fn explains(broken: &ccgate::sim::BrokenRule) -> bool {
    use ccgate::sim::Rule;
    broken.agent.is_some_and(|agent| cast::TROUBLED.contains(&agent))
        && matches!(broken.rule, Rule::SecondSignIn | Rule::DeadGuid)
}
