//! What is asked of a client behind TLS.

use prometheus::Registry;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::server::TlsStream;

use super::super::stall::{Cut, Demands};
use super::*;

const TIMEOUT: Duration = Duration::from_mins(1);

/// What the system keeps of a connection: much less than TLS does.
const SYSTEM_BYTES: usize = 4096;

/// Many times what TLS keeps.
const ANSWER_BYTES: usize = 256 * 1024;

fn demands() -> Demands {
    Demands { stall_timeout: TIMEOUT, min_rate: 0 }
}

/// A server's side of a connection as [`shake`] makes it, and the system's bytes on the client's side.
async fn shaken() -> (TlsStream<StallGuard<DuplexStream>>, DuplexStream) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
    let server = server.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let server = Arc::new(server.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(client.with_root_certificates(roots).with_no_client_auth()));
    let (near, far) = tokio::io::duplex(SYSTEM_BYTES);
    let handshakes = net::HandshakeMetrics::register(&Registry::new()).unwrap().of(net::Plane::Server);
    let manners = Manners { tls: None, header_timeout: TIMEOUT, demands: demands(), retired: CancellationToken::new() };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let (server, client) = tokio::join!(shake(&handshakes, &server, near, &manners), connector.connect(name, far));
    (server.expect("a handshake").stream, client.expect("a handshake").into_inner().0)
}

/// Writes an answer to a client that makes room for at most [`SYSTEM_BYTES`] every `pause`: how that ended, and after
/// how long.
async fn answer(
    mut stream: impl AsyncWrite + Unpin,
    mut client: DuplexStream,
    pause: Duration,
) -> (std::io::Result<()>, Duration) {
    let start = Instant::now();
    let reads = async {
        let mut room = [0; SYSTEM_BYTES];
        loop {
            tokio::time::sleep(pause).await;
            let _ = client.read(&mut room).await;
        }
    };
    let writes = async {
        stream.write_all(&vec![7; ANSWER_BYTES]).await?;
        stream.flush().await
    };
    tokio::select! {
        written = writes => (written, start.elapsed()),
        () = reads => (Ok(()), start.elapsed()),
    }
}

fn cut(error: &std::io::Error) -> Option<Cut> {
    error.get_ref()?.downcast_ref().copied()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_ended_behind_tls_when_the_system_takes_no_more() {
    let (stream, client) = shaken().await;
    let (written, took) = answer(stream, client, Duration::from_hours(1)).await;
    assert_eq!((cut(&written.expect_err("stalled")), took), (Some(Cut::Stall), TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_on_taking_is_not_ended_while_tls_empties_what_it_keeps() {
    let (stream, client) = shaken().await;
    let pause = Duration::from_secs(59);
    let (written, took) = answer(stream, client, pause).await;
    written.expect("it kept moving");
    assert!(took > 50 * pause, "{took:?}");
    // Above TLS the same client would be ended: there, nothing is seen of what TLS keeps until all of it is gone.
    let (stream, client) = shaken().await;
    let (written, _took) = answer(StallGuard::new(stream, demands()), client, pause).await;
    assert_eq!(cut(&written.expect_err("judged by what TLS takes")), Some(Cut::Stall));
}
