//! Guids that change all the time under downloads that last longer than any of them.

use std::time::Duration;

use ccgate::sim::{self, GuidMode, Kind, Scope};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::client::Read;
use crate::world::{World, call, until};

/// Ten seconds' worth.
const SIZE: u64 = 640 * 1024;
const RATE: u64 = 64 * 1024;
/// A minute of starts, twenty downloads under way at a time.
const DOWNLOADS: u32 = 120;
const BETWEEN_STARTS: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_of_rotations_under_steady_downloads_fails_none_and_signs_in_once() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new().sim(|sim| {
        sim.default_size = SIZE;
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(2), timeout: Duration::from_secs(4) };
        sim.poll_wait = Duration::from_millis(500);
    });
    let world = world.start_process().await;
    world.fault(Kind::Rate(RATE), Scope::Download, 1_000);

    let mut running = FuturesUnordered::new();
    let (start, mut started, mut done) = (Instant::now(), 0_u32, 0_u32);
    while done < DOWNLOADS {
        if started < DOWNLOADS {
            running.push(download(&world, started));
            started += 1;
        }
        let next_start = start + BETWEEN_STARTS * started;
        loop {
            let read = tokio::select! {
                Some(read) = running.next() => read,
                () = tokio::time::sleep_until(next_start), if started < DOWNLOADS => break,
                else => break,
            };
            assert_eq!(read.1, (200, expected(read.0)), "download {}", read.0);
            done += 1;
        }
    }
    until("the ends are written", || async { world.events("finished").len() == 120 }).await;
    let counts = world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.downloads, counts.download_refusals), (1, 1, 120, 0));
    // Every two to three seconds for seventy seconds, and each one is taken over.
    assert!(counts.rotations >= 20, "{counts:?}");
    assert!(world.metric("ccgate_session_guid_rotations_total").await >= Some(20.0));
    assert_eq!(world.sim.broken_rules(), []);
    assert_eq!(world.events("session.lost").len(), 0);
}

fn call_id(number: u32) -> String {
    format!("1621413752-{number}")
}

fn expected(number: u32) -> Read {
    Read { bytes: SIZE, sha256: sim::body_sha256(&call_id(number), SIZE), whole: true }
}

async fn download(world: &World, number: u32) -> (u32, (u16, Read)) {
    let open = world.open(&call(1001, &call_id(number)), &world.issuer.agent(1001), &[]).await;
    (number, (open.status.as_u16(), open.read(Duration::ZERO).await))
}
