//! Asks the store of sessions whether it could keep them. It changes nothing there.

use super::report::{Finding, causes};
use crate::config::{Config, Store};
use crate::session::store::redis;

/// What the store answers.
pub(super) async fn store(config: &Config) -> Vec<Finding> {
    let redis = match &config.sessions.store {
        Store::Memory(None) => {
            return vec![Finding::ok("sessions.store", "memory: for one replica; there is nothing to ask")];
        }
        Store::Memory(Some(_)) => {
            let what = "memory with a state file: for one replica; there is nothing to ask";
            return vec![Finding::ok("sessions.store", what)];
        }
        Store::Redis(redis) => redis,
    };
    let context = config.upstream.name();
    vec![match redis::probe(&redis.store(&config.sessions.sign_ins), &context).await {
        Ok(()) => {
            Finding::ok("sessions.store.redis", "the server answers, runs our scripts, and the prefix is free or ours")
        }
        Err(error) => {
            let next = "until it can be used no agent is signed in: requests get 503 store_unavailable";
            Finding::problem("sessions.store.redis", causes(&error), next)
        }
    }]
}
