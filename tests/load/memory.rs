//! Memory stays constant, whatever a file's size or a client's speed. Prints what it measured.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::plain;
use crate::world::{Builder, World, call, until};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn world() -> Builder {
    World::new().config(|c| c["log"]["level"] = "info".into())
}

/// One download to warm up; then the resident memory at rest.
async fn idle_rss(world: &mut World) -> u64 {
    world.sim.add_file("warm-up", 8 * MIB);
    let warm = plain::get(world.server(), &call(1001, "warm-up"), &world.issuer.agent(1001), None).await;
    assert!(warm.is_whole_file(), "{warm:?}");
    until("its end", || async { world.events("finished").len() == 1 }).await;
    memory(world, "VmRSS:")
}

/// Resident memory in bytes: now (`VmRSS:`), or the most that it ever was (`VmHWM:`).
fn memory(world: &mut World, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", world.process().pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * KIB
}

#[tokio::test(flavor = "multi_thread")]
async fn a_4_gib_download_that_begins_slowly_costs_less_than_8_mib() {
    const BYTES: u64 = 4096 * MIB;
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut world = world().start_process().await;
    let idle = idle_rss(&mut world).await;
    world.sim.add_file("4-gib", BYTES);
    let mut download = world.open(&call(1001, "4-gib"), &world.issuer.agent(1001), &[]).await;
    assert_eq!(download.status, 200);
    let (begun, mut bytes) = (Instant::now(), 0);
    let whole = loop {
        match download.piece().await {
            None => break true,
            Some(Err(())) => break false,
            Some(Ok(piece)) => bytes += piece.len() as u64,
        }
        if begun.elapsed() < Duration::from_secs(10) {
            // 1 MiB a second.
            tokio::time::sleep_until(begun + Duration::from_secs_f64(bytes as f64 / MIB as f64)).await;
        }
    };
    let (took, peak) = (begun.elapsed(), memory(&mut world, "VmHWM:"));
    let growth = peak.saturating_sub(idle);
    println!("4 GiB in {took:.1?}: idle {} KiB, peak {} KiB, growth {} KiB", idle / KIB, peak / KIB, growth / KIB);
    assert_eq!((whole, bytes), (true, BYTES));
    assert!(growth < 8 * MIB, "{growth} bytes");
    assert!(world.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_500_slow_clients_costs_less_than_224_kib_and_gets_its_rate() {
    const CLIENTS: u32 = 500;
    const AGENTS: u32 = 10;
    const RATE: u64 = 256 * KIB;
    const SECONDS: u64 = 10;
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut world =
        world().agents(1001..1001 + AGENTS).sim(|sim| sim.default_size = RATE * SECONDS).start_process().await;
    let idle = idle_rss(&mut world).await;
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let agent = 1001 + client % AGENTS;
        let (server, target, token) = (world.server(), call(agent, &format!("c-{client}")), world.issuer.agent(agent));
        clients.spawn(async move { plain::get(server, &target, &token, Some(RATE)).await });
    }
    let all = clients.join_all().await;
    let peak = memory(&mut world, "VmHWM:");
    let each = peak.saturating_sub(idle) / u64::from(CLIENTS);
    let rates: Vec<_> = all.iter().map(|got| got.body_bytes as f64 / got.took.as_secs_f64() / RATE as f64).collect();
    let slowest = rates.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{CLIENTS} clients: idle {} KiB, peak {} KiB, {} KiB each, the slowest at {:.1} % of its rate",
        idle / KIB,
        peak / KIB,
        each / KIB,
        100.0 * slowest
    );
    let broken: Vec<_> = all.iter().filter(|got| !got.is_whole_file()).collect();
    assert!(broken.is_empty(), "{} broken: {:?}", broken.len(), broken[0]);
    // 165 to 178 KiB where the machine is quiet; clients that get no turn pile up more.
    assert!(each < 224 * KIB, "{each} bytes each");
    assert!(slowest >= 0.9, "{slowest}");
    assert!(world.shut_down().await);
}
