//! What a client sees of a server that it sends bytes to, whatever that server makes of them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// After so long without a byte the server is taken for waiting.
const QUIET: Duration = Duration::from_millis(300);

/// What came of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub statuses: Vec<u16>,
    pub closed: bool,
    /// Requests that came to the upstream.
    pub upstream: u64,
}

impl Seen {
    /// Sends bytes over a connection of their own. `asked` counts the upstream's requests.
    pub async fn of<N: TryInto<u64, Error: std::fmt::Debug>>(
        address: SocketAddr,
        bytes: &[u8],
        asked: impl Fn() -> N,
    ) -> Self {
        let asked = || asked().try_into().unwrap();
        let before = asked();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let mut answer = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        let read = async {
            loop {
                match tokio::time::timeout(QUIET, reader.read(&mut buffer)).await {
                    Err(_quiet) => return false,
                    Ok(Ok(0) | Err(_)) => return true,
                    Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
                }
            }
        };
        // Who refuses early may not read to the end.
        let (_sent, closed) = tokio::join!(writer.write_all(bytes), read);
        drop(stream);
        Self { statuses: statuses(&answer), closed, upstream: asked() - before }
    }

    /// Whether the request was refused and the upstream heard nothing.
    pub fn is_refused(&self) -> bool {
        self.upstream == 0 && self.statuses.iter().all(|status| *status >= 400)
    }

    /// As a cell of the table.
    pub fn cell(&self) -> String {
        let statuses: Vec<_> = self.statuses.iter().map(u16::to_string).collect();
        let end = if self.closed { "closed" } else { "open" };
        let arrow = match self.upstream {
            0 => String::new(),
            1 => " ↑".to_owned(),
            times => format!(" ↑{times}"),
        };
        format!("{} {end}{arrow}", if statuses.is_empty() { "–".to_owned() } else { statuses.join(", ") })
    }
}

/// The statuses in what was read, by the look of their lines: bodies here are noise and cannot look so by accident.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let mut statuses = Vec::new();
    for at in 0..answer.len() {
        let line = answer.get(at..at + 13).unwrap_or_default();
        let digits = line.get(9..12).unwrap_or_default();
        let begins = line.starts_with(b"HTTP/1.1 ") || line.starts_with(b"HTTP/1.0 ");
        if begins && digits.iter().all(u8::is_ascii_digit) && line.get(12) == Some(&b' ') {
            statuses.push(std::str::from_utf8(digits).unwrap().parse().unwrap());
        }
    }
    statuses
}
