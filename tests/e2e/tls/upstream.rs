//! TLS towards CC-Gateway: certificates of every kind, as sites have them.

use std::process::Stdio;
use std::time::Duration;

use ccgate::sim;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::pki::{self, Authority, NOW, OVER, Pair, TO_COME};
use crate::world::{Builder, CALL, World, call};

/// A gateway that shows this, before a ccgate whose `upstream` has these keys.
fn site(shown: &Pair, authority: Option<&Authority>, keys: Value) -> Builder {
    let certificate = sim::Certificate { chain_pem: shown.pem(), key_pem: shown.key_pem() };
    let builder = World::new().sim(|sim| sim.certificate = Some(certificate));
    let builder = builder.file("ca.pem", &authority.map(Authority::pem).unwrap_or_default());
    builder.config(|c| {
        let upstream = c["upstream"].as_object_mut().unwrap();
        upstream.remove("ca_file");
        if authority.is_some() {
            upstream.insert("ca_file".to_owned(), "ca.pem".into());
        }
        for (key, value) in keys.as_object().unwrap() {
            upstream.insert(key.clone(), value.clone());
        }
    })
}

/// The status of a download and its problem's code.
async fn download(site: Builder) -> (u16, String) {
    let world = site.start().await;
    let answer = world.get(&call(1001, CALL), &world.issuer.agent(1001)).await;
    let code = if answer.status == 200 { String::new() } else { answer.code() };
    if answer.status != 200 {
        assert!(world.sim.requests().is_empty(), "nothing was said to it");
    }
    (answer.status.as_u16(), code)
}

fn refused() -> (u16, String) {
    (502, "upstream_untrusted".to_owned())
}

fn served() -> (u16, String) {
    (200, String::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_vouches_for_name_and_time() {
    let authority = Authority::new("site");
    let issue = |sans: &[&str], years| authority.issue("CC-Gateway", sans, years);
    let (named, none) = (json!({ "server_name": "cc-gateway.example" }), json!({}));
    for (shown, keys, expected) in [
        (issue(&["127.0.0.1"], NOW), none.clone(), served()),
        (issue(&["cc-gateway.example"], NOW), named.clone(), served()),
        (issue(&["cc-gateway.example"], NOW), none.clone(), refused()),
        (issue(&["127.0.0.1"], NOW), named, refused()),
        (issue(&["127.0.0.1"], OVER), none.clone(), refused()),
        (issue(&["127.0.0.1"], TO_COME), none.clone(), refused()),
        (Authority::new("site").issue("CC-Gateway", &["127.0.0.1"], NOW), none.clone(), refused()),
        (pki::by_itself(false, NOW), none.clone(), refused()),
        (pki::by_itself(true, NOW), none, refused()),
    ] {
        assert_eq!(download(site(&shown, Some(&authority), keys.clone())).await, expected, "{keys}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_beside_an_authority_or_alone() {
    let authority = Authority::new("site");
    let shown = authority.issue("CC-Gateway", &["127.0.0.1"], NOW);
    let other = pki::by_itself(false, NOW).pin();
    let pins = |pins: &[&str]| json!({ "pin_sha256": pins });
    assert_eq!(download(site(&shown, Some(&authority), pins(&[&other, &shown.pin()]))).await, served());
    assert_eq!(download(site(&shown, Some(&authority), pins(&[&other]))).await, refused());
    let alone = |pins: &[&str]| json!({ "trust": "pin", "pin_sha256": pins });
    for (is_authority, years, expected) in
        [(false, NOW, served()), (true, NOW, served()), (false, OVER, refused()), (true, TO_COME, refused())]
    {
        let shown = pki::by_itself(is_authority, years);
        let found = download(site(&shown, None, alone(&[&shown.pin()]))).await;
        assert_eq!(found, expected, "{is_authority} {years:?}");
        assert_eq!(download(site(&shown, None, alone(&[&other]))).await, refused(), "a wrong pin");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_asks_for_our_certificate_gets_it_or_is_told_of() {
    let (authority, ours) = (Authority::new("site"), Authority::new("ours"));
    let shown = authority.issue("CC-Gateway", &["127.0.0.1"], NOW);
    let site = |pair: Option<Pair>| {
        let keys = match &pair {
            Some(_) => json!({ "client_cert_file": "client.crt", "client_key_file": "client.key" }),
            None => json!({}),
        };
        let site = site(&shown, Some(&authority), keys).sim(|sim| sim.client_ca_pem = Some(ours.pem()));
        match pair {
            Some(pair) => site.file("client.crt", &pair.pem()).file("client.key", &pair.key_pem()),
            None => site,
        }
    };
    assert_eq!(download(site(Some(ours.issue("ccgate", &["a"], NOW)))).await, served());
    assert_eq!(download(site(None)).await, refused());
    assert_eq!(download(site(Some(ours.issue("ccgate", &["a"], OVER)))).await, refused());
    assert_eq!(download(site(Some(Authority::new("others").issue("ccgate", &["a"], NOW)))).await, refused());
}

async fn check(world: &World) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ccgate"));
    command.args(["check", "--online", "--config"]).arg(world.config_file()).stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(1), command.output()).await.expect("an end in time").unwrap();
    (ended.status.code(), String::from_utf8(ended.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_online_check_shows_what_to_compare_and_to_pin() {
    let authority = Authority::new("another site");
    let shown = pki::by_itself(true, NOW);
    let pin = shown.pin();
    let world = site(&shown, Some(&authority), json!({})).without_gateway().await;
    let (code, told) = check(&world).await;
    assert_eq!(code, Some(1), "{told}");
    let has = |text: &str| assert!(told.contains(text), "{text:?} is not in:\n{told}");
    has("  problem  upstream.trust: 127.0.0.1:");
    has("its certificate is an authority's own");
    has("  ok       certificate 1: subject \"CN=appliance\", issuer \"CN=appliance\", ends 2049-01-01T00:00:00Z, pin ");
    has(&pin);
    assert!(world.sim.requests().is_empty(), "looking says nothing to it");
    // What it says works.
    let world = site(&shown, None, json!({ "trust": "pin", "pin_sha256": [pin] })).without_gateway().await;
    let (code, told) = check(&world).await;
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("is trusted and answers as CC-Gateway does") && !told.contains("certificate 1"), "{told}");
    let expected = [
        (
            pki::by_itself(false, NOW),
            json!({ "trust": "pin", "pin_sha256": [pki::by_itself(false, NOW).pin()] }),
            "pin_sha256",
        ),
        (authority.issue("x", &["cc.example"], NOW), json!({}), "server_name"),
        (authority.issue("x", &["127.0.0.1"], OVER), json!({}), "url"),
        (pki::by_itself(false, NOW), json!({}), "ca_file"),
    ];
    for (shown, keys, key) in expected {
        let pinned = keys.get("trust").is_some();
        let world = site(&shown, (!pinned).then_some(&authority), keys).without_gateway().await;
        let (code, told) = check(&world).await;
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(&format!("  problem  upstream.{key}: 127.0.0.1:")), "{key}: {told}");
        assert!(told.contains(&shown.pin()), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pins_alone_need_a_pin_and_no_authority() {
    let shown = pki::by_itself(false, NOW);
    let authority = Authority::new("site");
    for (authority, keys, told) in [
        (None, json!({ "trust": "pin" }), "upstream.trust: pin, and upstream.pin_sha256 is empty"),
        (
            Some(&authority),
            json!({ "trust": "pin", "pin_sha256": [shown.pin()] }),
            "upstream.ca_file: given beside upstream.trust: pin",
        ),
        (None, json!({ "trust": "none" }), "upstream.trust: "),
    ] {
        let world = site(&shown, authority, keys.clone()).without_gateway().await;
        let (code, text) = world.refused_start().await;
        assert_eq!(code, Some(2), "{keys}");
        assert!(text.contains(told), "{keys}: {text}");
    }
}
