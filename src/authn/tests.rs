//! Tests of the whole way from headers to caller.

mod cache;
mod claims;
mod headers;
mod http;
mod issuer;
mod jwks;
mod refresh;
mod script;
mod start;
mod world;

pub(super) use script::Script;
