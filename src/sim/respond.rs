//! Writes an answer to a connection, whole or spoilt as a fault asks. Never decides what is answered.

use std::{io, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::Instant,
};

use super::{
    answer::{Answer, Body},
    config::Framing,
    faults::Kind,
    files::BLOCK,
    http::Connection,
    world::{Open, World},
};

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The next request may come.
    Next,
    /// Ends in order, with a TLS `close_notify`.
    Close,
    /// TCP ends, TLS does not.
    Cut,
    /// TCP is reset.
    Reset,
}

/// Writes `answer` as `fault` asks. A client that is gone ends it with [`After::Cut`].
pub(super) async fn respond<S>(
    connection: &mut Connection<S>,
    world: &World,
    mut answer: Answer,
    fault: Option<&Kind>,
) -> After
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let written = match fault {
        Some(Kind::Reset) => return After::Reset,
        Some(Kind::GarbageHead) => bytes_and_close(connection, b"\x05\x01 not HTTP at all \xff\xfe\r\n\r\n").await,
        Some(Kind::Switching101) => {
            let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
            bytes_and_close(connection, head).await
        }
        Some(Kind::HangBeforeHead) => {
            connection.closed().await;
            return After::Cut;
        }
        Some(Kind::DelayHead(delay)) => match pause(connection, Instant::now() + *delay).await {
            Ok(()) => write(connection, world, &mut answer, fault).await,
            Err(gone) => Err(gone),
        },
        _ => write(connection, world, &mut answer, fault).await,
    };
    written.unwrap_or(After::Cut)
}

async fn bytes_and_close<S: AsyncWrite + Unpin>(connection: &mut Connection<S>, bytes: &[u8]) -> io::Result<After> {
    connection.stream.write_all(bytes).await?;
    connection.stream.flush().await?;
    Ok(After::Close)
}

async fn write<S>(
    connection: &mut Connection<S>,
    world: &World,
    answer: &mut Answer,
    fault: Option<&Kind>,
) -> io::Result<After>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Before the first byte: whoever has read the answer may call again at once.
    drop(answer.answers.take());
    let _open = answer.is_download().then(|| Open::new(&world.counters.open_downloads));
    let length = if fault == Some(&Kind::HalfBody) { answer.body.len() / 2 } else { answer.body.len() };
    let framing = if answer.chunked { Framing::Chunked } else { world.config.framing };
    let wire = Wire::of(framing, fault, length);
    connection.stream.write_all(&head(answer, &wire, fault)).await?;
    let pace = Pace::of(fault);
    let started = Instant::now();
    let limit = match fault {
        Some(Kind::CutAt(at) | Kind::CutCleanAt(at) | Kind::StallAt(at)) => length.min(*at),
        _ => length,
    };
    let mut at = 0;
    while at < limit {
        if let Some(due) = pace.due(started, at) {
            connection.stream.flush().await?;
            pause(connection, due).await?;
        }
        let max = usize::try_from(limit - at).unwrap_or(usize::MAX).min(pace.piece);
        let piece = answer.body.piece(at, max);
        wire.write(&mut connection.stream, piece).await?;
        at += piece.len() as u64;
        if matches!(answer.body, Body::Recording { .. }) {
            world.counters.bytes_sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    }
    end(connection, &wire, fault).await
}

async fn end<S>(connection: &mut Connection<S>, wire: &Wire, fault: Option<&Kind>) -> io::Result<After>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let after = match fault {
        Some(Kind::CutAt(_)) => After::Cut,
        Some(Kind::CutCleanAt(_)) => After::Close,
        Some(Kind::StallAt(_)) => {
            connection.stream.flush().await?;
            connection.closed().await;
            After::Cut
        }
        _ => {
            if wire.chunked {
                connection.stream.write_all(b"0\r\n\r\n").await?;
            }
            if wire.closes { After::Close } else { After::Next }
        }
    };
    connection.stream.flush().await?;
    Ok(after)
}

/// Sleeps until `due`, or fails as soon as the client is gone.
async fn pause<S: AsyncRead + Unpin>(connection: &mut Connection<S>, due: Instant) -> io::Result<()> {
    tokio::select! {
        () = tokio::time::sleep_until(due) => Ok(()),
        () = connection.closed() => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// How a body is framed.
struct Wire {
    headers: Vec<(&'static str, String)>,
    chunked: bool,
    closes: bool,
}

impl Wire {
    fn of(framing: Framing, fault: Option<&Kind>, length: u64) -> Self {
        let content_length = |length: u64| ("Content-Length", length.to_string());
        let transfer_encoding = |coding: &str| ("Transfer-Encoding", coding.to_owned());
        let wire = |headers, chunked, closes| Self { headers, chunked, closes };
        match (fault, framing) {
            (Some(Kind::BothFramings), _) => {
                wire(vec![content_length(length), transfer_encoding("chunked")], true, false)
            }
            (Some(Kind::TwoLengths), _) => wire(vec![content_length(length), content_length(length + 1)], false, false),
            (Some(Kind::ShortLength), _) => wire(vec![content_length(length / 2)], false, false),
            (Some(Kind::CloseDelimited), _) => wire(vec![], false, true),
            (Some(Kind::TransferEncoding(coding)), _) => {
                let chunked = coding.to_ascii_lowercase().ends_with("chunked");
                wire(vec![transfer_encoding(coding)], chunked, !chunked)
            }
            (_, Framing::ContentLength) => wire(vec![content_length(length)], false, false),
            (_, Framing::Chunked) => wire(vec![transfer_encoding("chunked")], true, false),
        }
    }

    async fn write<S: AsyncWrite + Unpin>(&self, stream: &mut S, piece: &[u8]) -> io::Result<()> {
        if !self.chunked {
            return stream.write_all(piece).await;
        }
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        stream.write_all(&chunk).await
    }
}

/// How fast a body goes.
struct Pace<'a> {
    fault: Option<&'a Kind>,
    /// The most bytes in one piece.
    piece: usize,
}

impl<'a> Pace<'a> {
    fn of(fault: Option<&'a Kind>) -> Self {
        let piece = match fault {
            Some(Kind::SlowBody { piece, .. }) => (*piece).clamp(1, BLOCK),
            // Twenty pieces a second, so that a slow body still moves.
            Some(Kind::Rate(rate)) => usize::try_from(rate / 20).unwrap_or(BLOCK).clamp(1, BLOCK),
            _ => BLOCK,
        };
        Self { fault, piece }
    }

    /// When the piece at `at` may go, where it must wait.
    fn due(&self, started: Instant, at: u64) -> Option<Instant> {
        match self.fault {
            Some(Kind::SlowBody { every, .. }) => Some(Instant::now() + *every),
            Some(Kind::Rate(rate)) => {
                let millis = u128::from(at) * 1_000 / u128::from((*rate).max(1));
                Some(started + Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX)))
            }
            _ => None,
        }
    }
}

fn head(answer: &Answer, wire: &Wire, fault: Option<&Kind>) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", answer.status, reason(answer.status));
    let mut line = |name: &str, value: &str| {
        head.extend([name, ": ", value, "\r\n"]);
    };
    for (name, value) in answer.headers.iter().chain(&wire.headers) {
        match fault {
            Some(Kind::ContentType(other)) if *name == "Content-Type" => line(name, other),
            _ => line(name, value),
        }
    }
    if wire.closes {
        line("Connection", "close");
    }
    if fault == Some(&Kind::HugeHead) {
        let filler = "x".repeat(64 * 1024);
        for _ in 0..16 {
            line("X-Filler", &filler);
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        416 => "Range Not Satisfiable",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Other",
    }
}
