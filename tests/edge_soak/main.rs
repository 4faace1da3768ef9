//! Everything that can happen to the edge, at once and for a while: two real processes before one simulated gateway, load
//! that follows their readiness, faults, clients that leave, changed and broken configurations, restarts.
//!
//! `SOAK_MINUTES` says how long (`make soak`: 20); without it a minute with little load, as an ordinary test. `SOAK_SEED`
//! repeats what is asked for and what goes wrong, though not the moments.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::string_slice, reason = "texts here are ASCII")]
#![allow(clippy::cast_precision_loss, reason = "rates and sizes here are far below 2^52")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "sizes are positive and far below 2^52")]
#![allow(clippy::print_stdout, reason = "what was measured is told")]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]
#![allow(dead_code, reason = "the harness is that of the end-to-end tests, which need more of it")]

#[path = "../e2e/authority.rs"]
mod authority;
mod books;
mod cast;
mod changes;
#[path = "../e2e/client.rs"]
mod client;
mod faults;
mod flat;
mod gate;
#[path = "../e2e/issuer.rs"]
mod issuer;
mod judge;
#[path = "../e2e/ledger.rs"]
mod ledger;
mod library;
mod load;
mod order;
mod plan;
mod program_log;
#[path = "../replicas/redis.rs"]
mod redis;
mod report;
mod samples;
mod site;
mod story;
mod trouble;
#[path = "../soak/usage.rs"]
mod usage;
mod visit;
#[path = "../e2e/world.rs"]
mod world;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_edge_holds_through_faults_reloads_and_restarts() {
    let plan = plan::Plan::of_environment();
    println!("{plan}");
    let story = story::run(plan).await;
    println!("{}", report::Report(&story));
    story.check();
}
