//! The TLS listener as a scanner of another make sees it. The lists here are exact: a new suite is a decision.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tokio::process::Command;

use crate::pki::{Authority, NOW};
use crate::world::World;

const TLS13: [&str; 3] = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

async fn world(key: rcgen::KeyPair) -> World {
    let authority = Authority::new("servers");
    let server = authority.issue_for(key, "ccgate", &["127.0.0.1"], NOW);
    let files = json!({ "cert_file": "server.crt", "key_file": "server.key" });
    World::new()
        .file("server.crt", &server.pem())
        .file("server.key", &server.key_pem())
        .config(|c| c["server"]["tls"] = files)
        .start()
        .await
}

async fn scan(world: &World) -> String {
    let mut command = Command::new("sslscan");
    command.args(["--xml=-", "--no-check-certificate", &world.server().to_string()]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let ended = tokio::time::timeout(Duration::from_mins(5), command.output()).await.expect("an end in time");
    String::from_utf8(ended.expect("sslscan: apt install sslscan").stdout).unwrap()
}

/// The values of an attribute in all elements of a name.
fn attributes<'t>(page: &'t str, element: &str, name: &str) -> Vec<&'t str> {
    let open = format!("<{element} ");
    let value = |line: &'t str| line.split_once(&format!(" {name}=\"")).and_then(|(_, rest)| rest.split('"').next());
    page.lines().filter(|line| line.trim_start().starts_with(&open)).filter_map(value).collect()
}

fn expect_only(page: &str, tls12: &[&str]) {
    for line in page.lines().filter(|line| line.trim_start().starts_with("<protocol ")) {
        let modern = ["version=\"1.2\"", "version=\"1.3\""].iter().any(|version| line.contains(version));
        assert_eq!(line.contains("enabled=\"1\""), modern, "{line}");
    }
    let versions: BTreeSet<_> = attributes(page, "cipher", "sslversion").into_iter().collect();
    assert_eq!(versions, BTreeSet::from(["TLSv1.2", "TLSv1.3"]), "{page}");
    let found: BTreeSet<_> = attributes(page, "cipher", "cipher").into_iter().collect();
    assert_eq!(found, TLS13.iter().chain(tls12).copied().collect(), "{page}");
    assert_eq!(attributes(page, "renegotiation", "supported"), ["0"], "{page}");
    assert!(attributes(page, "heartbleed", "vulnerable").iter().all(|vulnerable| *vulnerable == "0"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_finds_nothing_below_tls_1_2_and_no_weak_suite() {
    let world_ecdsa = world(rcgen::KeyPair::generate().unwrap()).await;
    let suites = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"];
    expect_only(&scan(&world_ecdsa).await, &suites);
    let world_rsa = world(rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap()).await;
    let suites = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305"];
    expect_only(&scan(&world_rsa).await, &suites);
}

/// Scanners of today are built without compression and cannot ask for it, so this hello is written by hand: TLS 1.2 with
/// DEFLATE before "none".
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_wants_compression_gets_none() {
    let world = world(rcgen::KeyPair::generate().unwrap()).await;
    let extensions: Vec<u8> = [
        &[0, 10, 0, 6, 0, 4, 0, 29, 0, 23][..], // groups: x25519, P-256
        &[0, 11, 0, 2, 1, 0],                   // points: uncompressed
        &[0, 13, 0, 4, 0, 2, 4, 3],             // signatures: ECDSA with P-256 and SHA-256
    ]
    .concat();
    let mut hello = vec![3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x2b, 2, 1, 0]); // no session; one suite; DEFLATE, none
    hello.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    hello.extend(extensions);
    let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
    let record = [&[22, 3, 1][..], &length(hello.len() + 4), &[1, 0], &length(hello.len()), &hello].concat();
    let (answer, _closed) = crate::client::raw(world.server(), &record, Duration::from_secs(5)).await;
    let [22, 3, 3, _, _, 2, _, _, _, 3, 3, rest @ ..] = answer.as_slice() else { panic!("no hello: {answer:?}") };
    let (_random, rest) = rest.split_at(32);
    let session = usize::from(rest[0]);
    assert_eq!(rest[1 + session..4 + session], [0xc0, 0x2b, 0], "the suite, and no compression");
}
