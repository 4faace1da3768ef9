//! What a person has taken from one replica counts at the others.

use std::time::Duration;

use serde_json::json;

use crate::ONE_AT_A_TIME;
use crate::client::Answer;
use crate::fleet::Fleet;
use crate::traffic::SIZE;
use crate::world::{World, call, metric_of, until};

/// How many recordings a person may take in a day.
const LIMIT: u32 = 12;
/// Within so much later than a second all replicas know of each other, also on a busy machine.
const HEARD: Duration = Duration::from_secs(5);

async fn take(fleet: &Fleet, replica: usize, number: u32) -> Answer {
    let token = fleet.world.issuer.agent(1001);
    fleet.get(replica, &call(1001, &format!("1621413752-{number}")), &token).await
}

async fn is_refused(fleet: &Fleet, replica: usize, number: u32) -> bool {
    let answer = take(fleet, replica, number).await;
    match answer.status.as_u16() {
        200 => false,
        429 => {
            assert_eq!(answer.code(), "budget_exceeded");
            assert!(answer.header("retry-after").parse::<u64>().unwrap() > 23 * 3_600);
            true
        }
        status => panic!("{status}: {}", answer.json()),
    }
}

/// Takes new recordings from all replicas in turn until all refuse: how many there were.
async fn taken_until_refused(fleet: &Fleet, first: u32, pause: Duration) -> u32 {
    let (mut number, mut taken, mut refusals) = (first, 0, 0);
    while refusals < 2 * fleet.len() {
        let replica = usize::try_from(number).unwrap() % fleet.len();
        if is_refused(fleet, replica, number).await {
            refusals += 1;
        } else {
            (taken, refusals) = (taken + 1, 0);
        }
        number += 1;
        assert!(taken <= 3 * LIMIT, "no end");
        tokio::time::sleep(pause).await;
    }
    taken
}

fn limited() -> crate::world::Builder {
    World::new().sim(|sim| sim.default_size = SIZE).config(|config| {
        config["log"]["level"] = "info".into();
        config["budgets"] = json!({ "recordings_per_day": LIMIT, "bytes_per_day": "1TiB" });
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn three_replicas_keep_one_budget_over_restarts_and_without_redis() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut fleet = Fleet::start(limited(), 3).await;
    // At most one a second: by the next one all have heard of it, but for a machine that is busy for long.
    let taken = taken_until_refused(&fleet, 0, Duration::from_millis(1_500)).await;
    assert!((LIMIT..=LIMIT + 3).contains(&taken), "{taken}");
    for replica in 0..3 {
        assert!(is_refused(&fleet, replica, 9_000).await, "{replica}");
        assert_eq!(take(&fleet, replica, 0).await.status, 200, "one that counts already, from any replica");
    }

    // One that starts again counts on from its own log and hears the rest of the others.
    until("its ends are written", || async { fleet.events("finished").len() as u32 >= taken }).await;
    fleet.kill(1).await;
    fleet.run(1).await;
    until("it knows what it has not seen", || async {
        assert_eq!(take(&fleet, 1, 0).await.status, 200);
        is_refused(&fleet, 1, 9_000).await
    })
    .await;

    // Without Redis each goes on with what it knows; nobody waits for it.
    fleet.redis.kill();
    tokio::time::sleep(HEARD).await;
    for replica in 0..3 {
        let answer = take(&fleet, replica, 9_001).await;
        assert_eq!(answer.status, 429, "{replica}: {}", answer.code());
    }
    // An empty one is filled again by those who know.
    fleet.redis.restart_empty();
    until("all is told again", || async {
        for replica in 0..3 {
            let answer = take(&fleet, replica, 0).await;
            assert!([200, 503].contains(&answer.status.as_u16()), "{}", answer.json());
        }
        let known = fleet.redis.dump_all().into_iter().filter(|(key, _)| key.ends_with(":recordings"));
        // The number behind each stands in a line of its own.
        known.map(|(_, value)| value.split(|byte| *byte == b'\n').count() / 2).sum::<usize>() >= LIMIT as usize
    })
    .await;
    let up =
        metric_of(fleet.process(0).admin(), "ccgate_session_store_requests_total{operation=\"budgets\",outcome=\"ok\"")
            .await;
    assert!(up.is_some_and(|count| count > 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn at_full_speed_what_goes_beyond_is_what_the_others_did_meanwhile_and_redis_holds_no_name() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let fleet = Fleet::start(limited(), 2).await;
    let taken = taken_until_refused(&fleet, 0, Duration::ZERO).await;
    // Each keeps to the limit by itself.
    assert!((LIMIT..=2 * LIMIT).contains(&taken), "{taken}");
    until("both have told", || async {
        let dump = fleet.redis.dump_all();
        let told = |end: &str| dump.iter().filter(|(key, _)| key.contains(":budget:") && key.ends_with(end)).count();
        told(":bytes") == 1 && told(":recordings") == 1
    })
    .await;
    for (key, value) in fleet.redis.dump_all().into_iter().filter(|(key, _)| key.contains(":budget:")) {
        let text = format!("{key} {}", String::from_utf8_lossy(&value));
        for planted in ["agent-1001", "1001", "1621413752", "call:"] {
            assert!(!text.contains(planted), "{planted} in {text}");
        }
    }
}
