//! However many ask at once, one replica signs an agent in, and all serve with its session.

use ccgate::sim;
use futures_util::future::join_all;

use crate::ONE_AT_A_TIME;
use crate::fleet::Fleet;
use crate::golden;
use crate::redis::Redis;
use crate::traffic::SIZE;
use crate::world::{World, call, until};

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_first_requests_on_three_replicas_are_one_sign_in() {
    const EACH: u32 = 200;
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new().sim(|sim| {
        sim.default_size = SIZE;
        // Long enough for all to come before it is answered.
        sim.sign_in_delay = std::time::Duration::from_millis(500);
    });
    let fleet = Fleet::start(world.config(|c| c["log"]["level"] = "info".into()), 3).await;
    let (fleet, token) = (&fleet, &fleet.world.issuer.agent(1001));
    let requests = (0..3 * EACH).map(|number| async move {
        let call_id = format!("1621413752-{number}");
        let replica = usize::try_from(number % 3).unwrap();
        (call_id.clone(), fleet.get(replica, &call(1001, &call_id), token).await)
    });
    for (call_id, answer) in join_all(requests).await {
        assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{call_id}: {:?}", answer.headers);
        assert_eq!(answer.body, sim::body_bytes(&call_id, 0, usize::try_from(SIZE).unwrap(), SIZE), "{call_id}");
    }
    let counts = fleet.world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_ins, counts.downloads), (1, 1, u64::from(3 * EACH)));
    assert_eq!(fleet.world.sim.broken_rules(), []);
    assert_eq!(fleet.events("session.signed_in").len(), 1);
    // One owns it, the others know that they do not.
    let owner = fleet.owner().await;
    for other in (0..3).filter(|replica| *replica != owner) {
        // What the owner writes meanwhile is known again when somebody asks.
        assert_eq!(fleet.get(other, &call(1001, "1621413752-1"), token).await.status, 200);
        fleet.until_borrowed(other, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_from_the_first_request_on_nobody_is_signed_in_until_it_is_back() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut fleet = Fleet::start(World::new(), 2).await;
    fleet.redis.kill();
    let token = fleet.world.issuer.agent(1001);
    for replica in [0, 1, 0, 1] {
        let answer = fleet.get(replica, &call(1001, "1621413752-1"), &token).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "store_unavailable"));
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=60).contains(&seconds), "{seconds}");
        golden::compare("store", &[golden::answer("no store of sessions", "GET a recording", &answer)]);
    }
    assert_eq!(fleet.world.sim.counts().sign_in_calls, 0);
    fleet.redis.restart_empty();
    for replica in [0, 1] {
        let fleet = &fleet;
        let token = &token;
        until("it works", || async move { fleet.get(replica, &call(1001, "1621413752-2"), token).await.status == 200 })
            .await;
    }
    assert_eq!(fleet.world.sim.counts().sign_in_calls, 1);
    assert_eq!(fleet.world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sites_on_one_redis_do_not_meet() {
    let redis = Redis::start();
    let worlds = [World::new().without_gateway().await, World::new().without_gateway().await];
    // Prefixes of their own keep them apart; that one prefix is refused to two is shown with the refused starts.
    let mut processes = Vec::new();
    for (number, world) in worlds.iter().enumerate() {
        let text = std::fs::read_to_string(world.config_file()).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        crate::fleet::secret(&world.dir().join("seal.keys"), &crate::fleet::seal_key());
        crate::fleet::secret(&world.dir().join("redis.url"), &format!("redis://{}/0\n", redis.address()));
        config["sessions"]["store"] = serde_json::json!({ "redis": {
            "url_file": "redis.url", "key_file": "seal.keys", "prefix": format!("site-{number}"), "lease": "2s", "timeout": "500ms",
        } });
        std::fs::write(world.config_file(), config.to_string()).unwrap();
        let process = crate::world::Process::start(world.config_file(), &[], &[]).await;
        let bearer = format!("Bearer {}", world.issuer.agent(1001));
        let target = call(1001, "1621413752-1");
        let headers = [("authorization", bearer.as_str())];
        until("a download", || async { crate::client::get(process.server(), &target, &headers).await.status == 200 })
            .await;
        processes.push(process);
    }
    assert_eq!(worlds.map(|world| world.sim.counts().sign_ins), [1, 1]);
}
