//! A full house: who goes for a newcomer, how many of them, and what does not count as having been served.

use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;

use super::good;
use super::limits::ended;
use super::wire::Wire;
use crate::world::{Builder, CALL, World, call};

/// The gateway asks a 64th of those who wait at once, where that part may go: two for a newcomer.
const MANY: u32 = 2 * 64;

fn house(places: u32) -> Builder {
    World::new().config(|config| {
        config["server"]["max_connections"] = places.into();
        config["server"]["max_downloads"] = 1.into();
        config["server"]["header_timeout"] = "60s".into();
        config["server"]["cors"] = json!({ "allowed_origins": ["https://app.example"] });
    })
}

fn preflight() -> String {
    let (target, asks) = (call(1001, CALL), "Origin: https://app.example\r\nAccess-Control-Request-Method: GET");
    format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\n{asks}\r\n\r\n")
}

/// A connection that a part of a recording was given on, and that waits now.
async fn served(world: &World) -> Wire {
    let mut wire = Wire::open(world.server()).await;
    wire.send(good(world, "Range: bytes=0-9\r\n").as_bytes()).await;
    assert_eq!(wire.answer().await.map(|head| head.status), Some(206));
    wire
}

async fn made_room(world: &World) -> f64 {
    world.metric("ccgate_http_connections_closed_total{reason=\"made_room\"}").await.expect("a series")
}

/// A connection of its own, with a question that anybody may ask.
async fn newcomer(world: &World) -> bool {
    Wire::open(world.server()).await.still_open().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_makes_nobody_one_who_was_served() {
    let world = house(3).start().await;
    let mut served = served(&world).await;
    let mut asked = Wire::open(world.server()).await;
    asked.send(preflight().as_bytes()).await;
    assert_eq!(asked.answer().await.map(|head| head.status), Some(200));
    // The gateway looks at the clock once more when it has written.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut silent = Wire::open(world.server()).await;
    assert!(newcomer(&world).await);
    assert!(asked.closed().await, "it has waited longest of those who were never served");
    assert!(silent.still_open().await && served.still_open().await);
    ended(&world, "made_room", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_whose_answers_nobody_reads_hold_no_place() {
    let world = house(2).start().await;
    let mut served = served(&world).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = socket.connect(world.server()).await.unwrap();
    let preflights = preflight().repeat(64);
    let mut sent = 0;
    // Until nothing more is taken: then the gateway waits with an answer that cannot be written.
    let patience = Duration::from_secs(2);
    while let Ok(taken) =
        tokio::time::timeout(patience, stuck.write(&preflights.as_bytes()[sent % preflights.len()..])).await
    {
        sent += taken.expect("open");
    }
    assert!(sent > preflights.len());
    assert!(newcomer(&world).await);
    assert!(served.still_open().await, "the other one goes");
    ended(&world, "made_room", 1.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn for_one_newcomer_one_goes_of_those_who_were_served() {
    let world = house(MANY).start().await;
    let mut inside = Vec::new();
    for _ in 0..MANY {
        inside.push(served(&world).await);
    }
    // On a busy machine who was asked may need longer than the gateway waits before it asks the next, and who left may not
    // have been seen to leave: then nobody has to go.
    let mut fewest = f64::INFINITY;
    for _ in 0..4 {
        while world.metric("ccgate_http_connections").await < Some(f64::from(MANY)) {
            inside.push(served(&world).await);
        }
        let before = made_room(&world).await;
        assert!(newcomer(&world).await);
        tokio::time::sleep(Duration::from_millis(200)).await;
        let gone = made_room(&world).await - before;
        if gone > 0.0 {
            fewest = fewest.min(gone);
        }
    }
    assert!((fewest - 1.0).abs() < f64::EPSILON, "{fewest}");
}
