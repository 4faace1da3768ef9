//! Hears at once of what other replicas changed, over a connection of its own. It carries agent ids and replica ids, never
//! a Guid; whoever hears nothing finds out by asking.

use std::time::Duration;

use ::redis::Value;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout};

use super::Redis;
use crate::cc::AgentId;
use crate::session::store::Watcher;

/// First and longest wait before it connects again.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A connection that lasted so long counts as one that worked.
const LASTED: Duration = Duration::from_secs(10);

/// Listens until it is dropped.
pub(super) async fn listen(store: &Redis, watcher: &dyn Watcher) {
    let mut wait = BACK_OFF.0;
    loop {
        let start = Instant::now();
        // How it ended does not matter: the beats say whether the store is there.
        let heard = hear(store, watcher).await.is_some();
        if heard {
            watcher.lost_sight();
        }
        if heard && start.elapsed() >= LASTED {
            wait = BACK_OFF.0;
        }
        // Between half and the whole of it, so that the replicas do not all come at once.
        tokio::time::sleep(wait.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

/// `None` if it could not subscribe; `Some` when the connection broke afterwards.
async fn hear(store: &Redis, watcher: &dyn Watcher) -> Option<()> {
    let bound = store.link.timeout();
    let mut connection = timeout(bound, store.link.client().get_async_pubsub()).await.ok()?.ok()?;
    timeout(bound, connection.subscribe(store.channel())).await.ok()?.ok()?;
    // What changed before was not heard.
    watcher.lost_sight();
    let (mut sink, mut messages) = connection.split();
    loop {
        tokio::select! {
            message = messages.next() => match message {
                Some(message) => take(store, watcher, message.get_payload_bytes()),
                None => return Some(()),
            },
            // A connection whose packets vanish breaks no other way.
            () = tokio::time::sleep(store.lease / 3) => {
                let answered = timeout(bound, sink.ping::<Value>()).await;
                if !matches!(answered, Ok(Ok(_))) {
                    return Some(());
                }
            }
        }
    }
}

/// What cannot be read is passed over: others may publish there too.
fn take(store: &Redis, watcher: &dyn Watcher, message: &[u8]) {
    let Ok(message) = std::str::from_utf8(message) else { return };
    let mut words = message.split(' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("changed"), Some(agent), Some(by), None) if by != store.id => {
            if let Ok(agent) = agent.parse::<AgentId>() {
                watcher.changed(agent);
            }
        }
        (Some("inbox"), Some(owner), None, None) if owner == store.id => store.wake.notify_one(),
        _ => {}
    }
}
