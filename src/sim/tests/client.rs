//! A client that hides nothing: it sends bytes and tells how an answer really ended.

use std::io;

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// How an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By its length or its last chunk.
    Complete,
    /// With a TLS `close_notify`.
    Closed,
    /// TCP ended, TLS did not.
    Cut,
    /// TCP was reset.
    Reset,
    /// Silence for the client's patience.
    Silent,
}

#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
    pub(super) end: End,
}

impl Response {
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let same = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn retcode(&self) -> String {
        self.json()["retcode"].as_str().unwrap().to_owned()
    }

    pub(super) fn guid(&self) -> Option<String> {
        self.header("Set-GUID").map(|value| value.strip_prefix("JSESSIONID=").unwrap().to_owned())
    }
}

pub(super) struct Client {
    pub(super) stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
    /// How long silence is waited through: long, unless silence is what a test is about.
    pub(super) patience: Duration,
}

impl Client {
    pub(super) async fn new(simulator: &Simulator) -> Self {
        Self::named(simulator, "127.0.0.1").await.unwrap()
    }

    /// A client that wants `name` in the certificate.
    pub(super) async fn named(simulator: &Simulator, name: &str) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(simulator.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tcp = TcpStream::connect(simulator.address()).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await?;
        Ok(Self { stream, buffer: Vec::new(), patience: Duration::from_secs(20) })
    }

    pub(super) async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Sends a call as a good client does, with more headers (each with its line end).
    pub(super) async fn send_call(&mut self, (method, path): (&str, &str), guid: Option<&str>, more: &str, body: &str) {
        let guid = guid.map(|guid| format!("Guid: {guid}\r\n")).unwrap_or_default();
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        self.send(&format!(
            "{method} {BASE}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json; charset=UTF-8\r\n\
             {guid}{length}{more}\r\n{body}"
        ))
        .await;
    }

    pub(super) async fn call(&mut self, method: &str, path: &str, guid: Option<&str>, body: &str) -> Response {
        self.send_call((method, path), guid, "", body).await;
        self.response().await.unwrap()
    }

    pub(super) async fn get(&mut self, path: &str, guid: &str) -> Response {
        self.call("GET", path, Some(guid), "").await
    }

    /// Reads more; how the stream ended if it did.
    pub(super) async fn fill(&mut self) -> Option<End> {
        let read = tokio::time::timeout(self.patience, self.stream.read_buf(&mut self.buffer)).await;
        match read {
            Err(_) => Some(End::Silent),
            Ok(Ok(0)) => Some(End::Closed),
            Ok(Ok(_)) => None,
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Some(End::Cut),
            Ok(Err(_)) => Some(End::Reset),
        }
    }

    /// Everything until the end.
    pub(super) async fn rest(&mut self) -> (Vec<u8>, End) {
        loop {
            if let Some(end) = self.fill().await {
                return (std::mem::take(&mut self.buffer), end);
            }
        }
    }

    /// The next answer; or how the stream ended before its head.
    pub(super) async fn response(&mut self) -> Result<Response, End> {
        let (mut response, length) = loop {
            if let Some(parsed) = parse(&self.buffer) {
                break parsed;
            }
            if let Some(end) = self.fill().await {
                return Err(end);
            }
        };
        self.buffer.drain(..length);
        if response.header("Transfer-Encoding").is_some_and(|coding| coding.ends_with("chunked")) {
            self.chunks(&mut response).await;
        } else if let Some(length) = response.header("Content-Length").map(|length| length.parse().unwrap()) {
            response.end = self.take(&mut response.body, length).await.err().unwrap_or(End::Complete);
        } else {
            (response.body, response.end) = self.rest().await;
        }
        Ok(response)
    }

    async fn chunks(&mut self, response: &mut Response) {
        loop {
            let (start, length) = match httparse::parse_chunk_size(&self.buffer).unwrap() {
                httparse::Status::Complete((start, length)) => (start, usize::try_from(length).unwrap()),
                httparse::Status::Partial => match self.fill().await {
                    None => continue,
                    Some(end) => return response.end = end,
                },
            };
            self.buffer.drain(..start);
            if let Err(end) = self.take(&mut response.body, length).await {
                return response.end = end;
            }
            if let Err(end) = self.take(&mut Vec::new(), 2).await {
                return response.end = end;
            }
            if length == 0 {
                return response.end = End::Complete;
            }
        }
    }

    async fn take(&mut self, to: &mut Vec<u8>, length: usize) -> Result<(), End> {
        while self.buffer.len() < length {
            if let Some(end) = self.fill().await {
                to.append(&mut self.buffer);
                return Err(end);
            }
        }
        to.extend(self.buffer.drain(..length));
        Ok(())
    }
}

fn parse(bytes: &[u8]) -> Option<(Response, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(bytes).ok()? else { return None };
    let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
    let headers = parsed.headers.iter().map(|header| (header.name.to_owned(), text(header.value))).collect();
    Some((Response { status: parsed.code?, headers, body: Vec::new(), end: End::Complete }, length))
}
