//! A web app on another origin: the preflight, its answers, and what a page of a foreign origin is not told.

use serde_json::json;

use crate::client::{self, Answer};
use crate::world::{Builder, CALL, World, call};

const APP: &str = "https://app.example";
const ALLOW: &str = "access-control-allow-origin";

fn world() -> Builder {
    World::new()
        .config(|config| config["server"]["cors"] = json!({ "allowed_origins": [APP, "http://localhost:3000"] }))
}

async fn preflight(world: &World, headers: &[(&str, &str)]) -> Answer {
    client::whole(client::request(world.server(), "OPTIONS", &call(1001, CALL), headers).await).await
}

/// The words of a header that is a list.
fn words(answer: &Answer, name: &str) -> Vec<String> {
    let mut words: Vec<_> = answer.header(name).split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
    words.sort_unstable();
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_token_and_reaches_nothing() {
    let world = world().start().await;
    let asked = [
        ("origin", APP),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "authorization,range"),
    ];
    let answer = preflight(&world, &asked).await;
    assert_eq!((answer.status.as_u16(), answer.body.len(), answer.header(ALLOW)), (200, 0, APP), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-methods"), "GET");
    let headers = [
        "accept",
        "authorization",
        "ccgate-purpose",
        "ccgate-ticket",
        "if-range",
        "range",
        "traceparent",
        "x-request-id",
    ];
    assert_eq!(words(&answer, "access-control-allow-headers"), headers);
    assert_eq!(answer.header("access-control-max-age"), "600");
    assert_eq!(answer.header("access-control-allow-credentials"), "", "a token is no cookie");
    assert!(words(&answer, "vary").contains(&"origin".to_owned()), "{answer:?}");
    assert!(!answer.header("x-request-id").is_empty());
    let with_token = format!("Bearer {}", world.issuer.agent(1001));
    let answer = preflight(&world, &[asked[0], asked[1], ("authorization", &with_token)]).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
    assert_eq!(
        (world.sim.counts().requests, world.events("authorized").len(), world.events("denied").len()),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_origin_that_is_not_named_is_told_nothing() {
    let world = world().start().await;
    let token = world.issuer.agent(1001);
    for origin in [
        "https://evil.example",
        "https://app.example.evil.example",
        "http://app.example",
        "https://app.example:8443",
        "null",
        "HTTPS://APP.EXAMPLE",
        "*",
    ] {
        let asked = [("origin", origin), ("access-control-request-method", "GET")];
        assert_eq!(preflight(&world, &asked).await.header(ALLOW), "", "{origin}");
        let answer = world.get_with(&call(1001, CALL), &token, &[("origin", origin)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header(ALLOW)),
            (200, ""),
            "{origin}: the browser keeps it from the page"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_and_refusals_can_be_read() {
    let world = world().start().await;
    let good = world.issuer.agent(1001);
    let exposed = [
        "accept-ranges",
        "ccgate-audit-id",
        "content-disposition",
        "content-length",
        "content-range",
        "etag",
        "last-modified",
        "retry-after",
        "x-request-id",
    ];
    for (target, token, status) in [
        (call(1001, CALL), good.as_str(), 200),
        (call(1001, "missing-1"), &good, 404),
        (call(1002, CALL), &good, 403),
        (call(1001, CALL), "junk", 401),
        (format!("{}&x=1", call(1001, CALL)), &good, 400),
        ("/nothing/here".to_owned(), &good, 404),
    ] {
        for origin in [APP, "http://localhost:3000"] {
            let answer = world.get_with(&target, token, &[("origin", origin)]).await;
            assert_eq!((answer.status.as_u16(), answer.header(ALLOW)), (status, origin), "{target}: {answer:?}");
            assert_eq!(words(&answer, "access-control-expose-headers"), exposed, "{target}");
            assert!(words(&answer, "vary").contains(&"origin".to_owned()), "{target}: a cache must not mix origins up");
            assert!(status == 200 || !answer.code().is_empty());
        }
    }
    let without = world.get(&call(1001, CALL), &good).await;
    assert_eq!((without.status.as_u16(), without.header(ALLOW)), (200, ""));
    assert_eq!(world.sim.broken_rules(), vec![], "Origin is no header for the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_method_is_refused_behind_a_preflight_too() {
    let world = world().start().await;
    let answer = preflight(&world, &[("origin", APP), ("access-control-request-method", "DELETE")]).await;
    assert_eq!(answer.header("access-control-allow-methods"), "GET");
    let bearer = format!("Bearer {}", world.issuer.agent(1001));
    let headers = [("origin", APP), ("authorization", bearer.as_str())];
    let answer = client::whole(client::request(world.server(), "DELETE", &call(1001, CALL), &headers).await).await;
    assert_eq!((answer.status.as_u16(), answer.header("allow"), answer.header(ALLOW)), (405, "GET", APP));
    assert_eq!(world.sim.counts().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_origins_there_is_no_cors() {
    let world = World::new().start().await;
    let answer = preflight(&world, &[("origin", APP), ("access-control-request-method", "GET")]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str(), answer.header(ALLOW)), (405, "method_not_allowed", ""));
    let answer = world.get_with(&call(1001, CALL), &world.issuer.agent(1001), &[("origin", APP)]).await;
    assert_eq!((answer.status.as_u16(), answer.header(ALLOW), answer.header("vary")), (200, "", ""));
}
