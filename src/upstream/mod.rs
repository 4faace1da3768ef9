//! The calls to CC-Gateway: printed from types, answered with values. It keeps no Guid and passes on no header of a
//! caller but those of an allow-list.

mod answer;
mod breaker;
mod desk;
mod desk_sign_in;
mod download;
mod error;
mod homes;
mod keep_alive;
mod metrics;
mod reach;
mod servers;
mod sign_in;
#[cfg(test)]
mod tests;

pub use desk::DeskAnswer;
pub use desk_sign_in::{DeskSignIn, DeskSignInError};
pub use download::{Answer, Downloaded, File};
pub use error::{Error, Rest};
pub use metrics::Metrics;
pub use sign_in::{Callback, SignInRequest, SignedIn};

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, Request, Response, Uri, Version};
use http_body_util::Full;
use hyper::body::Incoming;

use crate::cc::{Call, Guid, NodeName};
use crate::net;

use servers::Servers;

/// Request header that carries the session's Guid.
const GUID: HeaderName = HeaderName::from_static("guid");

/// Content type that the gateway wants on every call, with or without a body.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");

/// How we call ourselves.
const OURSELVES: HeaderValue = HeaderValue::from_static(concat!("ccgate/", env!("CARGO_PKG_VERSION")));

/// Where the gateway is and how long to wait for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Hosts and ports of the gateway or its load balancers, each once, reached by https; at least one. Sign-ins go to
    /// them in turn.
    pub urls: Vec<Authority>,
    /// Where the sessions of a node live: calls with a Guid of that node go there and nowhere else.
    pub nodes: BTreeMap<NodeName, Authority>,
    /// Trust and deadlines.
    pub client: net::ClientConfig,
    /// Silence inside a body after which it is given up.
    pub idle_timeout: Duration,
}

/// The gateway. Clones share one pool of connections, and one judgement of who is there.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: net::Client,
    servers: Arc<Servers>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    metrics: Metrics,
}

impl Gateway {
    /// Builds the client; reads the TLS files. Nothing is connected yet. Can be called again with clones of the metrics.
    pub fn new(config: &Config, metrics: Metrics) -> Result<Self, net::TlsError> {
        Ok(Self {
            client: net::Client::sharing(&config.client, reach::sharers(config.urls.len()))?,
            servers: Arc::new(Servers::new(config, &metrics)),
            connect_timeout: config.client.connect_timeout,
            idle_timeout: config.idle_timeout,
            metrics,
        })
    }

    /// Shows in the metrics which URLs are left alone. Until then one is silent, for it may never come into force.
    pub fn show(&self) {
        self.servers.show();
    }

    /// Takes another one's place: shows what that one did, and takes on what it has found out of the URLs that both have,
    /// who is left alone and where sessions live.
    pub fn follow(&self, before: &Self) {
        if !Arc::ptr_eq(&self.servers, &before.servers) {
            self.servers.follow(&before.servers);
        }
    }

    /// Sends a request and waits for the head of an answer in HTTP/1.1.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        connect: Duration,
        deadline: Duration,
    ) -> Result<Response<Incoming>, Error> {
        let response = self.client.send_connected_within(request, connect, deadline).await?;
        if response.version() == Version::HTTP_11 { Ok(response) } else { Err(Error::Protocol("it is not HTTP/1.1")) }
    }

    /// Prints a call's request: method, target and headers are ours.
    fn request(at: &Authority, call: &Call, guid: Option<&Guid>, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
        let uri = Uri::builder().scheme("https").authority(at.clone()).path_and_query(call.target.clone());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = call.method.clone();
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
