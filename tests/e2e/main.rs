//! ccgate from outside: over real sockets, against the simulated CC-Gateway, as a web app would use it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(clippy::string_slice, reason = "texts here are ASCII")]
#![allow(clippy::print_stdout, reason = "what a test measured or left out is told")]
#![allow(unreachable_pub, missing_docs, reason = "nobody imports a test")]

mod accounts;
mod audit_faults;
mod auditor;
mod authn;
mod authority;
mod broken;
mod budgets;
mod client;
mod cors;
mod crash;
mod desk;
mod download;
mod drain;
mod failover;
mod framing;
mod hostile;
mod idp;
mod issuer;
mod ledger;
mod metrics;
mod mount;
mod online;
mod operators;
mod otlp;
mod pki;
mod plain;
mod politeness;
mod ranges;
mod raw;
mod records;
mod refused_start;
mod reload;
mod secrets;
mod sessions;
mod sharing;
mod statuses;
mod tls;
mod transfer;
mod world;
