//! How long a run goes, how hard, and by which seed. It decides nothing while it runs.

use std::fmt;
use std::time::Duration;

/// Below this the quarters are too short to compare.
const JUDGED_FROM: Duration = Duration::from_mins(12);
/// A drain with slow clients must fit between two restarts.
const RESTARTS: (Duration, Duration) = (Duration::from_secs(20), Duration::from_mins(2));

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub length: Duration,
    /// Requests that begin in a second.
    pub per_second: u32,
    /// Sizes of recordings: most of them, the large ones, and a few that are larger.
    pub sizes: [u64; 3],
    pub reload_every: Duration,
    /// One of the two processes, in turn.
    pub restart_every: Duration,
    /// Nobody uses an agent for so long: it is signed out.
    pub idle_sign_out: Duration,
    /// Whether memory and descriptors must be flat.
    pub is_judged: bool,
}

impl Plan {
    pub fn of_environment() -> Self {
        let seed =
            std::env::var("SOAK_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
        let minutes = std::env::var("SOAK_MINUTES").ok().filter(|minutes| !minutes.is_empty());
        match minutes.map(|minutes| minutes.parse::<f64>().expect("SOAK_MINUTES is a number")) {
            Some(minutes) => Self::long(seed, Duration::from_secs_f64(minutes * 60.0)),
            None => Self::short(seed),
        }
    }

    fn long(seed: u64, length: Duration) -> Self {
        Self {
            seed,
            length,
            per_second: 50,
            sizes: [64 * KIB, 64 * MIB, 256 * MIB],
            reload_every: Duration::from_secs(10),
            restart_every: (length / 10).clamp(RESTARTS.0, RESTARTS.1),
            idle_sign_out: Duration::from_secs(20),
            is_judged: length >= JUDGED_FROM,
        }
    }

    /// For a slow machine with other work, and a build without optimisation.
    fn short(seed: u64) -> Self {
        Self {
            seed,
            length: Duration::from_secs(55),
            per_second: 12,
            sizes: [64 * KIB, 4 * MIB, 16 * MIB],
            reload_every: Duration::from_secs(5),
            restart_every: Duration::from_secs(20),
            idle_sign_out: Duration::from_secs(8),
            is_judged: false,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SOAK_SEED={} for {:?}: {} requests a second, a reload every {:?}, a restart every {:?}",
            self.seed, self.length, self.per_second, self.reload_every, self.restart_every
        )
    }
}
