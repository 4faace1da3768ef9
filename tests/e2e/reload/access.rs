//! Who may have what: policy, issuers and their keys, changed while downloads run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Volume, change, put, until_generation, watching};
use crate::idp::Idp;
use crate::issuer::{AUDIENCE, Issuer};
use crate::ledger;
use crate::world::{CALL, World, call, until};

/// Agents hear their own calls, under a rule of this name.
fn own(name: &str) -> String {
    format!(
        "@id(\"{name}\")\npermit (principal, action == Action::\"download\", resource)\n\
         when {{ principal has agent && principal.agent == resource.session_agent }};\n"
    )
}

async fn status(world: &World, token: &str) -> u16 {
    world.get(&call(1001, CALL), token).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_sees_one_policy_while_it_is_swapped_under_load() {
    let world = watching().config(|c| c["policy"]["dir"] = "policy".into()).without_gateway().await;
    // Two files, of which each request must see a pair: what one permits, the other's rule names the reason of.
    let files = |generation: u32| [own(&format!("own-{generation}")), format!("// generation {generation}\n")];
    let first = files(0);
    let mut volume = Volume::new(world.dir().join("policy"), &[("own.cedar", &first[0]), ("zz.cedar", &first[1])]);
    let mut world = world;
    world.run_here().await;
    world.until_ready().await;
    let world = Arc::new(world);
    let over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (world, over) = (Arc::clone(&world), Arc::clone(&over));
        load.spawn(async move {
            let (token, mut served) = (world.issuer.agent(1001), 0);
            while !over.load(Ordering::Relaxed) {
                let answer = world.get(&call(1001, CALL), &token).await;
                assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{answer:?}");
                served += 1;
            }
            served
        });
    }
    for generation in 1..6_u32 {
        let served = world.events("finished").len();
        let texts = files(generation);
        volume.swap(&[("own.cedar", &texts[0]), ("zz.cedar", &texts[1])]);
        until_generation(&world, generation + 1).await;
        until("downloads by it", || async { world.events("finished").len() >= served + 8 }).await;
    }
    over.store(true, Ordering::Relaxed);
    let served: usize = load.join_all().await.into_iter().sum();
    until("every end", || async { world.events("finished").len() == served }).await;
    let records = world.records();
    ledger::check(&records);
    // Rule and policy belong together, and in the log each decision comes after its policy's record.
    let (mut generation, mut hashes) = (0, vec![None::<Value>; 6]);
    let mut by_rule = vec![0; 6];
    for record in &records {
        if record["event"] == "config.loaded" {
            generation = usize::try_from(record["generation"].as_u64().unwrap()).unwrap() - 1;
        }
        if record["event"] == "authorized" {
            let rule = record["decision"]["rule"].as_str().unwrap();
            let of: usize = rule.strip_prefix("own-").unwrap().parse().unwrap();
            assert!(of <= generation, "decided by {rule} before it was in force");
            let hash = hashes[of].get_or_insert_with(|| record["decision"]["policy_hash"].clone());
            assert_eq!(*hash, record["decision"]["policy_hash"], "{rule}");
            by_rule[of] += 1;
        }
    }
    assert!(by_rule.iter().all(|count| *count > 0), "{by_rule:?}");
    hashes.dedup();
    assert_eq!(hashes.len(), 6);
    let counts = world.sim.counts();
    assert_eq!((counts.sign_ins, counts.sign_outs), (1, 0), "nobody was signed out by it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_with_what_it_was_granted() {
    let world = watching().config(|c| c["policy"]["dir"] = "policy".into());
    let world = world.file("policy/own.cedar", &own("own")).start().await;
    world.sim.add_file("1621413752-64", 64 * 1024 * 1024);
    let token = world.issuer.agent(1001);
    let mut download = world.open(&call(1001, "1621413752-64"), &token, &[]).await;
    download.piece().await.expect("a piece").expect("a good one");
    let nobody = "@id(\"nobody\") forbid (principal, action, resource);\n";
    put(&world.dir().join("policy/own.cedar"), &format!("{}{nobody}", own("own")));
    until_generation(&world, 2).await;
    assert_eq!(status(&world, &token).await, 403, "no new one");
    let read = download.read(Duration::ZERO).await;
    assert!(read.whole && read.bytes > 32 * 1024 * 1024, "{read:?}");
}

fn second_issuer(world: &World, issuer: &Issuer) -> (String, Value) {
    const NAME: &str = "https://second.example";
    put(&world.dir().join("second.json"), &issuer.jwks().to_string());
    let entry = json!({ "issuer": NAME, "audiences": [AUDIENCE], "algorithms": ["ES256"], "jwks_file": "second.json" });
    (issuer.token(&json!({ "iss": NAME, "agent_id": "1001" })), entry)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_gone_is_refused_though_its_token_was_verified_a_moment_ago() {
    let world = watching().start().await;
    let (token, entry) = second_issuer(&world, &Issuer::new("k2"));
    assert_eq!(status(&world, &token).await, 401);
    change(&world, |c| c["auth"]["issuers"].as_array_mut().unwrap().push(entry));
    until_generation(&world, 2).await;
    for _ in 0..3 {
        assert_eq!(status(&world, &token).await, 200, "and remembered");
    }
    assert_eq!(world.metric("ccgate_jwks_keys{issuer=\"https://second.example\"}").await, Some(1.0));
    change(&world, |c| drop(c["auth"]["issuers"].as_array_mut().unwrap().pop()));
    until_generation(&world, 3).await;
    assert_eq!(status(&world, &token).await, 401);
    assert_eq!(world.metric("ccgate_jwks_keys{issuer=\"https://second.example\"}").await, None);
    assert_eq!(status(&world, &world.issuer.agent(1001)).await, 200, "the other one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_a_token_good_is_asked_again_after_a_change() {
    let world = watching().start().await;
    let token = world.issuer.token(&json!({ "agent_id": "1001", "other": "1002" }));
    assert_eq!(status(&world, &token).await, 200);
    // The same token means somebody else from now on.
    change(&world, |c| c["auth"]["issuers"][0]["claims"]["agent"] = "/other".into());
    until_generation(&world, 2).await;
    assert_eq!(status(&world, &token).await, 403);
    change(&world, |c| c["auth"]["issuers"][0]["audiences"] = json!(["somebody-else"]));
    until_generation(&world, 3).await;
    assert_eq!(status(&world, &token).await, 401);
    assert_eq!(world.sim.counts().sign_outs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_is_swapped_counts_at_once() {
    let world = watching().start().await;
    let (old, next) = (world.issuer.agent(1001), Issuer::new("k2"));
    assert_eq!(status(&world, &old).await, 200);
    put(&world.dir().join("jwks.json"), &next.jwks().to_string());
    until_generation(&world, 2).await;
    assert_eq!(status(&world, &old).await, 401, "compromised, most likely");
    assert_eq!(status(&world, &next.agent(1001)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_did_not_change_keeps_its_keys() {
    let (idp, issuer) = (Idp::start().await, Issuer::new("k1"));
    idp.put("/jwks", &issuer.jwks().to_string());
    let url = format!("{}/jwks", idp.origin);
    let world = watching().issuer(issuer).config(|c| {
        let issuer = &mut c["auth"]["issuers"][0];
        issuer.as_object_mut().unwrap().remove("jwks_file");
        issuer["jwks_url"] = url.into();
    });
    let world = world.start().await;
    assert_eq!(idp.asked("/jwks"), 1);
    let token = world.issuer.agent(1001);
    idp.take_away("/jwks");
    let (second, entry) = second_issuer(&world, &Issuer::new("k2"));
    change(&world, |c| c["auth"]["issuers"].as_array_mut().unwrap().push(entry));
    until_generation(&world, 2).await;
    assert_eq!((status(&world, &token).await, status(&world, &second).await), (200, 200));
    change(&world, |c| c["auth"]["issuers"][0]["audiences"] = json!([AUDIENCE, "another"]));
    until_generation(&world, 3).await;
    assert_eq!((status(&world, &token).await, idp.asked("/jwks")), (200, 1), "nobody asked again");
    world.until_ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_issuer_whose_keys_do_not_come_is_refused_and_readiness_stays() {
    let world = watching().start().await;
    let idp = Idp::start().await;
    let entry = json!({
        "issuer": idp.origin, "audiences": [AUDIENCE], "algorithms": ["ES256"], "jwks_url": format!("{}/jwks", idp.origin),
    });
    change(&world, |c| c["auth"]["issuers"].as_array_mut().unwrap().push(entry));
    let reason = super::until_refused(&world, 1).await;
    assert!(reason.contains(&format!("the keys of issuer {} do not come", idp.origin)), "{reason}");
    world.until_ready().await;
    assert_eq!(status(&world, &world.issuer.agent(1001)).await, 200);
}
