//! From an open entry and a file to a response body that cannot end wrongly. It knows neither policy nor our statuses.

mod body;
mod digest;
mod metrics;

pub use body::{Broken, RelayBody};
pub use metrics::Metrics;

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::audit::{Digest, OpenEntry};
use crate::session::Hold;
use crate::upstream::File;

/// What bounds and accompanies every transfer.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Silence of the upstream, while we wait for it, after which the transfer is broken off.
    pub idle_timeout: Duration,
    /// What is computed over the bytes that are handed to the client.
    pub digest: Digest,
    /// Breaks all transfers off: the end of a drain.
    pub stop: CancellationToken,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Relay {
    /// Makes the response that carries a file. The entry gets its end from the body, when that ends or is dropped.
    ///
    /// `start` is when the request arrived; `hold` keeps the session from being signed out meanwhile.
    pub fn response(&self, entry: OpenEntry, file: File, hold: Hold, start: Instant) -> Response<RelayBody> {
        let (status, mut headers, length) = (file.status, file.headers.clone(), file.length);
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut response = Response::new(RelayBody::new(self, entry, file, hold, start));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
