//! Tests of the whole way from headers to caller.

#![allow(clippy::string_slice, reason = "the tests cut texts of ASCII")]

mod binding;
mod cache;
mod claims;
mod headers;
mod http;
mod issuer;
mod jwks;
mod next;
mod persons;
mod refresh;
mod script;
mod start;
mod supposed;
mod world;

pub(super) use script::Script;
