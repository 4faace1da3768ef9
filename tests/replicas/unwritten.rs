//! A Guid that Redis does not take at once, and whose owner is cut off soon after, is not lost.

use std::time::Duration;

use ccgate::sim::GuidMode;
use tokio::time::Instant;

use crate::ONE_AT_A_TIME;
use crate::fleet::Fleet;
use crate::wire::State;
use crate::world::{World, call, until};

/// Between two Guids.
const INTERVAL: Duration = Duration::from_secs(4);
/// Shortly before the next one.
const ALMOST: Duration = Duration::from_millis(3_900);
/// How long the older one is taken: so short that it is dead when the next owner polls.
const STILL_TAKEN: Duration = Duration::from_secs(3);
/// How soon a Guid is to be in Redis once Redis answers again: the pause after three failures in a row, and some more.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_guid_that_redis_did_not_take_at_once_outlives_its_owner() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new().config(|c| c["log"]["level"] = "info".into()).sim(|sim| {
        sim.guid_mode = GuidMode::Dynamic { interval: INTERVAL, timeout: STILL_TAKEN };
        sim.poll_wait = Duration::from_millis(500);
        sim.forbid_force = true;
    });
    let fleet = Fleet::start(world, 2).await;
    let (fleet, token) = (&fleet, &fleet.world.issuer.agent(1001));
    let status = |replica| async move { fleet.get(replica, &call(1001, "1621413752-1"), token).await.status.as_u16() };
    assert_eq!((status(0).await, status(1).await), (200, 200));
    let rotations = || fleet.world.sim.counts().rotations;
    until("two rotations", async || rotations() >= 2).await;

    // The next Guid comes while the store is silent.
    let owner = fleet.owner().await;
    tokio::time::sleep(ALMOST).await;
    fleet.wires[owner].set(State::Silent);
    until("the third", || async { rotations() >= 3 }).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    fleet.wires[owner].set(State::Whole);
    tokio::time::sleep(WRITTEN_WITHIN).await;
    fleet.wires[owner].set(State::Refusing);

    until("a takeover", || async { fleet.events("session.resumed").iter().any(|(replica, _)| *replica != owner) })
        .await;
    let served = Instant::now();
    while served.elapsed() < INTERVAL {
        assert_eq!(status(1 - owner).await, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(fleet.events("session.lost").len(), 0);
    assert_eq!(fleet.world.sim.counts().sign_in_calls, 1);
    assert_eq!(fleet.world.sim.broken_rules(), []);
}
