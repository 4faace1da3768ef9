//! A client without an HTTP library: it reads as slowly as it is told, and tells what arrived before the other side was
//! gone. It keeps no byte of a body.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// Read at once; small, so that hundreds of clients stay small and steady.
const PIECE_BYTES: usize = 16 * 1024;

/// What of an answer arrived.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// `None`: not even a head.
    pub status: Option<u16>,
    /// The entry that the head names.
    pub entry: Option<String>,
    pub body_bytes: u64,
    /// The declared length.
    pub length: Option<u64>,
    /// From the head to the last byte.
    pub took: Duration,
}

impl Arrived {
    /// Whether all of a file came.
    pub fn is_whole_file(&self) -> bool {
        self.status == Some(200) && self.length == Some(self.body_bytes)
    }
}

/// GETs over a connection of its own, at most so many bytes a second from the head on, until the other side closes.
pub async fn get(address: SocketAddr, target: &str, token: &str, bytes_per_second: Option<u64>) -> Arrived {
    let mut arrived = Arrived::default();
    // Whatever breaks: what arrived, arrived.
    let _ = read(address, target, token, bytes_per_second, &mut arrived).await;
    arrived
}

async fn read(
    address: SocketAddr,
    target: &str,
    token: &str,
    bytes_per_second: Option<u64>,
    arrived: &mut Arrived,
) -> std::io::Result<()> {
    let mut stream = connect(address, bytes_per_second.is_some()).await?;
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let (mut head, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    let body_start = loop {
        let count = stream.read(&mut piece).await?;
        head.extend_from_slice(&piece[..count]);
        if let Some(end) = head.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if count == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&head[..body_start]).to_ascii_lowercase();
    arrived.status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    arrived.entry = text.lines().find_map(|line| line.strip_prefix("ccgate-audit-id: ")).map(str::to_owned);
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    arrived.length = length.and_then(|length| length.parse().ok());
    arrived.body_bytes = (head.len() - body_start) as u64;
    let begun = Instant::now();
    loop {
        if let Some(rate) = bytes_per_second {
            let due = Duration::from_millis(arrived.body_bytes * 1000 / rate);
            tokio::time::sleep_until(begun + due).await;
        }
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return Ok(());
        }
        arrived.body_bytes += count as u64;
        arrived.took = begun.elapsed();
    }
}

/// A slow client with a small receive buffer leaves the waiting to the server, and not to the kernel.
async fn connect(address: SocketAddr, slow: bool) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if slow {
        socket.set_recv_buffer_size(64 * 1024)?;
    }
    socket.connect(address).await
}
