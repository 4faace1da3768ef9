//! A slow upstream's bytes are passed on at once: none waits in ccgate for more of them. The times are those of one process,
//! from the write to the upstream's socket until the client has read it.

use std::time::Duration;

use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::scripted::{Script, Scripted, Step};
use crate::world::{CALL, World, call};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
/// Longest that a byte may be on its way.
const LONGEST: Duration = Duration::from_millis(50);
/// Longest for the last byte of what came at once: its way takes time, too, and a test's build is slow.
const LONGEST_OF_MANY: Duration = Duration::from_millis(250);
/// A busy machine delays what it likes, now and then. What ccgate delays, it delays each time.
const TRIES: usize = 4;

fn steady() -> Vec<Step> {
    vec![Step { pause: Duration::from_micros(15_625), bytes: KIB }; 192]
}

/// Much at once makes it worth while to wait for more before the next look. Then there is not much more.
fn burst() -> Vec<Step> {
    let many = Step { pause: Duration::ZERO, bytes: 2 * MIB };
    let few = Step { pause: Duration::from_millis(20), bytes: 8 * KIB };
    [vec![many], vec![few; 100]].concat()
}

/// Downloads once: for each step how long its last byte was on its way, over what it was allowed. Nothing can overtake the
/// step before it, so a step begins to count when that one is there.
async fn delays(world: &World, upstream: &Scripted) -> Vec<Duration> {
    let bytes = upstream.script.lock().unwrap().bytes();
    let mut download = world.open(&call(1001, CALL), &world.issuer.agent(1001), &[]).await;
    assert_eq!(download.status, 200);
    let (mut arrived, mut end) = (Vec::new(), 0);
    while let Some(piece) = download.piece().await {
        end += piece.unwrap().len() as u64;
        arrived.push((end, Instant::now()));
    }
    assert_eq!(end, bytes);
    let written = upstream.written.lock().unwrap().clone();
    let mut before = written[0].1;
    let mut delays = Vec::new();
    for (end, at) in written {
        let there = arrived.iter().find(|(so_far, _)| *so_far >= end).unwrap().1;
        delays.push(there.saturating_duration_since(at.max(before)));
        before = there;
    }
    delays
}

async fn passed_on_at_once(what: &str, steps: Vec<Step>) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let upstream = Scripted::start().await;
    let world = World::new().file("scripted-ca.pem", &upstream.ca_pem).config(|config| {
        config["upstream"]["url"] = upstream.url.as_str().into();
        config["upstream"]["ca_file"] = "scripted-ca.pem".into();
        config["log"]["level"] = "info".into();
    });
    let mut world = world.start_process().await;
    for chunked in [false, true] {
        let framing = if chunked { "chunked" } else { "with a length" };
        *upstream.script.lock().unwrap() = Script { chunked, steps: steps.clone() };
        let mut worst = Vec::new();
        let good = loop {
            let delays = delays(&world, &upstream).await;
            let late =
                |(delay, step): (&Duration, &Step)| *delay > if step.bytes < MIB { LONGEST } else { LONGEST_OF_MANY };
            let count = delays.iter().zip(&steps).filter(|pair| late(*pair)).count();
            let mut sorted = delays.clone();
            sorted.sort_unstable();
            println!(
                "{what}, {framing}: {:.1?} in the middle, {:.1?} at most, {count} late",
                sorted[sorted.len() / 2],
                sorted[sorted.len() - 1]
            );
            worst.push(sorted[sorted.len() - 1]);
            if count == 0 || worst.len() == TRIES {
                break count == 0;
            }
        };
        assert!(good, "{what}, {framing}: {worst:?} at most in each of {TRIES} tries");
    }
    assert!(world.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_a_slow_upstream_waits_for_the_next() {
    passed_on_at_once("64 KiB a second", steady()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_waits_where_much_came_at_once_before() {
    passed_on_at_once("2 MiB, then 8 KiB every 20 ms", burst()).await;
}
