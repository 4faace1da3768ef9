//! A client of the load: asks as its order says, compares every byte as it comes, and tells what it got.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::library::Expected;
use crate::order::{Expects, Manner, Order};

/// Nothing takes longer, on a machine with other work.
const DEADLINE: Duration = Duration::from_mins(2);
/// A problem document is far smaller.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// A connection, for one request after the other.
pub struct Line {
    sender: SendRequest<Empty<Bytes>>,
    driver: JoinSet<()>,
    /// The server's certificate.
    pub certificate: CertificateDer<'static>,
}

/// What a client got.
#[derive(Debug, Default)]
pub struct Got {
    pub status: Option<u16>,
    /// `Ccgate-Audit-Id`.
    pub entry: Option<String>,
    pub request_id: Option<String>,
    /// Of a problem.
    pub code: Option<String>,
    pub content_range: Option<String>,
    /// Body bytes of a file.
    pub bytes: u64,
    /// Where the first wrong byte was.
    pub wrong_at: Option<u64>,
    pub sha256: Option<String>,
    pub end: End,
    pub took: Duration,
}

/// How it ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub enum End {
    /// No head came, and why.
    NoHead(String),
    /// As its framing says.
    Complete,
    /// It broke off.
    Broken,
    /// The client went.
    #[default]
    Left,
    /// Nothing more came.
    Hung,
}

impl Line {
    /// `slow`: a small receive buffer leaves the waiting to the server, and not to the kernel.
    pub async fn open(address: SocketAddr, tls: &Arc<rustls::ClientConfig>, slow: bool) -> std::io::Result<Self> {
        let stream = if slow {
            let socket = TcpSocket::new_v4()?;
            socket.set_recv_buffer_size(32 * 1024)?;
            socket.connect(address).await?
        } else {
            TcpStream::connect(address).await?
        };
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.ok_or(std::io::ErrorKind::NotConnected)?.clone().into_owned();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender, driver, certificate })
    }

    /// Whether another request can be sent, as far as can be seen from here.
    pub async fn is_open(&mut self) -> bool {
        !self.sender.is_closed() && self.sender.ready().await.is_ok()
    }

    async fn ask(&mut self, address: SocketAddr, order: &Order) -> Result<Response<Incoming>, String> {
        let mut request = Request::get(&order.target).header("host", address.to_string());
        if let Some(token) = &order.token {
            request = request.header("authorization", token);
        }
        if let Some((_, _, range)) = &order.range {
            request = request.header("range", range);
        }
        let request = request.body(Empty::new()).unwrap();
        match tokio::time::timeout(DEADLINE, self.sender.send_request(request)).await {
            Err(_elapsed) => Err("no head in time".to_owned()),
            Ok(answer) => answer.map_err(|error| format!("{error:?}")),
        }
    }
}

/// Asks over a connection; the connection again where it can be used for another request.
pub async fn visit(mut line: Line, address: SocketAddr, order: &Order) -> (Got, Option<Line>) {
    let begun = Instant::now();
    let mut got = Got::default();
    let answer = match order.manner {
        Manner::LeavesBeforeHead(patience) => match tokio::time::timeout(patience, line.ask(address, order)).await {
            Err(_elapsed) => return (got, None),
            Ok(answer) => answer,
        },
        _ => line.ask(address, order).await,
    };
    match answer {
        Err(why) => {
            got.end = End::NoHead(why);
            return (got, None);
        }
        Ok(answer) => got.read(answer, order, begun).await,
    }
    got.took = begun.elapsed();
    let again = got.end == End::Complete && line.is_open().await;
    (got, again.then_some(line))
}

impl Got {
    async fn read(&mut self, answer: Response<Incoming>, order: &Order, begun: Instant) {
        let (head, body) = answer.into_parts();
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.status = Some(head.status.as_u16());
        self.entry = header("ccgate-audit-id");
        self.content_range = header("content-range");
        let ended = if head.status.is_success() {
            tokio::time::timeout(DEADLINE, self.file(body, order, begun)).await
        } else {
            tokio::time::timeout(DEADLINE, self.problem(body)).await
        };
        self.end = ended.unwrap_or(End::Hung);
    }

    async fn problem(&mut self, body: Incoming) -> End {
        let Ok(body) = Limited::new(body, PROBLEM_BYTES_MAX).collect().await else { return End::Broken };
        let problem: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        (self.code, self.request_id) = (text("code"), text("request_id"));
        End::Complete
    }

    async fn file(&mut self, mut body: Incoming, order: &Order, begun: Instant) -> End {
        let from = if self.status == Some(206) { order.range.as_ref().map_or(0, |(first, ..)| *first) } else { 0 };
        let (mut expected, mut digest) = (Expected::of(&order.file, from), Context::new(&SHA256));
        loop {
            match order.manner {
                Manner::LeavesAt(bytes) if self.bytes >= bytes => return End::Left,
                Manner::Slow(rate) => {
                    tokio::time::sleep_until(begun + Duration::from_millis(self.bytes * 1000 / rate)).await;
                }
                _ => {}
            }
            let piece = match body.frame().await {
                None => break,
                Some(Err(_broken)) => return End::Broken,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            self.bytes += piece.len() as u64;
            digest.update(&piece);
            if self.wrong_at.is_none() {
                self.wrong_at = expected.take(&piece).err();
            }
        }
        self.sha256 = Some(crate::world::hex(digest.finish().as_ref()));
        End::Complete
    }

    /// How many bytes a complete answer has.
    pub fn promised(&self, order: &Order) -> u64 {
        let bytes = match &order.range {
            Some((first, last, _)) if self.status == Some(206) => last - first + 1,
            _ => order.file.size,
        };
        if order.expects == Expects::Half { bytes / 2 } else { bytes }
    }
}
