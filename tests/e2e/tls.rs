//! TLS towards clients: who is let in, what is written down of them, and whose tokens they may use. In `upstream`, TLS
//! towards CC-Gateway; in `scan`, the listener as a scanner sees it.

mod scan;
mod upstream;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::issuer::encoded;
use crate::pki::{self, Authority, NOW, OVER, Pair, Secure, TO_COME};
use crate::world::{Builder, CALL, World, call, hex, until};

/// A data plane that lets in the clients of an authority alone.
struct Site {
    world: World,
    clients: Authority,
}

fn builder(clients: &Authority) -> Builder {
    let servers = Authority::new("servers");
    let server = servers.issue("ccgate", &["127.0.0.1"], NOW);
    World::new()
        .file("server.crt", &server.pem())
        .file("server.key", &server.key_pem())
        .file("servers.pem", &servers.pem())
        .file("clients.pem", &clients.pem())
        .config(|c| {
            let files = json!({ "cert_file": "server.crt", "key_file": "server.key", "client_ca_file": "clients.pem" });
            c["server"]["tls"] = files;
        })
}

impl Site {
    async fn new(change: impl FnOnce(Builder) -> Builder) -> Self {
        let clients = Authority::new("clients");
        Self { world: change(builder(&clients)).start().await, clients }
    }

    fn client(&self, pair: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        pki::client(self.world.dir(), "servers.pem", pair)
    }

    fn issue(&self, name: &str) -> Pair {
        self.clients.issue(name, &["web.example", "spiffe://example/ns/qa/web"], NOW)
    }

    async fn handshakes(&self, outcome: &str) -> Option<f64> {
        let series = format!("ccgate_tls_handshakes_total{{outcome=\"{outcome}\",plane=\"server\"}}");
        self.world.metric(&series).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whom_the_certificate_names_stands_in_every_record_of_the_request() {
    let site = Site::new(|builder| builder).await;
    let (pair, other) = (site.issue("call-review, prod"), site.issue("other"));
    let client = site.client(Some(&pair));
    let token = site.world.issuer.agent(1001);
    let answer = pki::get(site.world.server(), &client, &call(1001, CALL), &token).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.whole), (200, true), "{answer:?}");
    let _end = site.world.end_of(answer.header("ccgate-audit-id")).await;
    let wanted = json!({
        "sha256": hex(&pair.print()), "subject": "CN=call-review\\, prod", "issuer": "CN=clients",
        "dns": ["web.example"], "uris": ["spiffe://example/ns/qa/web"],
    });
    assert_eq!(site.world.events("authorized")[0]["from"]["certificate"], wanted);

    // Each connection has its own, for all its requests; no header stands for one.
    let mut kept = Secure::open(site.world.server(), &site.client(Some(&other))).await.unwrap();
    for target in [call(1002, CALL), call(1002, "1621413752-2012")] {
        let headers = [
            ("authorization", format!("Bearer {token}")),
            ("x-forwarded-client-cert", format!("Hash={};Subject=\"CN=root\"", hex(&pair.print()))),
            ("x-ssl-client-cert", "forged".to_owned()),
        ];
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(kept.get(&target, &headers).await.unwrap().code(), "not_your_recording");
    }
    until("both recorded", || async { site.world.events("denied").len() == 2 }).await;
    for denied in site.world.events("denied") {
        assert_eq!(denied["from"]["certificate"]["sha256"], hex(&other.print()), "{denied}");
        assert_eq!(denied["from"]["certificate"]["subject"], "CN=other");
    }
    assert_eq!(site.handshakes("ok").await, Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_good_certificate_hears_why_and_is_counted() {
    let site = Site::new(|builder| builder).await;
    let sans = ["web.example"];
    for (pair, alert, outcome) in [
        (None, "CertificateRequired", "certificate_missing"),
        (Some(site.clients.issue("late", &sans, OVER)), "CertificateExpired", "certificate_expired"),
        (Some(site.clients.issue("early", &sans, TO_COME)), "CertificateExpired", "certificate_not_yet_valid"),
        (Some(Authority::new("others").issue("web", &sans, NOW)), "UnknownCA", "certificate_unknown_ca"),
        (Some(pki::by_itself(false, NOW)), "UnknownCA", "certificate_unknown_ca"),
        (Some(site.clients.issue("web", &["a\0.example"], NOW)), "CertificateUnknown", "certificate_unusable"),
    ] {
        let before = site.handshakes(outcome).await.expect("a series from the beginning");
        let heard = pki::alert(site.world.server(), &site.client(pair.as_ref())).await.expect("refused");
        assert!(heard.contains(alert), "{outcome}: {heard}");
        until(outcome, || async { site.handshakes(outcome).await == Some(before + 1.0) }).await;
    }
    assert_eq!(site.handshakes("ok").await, Some(0.0));
    let answer = crate::client::raw(site.world.server(), b"GET / HTTP/1.1\r\n\r\n", Duration::from_secs(10)).await;
    assert!(answer.1 && !answer.0.starts_with(b"HTTP"), "plain HTTP is not spoken: {answer:?}");
    until("counted", || async { site.handshakes("not_tls").await == Some(1.0) }).await;
    assert!(site.world.records().iter().all(|record| record["event"] != "denied"), "nobody has asked for anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_client_is_refused() {
    let clients = Authority::new("clients");
    let (good, bad) = (clients.issue("good", &["a"], NOW), clients.issue("bad", &["b"], NOW));
    let builder = builder(&clients).file("revoked.pem", &clients.revoke(&[&bad]));
    let world = builder.config(|c| c["server"]["tls"]["client_crl_file"] = "revoked.pem".into()).start().await;
    let client = |pair| pki::client(world.dir(), "servers.pem", Some(pair));
    let token = world.issuer.agent(1001);
    let answer = pki::get(world.server(), &client(&good), &call(1001, CALL), &token).await.unwrap();
    assert_eq!(answer.status, 200);
    let heard = pki::alert(world.server(), &client(&bad)).await.expect("refused");
    assert!(heard.contains("CertificateRevoked"), "{heard}");
    let end =
        world.metric("ccgate_tls_revocation_list_expiry_timestamp_seconds{name=\"server\"}").await.expect("a series");
    assert!(end > 2e9, "{end}");
    for name in ["server", "server_client_ca", "upstream_ca"] {
        let series = format!("ccgate_tls_certificate_expiry_timestamp_seconds{{name=\"{name}\"}}");
        assert!(world.metric(&series).await.is_some_and(|end| end > 2e9), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_taken_off_the_list_stays_out_after_a_start_with_the_new_list() {
    let clients = Authority::new("clients");
    let mut world = builder(&clients).start().await;
    let client = pki::client(world.dir(), "servers.pem", Some(&clients.issue("web", &["web.example"], NOW)));
    let token = world.issuer.agent(1001);
    let answer = pki::get(world.server(), &client, &call(1001, CALL), &token).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(world.shut_down().await);
    std::fs::write(world.dir().join("clients.pem"), Authority::new("others").pem()).unwrap();
    world.run_here().await;
    world.until_ready().await;
    // The same client, with whatever sessions it has kept.
    let heard = pki::alert(world.server(), &client).await.expect("refused");
    assert!(heard.contains("UnknownCA"), "{heard}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_with_its_clients_certificate() {
    let site = Site::new(|builder| builder).await;
    let token = format!("Bearer {}", site.world.issuer.agent(1001));
    let headers = [("authorization", token.as_str())];
    // On a busy machine a handshake may take longer than a short life.
    for seconds in [3, 15, 60] {
        let client = site.client(Some(&site.clients.issue_short("web", seconds)));
        let Ok(mut kept) = Secure::open(site.world.server(), &client).await else { continue };
        let Ok(answer) = kept.get(&call(1001, CALL), &headers).await else { continue };
        assert_eq!(answer.status, 200);
        tokio::time::timeout(Duration::from_secs(seconds + 60), kept.closed()).await.expect("closed in time");
        assert!(site.handshakes("ok").await >= Some(1.0));
        return;
    }
    panic!("no handshake within a minute");
}

fn bound(pair: &Pair) -> Value {
    json!({ "agent_id": "1001", "cnf": { "x5t#S256": encoded(&pair.print()) } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bound_token_is_good_over_its_own_certificates_connections_alone() {
    let site = Site::new(|builder| builder).await;
    let (ours, theirs) = (site.issue("ours"), site.issue("theirs"));
    let token = site.world.issuer.token(&bound(&ours));
    let (our_client, their_client) = (site.client(Some(&ours)), site.client(Some(&theirs)));
    let get = |client, token: String| {
        let server = site.world.server();
        async move { pki::get(server, client, &call(1001, CALL), &token).await.unwrap() }
    };
    for _ in 0..2 {
        assert_eq!(get(&our_client, token.clone()).await.status, 200);
        let stolen = get(&their_client, token.clone()).await;
        assert_eq!((stolen.status.as_u16(), stolen.code().as_str()), (401, "token_binding"));
        assert!(stolen.header("www-authenticate").contains("invalid_token"));
        assert!(stolen.json()["detail"].as_str().unwrap().contains("another client certificate"), "{stolen:?}");
    }
    for other in [
        json!({ "jkt": encoded(&ours.print()) }),
        json!({ "kid": "k1" }),
        json!({ "jwk": site.world.issuer.jwk() }),
        json!({}),
        json!({ "x5t#S256": hex(&ours.print()) }),
        json!({ "x5t#S256": encoded(&ours.print()), "jkt": encoded(&ours.print()) }),
    ] {
        let token = site.world.issuer.token(&json!({ "agent_id": "1001", "cnf": other }));
        assert_eq!(get(&our_client, token).await.code(), "token_binding", "{other}");
    }
    assert_eq!(get(&their_client, site.world.issuer.agent(1001)).await.status, 200, "not bound");
    until("recorded", || async { site.world.events("denied").len() == 8 }).await;
    assert!(site.world.events("denied").iter().all(|denied| denied["code"] == "token_binding"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_may_be_held_to_bound_tokens() {
    let site =
        Site::new(|builder| builder.config(|c| c["auth"]["issuers"][0]["certificate_bound"] = true.into())).await;
    let pair = site.issue("web");
    let client = site.client(Some(&pair));
    let get = |token: String| pki_get(&site, &client, token);
    assert_eq!(get(site.world.issuer.agent(1001)).await.code(), "token_binding");
    assert_eq!(get(site.world.issuer.token(&bound(&pair))).await.status, 200);
}

async fn pki_get(site: &Site, client: &Arc<rustls::ClientConfig>, token: String) -> crate::client::Answer {
    pki::get(site.world.server(), client, &call(1001, CALL), &token).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_client_certificates_no_bound_token_is_taken() {
    // As behind a proxy that ends TLS.
    let world = World::new().config(|c| c["server"]["trusted_proxies"] = json!(["127.0.0.1"])).start().await;
    let pair = Authority::new("clients").issue("web", &["web.example"], NOW);
    let token = world.issuer.token(&bound(&pair));
    let print = hex(&pair.print());
    let headers = [("x-forwarded-client-cert", print.as_str()), ("client-cert", print.as_str())];
    let answer = world.get_with(&call(1001, CALL), &token, &headers).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token_binding"));
    assert!(answer.json()["detail"].as_str().unwrap().contains("none was shown"), "{answer:?}");
    let held = World::new().config(|c| c["auth"]["issuers"][0]["certificate_bound"] = true.into());
    let (code, told) = held.without_gateway().await.refused_start().await;
    assert_eq!(code, Some(2));
    assert!(told.contains("auth.issuers[0].certificate_bound: true, and no client certificate"), "{told}");
}
