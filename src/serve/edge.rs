//! Around the flow: where a request came from, cross-origin rules, a caught panic, problem documents, and the story.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use http::header::{
    ACCEPT, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_LENGTH,
    CONTENT_RANGE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use ipnet::IpNet;
use tokio::time::Instant;
use tower::util::Either;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use super::arrival::{REQUEST_ID, arrival};
use super::failure::Failure;
use super::metrics::{Labels, Metrics};
use super::observe::{Content, Facts, ResponseBody, Story};
use super::pipeline::{Served, Trail};
use super::problem::Problem;
use super::{Config, Live};
use crate::route::{self, Arrival};

/// Response header with the id of the audit entry.
const AUDIT_ID: HeaderName = HeaderName::from_static("ccgate-audit-id");

/// How long a browser may remember the answer to a preflight. Ten minutes is what most of them allow at the most.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// What answers the requests of all connections.
pub(super) struct Edge {
    live: Arc<Live>,
    service: Either<Cors<Flow>, Flow>,
    trusted_proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
}

impl Edge {
    pub(super) fn new(config: &Config, live: Arc<Live>, metrics: Arc<Metrics>) -> Self {
        let flow = Flow { live: Arc::clone(&live) };
        let service = match cors(&config.allowed_origins) {
            Some(layer) => Either::Left(layer.layer(flow)),
            None => Either::Right(flow),
        };
        Self { live, service, trusted_proxies: config.trusted_proxies.clone(), metrics }
    }

    /// Answers one request. The request's body is dropped unread: no request that we serve has one.
    pub(super) async fn handle<B>(&self, peer: SocketAddr, request: Request<B>) -> Response<ResponseBody> {
        let start = Instant::now();
        let (mut head, _body) = request.into_parts();
        if let Some(token) = head.headers.get_mut(AUTHORIZATION) {
            token.set_sensitive(true);
        }
        let has_body = head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
        let arrival = arrival(self.live.clock.now(), peer, &head.headers, &self.trusted_proxies);
        let labels = Labels::of(route::operation(&head.uri), &head.method);
        let mut story = Story::begin(labels, arrival.clone(), start, Arc::clone(&self.metrics));
        head.extensions.insert((arrival.clone(), start));
        let answer = self.service.clone().oneshot(Request::from_parts(head, ()));
        let answer = AssertUnwindSafe(answer).catch_unwind().await;
        let mut response = match answer {
            Ok(Ok(response)) => response,
            Ok(Err(never)) => match never {},
            Err(_panic) => problem(&Failure::Panic, Trail::default(), &arrival),
        };
        let id = HeaderValue::from_str(arrival.request_id.as_str());
        // A request id is made of characters that a header may hold.
        if let Ok(id) = id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        if has_body {
            // Nobody reads it, so whether the next request begins behind it is nobody's to say (R11).
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        story.head(response.status(), response.extensions_mut().remove::<Facts>().unwrap_or_default());
        response.map(|content| ResponseBody::new(content, story))
    }
}

/// The flow as a service, so that well-kept layers can stand around it.
#[derive(Clone)]
struct Flow {
    live: Arc<Live>,
}

impl Service<Request<()>> for Flow {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let live = Arc::clone(&self.live);
        Box::pin(async move { Ok(answer(&live, request.into_parts().0).await) })
    }
}

async fn answer(live: &Live, mut head: Parts) -> Response<Content> {
    let Some((arrival, start)) = head.extensions.remove::<(Arrival, Instant)>() else {
        // Only `Edge::handle` calls, and it puts them there.
        return Response::default();
    };
    let mut trail = Trail::default();
    match live.download(&head, arrival.clone(), start, &mut trail).await {
        Ok(served) => file(served, trail),
        Err(failure) => {
            log(&failure, &arrival);
            problem(&failure, trail, &arrival)
        }
    }
}

fn file(served: Served, trail: Trail) -> Response<Content> {
    let Served { response, permit } = served;
    let mut response = response.map(|body| Content::File(Box::new(body), permit));
    // Personal data: no cache between here and the person keeps it.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    finish(response, trail, String::new())
}

fn problem(failure: &Failure, trail: Trail, arrival: &Arrival) -> Response<Content> {
    let problem = Problem::from(failure);
    let response = problem.response(&arrival.request_id).map(|document| Content::Whole(Full::new(document)));
    finish(response, trail, problem.code.into_owned())
}

fn finish(mut response: Response<Content>, trail: Trail, code: String) -> Response<Content> {
    if let Some(Ok(id)) = trail.entry.map(|entry| HeaderValue::from_str(&entry.to_string())) {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    response.extensions_mut().insert(Facts { code, entry: trail.entry, agent: trail.agent });
    response
}

/// The whole chain of causes goes to the log, and only there.
fn log(failure: &Failure, arrival: &Arrival) {
    let mut chain = failure.to_string();
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        chain.push_str(": ");
        chain.push_str(&error.to_string());
        cause = error.source();
    }
    let message = failure.upstream_answer().map(|answer| answer.message).unwrap_or_default();
    if Problem::from(failure).status.is_server_error() {
        tracing::warn!(request_id = %arrival.request_id, error = %chain, upstream_message = ?message, "not served");
    } else {
        tracing::debug!(request_id = %arrival.request_id, error = %chain, upstream_message = ?message, "not served");
    }
}

/// The rules for other origins (Fetch standard, CORS protocol); none where no origin is allowed.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let sent = ["ccgate-purpose", "ccgate-ticket", "x-request-id", "traceparent"].map(HeaderName::from_static);
    let read = [REQUEST_ID, AUDIT_ID, RETRY_AFTER];
    let read_of_file = [CONTENT_LENGTH, CONTENT_RANGE, CONTENT_DISPOSITION, ACCEPT_RANGES, ETAG, LAST_MODIFIED];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET])
        .allow_headers([AUTHORIZATION, RANGE, IF_RANGE, ACCEPT].into_iter().chain(sent).collect::<Vec<_>>())
        .expose_headers(read.into_iter().chain(read_of_file).collect::<Vec<_>>())
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
