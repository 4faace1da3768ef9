//! A gateway that speaks TLS and then whatever bytes it is told to. Sign-ins, polls and sign-outs it serves well.

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The answer that every download gets which nothing else is meant for.
pub const WHOLE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream;charset=utf-8\r\n\
                         Content-Length: 5\r\n\r\nwhole";

const GUID: &str = "JSESSIONID=279fe21d-2caa-4437-84c3-ab9e9dae20f5.AgentGateway0";

/// What follows the bytes of an answer.
#[derive(Debug, Clone)]
pub enum Then {
    /// The next request.
    Next,
    /// The end, with TLS's own farewell.
    Close,
    /// The end of TCP alone.
    End,
    /// A TCP reset.
    Reset,
    /// These bytes, again and again, with a pause between, until the other end has gone.
    Drip(Vec<u8>, Duration),
    /// These bytes, a while after the answer.
    Later(Vec<u8>),
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Act {
    pub bytes: Vec<u8>,
    pub then: Then,
}

/// These bytes, and then the next request.
pub fn act(bytes: impl Into<Vec<u8>>) -> Act {
    Act { bytes: bytes.into(), then: Then::Next }
}

impl Act {
    pub fn then(self, then: Then) -> Self {
        Self { then, ..self }
    }
}

/// What it has seen and is to do.
#[derive(Default)]
struct Script {
    downloads: VecDeque<Act>,
    sign_ins: VecDeque<Act>,
    /// Sent by the next connection, together with the end of its handshake.
    early: Option<Vec<u8>>,
    connections: usize,
    /// Connections that have ended.
    ended: Vec<usize>,
    /// Request lines, each with the number of its connection.
    seen: Vec<(usize, String)>,
}

/// One that listens on loopback until it is dropped.
pub struct Raw {
    pub address: SocketAddr,
    pub ca_pem: String,
    script: Arc<Mutex<Script>>,
    _task: JoinSet<()>,
}

impl Raw {
    pub async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        config.send_half_rtt_data = true;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let (shared, mut task) = (Arc::clone(&script), JoinSet::new());
        task.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(connection(Arc::clone(&shared), acceptor.clone(), stream));
            }
        });
        Self { address, ca_pem: made.cert.pem(), script, _task: task }
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The next download gets this.
    pub fn download(&self, act: Act) {
        self.script.lock().unwrap().downloads.push_back(act);
    }

    /// The next sign-in gets this.
    pub fn sign_in(&self, act: Act) {
        self.script.lock().unwrap().sign_ins.push_back(act);
    }

    /// The next connection begins with these bytes, before any request.
    pub fn early(&self, bytes: impl Into<Vec<u8>>) {
        self.script.lock().unwrap().early = Some(bytes.into());
    }

    /// The connections of the requests whose line holds this, in order.
    pub fn seen(&self, what: &str) -> Vec<usize> {
        let script = self.script.lock().unwrap();
        script.seen.iter().filter(|(_, line)| line.contains(what)).map(|(number, _)| *number).collect()
    }

    pub fn has_ended(&self, connection: usize) -> bool {
        self.script.lock().unwrap().ended.contains(&connection)
    }
}

async fn connection(script: Arc<Mutex<Script>>, acceptor: TlsAcceptor, stream: TcpStream) {
    let (number, early) = {
        let mut script = script.lock().unwrap();
        script.connections += 1;
        (script.connections, script.early.take())
    };
    stream.set_nodelay(true).unwrap();
    let begin = |connection: &mut rustls::ServerConnection| {
        connection.writer().write_all(&early.unwrap_or_default()).unwrap();
    };
    if let Ok(mut stream) = acceptor.accept_with(stream, begin).await {
        serve(&script, &mut stream, number).await;
    }
    script.lock().unwrap().ended.push(number);
}

/// Answers requests until the connection is to end or has ended.
async fn serve(script: &Mutex<Script>, stream: &mut TlsStream<TcpStream>, number: usize) {
    while let Some(line) = request(stream).await {
        script.lock().unwrap().seen.push((number, line.clone()));
        let Some(Act { bytes, then }) = answer(script, &line) else {
            // A poll: nothing happens as long as the client waits.
            let _ = request(stream).await;
            return;
        };
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match then {
            Then::Next => {}
            Then::Close => return drop(stream.shutdown().await),
            Then::End => return drop(stream.get_mut().0.shutdown().await),
            Then::Reset => return drop(stream.get_ref().0.set_zero_linger()),
            Then::Drip(drop, pause) => {
                while stream.write_all(&drop).await.is_ok() && stream.flush().await.is_ok() {
                    tokio::time::sleep(pause).await;
                }
                return;
            }
            Then::Later(bytes) => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
            }
        }
    }
}

/// `None`: it is not answered.
fn answer(script: &Mutex<Script>, line: &str) -> Option<Act> {
    let mut script = script.lock().unwrap();
    let json = |headers: &str| {
        let body = r#"{"retcode":"0","message":"","result":{}}"#;
        let length = body.len();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{headers}");
        act(format!("{head}\r\n{body}"))
    };
    match line {
        line if line.starts_with("PUT ") => {
            Some(script.sign_ins.pop_front().unwrap_or_else(|| json(&format!("Set-GUID: {GUID}\r\n"))))
        }
        line if line.contains("/agentevent/") => None,
        line if line.contains("/recordfile/") => Some(script.downloads.pop_front().unwrap_or_else(|| act(WHOLE))),
        _ => Some(json("")),
    }
}

/// The first line of the next request, which is read whole; `None`: there is none.
async fn request(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return head.lines().next().map(str::to_owned);
            }
        }
        if stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {
            continue;
        }
        return None;
    }
}
