//! A replica that ends hands over what others use, and signs out what nobody does.

use crate::ONE_AT_A_TIME;
use crate::fleet::Fleet;
use crate::world::{World, call, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_owner_hands_its_session_over_and_the_last_replica_signs_out() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut fleet = Fleet::start(World::new().config(|c| c["log"]["level"] = "info".into()), 3).await;
    let token = fleet.world.issuer.agent(1001);
    let target = call(1001, "1621413752-1");
    for replica in 0..3 {
        assert_eq!(fleet.get(replica, &target, &token).await.status, 200, "{replica}");
    }
    for round in 0..2 {
        let owner = fleet.owner().await;
        assert!(fleet.drain(owner).await, "round {round}");
        assert_eq!(fleet.world.sim.counts().sign_outs, 0, "round {round}");
        let handed: Vec<_> = fleet.events("session.handed_over").iter().map(|(replica, _)| *replica).collect();
        assert_eq!((handed.len(), handed.contains(&owner)), (round + 1, true), "{handed:?}");
        // All that are left serve at once, and one of them owns it.
        for replica in fleet.awake() {
            assert_eq!(fleet.get(replica, &target, &token).await.status, 200, "round {round}, {replica}");
        }
    }
    let last = fleet.owner().await;
    assert_eq!(fleet.awake(), [last]);
    assert!(fleet.drain(last).await);
    until("signed out", || async { fleet.world.sim.counts().sign_outs == 1 }).await;
    assert_eq!(fleet.world.sim.signed_in(1001), None);
    assert_eq!(fleet.events("session.signed_out").len(), 1);
    assert_eq!(fleet.world.sim.counts().sign_in_calls, 1);
    assert_eq!(fleet.world.sim.broken_rules(), []);
}
