//! Whole handshakes, in memory, under configurations that were built from files.

mod clients;
mod pki;
mod servers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Registry, TextEncoder};
use rustls::HandshakeKind;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::{Accepted, ClientCertificate, HandshakeMetrics, Plane};

/// What both ends make of a handshake.
struct Met {
    /// The server's view: how, and whom it knows; or that it refused.
    server: Result<(HandshakeKind, Option<Arc<ClientCertificate>>), ()>,
    /// The client's.
    client: Result<HandshakeKind, Untrusted>,
    /// How it was counted.
    outcome: String,
}

async fn meet(server: &Arc<rustls::ServerConfig>, client: &Arc<rustls::ClientConfig>) -> Met {
    let registry = Registry::new();
    let handshakes = HandshakeMetrics::register(&registry).expect("metrics").of(Plane::Server);
    let (near, far) = tokio::io::duplex(64 * 1024);
    let accept = async {
        let accepted = handshakes.accept(server, far, Duration::from_secs(30)).await.map_err(drop)?;
        let Accepted { mut stream, certificate } = accepted;
        let kind = stream.get_ref().1.handshake_kind().expect("it is done");
        stream.write_all(b"!").await.map_err(drop)?;
        let _ = stream.shutdown().await;
        Ok((kind, certificate))
    };
    let connect = async {
        let name = ServerName::try_from("server.example").expect("a name");
        let mut stream = TlsConnector::from(Arc::clone(client)).connect(name, near).await?;
        // In TLS 1.3 the server refuses after the client's part of the handshake; tickets come behind it, too.
        stream.read_to_end(&mut Vec::new()).await?;
        Ok(stream.get_ref().1.handshake_kind().expect("it is done"))
    };
    let (server, client) = tokio::join!(accept, connect);
    let client = client.map_err(|error: std::io::Error| {
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        Untrusted::from(tls.unwrap_or_else(|| panic!("no alert: {error}")).clone())
    });
    let page = TextEncoder::new().encode_to_string(&registry.gather()).expect("text");
    let counted: Vec<_> = page.lines().filter(|line| line.ends_with(" 1")).collect();
    let [counted] = counted.as_slice() else { panic!("one handshake: {page}") };
    let outcome = counted.split('"').nth(1).expect("a label").to_owned();
    Met { server, client, outcome }
}

#[test]
fn a_file_without_end_is_refused() {
    let tls = ClientTls { ca_file: Some(PathBuf::from("/dev/zero")), ..ClientTls::default() };
    assert!(matches!(tls.build(), Err(TlsError::File { what: "certificate", .. })));
}

#[test]
fn a_name_that_no_certificate_bears_is_refused() {
    let tls = ClientTls { server_name: Some("not a name".to_owned()), ..ClientTls::default() };
    assert!(matches!(tls.name(), Err(TlsError::Name(_))));
}
