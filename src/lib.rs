//! ccgate: an authenticating reverse proxy in front of Huawei's CC-Gateway.
//!
//! One download, from left to right; each step consumes the value of the step before, so none can be left out:
//!
//! ```text
//!  route        authn       policy       budget     session + audit      upstream   relay
//! Download ---> Caller ---> Authorized -> Budgeted ---> OpenEntry -------> File --> Response
//!  400/404/405   401/503     403          429          409/503 (durable)    502/504    the bytes
//! ```
//!
//! The modules stand in one line and each imports only from its left; `tests/architecture.rs` holds it:
//!
//! ```text
//! cc clock random ready room series yaml net | tlog trail | route authn policy budget | audit ship | upstream session | relay | serve admin | config telemetry app cli
//! ```

pub mod admin;
pub mod app;
pub mod audit;
pub mod authn;
pub mod budget;
pub mod cc;
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod net;
pub mod policy;
pub mod random;
pub mod ready;
pub mod relay;
pub mod room;
pub mod route;
pub mod series;
pub mod serve;
pub mod session;
pub mod ship;
#[cfg(feature = "demo")]
pub mod sim;
pub mod telemetry;
pub mod tlog;
pub mod trail;
pub mod upstream;
pub mod yaml;
