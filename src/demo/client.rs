//! A web app in miniature: one GET over a connection of its own, read as it comes. It never keeps a whole recording.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// No request of the story takes longer, its body included.
const TIMEOUT: Duration = Duration::from_mins(1);
/// So many bytes of a body are kept, for what is text: a problem document, the metrics page.
const KEPT_BYTES_MAX: usize = 256 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The request can't be put.
    #[error("this is no request")]
    Request(#[source] http::Error),
    /// No HTTP answer.
    #[error("no HTTP answer")]
    Http(#[source] hyper::Error),
    /// Nothing whole in time.
    #[error("not answered within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: HeaderMap,
    /// Length of the body as it came.
    pub(super) bytes: u64,
    /// SHA-256 of the body as it came, in hex.
    pub(super) sha256: String,
    /// Whether the body ended as its framing said.
    pub(super) whole: bool,
    kept: Vec<u8>,
}

impl Answer {
    /// A header's value; empty where there is none, or no text.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The beginning of the body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept).into_owned()
    }

    /// The body as JSON; `null` where it is none.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.kept).unwrap_or_default()
    }
}

/// GETs `target`; `on_piece` learns how many bytes have come.
pub(super) async fn get(
    address: SocketAddr,
    target: &str,
    token: Option<&str>,
    on_piece: impl FnMut(u64),
) -> Result<Answer, Error> {
    let read = async { read(open(address, target, token).await?, on_piece).await };
    tokio::time::timeout(TIMEOUT, read).await.unwrap_or(Err(Error::Timeout))
}

/// An answer whose body is to be read; its connection ends with it.
struct Open {
    response: http::Response<Incoming>,
    _connection: JoinSet<()>,
}

async fn open(address: SocketAddr, target: &str, token: Option<&str>) -> Result<Open, Error> {
    let mut request = Request::get(target).header(HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(Error::Request)?;
    let stream = TcpStream::connect(address).await.map_err(|source| Error::Connect { address, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Error::Http)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        // What goes wrong on it is seen by whoever waits for the answer.
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(Error::Http)?;
    Ok(Open { response, _connection: tasks })
}

async fn read(open: Open, mut on_piece: impl FnMut(u64)) -> Result<Answer, Error> {
    let (head, mut body) = open.response.into_parts();
    let (mut bytes, mut sum, mut kept) = (0_u64, Context::new(&SHA256), Vec::new());
    let whole = loop {
        match body.frame().await {
            None => break true,
            Some(Err(_broken_off)) => break false,
            Some(Ok(frame)) => {
                let piece = frame.into_data().unwrap_or_default();
                bytes = bytes.saturating_add(piece.len() as u64);
                sum.update(&piece);
                kept.extend(piece.iter().take(KEPT_BYTES_MAX.saturating_sub(kept.len())));
                on_piece(bytes);
            }
        }
    };
    let sha256 = hex(sum.finish().as_ref());
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, bytes, sha256, whole, kept })
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a `String` can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
