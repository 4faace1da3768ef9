//! Several replicas that share an agent, as a deterministic simulation: machines, store and gateway under a virtual clock,
//! with everything going wrong at random. A seed is one run; `SEED=n` repeats it and tells what happened.

use std::collections::BTreeMap;

use self::model_store::Broken;
use self::world::{Kind as Build, Run, run};
use super::*;

mod checks;
mod clients;
mod faults;
mod judge;
mod look;
mod model_gateway;
mod model_store;
mod replica;
mod watch;
mod wires;
mod world;

/// How many seeds are run; `SEEDS` says otherwise.
const SEEDS: u64 = 10_000;
/// Within so many a defect that was made on purpose must be found.
const FOUND_WITHIN: u64 = 500;

#[derive(Default)]
struct Sum {
    runs: u64,
    steps: usize,
    served: u64,
    sign_ins: u64,
    /// How long each takeover took, in hundredths of the lease.
    takeovers: Vec<u64>,
    allowed: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<&'static str, u64>,
    broken: Vec<(u64, &'static str, String)>,
}

impl Sum {
    fn add(&mut self, seed: u64, run: Run) {
        self.runs += 1;
        self.steps += run.steps;
        self.served += run.served;
        self.sign_ins += u64::from(run.watch.sign_ins);
        self.takeovers.extend(&run.watch.took_over);
        run.watch.allowed.iter().for_each(|(what, times)| *self.allowed.entry(what).or_default() += u64::from(*times));
        run.watch
            .refusals
            .iter()
            .for_each(|(what, times)| *self.refusals.entry(what).or_default() += u64::from(*times));
        self.broken.extend(run.watch.broken.map(|(rule, detail)| (seed, rule, detail)));
    }

    fn join(&mut self, other: Self) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.served += other.served;
        self.sign_ins += other.sign_ins;
        self.takeovers.extend(other.takeovers);
        other.allowed.iter().for_each(|(what, times)| *self.allowed.entry(what).or_default() += times);
        other.refusals.iter().for_each(|(what, times)| *self.refusals.entry(what).or_default() += times);
        self.broken.extend(other.broken);
    }
}

/// Runs seeds on all processors, each thread its own share.
fn run_all(seeds: std::ops::Range<u64>, build: Build) -> Sum {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64).min(8);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        let share = |first| {
            let seeds = seeds.clone();
            scope.spawn(move || {
                let mut sum = Sum::default();
                seeds.skip(first).step_by(threads as usize).for_each(|seed| sum.add(seed, run(seed, build, false)));
                sum
            })
        };
        let shares: Vec<_> = (0..threads as usize).map(share).collect();
        shares.into_iter().for_each(|share| sum.join(share.join().expect("a run that does not panic")));
    });
    sum.broken.sort();
    sum
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn no_seed_breaks_a_rule_of_shared_sessions() {
    if let Some(seed) = number("SEED") {
        let run = run(seed, Build::default(), true);
        println!("{}", run.trace);
        println!("seed {seed}: {:?}, {} steps, allowed {:#?}", run.watch.broken, run.steps, run.watch.allowed);
        assert_eq!(run.watch.broken, None, "seed {seed}");
        return;
    }
    let begun = Instant::now();
    let sum = run_all(0..number("SEEDS").unwrap_or(SEEDS), Build::default());
    let took = begun.elapsed();
    println!("{} runs, {} steps, {} served, {} sign-ins, {took:.1?}", sum.runs, sum.steps, sum.served, sum.sign_ins);
    println!(
        "takeovers in hundredths of a lease: {} of them, at most {:?}, {} above 110\nallowed: {:#?}\nrefused: {:#?}",
        sum.takeovers.len(),
        sum.takeovers.iter().max(),
        sum.takeovers.iter().filter(|took| **took > 110).count(),
        sum.allowed,
        sum.refusals
    );
    let mut kinds = BTreeMap::<&str, Vec<u64>>::new();
    sum.broken.iter().for_each(|(seed, rule, _)| kinds.entry(rule).or_default().push(*seed));
    kinds
        .iter()
        .for_each(|(rule, seeds)| println!("{rule}: {} seeds, {:?}", seeds.len(), &seeds[..seeds.len().min(6)]));
    for (seed, rule, detail) in sum.broken.iter().take(5) {
        println!("SEED={seed}: {rule}: {detail}");
    }
    assert!(sum.broken.is_empty(), "{} seeds", sum.broken.len());
    assert!(sum.served >= sum.runs && !sum.takeovers.is_empty(), "the runs show something");
}

#[test]
fn what_is_broken_on_purpose_is_found() {
    let builds = [
        (
            "a store that takes any fence",
            Build { store: Broken { fence: true, ..Broken::default() }, ..Build::default() },
        ),
        (
            "the same, by what comes of it",
            Build { store: Broken { fence: true, ..Broken::default() }, blind: true, ..Build::default() },
        ),
        (
            "a store that does not settle",
            Build { store: Broken { settling: true, ..Broken::default() }, ..Build::default() },
        ),
        (
            "a store that ignores tenures",
            Build { store: Broken { tenure: true, ..Broken::default() }, ..Build::default() },
        ),
        ("a machine that ignores its tenure", Build { ignores_tenure: true, ..Build::default() }),
    ];
    for (what, build) in builds {
        let sum = run_all(0..FOUND_WITHIN, build);
        let mut kinds = BTreeMap::<&str, u64>::new();
        sum.broken.iter().for_each(|(_, rule, _)| *kinds.entry(rule).or_default() += 1);
        println!("{what}: found by {} of {FOUND_WITHIN} seeds, {kinds:?}", sum.broken.len());
        assert!(!sum.broken.is_empty(), "{what} is not found");
    }
}
