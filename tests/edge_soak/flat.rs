//! Whether memory and descriptors stay flat, from samples alone.
//!
//! A process starts small and fills its caches and its allocator's arenas for a while, and each is restarted again and
//! again. So what is compared is never a young process with an old one, in three ways: the beginning and the end of a life
//! (what leaks with each request), two lives at the same ages (what grows with the log on disk or with the shared store),
//! and the first and last quarter of the whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::samples::Sample;

/// A process's youth, which is left out.
pub const YOUTH: Duration = Duration::from_mins(1);
/// A life that is compared has at least so much of itself after that.
const LIFE_MIN: Duration = Duration::from_secs(90);

/// What may be added to 5 %: one large download more or less under way holds a read buffer on either side and the pieces
/// between them, well below 1 MiB, and the load has up to two of those at a time by chance.
const RSS_SLACK: f64 = 2.0 * 1024.0 * 1024.0;
/// Each request under way has two descriptors (client and gateway). At 25 requests a second to a process some five are
/// under way more or less, by chance.
const FDS_SLACK: f64 = 10.0;

/// Means of two times that are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    pub first: f64,
    pub last: f64,
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    pub what: String,
    pub rss: Pair,
    pub fds: Pair,
}

/// All that can be compared in a run of this length.
pub fn compare(samples: &[Sample], length: Duration) -> Vec<Compared> {
    let grown: Vec<Sample> = samples.iter().copied().filter(|sample| sample.age >= YOUTH).collect();
    let mut lives = BTreeMap::<(usize, u32), Vec<Sample>>::new();
    for sample in &grown {
        lives.entry((sample.gate, sample.life)).or_default().push(*sample);
    }
    lives.retain(|_, life| life[life.len() - 1].age.saturating_sub(life[0].age) >= LIFE_MIN);
    let mut all = Vec::new();
    let ends = |life: &Vec<Sample>| {
        let quarter = life.len() / 4;
        (life[..quarter].to_vec(), life[life.len() - quarter..].to_vec())
    };
    let (firsts, lasts): (Vec<_>, Vec<_>) = lives.values().map(ends).unzip();
    all.extend(compared("first and last quarter of a life", &firsts.concat(), &lasts.concat()));
    for gate in 0..2 {
        let of_gate: Vec<_> = lives.iter().filter(|((number, _), _)| *number == gate).collect();
        let (Some((_, first)), Some((key, last))) = (of_gate.first(), of_gate.last()) else { continue };
        // Up to the age that both have come to.
        let age = first[first.len() - 1].age.min(last[last.len() - 1].age);
        let until = |life: &[Sample]| life.iter().copied().filter(|sample| sample.age <= age).collect::<Vec<_>>();
        if of_gate.len() > 1 {
            let what = format!("process {gate}, first and {}. life at equal ages", key.1 + 1);
            all.extend(compared(&what, &until(first), &until(last)));
        }
    }
    let within = |from: Duration, to: Duration| {
        grown.iter().copied().filter(|sample| sample.at >= from && sample.at < to).collect::<Vec<_>>()
    };
    all.extend(compared(
        "first and last quarter of the run",
        &within(Duration::ZERO, length / 4),
        &within(length / 4 * 3, length),
    ));
    all
}

/// The mean of all processes' samples in each quarter of the run: bytes and descriptors.
pub fn quarters(samples: &[Sample], length: Duration) -> [(f64, f64); 4] {
    [0, 1, 2, 3].map(|quarter| {
        let within = |sample: &&Sample| {
            sample.age >= YOUTH && sample.at >= length / 4 * quarter && sample.at < length / 4 * (quarter + 1)
        };
        let of_quarter: Vec<_> = samples.iter().filter(within).copied().collect();
        (mean(&of_quarter, |sample| sample.rss), mean(&of_quarter, |sample| sample.fds))
    })
}

impl Compared {
    /// What has grown that must not. Less is no fault.
    pub fn grown(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, Pair { first, last }, slack) in [("RSS", self.rss, RSS_SLACK), ("descriptors", self.fds, FDS_SLACK)]
        {
            if last > first * 1.05 + slack {
                all.push(format!("{name} ({}): {first:.0} became {last:.0}", self.what));
            }
        }
        all
    }
}

fn compared(what: &str, first: &[Sample], last: &[Sample]) -> Option<Compared> {
    let pair = |of: fn(&Sample) -> f64| Pair { first: mean(first, of), last: mean(last, of) };
    let both = !first.is_empty() && !last.is_empty();
    both.then(|| Compared { what: what.to_owned(), rss: pair(|sample| sample.rss), fds: pair(|sample| sample.fds) })
}

fn mean(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    samples.iter().map(of).sum::<f64>() / samples.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1024.0 * 1024.0;

    /// Twenty minutes as they are run: a restart every two, in turn.
    fn run(rss: impl Fn(&Sample) -> f64, fds: impl Fn(&Sample) -> f64) -> Vec<String> {
        let mut samples = Vec::new();
        for second in 0..1200_u64 {
            for gate in 0..2_usize {
                // Gate 0 is started again at 2, 6, 10, … minutes, gate 1 at 4, 8, …
                let (life, age) = match (gate, second) {
                    (0, 0..120) => (0, second),
                    (0, _) => (1 + (second - 120) / 240, (second - 120) % 240),
                    _ => (second / 240, second % 240),
                };
                let sample = Sample {
                    gate,
                    life: u32::try_from(life).expect("small"),
                    at: Duration::from_secs(second),
                    age: Duration::from_secs(age),
                    rss: 0.0,
                    fds: 0.0,
                };
                samples.push(Sample { rss: rss(&sample), fds: fds(&sample), ..sample });
            }
        }
        let all = compare(&samples, Duration::from_mins(20));
        assert_eq!(all.len(), 4, "{all:?}");
        all.iter().flat_map(Compared::grown).collect()
    }

    fn youth(sample: &Sample) -> f64 {
        30.0 * MIB * (sample.age.as_secs_f64() / 60.0).min(1.0)
    }

    #[test]
    fn what_is_flat_after_its_youth_is_flat() {
        assert_eq!(run(|sample| 10.0 * MIB + youth(sample), |_| 40.0), Vec::<String>::new());
    }

    #[test]
    fn what_leaks_with_requests_is_seen_within_a_life() {
        // 2 KiB for each of 25 requests a second.
        let leak = |sample: &Sample| 50.0 * 1024.0 * sample.age.as_secs_f64();
        let found = run(|sample| 10.0 * MIB + youth(sample) + leak(sample), |_| 40.0);
        assert!(found.iter().any(|what| what.starts_with("RSS (first and last quarter of a life)")), "{found:?}");
        // A descriptor for each hundredth request.
        let found = run(|_| MIB, |sample| 40.0 + 0.25 * sample.age.as_secs_f64());
        assert!(
            found.iter().any(|what| what.starts_with("descriptors (first and last quarter of a life)")),
            "{found:?}"
        );
    }

    #[test]
    fn what_grows_from_life_to_life_is_seen_at_equal_ages() {
        let found = run(|sample| 40.0 * MIB + 2.0 * MIB * f64::from(sample.life), |_| 40.0);
        assert!(found.iter().any(|what| what.starts_with("RSS (process 0, first and")), "{found:?}");
        assert!(found.iter().any(|what| what.starts_with("RSS (first and last quarter of the run)")), "{found:?}");
    }
}
