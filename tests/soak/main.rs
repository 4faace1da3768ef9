//! Ten thousand sessions in one ccgate, kept alive against a simulator in a process of its own. Prints what they cost.
//!
//! `SOAK_SECONDS` says how long they are kept (30). From 150 on the gateway's and ccgate's own defaults are used, which
//! are too slow to show anything in less.

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

#[path = "../e2e/client.rs"]
mod client;
#[path = "../e2e/issuer.rs"]
mod issuer;
mod keeping;
mod site;
mod usage;
#[path = "../e2e/world.rs"]
mod world;

/// Held by each test while it runs.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
