//! ccgate: an authenticating reverse proxy in front of CC-Gateway.
#[cfg(feature = "demo")]
pub mod sim;
