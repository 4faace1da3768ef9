//! HTTP/1.1 requests off a raw stream, so that every broken answer can be written to it. Never writes a byte of its own accord.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest request head.
const HEAD: usize = 64 * 1024;
/// The longest request body.
const BODY: usize = 1024 * 1024;
/// The most request headers.
const HEADERS: usize = 100;
/// How long a connection may be idle between requests, and a request may take to arrive.
const PATIENCE: Duration = Duration::from_mins(5);

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    /// 0 for HTTP/1.0, 1 for HTTP/1.1.
    pub(super) version: u8,
    /// In the order they came; bytes outside UTF-8 replaced.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The path, and the query if there is one.
    pub(super) fn path_and_query(&self) -> (&str, Option<&str>) {
        self.target.split_once('?').map_or((self.target.as_str(), None), |(path, query)| (path, Some(query)))
    }

    /// Whether the client wants the connection to stay.
    pub(super) fn keeps_alive(&self) -> bool {
        self.version == 1 && !self.header("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Why there is no request.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The client is gone (or was silent too long).
    #[error("no further request")]
    Gone,
    /// What came is no HTTP/1.x request within bounds.
    #[error("malformed request: {0}")]
    Malformed(&'static str),
}

/// A stream with the bytes that were read ahead.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Connection<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// The next request, head and body.
    pub(super) async fn request(&mut self) -> Result<Request, Error> {
        tokio::time::timeout(PATIENCE, self.read_request()).await.unwrap_or(Err(Error::Gone))
    }

    async fn read_request(&mut self) -> Result<Request, Error> {
        let mut request = loop {
            if let Some((request, length)) = parse_head(&self.buffer)? {
                self.buffer.drain(..length);
                break request;
            }
            if self.buffer.len() >= HEAD {
                return Err(Error::Malformed("the head is too long"));
            }
            self.fill().await?;
        };
        let length = body_length(&request)?;
        while self.buffer.len() < length {
            self.fill().await?;
        }
        request.body = self.buffer.drain(..length).collect();
        Ok(request)
    }

    async fn fill(&mut self) -> Result<(), Error> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Error::Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Returns when the client has closed the connection. Bytes that come meanwhile are kept, up to the bound of a head.
    ///
    /// Cancel safe.
    pub(super) async fn closed(&mut self) {
        while self.buffer.len() < HEAD {
            if self.fill().await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<(Request, usize)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let length = match parsed.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Error::Malformed("the head does not parse")),
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let request = Request {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        version: parsed.version.unwrap_or_default(),
        headers: parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect(),
        body: Vec::new(),
    };
    Ok(Some((request, length)))
}

fn body_length(request: &Request) -> Result<usize, Error> {
    if request.header("Transfer-Encoding").is_some() {
        return Err(Error::Malformed("a request body must have a length"));
    }
    let lengths: Vec<&str> = request
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("Content-Length"))
        .map(|(_, value)| value.as_str())
        .collect();
    match lengths.as_slice() {
        [] => Ok(0),
        [length] if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().ok().filter(|length| *length <= BODY).ok_or(Error::Malformed("the body is too long"))
        }
        _ => Err(Error::Malformed("no single Content-Length")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn parse(bytes: &[u8]) -> Result<Request, Error> {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        client.write_all(bytes).await.unwrap();
        drop(client);
        Connection::new(server).request().await
    }

    #[tokio::test]
    async fn requests_follow_each_other() {
        let (mut client, server) = tokio::io::duplex(4096);
        client.write_all(b"PUT /a?b=c HTTP/1.1\r\nHost: x\r\ncontent-length: 2\r\n\r\nhiGET /d HTTP/1.1\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut connection = Connection::new(server);
        let first = connection.request().await.unwrap();
        assert_eq!((first.path_and_query(), first.body.as_slice()), (("/a", Some("b=c")), b"hi".as_slice()));
        assert!(first.keeps_alive());
        let second = connection.request().await.unwrap();
        assert_eq!((second.method.as_str(), second.path_and_query()), ("GET", ("/d", None)));
        assert!(!second.keeps_alive());
        drop(client);
        assert!(matches!(connection.request().await, Err(Error::Gone)));
    }

    #[tokio::test]
    async fn what_is_not_framed_well_is_refused() {
        for bytes in [
            "GARBAGE\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: +2\r\n\r\nhi",
            "GET / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            "PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "PUT / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
        ] {
            assert!(matches!(parse(bytes.as_bytes()).await, Err(Error::Malformed(_))), "{bytes}");
        }
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(HEAD));
        assert!(matches!(parse(long.as_bytes()).await, Err(Error::Malformed(_))));
        assert!(matches!(parse(b"GET / HTT").await, Err(Error::Gone)));
    }

    #[tokio::test]
    async fn closed_is_seen_and_keeps_what_came_before() {
        let (mut client, server) = tokio::io::duplex(4096);
        let mut connection = Connection::new(server);
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), connection.closed()).await.is_err());
        assert_eq!(connection.request().await.unwrap().target, "/");
        drop(client);
        connection.closed().await;
    }
}
