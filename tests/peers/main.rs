//! The corpus of hostile bytes against ccgate, nginx and HAProxy side by side, each before a simulated CC-Gateway of its
//! own. Writes what it sees into docs/edge.md; fails where ccgate is laxer than another and `notes.tsv` does not say why.
//!
//! `make peers` runs it. It is left out of a plain `cargo test`: it needs both servers of the system.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::string_slice, reason = "texts here are ASCII")]
#![allow(clippy::print_stdout, reason = "what was seen is told")]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(dead_code, reason = "the harness is that of the end-to-end tests, which need more of it")]

#[path = "../e2e/client.rs"]
mod client;
#[path = "../e2e/issuer.rs"]
mod issuer;
mod peer;
mod seen;
mod table;
#[path = "../e2e/hostile/vectors.rs"]
mod vectors;
#[path = "../e2e/world.rs"]
mod world;

use peer::Peer;
use seen::Seen;
use vectors::Vector;
use world::{CALL, World, call};

/// The heading of the vectors that are about tokens, which the others do not check.
const TOKENS: &str = "Nothing but a token lets a request through (R6)";

#[tokio::test(flavor = "multi_thread")]
async fn ccgate_is_no_laxer_than_others() {
    let world = World::new().start().await;
    let token = world.issuer.agent(1001);
    let mut vectors = vectors::all(&call(1001, CALL), &token);
    vectors.retain(|vector| vector.group != TOKENS);
    let (nginx, haproxy) = (Peer::nginx().await, Peer::haproxy().await);
    let (ours, nginxs, haproxys) =
        tokio::join!(of_ccgate(&world, &vectors), of_peer(&nginx, &vectors), of_peer(&haproxy, &vectors));
    let rows: Vec<_> = vectors
        .iter()
        .zip(ours.into_iter().zip(nginxs.into_iter().zip(haproxys)))
        .map(|(vector, (ours, (nginx, haproxy)))| table::Row { vector, seen: [ours, nginx, haproxy] })
        .collect();
    let unexplained = table::write(&rows, [&nginx.version, &haproxy.version]);
    assert_eq!(unexplained, [] as [String; 0], "laxer, and tests/peers/notes.tsv does not say why");
}

async fn of_ccgate(world: &World, vectors: &[Vector]) -> Vec<Seen> {
    let mut all = Vec::new();
    for vector in vectors {
        all.push(Seen::of(world.server(), &vector.bytes, || world.asked()).await);
    }
    all
}

async fn of_peer(peer: &Peer, vectors: &[Vector]) -> Vec<Seen> {
    let mut all = Vec::new();
    for vector in vectors {
        all.push(Seen::of(peer.address, &vector.bytes, || peer.asked()).await);
    }
    all
}
