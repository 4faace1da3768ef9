//! Clients with and without certificates, and sessions that must not be resumed.

use super::pki::{Authority, Files, NOW, OVER, Pair, TO_COME, Years, lonely};
use super::*;

struct World {
    files: Files,
    clients: Authority,
    servers: Authority,
}

impl World {
    fn new() -> Self {
        let world =
            Self { files: Files::new(), clients: Authority::new("clients"), servers: Authority::new("servers") };
        world.files.pair("server", &world.servers.issue(1, &["server.example"], NOW));
        world.files.write("clients.pem", &world.clients.certificate.pem());
        world.files.write("servers.pem", &world.servers.certificate.pem());
        world
    }

    fn server_tls(&self, authority: Option<&str>, revoked: Option<&str>) -> ServerTls {
        ServerTls {
            cert_file: self.files.path("server.crt"),
            key_file: self.files.path("server.key"),
            client_ca_file: authority.map(|name| self.files.path(name)),
            client_crl_file: revoked.map(|name| self.files.path(name)),
        }
    }

    fn server(&self, authority: Option<&str>, revoked: Option<&str>) -> Arc<rustls::ServerConfig> {
        Arc::new(self.server_tls(authority, revoked).build().expect("a server"))
    }

    fn client(&self, pair: Option<&Pair>) -> Arc<rustls::ClientConfig> {
        let client_cert = pair.map(|pair| self.files.pair("client", pair));
        let ca_file = Some(self.files.path("servers.pem"));
        Arc::new(ClientTls { ca_file, client_cert, ..ClientTls::default() }.build().expect("a client"))
    }

    fn issue(&self, years: Years) -> Pair {
        self.clients.issue(7, &["web.example"], years)
    }
}

#[tokio::test]
async fn a_client_is_known_by_its_certificate() {
    let world = World::new();
    let pair = world.issue(NOW);
    let met = meet(&world.server(Some("clients.pem"), None), &world.client(Some(&pair))).await;
    let (_, known) = met.server.expect("let in");
    let known = known.expect("an identity");
    assert_eq!((known.subject(), known.issuer()), ("CN=leaf", "CN=clients"));
    assert_eq!(known.dns(), ["web.example"]);
    assert_eq!(known.sha256(), &crate::net::certificate::sha256(pair.certificate.der()));
    assert_eq!((met.client.is_ok(), met.outcome.as_str()), (true, "ok"));
    let met = meet(&world.server(None, None), &world.client(Some(&pair))).await;
    assert_eq!(met.server.expect("let in").1, None, "no certificate is asked for");
}

#[tokio::test]
async fn a_client_that_is_refused_hears_why() {
    let world = World::new();
    let server = world.server(Some("clients.pem"), None);
    let (stranger, unprintable) = (Authority::new("clients"), world.clients.issue(9, &["a\0.example"], NOW));
    for (pair, alert, outcome) in [
        (None, "CertificateRequired", "certificate_missing"),
        (Some(world.issue(OVER)), "CertificateExpired", "certificate_expired"),
        (Some(world.issue(TO_COME)), "CertificateExpired", "certificate_not_yet_valid"),
        // Of another authority of the same name: the key counts, not the name.
        (Some(stranger.issue(7, &["web.example"], NOW)), "DecryptError", "certificate_unusable"),
        (Some(Authority::new("others").issue(7, &["web.example"], NOW)), "UnknownCA", "certificate_unknown_ca"),
        (Some(lonely(NOW)), "UnknownCA", "certificate_unknown_ca"),
        (Some(unprintable), "CertificateUnknown", "certificate_unusable"),
    ] {
        let met = meet(&server, &world.client(pair.as_ref())).await;
        assert_eq!(met.server.expect_err("refused"), (), "{outcome}");
        assert_eq!((met.client, met.outcome.as_str()), (Err(Untrusted::Refused(alert.to_owned())), outcome));
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_so_is_one_of_which_nothing_is_known() {
    let world = World::new();
    let (good, bad) = (world.clients.issue(1, &["a.example"], NOW), world.clients.issue(2, &["b.example"], NOW));
    world.files.write("crl.pem", &world.clients.revoke(&[&bad], NOW));
    let server = world.server(Some("clients.pem"), Some("crl.pem"));
    assert_eq!(meet(&server, &world.client(Some(&good))).await.outcome, "ok");
    let met = meet(&server, &world.client(Some(&bad))).await;
    assert_eq!(met.client, Err(Untrusted::Refused("CertificateRevoked".to_owned())));
    assert_eq!(met.outcome, "certificate_revoked");
    for list in [world.clients.revoke(&[&bad], OVER), Authority::new("others").revoke(&[], NOW)] {
        world.files.write("crl.pem", &list);
        let server = world.server(Some("clients.pem"), Some("crl.pem"));
        let met = meet(&server, &world.client(Some(&good))).await;
        assert_eq!(met.outcome, "revocation_unknown");
        assert_eq!(met.client, Err(Untrusted::Refused("UnknownCA".to_owned())));
    }
    let end = revocation_expiry(&world.files.path("crl.pem")).expect("read");
    assert!(end.is_some());
    world.files.write("crl.pem", &world.clients.certificate.pem());
    assert!(matches!(
        world.server_tls(Some("clients.pem"), Some("crl.pem")).build(),
        Err(TlsError::File { what: "revocation list", .. })
    ));
}

#[tokio::test]
async fn who_was_taken_off_the_list_does_not_come_back_by_a_session_of_before() {
    let world = World::new();
    let client = world.client(Some(&world.issue(NOW)));
    let before = world.server(Some("clients.pem"), None);
    for _ in 0..3 {
        let met = meet(&before, &client).await;
        assert_eq!(met.server.expect("let in").0, HandshakeKind::Full, "with certificates nothing is resumed");
    }
    world.files.write("others.pem", &Authority::new("others").certificate.pem());
    let after = world.server(Some("others.pem"), None);
    let met = meet(&after, &client).await;
    assert_eq!((met.server, met.outcome.as_str()), (Err(()), "certificate_unknown_ca"));
}

#[tokio::test]
async fn a_session_ends_with_the_configuration_that_it_was_made_under() {
    let world = World::new();
    let client = world.client(Some(&world.issue(NOW)));
    let before = world.server(None, None);
    let kinds = [meet(&before, &client).await, meet(&before, &client).await].map(|met| met.server.expect("let in").0);
    // Else the next lines would show nothing.
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
    for after in [world.server(None, None), world.server(Some("clients.pem"), None)] {
        let met = meet(&after, &client).await;
        assert_eq!(met.server.expect("let in").0, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn what_is_no_tls_and_what_never_comes_is_counted() {
    let world = World::new();
    let server = world.server(None, None);
    let registry = Registry::new();
    let handshakes = HandshakeMetrics::register(&registry).expect("metrics").of(Plane::Admin);
    let (mut near, far) = tokio::io::duplex(1024);
    let say = async {
        near.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
        let _ = near.read_to_end(&mut Vec::new()).await;
    };
    let (accepted, ()) = tokio::join!(handshakes.accept(&server, far, Duration::from_secs(30)), say);
    assert!(accepted.is_err());
    let (near, far) = tokio::io::duplex(1024);
    drop(near);
    assert!(handshakes.accept(&server, far, Duration::from_secs(30)).await.is_err());
    let (_near, far) = tokio::io::duplex(1024);
    assert!(handshakes.accept(&server, far, Duration::from_millis(10)).await.is_err());
    let page = TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    for outcome in ["not_tls", "broken", "timeout"] {
        let line = format!("ccgate_tls_handshakes_total{{outcome=\"{outcome}\",plane=\"admin\"}} 1");
        assert!(page.contains(&line), "{line}: {page}");
    }
}
