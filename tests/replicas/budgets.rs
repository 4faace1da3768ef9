//! What a person has taken from one replica counts at the others.

use std::time::Duration;

use serde_json::json;

use crate::ONE_AT_A_TIME;
use crate::client::Answer;
use crate::fleet::Fleet;
use crate::traffic::SIZE;
use crate::world::{World, call, metric_of, until};

/// How many recordings a person may take in a day.
const LIMIT: u32 = 8;
/// Within so much later than a second all replicas know of each other, also on a busy machine.
const HEARD: Duration = Duration::from_secs(5);

/// Takes a recording; again where the store of the sessions was too slow for a busy machine.
async fn take(fleet: &Fleet, replica: usize, number: u32) -> Answer {
    let token = fleet.world.issuer.agent(1001);
    let mut answer = fleet.get(replica, &call(1001, &format!("1621413752-{number}")), &token).await;
    for _ in 0..20 {
        if answer.status != 503 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        answer = fleet.get(replica, &call(1001, &format!("1621413752-{number}")), &token).await;
    }
    answer
}

/// How often a replica and the others have told each other.
async fn exchanges(fleet: &Fleet, replica: usize) -> f64 {
    let told = "ccgate_session_store_requests_total{operation=\"budgets\",outcome=\"ok\"}";
    metric_of(fleet.process(replica).admin(), told).await.unwrap_or(0.0)
}

/// Waits until all who had the person have told, and then heard, what there is: two exchanges each, the first of which may
/// have been under way.
async fn all_have_heard(fleet: &Fleet) {
    for _ in ["told", "heard"] {
        let mut before = Vec::new();
        for replica in 0..fleet.len() {
            before.push(exchanges(fleet, replica).await);
        }
        for (replica, before) in before.into_iter().enumerate().filter(|(_, before)| *before > 0.0) {
            until("an exchange", || async move { exchanges(fleet, replica).await >= before + 2.0 }).await;
        }
    }
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
async fn taken_until_refused(fleet: &Fleet, wait: bool) -> u32 {
    let (mut number, mut taken, mut refusals) = (0, 0, 0);
    while refusals < 2 * fleet.len() {
        let replica = usize::try_from(number).unwrap() % fleet.len();
        if is_refused(fleet, replica, number).await {
            refusals += 1;
        } else {
            (taken, refusals) = (taken + 1, 0);
            if wait {
                until("it has told", || async { exchanges(fleet, replica).await > 0.0 }).await;
                all_have_heard(fleet).await;
            }
        }
        number += 1;
        assert!(taken <= 3 * LIMIT, "no end");
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
    let taken = taken_until_refused(&fleet, true).await;
    assert_eq!(taken, LIMIT, "each has heard of the one before");
    for replica in 0..3 {
        assert!(is_refused(&fleet, replica, 9_000).await, "{replica}");
        assert_eq!(take(&fleet, replica, 0).await.status, 200, "one that counts already, from any replica");
    }

    // One that starts again counts on from its own log and hears the rest of the others.
    until("its ends are written", || async { fleet.events("finished").len() >= taken as usize }).await;
    fleet.kill(1).await;
    fleet.run(1).await;
    // A new one each time: one that it has let through counts from then on.
    let mut number = 9_100;
    loop {
        assert_eq!(take(&fleet, 1, 0).await.status, 200);
        number += 1;
        if is_refused(&fleet, 1, number).await {
            break;
        }
        assert!(number < 9_100 + LIMIT, "it never hears what the others did");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }

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
}

#[tokio::test(flavor = "multi_thread")]
async fn at_full_speed_what_goes_beyond_is_what_the_others_did_meanwhile_and_redis_holds_no_name() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let fleet = Fleet::start(limited(), 2).await;
    let taken = taken_until_refused(&fleet, false).await;
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
        for planted in ["alice", "idp", "1621413752", "call"] {
            assert!(!text.contains(planted), "{planted} in {text}");
        }
    }
}
