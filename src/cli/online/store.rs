//! Asks the store of sessions whether it is there. It writes nothing into it.

use super::report::Finding;
use crate::config::{self, Redis, Store};

/// What the store answers.
pub(super) async fn store(store: &Store) -> Vec<Finding> {
    match store {
        Store::Memory(None) => vec![Finding::ok("sessions.store", "memory: for one replica; there is nothing to ask")],
        Store::Memory(Some(_)) => {
            vec![Finding::ok("sessions.store", "memory with a state file: for one replica; there is nothing to ask")]
        }
        Store::Redis(redis) => vec![redis_answers(redis).await],
    }
}

/// Whether the server can be reached at the address of its URL. Nothing of the URL is told: it may hold a password.
async fn redis_answers(redis: &Redis) -> Finding {
    let key = "sessions.store.redis.url_file";
    let address = match config::redis_address(redis) {
        Ok(address) => address,
        Err(what) => return Finding::problem(key, what, ""),
    };
    match tokio::time::timeout(redis.timeout, tokio::net::TcpStream::connect(address.as_str())).await {
        Ok(Ok(_connected)) => Finding::ok(key, "the server takes connections"),
        Ok(Err(error)) => Finding::problem(key, format!("the server cannot be reached: {error}"), ""),
        Err(_elapsed) => {
            let what = "the server cannot be reached within sessions.store.redis.timeout";
            Finding::problem(key, what, "look at the address and at the network between")
        }
    }
}
