//! A gateway that writes a body as it is told, and knows when it has written which byte. It checks nothing of what it is
//! asked: that is the simulator's work.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const GUID: &str = "279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";

/// Bytes at once, and the pause before them.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub pause: Duration,
    pub bytes: usize,
}

/// A body, step by step.
#[derive(Debug, Clone)]
pub struct Script {
    pub chunked: bool,
    pub steps: Vec<Step>,
}

/// The end of each step in the body, and when all of it had been handed to the system.
pub type Written = Arc<Mutex<Vec<(u64, Instant)>>>;

pub struct Scripted {
    pub url: String,
    pub ca_pem: String,
    /// What every download gets from now on.
    pub script: Arc<Mutex<Script>>,
    /// Of the last download.
    pub written: Written,
    _tasks: JoinSet<()>,
}

impl Script {
    pub fn bytes(&self) -> u64 {
        self.steps.iter().map(|step| step.bytes as u64).sum()
    }
}

impl Scripted {
    pub async fn start() -> Self {
        let pair = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.signing_key.serialize_der()));
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            rustls::ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
        let tls = builder.with_no_client_auth().with_single_cert(vec![pair.cert.der().clone()], key).unwrap();
        let (acceptor, listener) =
            (TlsAcceptor::from(Arc::new(tls)), TcpListener::bind(("127.0.0.1", 0)).await.unwrap());
        let url = format!("https://{}", listener.local_addr().unwrap());
        let script = Arc::new(Mutex::new(Script { chunked: false, steps: Vec::new() }));
        let written = Written::default();
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, Arc::clone(&script), Arc::clone(&written)));
        Self { url, ca_pem: pair.cert.pem(), script, written, _tasks: tasks }
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, script: Arc<Mutex<Script>>, written: Written) {
    let mut connections = JoinSet::new();
    loop {
        let stream = listener.accept().await.unwrap().0;
        stream.set_nodelay(true).unwrap();
        let (acceptor, script, written) = (acceptor.clone(), Arc::clone(&script), Arc::clone(&written));
        connections.spawn(async move {
            if let Ok(mut stream) = acceptor.accept(stream).await {
                // It ends when the other side is gone.
                let _ = serve(&mut stream, &script, &written).await;
            }
        });
    }
}

async fn serve(stream: &mut TlsStream<TcpStream>, script: &Mutex<Script>, written: &Written) -> std::io::Result<()> {
    loop {
        let head = request(stream).await?;
        if head.contains("/recordfiledownloadEx?") {
            let script = script.lock().unwrap().clone();
            written.lock().unwrap().clear();
            body(stream, &script, written).await?;
            continue;
        }
        // A poll waits as it does where nothing happens.
        if head.contains("/agentevent/") {
            tokio::time::sleep(Duration::from_secs(8)).await;
        }
        let text = r#"{"retcode":"0","message":"","result":{},"event":null}"#;
        let length = text.len();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-GUID: JSESSIONID={GUID}\r\n\
             Content-Length: {length}\r\n\r\n{text}"
        );
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
    }
}

/// The head of the next request, its body read and dropped.
async fn request(stream: &mut TlsStream<TcpStream>) -> std::io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(head)
}

async fn body(stream: &mut TlsStream<TcpStream>, script: &Script, written: &Written) -> std::io::Result<()> {
    let framing = if script.chunked {
        "Transfer-Encoding: chunked".to_owned()
    } else {
        format!("Content-Length: {}", script.bytes())
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let (mut next, mut end) = (Instant::now(), 0);
    for step in &script.steps {
        // From the beginning, not from the last step: the rate is the script's.
        next += step.pause;
        tokio::time::sleep_until(next).await;
        let piece = vec![0x5a; step.bytes];
        if script.chunked {
            stream.write_all(format!("{:x}\r\n", step.bytes).as_bytes()).await?;
        }
        stream.write_all(&piece).await?;
        if script.chunked {
            stream.write_all(b"\r\n").await?;
        }
        stream.flush().await?;
        end += step.bytes as u64;
        written.lock().unwrap().push((end, Instant::now()));
    }
    if script.chunked {
        stream.write_all(b"0\r\n\r\n").await?;
    }
    stream.flush().await
}
