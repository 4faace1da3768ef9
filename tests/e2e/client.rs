//! A web app in miniature: reads answers as they come and says whether they were whole.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// No request of a test takes longer, unless the test says so by reading the body itself.
const DEADLINE: Duration = Duration::from_mins(1);

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body ended as its framing said.
    pub whole: bool,
}

impl Answer {
    /// The body as a problem document; its `code`.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        self.json()["code"].as_str().unwrap().to_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An answer whose body is still to be read; the connection lives as long as this.
pub struct Open {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Incoming,
    _connection: JoinSet<()>,
}

/// What a body was, without keeping it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    pub bytes: u64,
    pub sha256: [u8; 32],
    pub whole: bool,
}

impl Open {
    /// Reads the next piece; `None` at a good end, `Some(Err(()))` where the body breaks off.
    pub async fn piece(&mut self) -> Option<Result<Bytes, ()>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(Ok(piece));
                    }
                }
                Err(_broken) => return Some(Err(())),
            }
        }
    }

    /// Reads to the end, waiting `pause` after each piece.
    pub async fn read(mut self, pause: Duration) -> Read {
        let (mut bytes, mut context) = (0, Context::new(&SHA256));
        let whole = loop {
            match self.piece().await {
                None => break true,
                Some(Err(())) => break false,
                Some(Ok(piece)) => {
                    bytes += piece.len() as u64;
                    context.update(&piece);
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        };
        Read { bytes, sha256: context.finish().as_ref().try_into().unwrap(), whole }
    }
}

/// Sends a GET over a connection of its own and returns when the head is there.
pub async fn open(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Open {
    request(address, "GET", target, headers).await
}

/// Sends a request without a body.
pub async fn request(address: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Open {
    try_request(address, method, target, headers).await.unwrap_or_else(|error| panic!("no answer: {error}"))
}

/// The same, to a server that may be gone.
pub async fn try_request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Open, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _ = connection.await;
    });
    let mut request = Request::builder().method(method).uri(target).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = tokio::time::timeout(DEADLINE, sender.send_request(request.body(Empty::<Bytes>::new())?)).await??;
    let (head, body) = response.into_parts();
    Ok(Open { status: head.status, headers: head.headers, body, _connection: tasks })
}

/// A GET and its whole answer.
pub async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Answer {
    whole(open(address, target, headers).await).await
}

/// Reads an answer to its end.
pub async fn whole(mut open: Open) -> Answer {
    let mut body = Vec::new();
    let read = async {
        loop {
            match open.piece().await {
                None => return true,
                Some(Err(())) => return false,
                Some(Ok(piece)) => body.extend_from_slice(&piece),
            }
        }
    };
    let whole = tokio::time::timeout(DEADLINE, read).await.expect("an end in time");
    Answer { status: open.status, headers: open.headers, body: body.into(), whole }
}

/// A connection that is kept for one request after the other.
pub struct Keeper {
    address: SocketAddr,
    sender: http1::SendRequest<Empty<Bytes>>,
    _connection: JoinSet<()>,
}

impl Keeper {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = connection.await;
        });
        Self { address, sender, _connection: tasks }
    }

    /// Sends a request without a body and reads its answer; connects again where the server has closed.
    pub async fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        if self.sender.ready().await.is_err() {
            *self = Self::open(self.address).await;
        }
        let mut request = Request::builder().method(method).uri(target).header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.sender.send_request(request.body(Empty::new()).unwrap());
        let response = tokio::time::timeout(DEADLINE, response).await.expect("an answer in time").expect("an answer");
        let (head, body) = response.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("an end in time");
        let whole = body.is_ok();
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        Answer { status: head.status, headers: head.headers, body, whole }
    }

    pub async fn get(&mut self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.request("GET", target, headers).await
    }
}

/// Sends bytes as they are and reads until the other side closes, or for `patience` after the last byte.
pub async fn raw(address: SocketAddr, bytes: &[u8], patience: Duration) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has refused early may have closed its side already.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match tokio::time::timeout(patience, stream.read(&mut buffer)).await {
            Err(_elapsed) => return (answer, false),
            Ok(Ok(0) | Err(_)) => return (answer, true),
            Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
        }
    }
}
