//! slowhttptest against ccgate as the real binary, with good clients beside it; and what a connection costs that does
//! nothing. Prints what it measured.
//!
//! `make attack` runs it. It is left out of a plain `cargo test`: it needs slowhttptest, 20,000 descriptors and minutes.
//! `ATTACK_SECONDS` says how long each attack goes on (60).

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

mod attack;
#[path = "../e2e/client.rs"]
mod client;
mod cost;
mod good;
#[path = "../e2e/issuer.rs"]
mod issuer;
#[path = "../soak/usage.rs"]
mod usage;
#[path = "../e2e/world.rs"]
mod world;

/// Held by each test while it runs.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
