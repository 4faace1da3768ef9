//! Around the flow: where a request came from, cross-origin rules, a caught panic, problem documents, and the story.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCEPT, ACCEPT_RANGES, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
    CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, LAST_MODIFIED, ORIGIN, RANGE,
    RETRY_AFTER, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use ipnet::IpNet;
use tokio::time::Instant;
use tower::util::Either;
use tower::{Layer, Service, ServiceExt};
use tower_http::cors::{AllowOrigin, Cors, CorsLayer};

use super::arrival::{Peer, REQUEST_ID, arrival};
use super::failure::Failure;
use super::metrics::{Labels, Metrics};
use super::observe::{Content, Facts, ResponseBody, Story};
use super::pipeline::{Served, Trail};
use super::problem::Problem;
use super::{Config, Live};
use crate::cc::Operation;
use crate::route::{self, Arrival, SeatAct};

/// Content type of what is passed down of the gateway's envelopes.
const ENVELOPE: HeaderValue = HeaderValue::from_static("application/json;charset=UTF-8");

/// Response header with the id of the audit entry.
const AUDIT_ID: HeaderName = HeaderName::from_static("ccgate-audit-id");

/// How long a browser may remember the answer to a preflight. Ten minutes is what most of them allow at the most.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// What answers the requests of all connections.
pub(super) struct Edge {
    flow: Flow,
    cors: Option<Cors<Flow>>,
    trusted_proxies: Vec<IpNet>,
    metrics: Arc<Metrics>,
}

impl Edge {
    pub(super) fn new(config: &Config, live: Live, metrics: Arc<Metrics>) -> Self {
        let cors = cors(&config.allowed_origins, live.pass_through);
        let flow = Flow { live: Arc::new(live) };
        let cors = cors.map(|layer| layer.layer(flow.clone()));
        Self { flow, cors, trusted_proxies: config.trusted_proxies.clone(), metrics }
    }

    /// Answers one request. The body of a request that is no call about a seat is dropped unread: no other has one.
    pub(super) async fn handle(&self, peer: &Peer, request: Request<Incoming>) -> Response<ResponseBody> {
        let start = Instant::now();
        let (mut head, body) = request.into_parts();
        let seat = self.flow.live.seat_act(&head.uri);
        let body = seat.map(|_| body);
        if let Some(token) = head.headers.get_mut(AUTHORIZATION) {
            token.set_sensitive(true);
        }
        let has_body = head.headers.contains_key(CONTENT_LENGTH) || head.headers.contains_key(TRANSFER_ENCODING);
        let (now, tracing) = (self.flow.live.clock.at(start), self.flow.live.tracing.as_ref());
        let arrival = arrival(now, peer, &head.headers, &self.trusted_proxies, tracing);
        let download = route::operation(&head.uri).map(Operation::as_str);
        let labels = Labels::of(download.or(seat.map(SeatAct::as_str)), &head.method);
        let id = HeaderValue::from_str(arrival.request_id.as_str());
        let mut story = Story::begin(labels, arrival.clone(), start, Arc::clone(&self.metrics), tracing.cloned());
        head.extensions.insert((arrival, start));
        let service = match &self.cors {
            // The layer would answer any OPTIONS with 200; only a preflight for what is served is one to answer.
            Some(cors) if head.method != Method::OPTIONS || is_preflight(&head, seat) => Either::Left(cors.clone()),
            _ => Either::Right(self.flow.clone()),
        };
        let mut response = match service.oneshot(Request::from_parts(head, body)).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
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

impl Service<Request<Option<Incoming>>> for Flow {
    type Response = Response<Content>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Content>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Option<Incoming>>) -> Self::Future {
        let live = Arc::clone(&self.live);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            Ok(answer(&live, head, body).await)
        })
    }
}

/// `body`: of a call about a seat.
async fn answer(live: &Live, mut head: Parts, body: Option<Incoming>) -> Response<Content> {
    let Some((arrival, start)) = head.extensions.remove::<(Arrival, Instant)>() else {
        // Only `Edge::handle` calls, and it puts them there.
        return Response::default();
    };
    let mut trail = Trail::default();
    let flow = async {
        match body {
            Some(body) => live.seat(&head, body, arrival.clone(), &mut trail).await.map(envelope),
            None => live.download(&head, arrival.clone(), start, &mut trail).await.map(file),
        }
    };
    // A panic leaves nothing half done that is looked at again: the entry has its own `Drop`, the trail is copied out.
    let answered = AssertUnwindSafe(flow).catch_unwind().await;
    match answered.unwrap_or(Err(Failure::Panic)) {
        Ok(response) => finish(response, trail, String::new()),
        Err(failure) => {
            log(&failure, &arrival);
            problem(&failure, trail, &arrival)
        }
    }
}

/// Fetch standard, "CORS-preflight request", for a path that is served.
fn is_preflight(head: &Parts, seat: Option<SeatAct>) -> bool {
    let asks = head.headers.contains_key(ORIGIN) && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    asks && (seat.is_some() || route::operation(&head.uri).is_some())
}

fn file(served: Served) -> Response<Content> {
    let Served { response, permit } = served;
    let mut response = response.map(|body| Content::File(Box::new(body), permit));
    // Personal data: no cache between here and the person keeps it.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The gateway's envelope, under headers that are all ours.
fn envelope(body: Bytes) -> Response<Content> {
    let mut response = Response::new(Content::Whole(Full::new(body)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, ENVELOPE);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn problem(failure: &Failure, trail: Trail, arrival: &Arrival) -> Response<Content> {
    let problem = Problem::from(failure);
    let response = problem.response(&arrival.request_id).map(|document| Content::Whole(Full::new(document)));
    finish(response, trail, problem.code.into_owned())
}

fn finish(mut response: Response<Content>, trail: Trail, code: String) -> Response<Content> {
    if let Some(Ok(id)) = trail.entry.map(|entry| HeaderValue::try_from(entry.to_string())) {
        response.headers_mut().insert(AUDIT_ID, id);
    }
    response.extensions_mut().insert(Facts { code, entry: trail.entry, agent: trail.agent, steps: trail.steps });
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
fn cors(origins: &[HeaderValue], pass_through: bool) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let sent = ["ccgate-purpose", "ccgate-ticket", "x-request-id", "traceparent"].map(HeaderName::from_static);
    let read = [REQUEST_ID, AUDIT_ID, RETRY_AFTER];
    let read_of_file = [CONTENT_LENGTH, CONTENT_RANGE, CONTENT_DISPOSITION, ACCEPT_RANGES, ETAG, LAST_MODIFIED];
    let seats = if pass_through { &[Method::PUT, Method::POST, Method::DELETE][..] } else { &[] };
    let content_type = pass_through.then_some(CONTENT_TYPE);
    let sent = [AUTHORIZATION, RANGE, IF_RANGE, ACCEPT].into_iter().chain(sent).chain(content_type);
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().cloned()))
        .allow_methods([Method::GET].iter().chain(seats).cloned().collect::<Vec<_>>())
        .allow_headers(sent.collect::<Vec<_>>())
        .expose_headers(read.into_iter().chain(read_of_file).collect::<Vec<_>>())
        .max_age(PREFLIGHT_MAX_AGE);
    Some(layer)
}
