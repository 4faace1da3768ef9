//! Starts that a store's files, or the store itself, make refuse: in bounded time, with the key's name.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fleet::{Fleet, refused_start, secret};
use crate::world::World;

/// A start is refused within this, whatever the store does.
const BOUND: Duration = Duration::from_secs(15);

/// Starts a replica after a change of its configuration; what it tells when it refuses.
async fn told(fleet: &Fleet, change: impl FnOnce(&mut serde_json::Value)) -> String {
    let config = fleet.configure("refused", fleet.redis.address(), change);
    let (code, told, took) = refused_start(&config, fleet.world.dir()).await;
    assert_eq!(code, Some(2), "{told}");
    assert!(took < BOUND, "{took:?}: {told}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_are_named() {
    let fleet = Fleet::configured(World::new(), 0).await;
    let dir = fleet.world.dir();
    for (text, what) in [("", "an empty file"), ("c2hvcnQ=\n", "a short key"), ("not base64!\n", "no key")] {
        secret(&dir.join("bad.keys"), text);
        let told = told(&fleet, |c| c["sessions"]["store"]["redis"]["key_file"] = "bad.keys".into()).await;
        assert!(told.contains("sessions.store.redis.key_file") && told.contains("bad.keys"), "{what}: {told}");
        // What is in such a file is not shown: it may be most of a key.
        assert!(!told.contains("c2hvcnQ"), "{told}");
    }
    for (file, text) in [("missing.url", None), ("bad.url", Some("http://127.0.0.1:1/")), ("empty.url", Some(""))] {
        if let Some(text) = text {
            secret(&dir.join(file), text);
        }
        let told = told(&fleet, |c| c["sessions"]["store"]["redis"]["url_file"] = file.into()).await;
        assert!(told.contains("sessions.store.redis") && told.contains(file), "{file}: {told}");
    }
    let told = told(&fleet, |c| c["sessions"]["state_file"] = "sessions.state".into()).await;
    assert!(told.contains("sessions.state_file"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_in_the_url_is_not_shown() {
    let fleet = Fleet::configured(World::new(), 0).await;
    let url = format!("redis://user:Planted-Redis-Secret@{}/not-a-number", fleet.redis.address());
    secret(&fleet.world.dir().join("odd.url"), &url);
    let told = told(&fleet, |c| c["sessions"]["store"]["redis"]["url_file"] = "odd.url".into()).await;
    assert!(!told.contains("Planted-Redis-Secret"), "{told}");
    assert!(told.contains("sessions.store.redis.url_file") && told.contains("odd.url"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_another_upstream_uses_is_refused() {
    let mut fleet = Fleet::start(World::new(), 1).await;
    let other = World::new().without_gateway().await;
    let ca = fleet.world.dir().join("other-ca.pem");
    std::fs::copy(other.dir().join("upstream-ca.pem"), &ca).unwrap();
    let change = |c: &mut serde_json::Value| {
        c["upstream"]["url"] = other.sim.url().into();
        c["upstream"]["ca_file"] = "other-ca.pem".into();
    };
    let refusal = told(&fleet, change).await;
    assert!(refusal.contains("prefix"), "{refusal}");
    // The first has gone on.
    assert_eq!(fleet.awake(), [0]);
    assert!(fleet.drain(0).await);
}

/// A server that answers every byte with garbage.
async fn garbage(answer: &'static [u8]) -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let mut read = [0; 1024];
                while matches!(stream.read(&mut read).await, Ok(1..)) {
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (address, tasks)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_answers_garbage_is_refused_in_bounded_time() {
    let fleet = Fleet::configured(World::new(), 0).await;
    let answers: [&[u8]; 4] =
        [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0\xff\xfe garbage\r\n", b"+WHAT\r\n", b"-ERR unknown command\r\n"];
    let fleet = &fleet;
    // All at once: each takes as long as a start waits for a store.
    let starts = answers.into_iter().enumerate().map(|(number, answer)| async move {
        let (address, _tasks) = garbage(answer).await;
        let config = fleet.configure(&format!("garbage-{number}"), address, |_| {});
        let (code, told, took) = refused_start(&config, fleet.world.dir()).await;
        let shown = String::from_utf8_lossy(answer);
        assert_eq!(code, Some(2), "{shown:?}: {told}");
        assert!(took < BOUND, "{shown:?}: {took:?}");
        assert!(told.contains("sessions.store"), "{shown:?}: {told}");
    });
    futures_util::future::join_all(starts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_takes_no_writes_is_refused() {
    let fleet = Fleet::configured(World::new(), 0).await;
    // A replica of a server that is not there: READONLY to every write.
    fleet.redis.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    let told = told(&fleet, |_| {}).await;
    assert!(told.contains("sessions.store"), "{told}");
}
