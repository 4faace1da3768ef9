//! What the parts of one request cost, each alone: reading its head, recognising a token seen before, the decision.
//!
//! `make parts` runs it. The figures are of the machine that it runs on and say nothing about a transfer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]
#![allow(unreachable_pub, dead_code, reason = "the issuer of the tests is included as it is")]

#[path = "../tests/e2e/issuer.rs"]
mod issuer;

use std::hint::black_box;
use std::net::SocketAddr;

use ccgate::authn::{Algorithm, Authenticator, Claims, Config, IssuerConfig, KeySource, Metrics};
use ccgate::clock::Clock;
use ccgate::policy::Policy;
use ccgate::ready::Ready;
use ccgate::route::{self, Arrival, RequestId, Source};
use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

const TARGET: &str = "/agentgateway/resource/recordfile/4977/recordfiledownloadEx\
    ?callId=1621413752-2011&hwFileName=Y%3A%2F90%2F0%2F20210519%2F4977%2F1642329.mp4";

fn head(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost:8080"));
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    headers
}

fn parts(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    let issuer = issuer::Issuer::new("k1");
    let jwks = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(jwks.path(), issuer.jwks().to_string()).unwrap();
    let trusted = IssuerConfig {
        issuer: issuer::ISSUER.to_owned(),
        audiences: vec![issuer::AUDIENCE.to_owned()],
        algorithms: vec![Algorithm::ES256],
        keys: KeySource::File(jwks.path().to_owned()),
        ca_file: None,
        certificate_bound: false,
        claims: Claims::default(),
    };
    let config = Config {
        leeway: std::time::Duration::from_secs(30),
        max_token_lifetime: std::time::Duration::from_hours(24),
        issuers: vec![trusted],
    };
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    let authenticator = Authenticator::new(&config, Clock::system(), &Ready::new(), metrics).unwrap();
    let policy = Policy::builtin().unwrap();
    let (headers, uri) = (head(&issuer.agent(4977)), Uri::from_static(TARGET));
    let arrival = Arrival {
        at: Clock::system().now(),
        source: Source { peer: SocketAddr::from(([127, 0, 0, 1], 40_000)), forwarded: None, certificate: None },
        request_id: RequestId::random(),
        trace: None,
    };
    let parse = || route::parse(Version::HTTP_11, &Method::GET, black_box(&uri), &headers).unwrap();
    let caller = runtime.block_on(authenticator.authenticate(&headers, None)).unwrap();

    criterion.bench_function("a request's head", |bench| bench.iter(parse));
    criterion.bench_function("a token seen before", |bench| {
        bench.iter(|| runtime.block_on(authenticator.authenticate(black_box(&headers), None)).unwrap());
    });
    criterion.bench_function("the decision", |bench| {
        let download = parse();
        bench.iter(|| policy.authorize(caller.clone(), download.clone(), arrival.clone()).unwrap());
    });
}

criterion_group!(benches, parts);
criterion_main!(benches);
