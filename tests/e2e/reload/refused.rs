//! Configurations that are refused while ccgate runs: what is in force stays, and everybody can read why.

use std::fs;

use serde_json::json;

use super::{change, put, shown, until_generation, until_refused, watching};
use crate::authority::Authority;
use crate::world::{CALL, World, call, until};

async fn works(world: &World) {
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_start_refuses_the_whole_file_and_is_named() {
    let world = watching().start().await;
    let good = fs::read_to_string(world.config_file()).unwrap();
    let before = shown(&world).await;
    change(&world, |c| {
        c["server"]["max_downloads"] = 9.into();
        c["admin"]["listen"] = "127.0.0.1:1".into();
        c["audit"]["write_timeout"] = "3s".into();
        c["audit"]["signing_key_file"] = "hunter2.key".into();
    });
    let reason = until_refused(&world, 1).await;
    for told in [
        "admin.listen: changed from \"127.0.0.1:0\" to \"127.0.0.1:1\" while running, which waits for a start; \
         restart ccgate to have it, or put it back to have the rest",
        "audit.write_timeout: changed from \"2s\" to \"3s\"",
        "audit.signing_key_file: changed while running",
    ] {
        assert!(reason.contains(told), "{reason}");
    }
    assert!(!reason.contains("hunter2"), "{reason}");
    assert_eq!(world.metric("ccgate_audit_open_entries_max").await, Some(1024.0), "nothing of it is in force");
    let now = shown(&world).await;
    assert_eq!((&now["config"], &now["generation"]), (&before["config"], &json!(1)));
    assert_eq!(now["refused"]["reason"], json!(reason));
    let record = &world.events("config.refused")[0];
    assert_eq!((&record["generation"], &record["config_hash"]), (&json!(1), &now["refused"]["hash"]));
    works(&world).await;
    put(world.config_file(), &good);
    until_generation(&world, 2).await;
    let back = shown(&world).await;
    assert_eq!((&back["hash"], &back["config"], back.get("refused")), (&before["hash"], &before["config"], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_broken_the_last_good_configuration_stays() {
    let world = watching()
        .config(|c| c["policy"] = json!({ "dir": "policy", "entities_file": "teams.yaml" }))
        .file("policy/own.cedar", include_str!("../../../config/policy/own.cedar"))
        .file("teams.yaml", "teams: {}\n")
        .start()
        .await;
    works(&world).await;
    let mut refusals = 0;
    for (name, broken, told) in [
        ("ccgate.yaml", "server: [\n", "not readable as one YAML document"),
        ("ccgate.yaml", "", "upstream.url: missing"),
        ("policy/own.cedar", "permit (principal, action, resource) when { nonsense };\n", "own.cedar:1"),
        ("policy/own.cedar", "", "policy"),
        ("teams.yaml", "teams: [\n", "teams.yaml"),
        ("jwks.json", "{", "the key file cannot be used"),
        ("upstream-ca.pem", "-----BEGIN CERTIFICATE-----\nhalf\n", "upstream-ca.pem: no usable certificate in it"),
    ] {
        let path = world.dir().join(name);
        let good = fs::read_to_string(&path).unwrap();
        put(&path, broken);
        refusals += 1;
        let reason = until_refused(&world, refusals).await;
        assert!(reason.contains(told), "{name}: {reason}");
        assert!(!reason.contains('\n'), "{reason}");
        works(&world).await;
        put(&path, &good);
        until_generation(&world, u32::try_from(refusals).unwrap() + 1).await;
    }
    assert_eq!(world.sim.counts().sign_outs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_by_its_key_and_mended_where_it_is() {
    let world = watching().start().await;
    // The configuration is right by itself; what it names comes later.
    change(&world, |c| c["policy"]["dir"] = "policy".into());
    let reason = until_refused(&world, 1).await;
    assert!(reason.contains("policy.dir: ") && reason.contains("it is not there"), "{reason}");
    fs::create_dir(world.dir().join("next")).unwrap();
    fs::write(world.dir().join("next/own.cedar"), include_str!("../../../config/policy/own.cedar")).unwrap();
    fs::rename(world.dir().join("next"), world.dir().join("policy")).unwrap();
    until_generation(&world, 2).await;
    works(&world).await;
    let away = world.dir().join("away.yaml");
    fs::rename(world.config_file(), &away).unwrap();
    let reason = until_refused(&world, 2).await;
    assert!(reason.contains("cannot be read"), "{reason}");
    works(&world).await;
    fs::rename(away, world.config_file()).unwrap();
    until_generation(&world, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r17_a_key_in_the_wrong_form_is_told_of_and_not_quoted() {
    let (certificate, key) = Authority::new().issue();
    let mut world = watching()
        .file("admin.crt", &certificate)
        .file("admin.key", &key)
        .config(|c| c["admin"]["tls"] = json!({ "cert_file": "admin.crt", "key_file": "admin.key" }))
        .without_gateway()
        .await;
    world.run_here().await;
    // As it looks when line ends were lost on the way: one line, which begins as a key does.
    put(&world.dir().join("admin.key"), &key.replace('\n', ""));
    until("a refusal", || async { world.events("config.refused").len() == 1 }).await;
    let reason = world.events("config.refused")[0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("admin.key: no usable private key in it"), "{reason}");
    let secret = key.lines().nth(1).unwrap();
    let as_numbers = secret.bytes().take(8).map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    assert!(!reason.contains(&secret[..8]) && !reason.contains(&as_numbers), "{reason}");
    assert!(world.shut_down().await);
}
