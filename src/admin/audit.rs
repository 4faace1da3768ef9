//! `/audit` for whoever works with the audit log beside a running gateway: a reading is recorded, records are erased. What is
//! asked here is the same machine's or a certificate's, as with sessions.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::operator::{Asker, Operator};
use super::places::Body;
use super::sessions::{admit, json};
use super::{HEADER_TIMEOUT, not_allowed, text};

/// Where the audit log is.
pub const AUDIT_PATH: &str = "/audit";

/// Longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1_024;

/// `POST /audit/reads`: somebody is about to read the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// Which log: its name in its checkpoints.
    pub origin: String,
    /// With which command.
    pub command: String,
    /// What is asked for, as it was typed.
    pub arguments: String,
    /// The name that they give.
    #[serde(default)]
    pub name: Option<String>,
}

/// `POST /audit/erasures`: records are to be erased. What and why stands in a file in the log's directory: whoever could not
/// write there cannot have anything erased, though they share this machine's loopback.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErasureOrder {
    /// Which log: its name in its checkpoints.
    pub origin: String,
    /// The file's name.
    pub file: String,
}

/// The answer to either.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The number of the record that was written about it.
    pub seq: u64,
}

/// Answers a request below [`AUDIT_PATH`]; `rest` is what follows it.
pub(super) async fn answer(
    operator: Option<&dyn Operator>,
    asker: &Asker,
    head: &Parts,
    body: Body,
    rest: &str,
) -> Response<Full<Bytes>> {
    if let Err(why) = admit(asker, head) {
        tracing::warn!(peer = %asker.peer, why, "a request about the audit log was refused");
        return text(StatusCode::FORBIDDEN, format!("forbidden: {why}\n"));
    }
    let Some(operator) = operator else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned());
    };
    if !matches!(rest, "/reads" | "/erasures") {
        return text(StatusCode::NOT_FOUND, "not found\n".to_owned());
    }
    if head.method != Method::POST {
        return not_allowed("POST");
    }
    let done = match rest {
        "/reads" => match read(body).await {
            Ok(reading) => operator.read_audit(asker, reading).await,
            Err(refusal) => return refusal,
        },
        _ => match read(body).await {
            Ok(order) => operator.erase(asker, order).await,
            Err(refusal) => return refusal,
        },
    };
    match done {
        Ok(seq) => json(&Recorded { seq }),
        Err(why) => text(StatusCode::CONFLICT, format!("{why}\n")),
    }
}

pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Response<Full<Bytes>>> {
    let bytes = match tokio::time::timeout(HEADER_TIMEOUT, Limited::new(body, REQUEST_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(_too_long_or_broken)) => return Err(text(StatusCode::PAYLOAD_TOO_LARGE, "too long\n".to_owned())),
        Err(_elapsed) => return Err(text(StatusCode::REQUEST_TIMEOUT, "too slow\n".to_owned())),
    };
    serde_json::from_slice(&bytes).map_err(|error| text(StatusCode::BAD_REQUEST, format!("{error}\n")))
}
