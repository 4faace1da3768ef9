//! The calls to CC-Gateway: printed from types, answered with values. It keeps no Guid and passes on no header of a
//! caller but those of an allow-list.

mod answer;
mod breaker;
mod desk;
mod desk_sign_in;
mod download;
mod error;
mod keep_alive;
mod metrics;
mod sign_in;

pub use desk::DeskAnswer;
pub use desk_sign_in::{DeskSignIn, DeskSignInError};
pub use download::{Answer, Downloaded, File};
pub use error::{Error, Rest};
pub use metrics::Metrics;
pub use sign_in::{Callback, SignInRequest, SignedIn};

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use tokio::time::Instant;

use crate::cc::{Call, Guid};
use crate::net;

use breaker::{Breaker, Pass};
use metrics::Operation;

/// Request header that carries the session's Guid.
const GUID: HeaderName = HeaderName::from_static("guid");

/// Content type that the gateway wants on every call, with or without a body.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// How we call ourselves.
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("ccgate/", env!("CARGO_PKG_VERSION")));

/// Where the gateway is and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Host and port of the gateway or its load balancer; reached by https.
    pub authority: Authority,
    /// Trust and deadlines.
    pub client: net::ClientConfig,
    /// Silence inside a body after which it is given up.
    pub idle_timeout: Duration,
}

/// The gateway. Clones share one pool of connections, and one judgement of whether anybody is there.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: net::Client,
    authority: Authority,
    idle_timeout: Duration,
    metrics: Arc<Metrics>,
    breaker: Arc<Breaker>,
}

/// A call that is under way.
struct Begun {
    operation: Operation,
    start: Instant,
    pass: Pass,
}

impl Gateway {
    /// Builds the client; reads the TLS files. Nothing is connected yet.
    pub fn new(config: &Config, metrics: Metrics) -> Result<Self, net::TlsError> {
        Ok(Self {
            client: net::Client::new(&config.client)?,
            authority: config.authority.clone(),
            idle_timeout: config.idle_timeout,
            breaker: Arc::new(Breaker::new(metrics.breaker(), fastrand::u64(..))),
            metrics: Arc::new(metrics),
        })
    }

    /// Begins a call, unless the gateway is left alone ([`Error::Resting`]).
    fn begin(&self, operation: Operation) -> Result<Begun, Error> {
        let start = Instant::now();
        match self.breaker.admit(operation, start) {
            Ok(pass) => Ok(Begun { operation, start, pass }),
            Err(resting) => {
                self.metrics.left_out(operation, &resting);
                Err(resting)
            }
        }
    }

    /// Takes down how it ended.
    fn end<T>(&self, call: &Begun, outcome: &Result<T, Error>) {
        self.breaker.settle(call.pass, outcome, Instant::now());
        self.metrics.observe(call.operation, call.start, outcome);
    }

    /// Prints a call's request: method, target and headers are ours.
    fn request(&self, call: Call, guid: Option<&Guid>, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
        let uri = Uri::builder().scheme("https").authority(self.authority.clone()).path_and_query(call.target);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = call.method;
        *request.uri_mut() = uri.build().map_err(|_| Error::Protocol("the call has no printable address"))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, OURSELVES);
        if let Some(guid) = guid {
            headers.insert(GUID, guid.header_value());
        }
        Ok(request)
    }
}
