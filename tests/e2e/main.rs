//! ccgate from outside: over real sockets, against the simulated CC-Gateway, as a web app would use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::string_slice, reason = "texts here are ASCII")]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]

mod authn;
mod client;
mod cors;
mod download;
mod hostile;
mod idp;
mod issuer;
mod metrics;
mod refusals;
mod secrets;
mod world;
