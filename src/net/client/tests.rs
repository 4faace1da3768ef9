//! The client alone.

use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;

use super::*;

#[test]
fn r12_a_length_given_in_more_than_one_way_is_seen() {
    let twice = |pairs: &[(HeaderName, &'static str)]| {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        is_framed_twice(&pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        }))
    };
    let (length, coding) = (CONTENT_LENGTH, TRANSFER_ENCODING);
    assert!(!twice(&[]) && !twice(&[(length.clone(), "5")]) && !twice(&[(coding.clone(), "Chunked")]));
    assert!(twice(&[(length.clone(), "5"), (coding.clone(), "chunked")]));
    assert!(twice(&[(length.clone(), "5"), (length, "5")]));
    assert!(twice(&[(coding.clone(), "chunked"), (coding.clone(), "chunked")]));
    for odd in ["gzip, chunked", "chunked, chunked", "identity", ""] {
        assert!(twice(&[(coding.clone(), odd)]), "{odd:?}");
    }
}

/// Gives each connection's requests the same answer.
struct Server {
    port: u16,
    /// Connections so far.
    connections: Arc<AtomicU32>,
    _task: JoinSet<()>,
}

/// Listens on an address; port 0 takes a free one.
async fn serve(address: &str, answer: Vec<u8>) -> Server {
    let listener = TcpListener::bind(address).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU32::new(0));
    let (counted, mut task) = (Arc::clone(&connections), JoinSet::new());
    task.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = answer.clone();
            open.spawn(async move {
                let mut read = Vec::new();
                while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
                    if read.ends_with(b"\r\n\r\n") {
                        read.clear();
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            });
        }
    });
    Server { port, connections, _task: task }
}

fn says(text: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

/// A resolver that can be told otherwise.
#[derive(Default)]
struct Told {
    addresses: Mutex<Vec<IpAddr>>,
    asked: AtomicU32,
}

impl Told {
    fn set(&self, addresses: &[&str]) {
        *self.addresses.lock().unwrap() = addresses.iter().map(|address| address.parse().unwrap()).collect();
    }
}

impl Resolve for Told {
    fn addresses(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        assert_eq!(name, "localhost");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let addresses = self.addresses.lock().unwrap().clone();
        Box::pin(async move { Ok(addresses) })
    }
}

fn client(resolver: Arc<dyn Resolve>, age_max: Duration) -> Client {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    trusting(&certificate, resolver, age_max, 1)
}

fn trusting(certificate: &rcgen::Certificate, resolver: Arc<dyn Resolve>, age_max: Duration, servers: u32) -> Client {
    let dir = tempfile::tempdir().unwrap();
    let ca_file = dir.path().join("ca.pem");
    std::fs::write(&ca_file, certificate.pem()).unwrap();
    let config = ClientConfig {
        tls: ClientTls { ca_file: Some(ca_file), ..ClientTls::default() },
        connect_timeout: Duration::from_secs(4),
        response_timeout: Duration::from_secs(10),
    };
    Client::build(&config, resolver, age_max, servers).unwrap()
}

async fn get(client: &Client, port: u16) -> Result<String, Error> {
    get_from(client, "localhost", port).await
}

async fn get_from(client: &Client, host: &str, port: u16) -> Result<String, Error> {
    let url: Uri = format!("http://{host}:{port}/").parse().unwrap();
    client.get(&url, 1024).await.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
}

#[tokio::test]
async fn a_name_that_comes_to_lead_elsewhere_is_followed_when_its_connection_is_old() {
    let old = serve("127.0.0.1:0", says("old")).await;
    let new = serve(&format!("127.0.0.2:{}", old.port), says("new")).await;
    let names = Arc::new(Told::default());
    names.set(&["127.0.0.1"]);
    let client = client(Arc::clone(&names) as Arc<dyn Resolve>, Duration::from_secs(3));
    let start = Instant::now();
    assert_eq!(get(&client, old.port).await.unwrap(), "old");
    names.set(&["127.0.0.2"]);
    let again = get(&client, old.port).await.unwrap();
    if start.elapsed() < Duration::from_secs(2) {
        assert_eq!((again.as_str(), names.asked.load(Ordering::Relaxed)), ("old", 1), "the connection is kept");
    }
    // Looked through at most once a second.
    tokio::time::sleep(Duration::from_millis(4200)).await;
    assert_eq!(get(&client, old.port).await.unwrap(), "new");
    assert_eq!((names.asked.load(Ordering::Relaxed), new.connections.load(Ordering::Relaxed)), (2, 1));
}

/// Takes no connection: its queue is full, so the next knock is not answered at all.
async fn hole(port: u16) -> impl Sized {
    let hole = TcpSocket::new_v4().unwrap();
    hole.bind(format!("127.0.0.2:{port}").parse().unwrap()).unwrap();
    let hole = hole.listen(0).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let knock = tokio::net::TcpStream::connect(hole.local_addr().unwrap());
        waiting.push(tokio::time::timeout(Duration::from_millis(300), knock).await);
    }
    assert!(waiting.iter().any(Result::is_err), "the queue is full");
    (hole, waiting)
}

#[tokio::test]
async fn every_address_of_a_name_is_tried() {
    let server = serve("127.0.0.1:0", says("there")).await;
    let _hole = hole(server.port).await;
    let names = Arc::new(Told::default());
    for addresses in [["127.0.0.3", "127.0.0.1"], ["127.0.0.2", "127.0.0.1"]] {
        names.set(&addresses);
        let client = client(Arc::clone(&names) as Arc<dyn Resolve>, AGE_MAX);
        assert_eq!(get(&client, server.port).await.unwrap(), "there", "{addresses:?}");
    }
    names.set(&["127.0.0.3"]);
    let error = get(&client(names, AGE_MAX), server.port).await.expect_err("nobody is there");
    assert!(error.is_unsent(), "{error:?}");
}

#[tokio::test]
async fn some_interim_answers_are_passed_over_and_a_flood_is_none() {
    let flooded = |count: usize| [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(count), says("end")].concat();
    let names = Arc::new(Told::default());
    names.set(&["127.0.0.1"]);
    let client = client(names, AGE_MAX);
    let few = serve("127.0.0.1:0", flooded(8)).await;
    assert_eq!(get(&client, few.port).await.unwrap(), "end");
    for count in [9, 10_000] {
        let many = serve("127.0.0.1:0", flooded(count)).await;
        for connections in 1..3 {
            let error = get(&client, many.port).await.expect_err("a flood");
            assert!(matches!(error, Error::Interim), "{count}: {error:?}");
            assert_eq!(many.connections.load(Ordering::Relaxed), connections, "its connection is not used again");
        }
    }
}

#[tokio::test]
async fn a_connection_of_an_older_http_is_not_used_again() {
    let kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi";
    let server = serve("127.0.0.1:0", kept.into()).await;
    let names = Arc::new(Told::default());
    names.set(&["127.0.0.1"]);
    let client = client(names, AGE_MAX);
    for connections in 1..4 {
        assert_eq!(get(&client, server.port).await.unwrap(), "hi");
        assert_eq!(server.connections.load(Ordering::Relaxed), connections);
    }
}

/// Speaks TLS until it has a request, and then goes on beneath it with something else.
async fn breaks_off(rest: &'static [u8]) -> (Client, Uri, JoinSet<()>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".into()]).unwrap().self_signed(&key).unwrap();
    let private = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut read = Vec::new();
            while !read.ends_with(b"\r\n\r\n") && stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {}
            stream.get_mut().0.write_all(rest).await.unwrap();
            let _ = stream.read_buf(&mut read).await;
        }
    });
    (trusting(&certificate, Arc::new(SystemResolver), AGE_MAX, 1), url, task)
}

#[tokio::test]
async fn r18_tls_that_breaks_behind_the_request_is_no_proof_that_nothing_was_sent() {
    let not_ours = [b"\x17\x03\x03\x00\x20".as_slice(), &[7; 32]].concat().leak();
    for rest in [b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(), not_ours] {
        let (client, url, _task) = breaks_off(rest).await;
        let error = client.get(&url, 1024).await.expect_err("no answer");
        assert!(matches!(error, Error::Closed { stale: false, .. }), "{error:?}");
        assert!(!error.is_unsent(), "{error:?}");
    }
}

#[tokio::test]
async fn every_address_is_tried_within_a_share_of_the_time() {
    let server = serve("127.0.0.1:0", says("there")).await;
    let _hole = hole(server.port).await;
    let names = Arc::new(Told::default());
    names.set(&["127.0.0.2", "127.0.0.1"]);
    let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let certificate = certificate.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    let client = trusting(&certificate, names, AGE_MAX, 2);
    let mut request = Request::new(Full::default());
    *request.uri_mut() = format!("http://localhost:{}/", server.port).parse().unwrap();
    let (half, whole) = (client.connect_timeout / 2, client.deadline);
    let answer = client.send_connected_within(request, half, whole).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

/// Answers once over each connection, to the first three when all of them have asked, and then closes it.
async fn serves_once() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU32::new(0));
    let (counted, mut task) = (Arc::clone(&connections), JoinSet::new());
    let all_there = Arc::new(tokio::sync::Barrier::new(3));
    task.spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (number, all_there) = (counted.fetch_add(1, Ordering::Relaxed), Arc::clone(&all_there));
            open.spawn(async move {
                let mut read = Vec::new();
                while !read.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut read).await.unwrap();
                }
                if number < 3 {
                    all_there.wait().await;
                }
                stream.write_all(&says("once")).await.unwrap();
                let _ = stream.read_buf(&mut read).await;
            });
        }
    });
    Server { port, connections, _task: task }
}

#[tokio::test]
async fn when_one_kept_connection_turns_out_closed_the_others_are_not_tried() {
    let names = Arc::new(Told::default());
    names.set(&["127.0.0.1"]);
    let client = client(names, AGE_MAX);
    for host in ["localhost", "127.0.0.1"] {
        let server = serves_once().await;
        let get = || get_from(&client, host, server.port);
        let (one, two, three) = tokio::join!(get(), get(), get());
        assert!(one.is_ok() && two.is_ok() && three.is_ok());
        let error = get().await.expect_err("it closes");
        assert!(matches!(error, Error::Closed { stale: true, .. }), "{error:?}");
        assert_eq!(get().await.unwrap(), "once");
        assert_eq!(server.connections.load(Ordering::Relaxed), 4, "{host}");
    }
}
