//! Whoever reads Redis learns no Guid.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ccgate::sim::GuidMode;

use crate::ONE_AT_A_TIME;
use crate::fleet::Fleet;
use crate::world::{PASSWORD, World, call, hex, until};

/// What a Guid could look like where it is not sealed: as it is, without its node, without dashes, encoded.
pub fn forms(guid: &str) -> Vec<Vec<u8>> {
    let random = guid.split('.').next().unwrap();
    let plain = random.replace('-', "");
    let bytes: Vec<u8> =
        (0..plain.len() / 2).map(|at| u8::from_str_radix(&plain[2 * at..2 * at + 2], 16).unwrap()).collect();
    vec![
        random.as_bytes().to_vec(),
        plain.clone().into_bytes(),
        plain.to_uppercase().into_bytes(),
        bytes,
        hex(random.as_bytes()).into_bytes(),
        // Whole groups of three, so that what follows does not change them.
        STANDARD.encode(&random[..33.min(random.len())]).into_bytes(),
        URL_SAFE_NO_PAD.encode(&random[..33.min(random.len())]).into_bytes(),
    ]
}

pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Looks for every form of these Guids, and for the password, in all that Redis holds, keys included.
fn leaks(fleet: &Fleet, guids: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in fleet.redis.dump_all() {
        let all = [key.as_bytes(), b"\n", &value].concat();
        let planted = guids.iter().flat_map(|guid| forms(guid)).chain([PASSWORD.as_bytes().to_vec()]);
        found.extend(planted.filter(|form| holds(&all, form)).map(|_| key.clone()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_redis_holds_no_guid_at_any_moment() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let world = World::new().agents([1003]).config(|c| c["log"]["level"] = "info".into()).sim(|sim| {
        sim.default_size = 1024;
        sim.guid_mode = GuidMode::Dynamic { interval: Duration::from_secs(1), timeout: Duration::from_secs(4) };
        sim.poll_wait = Duration::from_millis(200);
    });
    let mut fleet = Fleet::start(world, 2).await;
    let mut guids = Vec::new();
    let mut look = |fleet: &Fleet, when: &str| {
        for agent in [1001, 1002, 1003] {
            let guid = fleet.world.sim.guid_of(agent).expect("signed in");
            if !guids.contains(&guid) {
                guids.push(guid);
            }
        }
        // Something is there, and it is about these agents.
        assert!(fleet.redis.dump_all().iter().any(|(key, _)| key.contains("1002")), "{when}");
        assert_eq!(leaks(fleet, &guids), Vec::<String>::new(), "{when}");
        guids.len()
    };
    for agent in [1001, 1002, 1003] {
        let token = fleet.world.issuer.agent(agent);
        for replica in 0..2 {
            assert_eq!(fleet.get(replica, &call(agent, "1621413752-1"), &token).await.status, 200);
        }
    }
    look(&fleet, "signed in");
    until("ten Guids", || {
        let seen = look(&fleet, "rotating");
        async move { seen >= 10 }
    })
    .await;
    // A borrower is refused: what it tells the owner goes through Redis, too.
    fleet.world.sim.throw_out(1001);
    let token = fleet.world.issuer.agent(1001);
    let borrower = usize::from(fleet.agents(0, "borrowed").await == 0);
    assert_eq!(fleet.get(borrower, &call(1001, "1621413752-2"), &token).await.status, 200);
    look(&fleet, "after a loss");
    fleet.kill(1 - borrower).await;
    until("taken over", || async { fleet.agents(borrower, "active").await == 3 }).await;
    look(&fleet, "after a takeover");
}

#[test]
fn a_guid_is_found_in_every_form() {
    let guid = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";
    for form in forms(guid) {
        assert!(holds(&[b"before ".as_slice(), &form, b" after"].concat(), &form));
    }
    let clear = format!("x{guid}");
    let encoded = STANDARD.encode(guid);
    assert!(forms(guid).iter().any(|form| holds(clear.as_bytes(), form)));
    assert!(forms(guid).iter().any(|form| holds(encoded.as_bytes(), form)));
    assert!(!forms(guid).iter().any(|form| holds(b"279fe21e-2caa-4437-84c3-ab9e9dae20f5", form)));
}
