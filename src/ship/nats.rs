//! NATS JetStream as a sink: every record is published under an id that the stream knows again, and counts when the stream
//! has acknowledged it. One connection at a time: a lost one is given up whole, and the next one begins anew.
//!
//! The client library reconnects by itself, but tells nobody which of its publishes are gone; here each connection ends with
//! its first loss, so that what was not acknowledged is known at once and sent again.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream::context::{
    ContextBuilder, GetStreamByNameError, GetStreamByNameErrorKind, PublishErrorKind,
};
use async_nats::jetstream::{Context, context::PublishError};
use async_nats::{ConnectOptions, Event, HeaderMap, ServerAddr};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::net::{ClientTls, TlsError};

use super::WINDOW;
use super::sink::{Ack, Error, Item, Kind, Receipt, Sink};

/// Longest content of a URL file, in bytes.
const URLS_BYTES_MAX: u64 = 4_096;
/// How often an idle connection is tried; three without an answer are a loss.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Servers that one file may name.
const SERVERS_MAX: usize = 16;

/// Where the stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// File with the URLs on one line, separated by commas: `tls://user:password@host:4222`; `nats://` is without TLS unless
    /// the server asks for it. Read again for each connection.
    pub url_file: PathBuf,
    /// The subject of records; checkpoints go to `<subject>.checkpoint`.
    pub subject: String,
    /// Whom to trust, and who to be.
    pub tls: ClientTls,
    /// For connecting, for handing a record over, and for each acknowledgement.
    pub timeout: Duration,
}

/// A file that the connection needs can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The file with the URLs can't be read.
    #[error("{path} cannot be read", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// It holds something else. Nothing of it is told.
    #[error("{path} holds {what}", path = path.display())]
    Url {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
    /// A TLS file can't be used.
    #[error("TLS cannot be set up")]
    Tls(#[source] TlsError),
}

/// The sink.
#[derive(Debug)]
pub struct Nats {
    server: Server,
    origin: String,
    checkpoints: String,
    session: Option<Session>,
}

/// A connection, until it is lost.
#[derive(Debug)]
struct Session {
    context: Context,
    lost: CancellationToken,
}

/// What a URL file holds.
struct Urls {
    /// Without user and password, so that no log line of the client can show them.
    servers: Vec<ServerAddr>,
    user: Option<(String, Option<SecretString>)>,
}

impl Nats {
    /// A sink for the log with this id. Its files are read once, to know early; nothing is connected.
    ///
    /// # Errors
    /// A file can't be used.
    pub fn new(server: Server, origin: &str) -> Result<Self, SetUpError> {
        let urls = Urls::read(&server.url_file)?;
        let _ = urls.options(&server)?;
        let checkpoints = format!("{}.checkpoint", server.subject);
        Ok(Self { server, origin: header_text(origin), checkpoints, session: None })
    }

    async fn open(&self) -> Result<Session, Error> {
        let urls = Urls::read(&self.server.url_file).map_err(Error::SetUp)?;
        let lost = CancellationToken::new();
        let (tell, patience) = (lost.clone(), self.server.timeout);
        let options = urls.options(&self.server).map_err(Error::SetUp)?.event_callback(move |event| {
            if matches!(event, Event::Disconnected | Event::Closed) {
                tell.cancel();
            }
            std::future::ready(())
        });
        let client = options.connect(urls.servers).await.map_err(|error| Error::Connect(Box::new(error)))?;
        let context = ContextBuilder::new().timeout(patience).max_ack_inflight(WINDOW).build(client);
        for subject in [&self.server.subject, &self.checkpoints] {
            context.stream_by_subject(subject).await.map_err(|error| Self::no_stream(subject, error))?;
        }
        Ok(Session { context, lost })
    }

    fn no_stream(subject: &str, error: GetStreamByNameError) -> Error {
        match error.kind() {
            GetStreamByNameErrorKind::NotFound => Error::NoStream(subject.to_owned()),
            _ => Error::Connect(Box::new(error)),
        }
    }

    fn headers(&self, item: &Item) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", item.id(&self.origin));
        headers.insert("Ccgate-Origin", self.origin.as_str());
        headers.insert("Ccgate-Event", header_text(item.event()));
        match item {
            Item::Record { seq, .. } => headers.insert("Ccgate-Seq", seq.to_string()),
            Item::Checkpoint { size, .. } => headers.insert("Ccgate-Size", size.to_string()),
        }
        headers
    }
}

impl Sink for Nats {
    fn kind(&self) -> Kind {
        Kind::Nats
    }

    fn patience(&self) -> Duration {
        self.server.timeout
    }

    fn connect(&mut self) -> BoxFuture<'_, Result<(), Error>> {
        self.session = None;
        async {
            self.session = Some(self.open().await?);
            Ok(())
        }
        .boxed()
    }

    fn gone(&self) -> BoxFuture<'static, ()> {
        match &self.session {
            Some(session) => session.lost.clone().cancelled_owned().boxed(),
            None => std::future::ready(()).boxed(),
        }
    }

    fn publish(&mut self, item: &Item) -> BoxFuture<'_, Result<Ack, Error>> {
        let headers = self.headers(item);
        let (subject, payload) = match item {
            Item::Record { line, .. } => (self.server.subject.clone(), line.clone()),
            Item::Checkpoint { note, .. } => (self.checkpoints.clone(), note.as_bytes().to_vec().into()),
        };
        async move {
            let Some(Session { context, lost }) = &self.session else { return Err(Error::Lost) };
            let (lost, patience) = (lost.clone(), self.server.timeout);
            let sending = context.publish_with_headers(subject.clone(), headers, payload);
            let sent = tokio::select! {
                biased;
                sent = sending => sent.map_err(|error| refused(error, &subject, patience))?,
                () = lost.cancelled() => return Err(Error::Lost),
            };
            let ack = async move {
                let receipt = tokio::select! {
                    biased;
                    receipt = sent.into_future() => receipt.map_err(|error| refused(error, &subject, patience))?,
                    () = lost.cancelled() => return Err(Error::Lost),
                };
                Ok(if receipt.duplicate { Receipt::Duplicate } else { Receipt::Kept })
            };
            Ok(ack.boxed())
        }
        .boxed()
    }
}

fn refused(error: PublishError, subject: &str, patience: Duration) -> Error {
    match error.kind() {
        PublishErrorKind::TimedOut => Error::Timeout(patience),
        PublishErrorKind::BrokenPipe => Error::Lost,
        PublishErrorKind::StreamNotFound => Error::NoStream(subject.to_owned()),
        _ => Error::Refused(Box::new(error)),
    }
}

/// Connects once and looks for the streams. Changes nothing there.
///
/// # Errors
/// What keeps records from being shipped there.
pub async fn probe(server: &Server) -> Result<(), Error> {
    let patience = server.timeout;
    let sink = Nats::new(server.clone(), "probe").map_err(Error::SetUp)?;
    tokio::time::timeout(patience, sink.open()).await.unwrap_or(Err(Error::Timeout(patience))).map(|_| ())
}

impl Urls {
    fn read(path: &Path) -> Result<Self, SetUpError> {
        let failed = |source| SetUpError::Read { path: path.to_path_buf(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(URLS_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        Self::parse(&text).map_err(|what| SetUpError::Url { path: path.to_path_buf(), what })
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        if text.len() as u64 > URLS_BYTES_MAX || line.contains(char::is_control) {
            return Err("more than one line of URLs");
        }
        let mut urls = Self { servers: Vec::new(), user: None };
        for url in line.split(',').map(str::trim) {
            let (scheme, rest) = url.split_once("://").ok_or("no nats:// or tls:// URL")?;
            if !matches!(scheme, "nats" | "tls") {
                return Err("no nats:// or tls:// URL");
            }
            let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
            if host.is_empty() || host.starts_with(':') {
                return Err("a URL without a host");
            }
            let server = format!("{scheme}://{host}").parse().map_err(|_| "a URL that cannot be read")?;
            urls.servers.push(server);
            if urls.servers.len() > SERVERS_MAX {
                return Err("more than 16 URLs");
            }
            if let (None, Some(user)) = (&urls.user, user) {
                let (name, password) = user.split_once(':').map_or((user, None), |(name, pass)| (name, Some(pass)));
                let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| "a user that is no text");
                let password = password.map(|text| decoded(text).map(|text| SecretString::from(text.into_owned())));
                urls.user = Some((decoded(name)?.into_owned(), password.transpose()?));
            }
        }
        Ok(urls)
    }

    fn options(&self, server: &Server) -> Result<ConnectOptions, SetUpError> {
        let mut tls = server.tls.build().map_err(SetUpError::Tls)?;
        // NATS negotiates no protocol in TLS.
        tls.alpn_protocols.clear();
        let options = ConnectOptions::new()
            .name("ccgate")
            .connection_timeout(server.timeout)
            .request_timeout(Some(server.timeout))
            .ping_interval(PING_INTERVAL)
            // Each server once; then the session is given up.
            .max_reconnects(self.servers.len())
            .ignore_discovered_servers()
            .tls_client_config(tls);
        Ok(match &self.user {
            None => options,
            Some((token, None)) => options.token(token.clone()),
            Some((user, Some(password))) => {
                options.user_and_password(user.clone(), password.expose_secret().to_owned())
            }
        })
    }
}

/// A text that can stand in a header: what is no printable ASCII is left out.
fn header_text(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::type_complexity, reason = "what a table of texts is held against")]
    fn parsed(text: &str) -> Result<(Vec<String>, Option<(String, Option<String>)>), &'static str> {
        let urls = Urls::parse(text)?;
        let servers = urls.servers.iter().map(|server| server.as_url_str().to_owned()).collect();
        let secret = |secret: SecretString| secret.expose_secret().to_owned();
        Ok((servers, urls.user.map(|(name, password)| (name, password.map(secret)))))
    }

    #[test]
    fn urls_are_taken_apart_and_never_carry_a_password() {
        let user = |name: &str, password: Option<&str>| Some((name.to_owned(), password.map(str::to_owned)));
        for (text, servers, who) in [
            ("nats://127.0.0.1:4222", vec!["nats://127.0.0.1:4222"], None),
            ("tls://ccgate:p%40ss@nats.example\n", vec!["tls://nats.example"], user("ccgate", Some("p@ss"))),
            (
                "nats://secret-token@n1:4222, nats://n2:4222\r\n",
                vec!["nats://n1:4222", "nats://n2:4222"],
                user("secret-token", None),
            ),
            ("nats://u:a@b@[::1]:4222/x?y#z", vec!["nats://[::1]:4222"], user("u", Some("a@b"))),
        ] {
            let (shown, found) = parsed(text).expect(text);
            assert_eq!((shown.iter().map(String::as_str).collect::<Vec<_>>(), found), (servers, who), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_told_without_showing_it() {
        let many = vec!["nats://h"; 17].join(",");
        for (text, wanted) in [
            ("", "no nats:// or tls:// URL"),
            ("n1:4222", "no nats:// or tls:// URL"),
            ("https://n1:4222", "no nats:// or tls:// URL"),
            ("wss://n1", "no nats:// or tls:// URL"),
            ("nats://", "a URL without a host"),
            ("nats://user:pass@:4222", "a URL without a host"),
            ("nats://h\nnats://i\n", "more than one line of URLs"),
            ("nats://h o", "a URL that cannot be read"),
            (many.as_str(), "more than 16 URLs"),
        ] {
            assert_eq!(parsed(text).expect_err("no URL"), wanted, "{text}");
        }
    }

    #[test]
    fn a_header_is_one_line() {
        assert_eq!(header_text("authorized"), "authorized");
        assert_eq!(header_text("a\r\nNats-Msg-Id: b\u{2028}"), "aNats-Msg-Id:b");
    }
}
