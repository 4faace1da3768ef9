//! What a connection costs in ccgate's own memory that does nothing, or half of something.

use std::sync::Arc;
use std::time::Duration;

use ccgate::net::ClientTls;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::ONE_AT_A_TIME;
use crate::usage::{KIB, Usage};
use crate::world::{Builder, World, until};

const CONNECTIONS: usize = 2_000;

fn world() -> Builder {
    let quiet = World::new().env("CCGATE_LOG_FILTER", "info,ccgate::access=off");
    quiet.config(|config| config["server"]["header_timeout"] = "60s".into())
}

/// Opens connections that send this: bytes of memory for each, and at most so many.
async fn each(what: &str, builder: Builder, bytes: &[u8], most: u64) {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut world = builder.start_process().await;
    let pid = world.process().pid();
    let before = Usage::of(pid).rss;
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(world.server()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        kept.push(stream);
    }
    settle(&world, what, before, pid, most).await;
    drop(kept);
}

async fn settle(world: &World, what: &str, before: u64, pid: u32, most: u64) {
    let all = CONNECTIONS as f64;
    until("all are open", || async { world.metric("ccgate_http_connections").await == Some(all) }).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let cost = Usage::of(pid).rss.saturating_sub(before) / CONNECTIONS as u64;
    println!("{what}: {cost} bytes each");
    assert!(cost <= most, "{what}: {cost} bytes, at most {most}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection() {
    each("silent", world(), b"", 24 * KIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_head() {
    each("half a small head", world(), b"GET / HTTP/1.1\r\nHost: a\r\nX: ", 32 * KIB).await;
    let large = [b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &vec![b'a'; 31 * 1024][..]].concat();
    each("31 KiB of a head", world(), &large, 80 * KIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_tls() {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let tls = || {
        world()
            .file("server.crt", &params.self_signed(&key).unwrap().pem())
            .file("server.key", &key.serialize_pem())
            .config(|config| config["server"]["tls"] = json!({ "cert_file": "server.crt", "key_file": "server.key" }))
    };
    each("no handshake yet", tls(), b"", 24 * KIB).await;
    each("half a handshake", tls(), b"\x16\x03\x01\x02\x00\x01", 32 * KIB).await;

    let _alone = ONE_AT_A_TIME.lock().await;
    let mut world = tls().start_process().await;
    let trust = ClientTls { ca_file: Some(world.dir().join("server.crt")), ..ClientTls::default() };
    let connector = TlsConnector::from(Arc::new(trust.build().unwrap()));
    let pid = world.process().pid();
    let before = Usage::of(pid).rss;
    let mut kept = Vec::new();
    for _ in 0..CONNECTIONS {
        let stream = TcpStream::connect(world.server()).await.unwrap();
        kept.push(connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await.unwrap());
    }
    settle(&world, "after its handshake", before, pid, 64 * KIB).await;
}
