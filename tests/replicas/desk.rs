//! An agent's own app whose calls come through one replica after the other: its session follows it, and downloads on all of
//! them use it.

#[path = "../e2e/desk/app.rs"]
mod app;

use std::time::Duration;

use ccgate::sim::GuidMode;
use serde_json::json;

use crate::ONE_AT_A_TIME;
use crate::fleet::Fleet;
use crate::traffic::{End, SIZE, Traffic};
use crate::world::{Builder, World, call, until};
use app::App;

fn desks() -> Builder {
    World::new()
        .sim(|sim| {
            sim.forbid_idle = false;
            sim.poll_wait = Duration::from_millis(200);
            sim.default_size = SIZE;
        })
        .config(|config| config["sessions"]["pass_through"] = true.into())
}

/// The app of agent 1001, as it is seen by each replica.
fn apps(fleet: &Fleet) -> Vec<App> {
    let token = fleet.world.issuer.agent(1001);
    let servers = (0..fleet.len()).map(|replica| fleet.server(replica).expect("it runs"));
    servers.map(|server| App::at(server, 1001, token.clone())).collect()
}

async fn downloads(fleet: &Fleet, replica: usize) {
    let answer = fleet.get(replica, &call(1001, "1621413752-1"), &fleet.world.issuer.agent(1001)).await;
    assert_eq!(answer.status, 200, "at replica {replica}: {}", answer.code());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_polls_through_any_replica_and_downloads_on_all_use_its_newest_guid() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = desks().sim(|sim| {
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(1), timeout: Duration::from_secs(30) };
    });
    let fleet = Fleet::start(world, 3).await;
    let (apps, sim) = (apps(&fleet), &fleet.world.sim);
    assert_eq!(apps[0].sign_in("").await.retcode(), "0");
    let mut guids = vec![sim.guid_of(1001).unwrap()];
    let mut traffic = Traffic::start(&fleet, 1001);
    traffic.until_whole(&[0, 1, 2], 2).await.unwrap();
    assert_eq!(fleet.owner().await, 0);
    for replica in [1, 1, 2, 0, 0, 1, 2] {
        let rotations = sim.counts().rotations;
        while sim.counts().rotations == rotations {
            assert_eq!(apps[replica].poll().await.retcode(), "0", "through {replica}");
        }
        guids.push(sim.guid_of(1001).unwrap());
        assert_eq!(fleet.owner().await, replica, "it follows the app");
        traffic.until_whole(&[0, 1, 2], 2).await.unwrap();
    }
    let (done, _) = traffic.stop().await;
    let bad: Vec<_> = done.iter().filter(|download| download.end != End::Whole).collect();
    assert!(bad.is_empty(), "{bad:?}");

    assert_eq!(apps[0].sign_out().await.retcode(), "0");
    let counts = sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_outs, sim.guid_of(1001)), (1, 1, None));
    for app in &apps {
        assert_eq!(app.poll().await.refused(), (409, "not_signed_in".to_owned()));
    }
    let used = fleet.events("authorized");
    assert!(used.iter().all(|(_, record)| record["session"]["kind"] == "desk"), "no download signed in");
    downloads(&fleet, 1).await;
    assert_eq!((sim.counts().sign_ins, fleet.events("session.signed_in").len()), (2, 1), "now it does");
    guids.push(sim.guid_of(1001).unwrap());
    for app in &apps {
        app.never_saw(&guids);
    }
    assert_eq!(sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_outlives_the_replicas_that_it_came_through() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut fleet = Fleet::start(desks(), 3).await;
    let apps = apps(&fleet);
    assert_eq!(apps[0].sign_in("").await.retcode(), "0");
    assert_eq!(apps[0].poll().await.retcode(), "0");
    downloads(&fleet, 2).await;
    let guid = fleet.world.sim.guid_of(1001);
    fleet.kill(0).await;
    assert_eq!(apps[1].poll().await.retcode(), "0", "at once");
    downloads(&fleet, 1).await;
    downloads(&fleet, 2).await;
    assert_eq!(fleet.owner().await, 1);

    assert!(fleet.drain(1).await, "a clean end");
    assert_eq!(apps[2].poll().await.retcode(), "0");
    downloads(&fleet, 2).await;
    assert_eq!(fleet.owner().await, 2);

    fleet.run(0).await;
    fleet.pause(2);
    let token = fleet.world.issuer.agent(1001);
    let back = App::at(fleet.server(0).unwrap(), 1001, token);
    assert_eq!(back.poll().await.retcode(), "0", "from one that hangs");
    fleet.wake(2);
    assert_eq!(back.poll().await.retcode(), "0");
    downloads(&fleet, 2).await;
    until("one owner", || async { fleet.owners().await == [0] }).await;

    let counts = fleet.world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_outs, fleet.world.sim.guid_of(1001)), (1, 0, guid.clone()));
    for app in apps.iter().chain([&back]) {
        app.never_saw(&[guid.clone().unwrap()]);
    }
    assert_eq!(fleet.world.sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_takes_the_agent_from_the_replica_that_had_signed_it_in() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let fleet = Fleet::start(desks(), 3).await;
    let (apps, sim) = (apps(&fleet), &fleet.world.sim);
    downloads(&fleet, 2).await;
    downloads(&fleet, 1).await;
    assert_eq!(apps[2].poll().await.refused(), (409, "not_signed_in".to_owned()), "ours is not the app's");
    assert_eq!(apps[0].sign_in("").await.retcode(), "0");
    let counts = sim.counts();
    assert_eq!((counts.sign_outs, counts.sign_ins, counts.forced), (1, 2, 0), "signed out, not thrown out");
    for replica in [2, 1, 0] {
        assert_eq!(apps[replica].poll().await.retcode(), "0", "known at once at {replica}");
        downloads(&fleet, replica).await;
    }
    // The page is loaded again, through another replica.
    assert_eq!(apps[1].sign_in("/loginex").await.retcode(), "0");
    assert_eq!(apps[2].poll().await.retcode(), "0");
    let counts = sim.counts();
    assert_eq!((counts.sign_outs, counts.sign_ins, counts.forced), (2, 3, 0));
    let ended = fleet.events("session.signed_out");
    assert!(ended.len() == 2 && ended.iter().all(|(_, record)| record["detail"] == "desk"), "{ended:?}");
    assert_eq!(sim.broken_rules(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_goes_on_while_redis_is_away_and_when_it_is_back_empty() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut fleet = Fleet::start(desks(), 2).await;
    let apps = apps(&fleet);
    assert_eq!(apps[0].sign_in("").await.retcode(), "0");
    assert_eq!(apps[0].poll().await.retcode(), "0");
    fleet.redis.kill();
    for _ in 0..8 {
        assert_eq!(apps[0].poll().await.retcode(), "0", "the session is in hand");
    }
    assert_eq!(apps[1].poll().await.refused(), (503, "store_unavailable".to_owned()), "nobody knows there");
    assert_eq!(apps[1].sign_in("/forcelogin").await.refused(), (503, "store_unavailable".to_owned()));
    fleet.redis.restart_empty();
    until("it goes on through the other", || async {
        let told = apps[1].poll().await;
        if told.status != 200 {
            assert_eq!(told.json()["code"], json!("store_unavailable"));
        }
        told.status == 200
    })
    .await;
    assert_eq!(apps[0].poll().await.retcode(), "0");
    let counts = fleet.world.sim.counts();
    assert_eq!((counts.sign_in_calls, counts.sign_outs), (1, 0));
    assert_eq!(fleet.world.sim.broken_rules(), []);
}
