//! A connection on which bytes are sent as they are.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing takes longer, on a machine with other work.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A connection on which bytes are sent as they are.
pub struct Wire {
    pub stream: TcpStream,
    pub read: Vec<u8>,
}

/// An answer's status and head.
#[derive(Debug)]
pub struct Head {
    pub status: u16,
    pub text: String,
}

impl Head {
    pub fn has(&self, header: &str) -> bool {
        self.text.to_ascii_lowercase().contains(&format!("\r\n{header}\r\n"))
    }
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// A server that has refused early may have closed its side already.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// More bytes; `false`: there are none any more.
    pub async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 16 * 1024];
        let read =
            tokio::time::timeout(DEADLINE, self.stream.read(&mut buffer)).await.expect("bytes or an end in time");
        let count = read.unwrap_or(0);
        self.read.extend_from_slice(&buffer[..count]);
        count > 0
    }

    /// The next answer, its body by length and dropped; `None`: the connection was closed instead.
    pub async fn answer(&mut self) -> Option<Head> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more().await {
                assert!(self.read.is_empty(), "half a head: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        };
        let text = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        let lower = text.to_ascii_lowercase();
        let length = lower
            .split("\r\ncontent-length: ")
            .nth(1)
            .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        while self.read.len() < length && self.more().await {}
        self.read.drain(..length.min(self.read.len()));
        Some(Head { status, text })
    }

    /// Reads to the end: whether nothing more came before it.
    pub async fn closed(&mut self) -> bool {
        while self.more().await {}
        self.read.is_empty()
    }

    /// Whether another request on this connection gets its own answer.
    pub async fn still_open(&mut self) -> bool {
        self.send(b"GET /still/open HTTP/1.1\r\nHost: a\r\nX-Request-Id: still-open\r\n\r\n").await;
        self.answer().await.is_some_and(|head| head.status == 404 && head.has("x-request-id: still-open"))
    }
}
