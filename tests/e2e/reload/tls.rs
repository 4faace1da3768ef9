//! Certificates that are renewed while connections are open.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Volume, change, until_generation, until_refused, watching};
use crate::authority::Authority;
use crate::world::{CALL, World, call};

/// A client that trusts an authority and shows a certificate, if it has one.
fn client(authority: &Authority, shown: Option<&(String, String)>) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    Arc::new(match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    })
}

/// A connection that is kept.
struct Kept {
    sender: SendRequest<Empty<Bytes>>,
    _driver: JoinSet<()>,
}

impl Kept {
    /// `None`: no handshake, or none that the server takes.
    async fn open(address: SocketAddr, config: Arc<rustls::ClientConfig>) -> Option<Self> {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.ok()?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
        });
        Some(Self { sender, _driver: driver })
    }

    async fn get(&mut self, target: &str, token: &str) -> Option<http::Response<Incoming>> {
        let request = Request::get(target).header("host", "ccgate").header("authorization", format!("Bearer {token}"));
        self.sender.ready().await.ok()?;
        self.sender.send_request(request.body(Empty::new()).unwrap()).await.ok()
    }

    async fn status(&mut self, target: &str, token: &str) -> Option<u16> {
        let answer = self.get(target, token).await?;
        let status = answer.status().as_u16();
        answer.into_body().collect().await.ok()?;
        Some(status)
    }
}

async fn can_ask(world: &World, config: &Arc<rustls::ClientConfig>) -> bool {
    let Some(mut kept) = Kept::open(world.server(), Arc::clone(config)).await else { return false };
    kept.status(&call(1001, CALL), &world.issuer.agent(1001)).await == Some(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_while_a_connection_is_open_and_a_download_runs() {
    let (old, next) = (Authority::new(), Authority::new());
    let ((one, one_key), (two, two_key)) = (old.issue(), next.issue());
    let mut world = watching()
        .config(|c| c["server"]["tls"] = json!({ "cert_file": "tls/tls.crt", "key_file": "tls/tls.key" }))
        .without_gateway()
        .await;
    let mut volume = Volume::new(world.dir().join("tls"), &[("tls.crt", &one), ("tls.key", &one_key)]);
    world.run_here().await;
    world.until_ready().await;
    let (trusts_old, trusts_next) = (client(&old, None), client(&next, None));
    assert!(can_ask(&world, &trusts_old).await && !can_ask(&world, &trusts_next).await);
    let (target, token) = (call(1001, CALL), world.issuer.agent(1001));
    let mut kept = Kept::open(world.server(), Arc::clone(&trusts_old)).await.expect("trusted");
    assert_eq!(kept.status(&target, &token).await, Some(200));
    world.sim.add_file("1621413752-64", 64 * 1024 * 1024);
    let mut loading = Kept::open(world.server(), Arc::clone(&trusts_old)).await.expect("trusted");
    let download = loading.get(&call(1001, "1621413752-64"), &token).await.expect("an answer");

    // A certificate without its key: refused as a whole.
    volume.swap(&[("tls.crt", &two), ("tls.key", &one_key)]);
    let reason = until_refused(&world, 1).await;
    assert!(reason.contains("certificate and key cannot be used together"), "{reason}");
    assert!(can_ask(&world, &trusts_old).await && !can_ask(&world, &trusts_next).await);

    volume.swap(&[("tls.crt", &two), ("tls.key", &two_key)]);
    until_generation(&world, 2).await;
    assert!(!can_ask(&world, &trusts_old).await && can_ask(&world, &trusts_next).await, "new connections");
    assert_eq!(kept.status(&target, &token).await, Some(200), "the open one goes on");
    let whole = download.into_body().collect().await.expect("to its end").to_bytes();
    assert_eq!(whole.len(), 64 * 1024 * 1024);
    assert!(world.shut_down().await);
}

/// A world that serves TLS as `files` say, of which `clients.pem` is an authority for clients.
async fn over_tls(server: &Authority, clients: &Authority, files: Value) -> World {
    let (certificate, key) = server.issue();
    let mut world = watching()
        .file("tls.crt", &certificate)
        .file("tls.key", &key)
        .file("clients.pem", &clients.pem())
        // So that no connection is closed as idle.
        .config(|c| c["server"]["header_timeout"] = "60s".into())
        .config(|c| c["server"]["tls"] = files)
        .without_gateway()
        .await;
    world.run_here().await;
    world.until_ready().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_an_authority_that_is_gone_do_not_come_in_any_more() {
    let (server, old, next) = (Authority::new(), Authority::new(), Authority::new());
    let files = json!({ "cert_file": "tls.crt", "key_file": "tls.key", "client_ca_file": "clients.pem" });
    let mut world = over_tls(&server, &old, files).await;
    let (of_old, of_next) = (client(&server, Some(&old.issue())), client(&server, Some(&next.issue())));
    assert!(can_ask(&world, &of_old).await && !can_ask(&world, &of_next).await);
    let (target, token) = (call(1001, CALL), world.issuer.agent(1001));
    let mut kept = Kept::open(world.server(), Arc::clone(&of_old)).await.expect("a connection");
    assert_eq!(kept.status(&target, &token).await, Some(200));
    super::put(&world.dir().join("clients.pem"), &next.pem());
    until_generation(&world, 2).await;
    // The same client, which could resume its TLS session.
    assert!(!can_ask(&world, &of_old).await && can_ask(&world, &of_next).await);
    assert_eq!(kept.status(&target, &token).await, None, "nor does a connection of before go on");
    assert!(world.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_does_not_go_on_when_one_is_asked_for() {
    let (server, clients) = (Authority::new(), Authority::new());
    let files = json!({ "cert_file": "tls.crt", "key_file": "tls.key" });
    let mut world = over_tls(&server, &clients, files).await;
    let (without, with) = (client(&server, None), client(&server, Some(&clients.issue())));
    let (target, token) = (call(1001, CALL), world.issuer.agent(1001));
    let mut kept = Kept::open(world.server(), Arc::clone(&without)).await.expect("a connection");
    assert_eq!(kept.status(&target, &token).await, Some(200));
    change(&world, |c| c["server"]["tls"]["client_ca_file"] = "clients.pem".into());
    until_generation(&world, 2).await;
    assert!(!can_ask(&world, &without).await && can_ask(&world, &with).await);
    assert_eq!(kept.status(&target, &token).await, None, "nor does a connection of before go on");
    assert!(world.shut_down().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_planes_certificate_is_renewed_too() {
    let (old, next) = (Authority::new(), Authority::new());
    let ((one, one_key), (two, two_key)) = (old.issue(), next.issue());
    let mut world = watching()
        .config(|c| c["admin"]["tls"] = json!({ "cert_file": "tls/tls.crt", "key_file": "tls/tls.key" }))
        .without_gateway()
        .await;
    let mut volume = Volume::new(world.dir().join("tls"), &[("tls.crt", &one), ("tls.key", &one_key)]);
    world.run_here().await;
    let alive = async |config: Arc<rustls::ClientConfig>| match Kept::open(world.admin(), config).await {
        Some(mut kept) => kept.status("/livez", "").await == Some(200),
        None => false,
    };
    assert!(alive(client(&old, None)).await && !alive(client(&next, None)).await);
    volume.swap(&[("tls.crt", &two), ("tls.key", &two_key)]);
    crate::world::until("renewed", async || alive(client(&next, None)).await).await;
    assert!(!alive(client(&old, None)).await);
}
