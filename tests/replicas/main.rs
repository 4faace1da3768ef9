//! Sessions that several replicas share: real processes, real sockets and a real `redis-server`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::string_slice, reason = "texts here are ASCII")]
#![allow(clippy::cast_precision_loss, reason = "rates and sizes here are far below 2^52")]
#![allow(clippy::print_stdout, reason = "what was measured is told")]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(dead_code, reason = "the harness is that of the end-to-end tests, which need more of it")]

mod budgets;
mod chaos;
#[path = "../e2e/client.rs"]
mod client;
mod desk;
mod draining;
mod fleet;
#[path = "../e2e/statuses/golden.rs"]
mod golden;
mod healing;
#[path = "../e2e/issuer.rs"]
mod issuer;
mod one_owner;
mod redis;
mod refused;
mod secrets;
mod state_file;
mod traffic;
mod unwritten;
mod wire;
#[path = "../e2e/world.rs"]
mod world;

/// Held by each test whose processes are many: two cores serve them all.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
