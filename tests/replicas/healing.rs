//! What ends all sessions at once, or makes the gateway refuse everything, heals without a storm of sign-ins.

use std::time::Duration;

use ccgate::sim::{Fault, Kind, Scope};
use futures_util::future::join_all;

use crate::ONE_AT_A_TIME;
use crate::fleet::Fleet;
use crate::world::{World, call, until};

const AGENTS: std::ops::Range<u32> = 2001..2051;

async fn fleet() -> Fleet {
    let world = World::new().agents(AGENTS).sim(|sim| sim.default_size = 1024);
    Fleet::start(world.config(|c| c["log"]["level"] = "info".into()), 3).await
}

/// A download of each agent from each replica, all at once: the statuses that are not 200.
async fn failed(fleet: &Fleet, tokens: &[String]) -> Vec<(u32, usize, u16)> {
    let requests = AGENTS.zip(tokens).flat_map(|(agent, token)| {
        (0..3).map(move |replica| async move {
            let answer = fleet.get(replica, &call(agent, &format!("1621413752-{agent}")), token).await;
            (agent, replica, answer.status.as_u16())
        })
    });
    join_all(requests).await.into_iter().filter(|(_, _, status)| *status != 200).collect()
}

fn tokens(fleet: &Fleet) -> Vec<String> {
    AGENTS.map(|agent| fleet.world.issuer.agent(agent)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_forgets_all_sessions_is_signed_in_to_once_more_by_each_agent() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let fleet = fleet().await;
    let tokens = tokens(&fleet);
    assert_eq!(failed(&fleet, &tokens).await, []);
    assert_eq!(fleet.world.sim.counts().sign_in_calls, 50);
    fleet.world.sim.restart();
    assert_eq!(failed(&fleet, &tokens).await, []);
    assert_eq!(fleet.world.sim.counts().sign_in_calls, 100);
    assert_eq!(fleet.world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_over_ends_no_session_and_starts_no_storm() {
    const SECONDS: u64 = 5;
    let _alone = ONE_AT_A_TIME.lock().await;
    let fleet = fleet().await;
    let tokens = tokens(&fleet);
    // Half of the agents are signed in when it begins.
    for (agent, token) in AGENTS.zip(&tokens).take(25) {
        assert_eq!(fleet.get(0, &call(agent, "1621413752-1"), token).await.status, 200);
    }
    let what = Kind::Retcode("000-004".to_owned());
    fleet.world.sim.fault(Fault { what, calls: Scope::Any, agent: None, times: u32::MAX });
    let end = tokio::time::Instant::now() + Duration::from_secs(SECONDS);
    while tokio::time::Instant::now() < end {
        // Everything fails meanwhile, and is asked for again and again.
        assert_eq!(failed(&fleet, &tokens).await.len(), 150);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    // 25 were made before. The other 25 agents are tried again after 1 s, 2 s, 4 s at the soonest, on all replicas
    // together: at most four times in five seconds.
    let calls = fleet.world.sim.counts().sign_in_calls;
    assert!(calls <= 25 + 4 * 25, "{calls} sign-ins called");
    fleet.world.sim.clear_faults();
    until("all heal", || async { failed(&fleet, &tokens).await.is_empty() }).await;
    let counts = fleet.world.sim.counts();
    assert_eq!(counts.sign_ins, 50, "{counts:?}");
    assert!(counts.sign_in_calls <= calls + 2 * 25, "{counts:?}");
    assert_eq!(fleet.world.sim.broken_rules(), []);
}
