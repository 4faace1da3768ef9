//! `/config` and `/log-level` for operators: what is in force, and how much of the log is written. What is asked here is the
//! same machine's or a certificate's, as with sessions. It shows no secret: its implementation is given none.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::audit::read;
use super::operator::{Asker, Deed, Operator};
use super::places::Body;
use super::sessions::{admit, json};
use super::{not_allowed, text};

/// Where the configuration is.
pub const CONFIG_PATH: &str = "/config";
/// Where the log level is.
pub const LOG_LEVEL_PATH: &str = "/log-level";

/// The answer to `GET /config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigShown {
    /// How many configurations have been in force in this process, this one included.
    pub generation: u64,
    /// SHA-256, in hex, of the configuration's file and the files that it names, but for secrets and what waits for a start.
    pub hash: String,
    /// Since when it is in force.
    pub since: Timestamp,
    /// Keys whose files hold something else by now, which waits for a start.
    pub at_next_start: Vec<String>,
    /// A newer one that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusalShown>,
    /// Every key with its value.
    pub config: serde_json::Value,
}

/// A configuration that was refused; the one before stayed in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusalShown {
    /// When.
    pub at: Timestamp,
    /// Its hash.
    pub hash: String,
    /// Why.
    pub reason: String,
}

/// The answer about the log level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelShown {
    /// The least severe lines that are written; with `filter`, a filter of the environment decides.
    pub level: &'static str,
    /// What the configuration says.
    pub configured: &'static str,
    /// Whether a filter of the environment decides.
    pub filter: bool,
    /// When the configured level comes back; `None`: it stays until it is changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// `PUT /log-level`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LevelOrder {
    /// The level, as in `log.level`.
    pub level: String,
    /// After this time the configured level comes back, as in `15m`; without it, it stays until it is changed.
    #[serde(default, rename = "for")]
    pub time: Option<String>,
}

/// Answers a request for one of the two paths.
pub(super) async fn answer(
    operator: Option<&dyn Operator>,
    asker: &Asker,
    head: &Parts,
    body: Body,
) -> Response<Full<Bytes>> {
    if let Err(why) = admit(asker, head) {
        tracing::warn!(peer = %asker.peer, why, path = head.uri.path(), "an operator's request was refused");
        return text(StatusCode::FORBIDDEN, format!("forbidden: {why}\n"));
    }
    let Some(operator) = operator else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    };
    match (head.uri.path(), &head.method) {
        (CONFIG_PATH, &Method::GET) => json(&operator.config()),
        (CONFIG_PATH, _) => not_allowed("GET"),
        (_, &Method::GET) => json(&operator.log_level()),
        (_, &Method::PUT) => match read::<LevelOrder>(body).await {
            Ok(order) => set(operator, asker, Some(order)),
            Err(refusal) => refusal,
        },
        (_, &Method::DELETE) => set(operator, asker, None),
        _ => not_allowed("GET, PUT, DELETE"),
    }
}

fn set(operator: &dyn Operator, asker: &Asker, order: Option<LevelOrder>) -> Response<Full<Bytes>> {
    let set = operator.set_log_level(order);
    operator.record(asker, Deed::LogLevel(set.as_ref().ok().map(|shown| shown.level)));
    match set {
        Ok(shown) => json(&shown),
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}
