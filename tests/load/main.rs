//! ccgate under load, as the real binary. Each test has the machine to itself, as far as the others here are concerned.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::string_slice, reason = "texts here are ASCII")]
#![allow(clippy::cast_precision_loss, reason = "rates and sizes here are far below 2^52")]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(clippy::print_stdout, reason = "what a test measured is told")]
#![allow(dead_code, reason = "the harness is that of the end-to-end tests, which need more of it")]

#[path = "../e2e/client.rs"]
mod client;
mod delay;
mod everything;
mod instructions;
#[path = "../e2e/issuer.rs"]
mod issuer;
#[path = "../e2e/ledger.rs"]
mod ledger;
mod memory;
#[path = "../e2e/plain.rs"]
mod plain;
mod rotation;
mod scripted;
#[path = "../e2e/world.rs"]
mod world;

/// Held by each test while it runs.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
