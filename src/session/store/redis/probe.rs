//! Asks a server whether it could keep sessions, for a check before the start. It changes nothing there.

use std::time::Duration;

use super::link::{Fault, Link};
use super::scripts::Scripts;
use super::{Config, ConnectError, Keys, Metrics, Operation, foreign};

/// Whether the store can be used as configured: its files, the server, the user's rights to run scripts, and that no other
/// upstream uses the prefix. Takes at most a few times `timeout`; reads files, which blocks for a moment.
///
/// # Cancel safety
///
/// Nothing is changed.
pub async fn probe(config: &Config, context: &str) -> Result<(), ConnectError> {
    let client = config.client()?;
    Keys::read(&config.key_file)?;
    let metrics =
        Metrics::register(&prometheus::Registry::new()).map_err(|_| ConnectError::Unavailable(Fault::OURS))?;
    let link = Link::new(client, config.timeout, Duration::ZERO, metrics).map_err(ConnectError::Unavailable)?;
    let scripts = Scripts::new();
    let prefix = format!("{{{}}}", config.prefix);
    let mut script = scripts.probe.key(format!("{prefix}:about"));
    script.arg(&prefix).arg(context);
    let mut answer = link.call(Operation::Beat, &script).await;
    if answer.is_err() {
        // The first call may have spent its time on connecting.
        tokio::time::sleep(config.timeout).await;
        answer = link.call(Operation::Beat, &script).await;
    }
    let mut answer = answer.map_err(ConnectError::Unavailable)?;
    match answer.word.as_str() {
        "foreign" => Err(foreign(context, &answer.text().unwrap_or_default())),
        _ => Ok(()),
    }
}
