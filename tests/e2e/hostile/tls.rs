//! The handshake before HTTP: its limits, and that it never agrees on HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use ccgate::net::ClientTls;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::good;
use super::limits::ended;
use super::wire::Wire;
use crate::world::{Builder, World, until};

/// A world behind TLS, with a certificate of its own that its clients know.
fn behind_tls() -> Builder {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    World::new()
        .file("server.crt", &certificate)
        .file("server.key", &key.serialize_pem())
        .config(|config| config["server"]["tls"] = json!({ "cert_file": "server.crt", "key_file": "server.key" }))
}

async fn shake(world: &World, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    shake_on(TcpStream::connect(world.server()).await?, world, protocols).await
}

async fn shake_on(stream: TcpStream, world: &World, protocols: &[&[u8]]) -> std::io::Result<TlsStream<TcpStream>> {
    let trust = ClientTls { ca_file: Some(world.dir().join("server.crt")), ..ClientTls::default() };
    let mut tls = trust.build().unwrap();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

#[tokio::test(flavor = "multi_thread")]
async fn r13_http2_is_neither_agreed_on_nor_spoken() {
    let world = behind_tls().start().await;
    let both = shake(&world, &[b"h2", b"http/1.1"]).await.expect("a handshake");
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let error = shake(&world, &[b"h2"]).await.expect_err("no protocol in common");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    ended(&world, "tls_failed", 1.0).await;
    for first in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = shake(&world, &[]).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        stream.write_all(first).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "closed without a word");
    }
    ended(&world, "http2", 2.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_or_is_none_is_ended() {
    let world = behind_tls().config(|config| config["server"]["header_timeout"] = "300ms".into()).start().await;
    let mut silent = Wire::open(world.server()).await;
    assert!(silent.closed().await);
    let mut half = Wire::open(world.server()).await;
    half.send(b"\x16\x03\x01\x02\x00\x01").await;
    assert!(half.closed().await);
    ended(&world, "tls_timeout", 2.0).await;
    let mut plain = Wire::open(world.server()).await;
    plain.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    while plain.more().await {}
    assert!(!plain.read.starts_with(b"HTTP"), "no answer in the clear");
    ended(&world, "tls_failed", 1.0).await;
    let idle = shake(&world, &[b"http/1.1"]).await.expect("a handshake");
    ended(&world, "idle", 1.0).await;
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_make_room_too() {
    let small = |config: &mut serde_json::Value| {
        config["server"]["max_connections"] = 2.into();
        config["server"]["max_downloads"] = 2.into();
        config["server"]["header_timeout"] = "60s".into();
    };
    let world = behind_tls().config(small).start().await;
    let _silent = [Wire::open(world.server()).await, Wire::open(world.server()).await];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut good = shake(&world, &[]).await.expect("a handshake");
    good.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = good.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 404 "), "{}", String::from_utf8_lossy(&answer));
    ended(&world, "made_room", 1.0).await;
}

/// A client with a small buffer that has asked for a recording of so many bytes and read the beginning of the answer.
async fn asking(size: u64) -> (World, TlsStream<TcpStream>) {
    let world = behind_tls().config(|config| config["server"]["client_stall_timeout"] = "1s".into());
    let world = world.sim(|sim| sim.default_size = size).start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let stream = socket.connect(world.server()).await.unwrap();
    let mut stream = shake_on(stream, &world, &[]).await.expect("a handshake");
    stream.write_all(good(&world, "").as_bytes()).await.unwrap();
    let mut begin = [0; 12];
    stream.read_exact(&mut begin).await.expect("an answer");
    assert_eq!(&begin, b"HTTP/1.1 200");
    (world, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_is_ended_behind_tls_too() {
    let (world, mut stream) = asking(64 << 20).await;
    // The kernel's buffers and those of TLS fill up; from then on it counts. The default would be a minute.
    until("the entry's end", || async { !world.events("aborted").is_empty() }).await;
    assert_eq!(world.events("aborted")[0]["reason"], "client");
    ended(&world, "client_stall", 1.0).await;
    let mut rest = Vec::new();
    assert!(stream.read_to_end(&mut rest).await.is_err(), "no farewell of TLS: what came is known to be a part");
    assert!(rest.len() < 64 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_on_taking_is_not_ended_behind_tls_either() {
    const SIZE: u64 = 16 << 20;
    const RATE: u64 = 4 << 20;
    let (world, mut stream) = asking(SIZE).await;
    let begin = tokio::time::Instant::now();
    let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
    // The kernel keeps half a MiB and opens the socket again when a third of it is free: some times a second.
    while read < SIZE {
        let count = stream.read(&mut buffer).await.expect("whole");
        assert!(count > 0, "ended after {read} bytes");
        read += count as u64;
        tokio::time::sleep_until(begin + Duration::from_millis(read * 1000 / RATE)).await;
    }
    until("the entry's end", || async { !world.events("finished").is_empty() }).await;
    let waited = world.events("finished")[0]["delivery"]["duration_us"].as_u64().unwrap();
    assert!(waited > 2_000_000, "the gateway waited for it longer than one wait may be: {waited} µs");
    stream.shutdown().await.unwrap();
    ended(&world, "closed", 1.0).await;
}
