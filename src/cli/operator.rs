//! The way of an operator's commands to a running gateway's admin plane. It knows nothing of what they ask.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;

use super::Exit;
use crate::admin::ADMIN_HEADER;
use crate::config::{self, Overrides};
use crate::net::{self, Client, ClientConfig, ClientTls, ServerTrust};

/// Longest answer, in bytes: some 250 for each of as many agents as can be configured would be more than anybody reads.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Characters that are shown of a refusal.
const REFUSAL_CHARS_MAX: usize = 200;

/// Where the admin plane is.
#[derive(Debug, Clone, Args)]
pub struct Endpoint {
    /// The admin plane's URL; without it admin.listen of the config file, else port 9090 of this machine
    #[arg(long, value_name = "URL")]
    pub admin: Option<Uri>,
    /// With https: the certificates to trust; without it the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// With https: the name in the server's certificate, where the URL holds another
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,
    /// With https: our certificate
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    pub client_cert_file: Option<PathBuf>,
    /// With https: our certificate's key
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    pub client_key_file: Option<PathBuf>,
    /// For the whole answer
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub timeout: config::Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("{0}")]
    Config(config::Errors),
    #[error("--admin {0}: http is for this machine alone; anywhere else it is https, with a certificate")]
    Plain(Uri),
    #[error("--admin: no URL, as in http://127.0.0.1:9090")]
    Url,
    #[error("the connection to the admin plane cannot be set up")]
    Tls(#[source] net::TlsError),
    #[error("the admin plane at {at} does not answer: is ccgate running, and is that its admin.listen?")]
    Silent { at: Uri, source: Box<net::Error> },
    #[error("the admin plane at {at} refuses with {status}: {told}")]
    Refused { at: Uri, status: StatusCode, told: String },
    #[error("the answer of {at} is not understood: is that the admin plane (admin.listen) of ccgate?")]
    Answer { at: Uri, source: serde_json::Error },
}

impl Error {
    pub(super) const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Plain(_) | Self::Url | Self::Tls(_) => Exit::Usage,
            Self::Silent { .. } | Self::Refused { .. } | Self::Answer { .. } => Exit::Failed,
        }
    }
}

/// One request; what was asked, and the answer of a 200.
pub(super) async fn ask(
    args: &Endpoint,
    config: Option<&Path>,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<(Uri, Bytes), Error> {
    let at = address(args, config, path)?;
    let tls = ClientTls {
        ca_file: args.ca_file.clone(),
        server_name: args.server_name.clone(),
        trust: ServerTrust::Authorities,
        pin_sha256: Vec::new(),
        client_cert: args.client_cert_file.clone().zip(args.client_key_file.clone()),
    };
    let timeout = args.timeout.get();
    let client = Client::new(&ClientConfig { tls, connect_timeout: timeout, response_timeout: timeout });
    let client = client.map_err(Error::Tls)?;
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = method;
    *request.uri_mut() = at.clone();
    request.headers_mut().insert(ADMIN_HEADER, HeaderValue::from_static("1"));
    let whole = async {
        let answer = client.send_within(request, timeout).await?;
        let status = answer.status();
        Ok((status, net::read_document(answer.into_body(), ANSWER_MAX).await?))
    };
    let answer = tokio::time::timeout(timeout, whole).await.unwrap_or(Err(net::Error::Timeout));
    match answer.map_err(|source| Error::Silent { at: at.clone(), source: Box::new(source) })? {
        (StatusCode::OK, body) => Ok((at, body)),
        (status, body) => Err(Error::Refused { at, status, told: line(&body) }),
    }
}

/// Flag, then the file, then the default; an address that stands for all becomes this machine.
fn address(args: &Endpoint, config: Option<&Path>, path: &str) -> Result<Uri, Error> {
    let base = match (&args.admin, config) {
        (Some(base), _) => base.clone(),
        (None, Some(file)) => {
            let config = config::load(file, &Overrides::from_env(Vec::new())).map_err(Error::Config)?.config;
            let ip = match config.admin.listen.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
                ip => ip,
            };
            let scheme = if config.admin.tls.is_some() { "https" } else { "http" };
            let address = std::net::SocketAddr::new(ip, config.admin.listen.port());
            format!("{scheme}://{address}").parse().map_err(|_| Error::Url)?
        }
        (None, None) => Uri::from_static("http://127.0.0.1:9090"),
    };
    let authority = base.authority().cloned().ok_or(Error::Url)?;
    let scheme = match base.scheme_str() {
        Some("https") => "https",
        Some("http") if is_loopback(authority.host()) => "http",
        Some("http") => return Err(Error::Plain(base)),
        _ => return Err(Error::Url),
    };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().map_err(|_| Error::Url)
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The first line of a refusal, as far as it can be shown.
fn line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let first = text.lines().next().unwrap_or_default();
    first.chars().filter(|char| !char.is_control()).take(REFUSAL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        let of = |admin: &'static str| {
            let args = Endpoint {
                admin: Some(Uri::from_static(admin)),
                ca_file: None,
                server_name: None,
                client_cert_file: None,
                client_key_file: None,
                timeout: config::Duration::from_secs(1),
            };
            address(&args, None, "/sessions").map(|url| url.to_string()).map_err(|error| error.exit())
        };
        assert_eq!(of("http://127.0.0.1:9090"), Ok("http://127.0.0.1:9090/sessions".to_owned()));
        assert_eq!(of("https://ccgate.example:9090/x"), Ok("https://ccgate.example:9090/sessions".to_owned()));
        for bad in ["http://10.0.0.1:9090", "http://ccgate.example", "ftp://127.0.0.1", "/sessions", "127.0.0.1:9090"] {
            assert_eq!(of(bad), Err(Exit::Usage), "{bad}");
        }
    }

    #[test]
    fn r16_a_refusal_is_one_line_that_moves_no_cursor() {
        assert_eq!(line(b"forbidden: \x1b[2Jno\nmore"), "forbidden: [2Jno");
    }
}
