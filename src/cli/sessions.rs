//! `ccgate sessions`: asks a running gateway's admin plane for its sessions, or to end one. It knows no session by itself.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use bytes::Bytes;
use clap::{Args, Subcommand};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;

use super::Exit;
use super::run::tell;
use crate::admin::{ADMIN_HEADER, SESSIONS_PATH, SessionRow};
use crate::cc::AgentId;
use crate::config::{self, CONFIG_VARIABLE, Overrides};
use crate::net::{self, Client, ClientConfig, ClientTls};

/// Longest answer, in bytes: some 250 for each of as many agents as can be configured would be more than anybody reads.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Characters that are shown of a refusal.
const REFUSAL_CHARS_MAX: usize = 200;

/// What can be asked of sessions.
#[derive(Debug, Subcommand)]
pub enum SessionsCommand {
    /// List the sessions that the process knows of
    List(AdminArgs),
    /// Show one agent's session
    Show {
        /// The agent
        agent: AgentId,
        /// Whom to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
    /// Sign an agent out, whoever uses the session; the next request signs it in again
    SignOut {
        /// The agent
        agent: AgentId,
        /// Whom to ask.
        #[command(flatten)]
        admin: AdminArgs,
    },
}

/// Where the admin plane is.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// The admin plane's URL; without it admin.listen of the config file, else port 9090 of this machine
    #[arg(long, value_name = "URL")]
    pub admin: Option<Uri>,
    /// The config file to take admin.listen from
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
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
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
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
    const fn exit(&self) -> Exit {
        match self {
            Self::Config(_) | Self::Plain(_) | Self::Url | Self::Tls(_) => Exit::Usage,
            Self::Silent { .. } | Self::Refused { .. } | Self::Answer { .. } => Exit::Failed,
        }
    }
}

/// Asks and prints. Exit code 1 where the gateway does not answer or refuses, 2 for a wrong command line.
///
/// # Errors
/// Only that `out` or `err` is gone.
pub async fn sessions(command: &SessionsCommand, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let done = match command {
        SessionsCommand::List(admin) => list(admin).await,
        SessionsCommand::Show { agent, admin } => show(*agent, admin).await,
        SessionsCommand::SignOut { agent, admin } => sign_out(*agent, admin).await,
    };
    match done {
        Ok(text) => {
            write!(out, "{text}")?;
            Ok(Exit::Ok)
        }
        Err(error) => {
            tell(err, &error)?;
            Ok(error.exit())
        }
    }
}

async fn list(admin: &AdminArgs) -> Result<String, Error> {
    let (at, body) = ask(admin, Method::GET, SESSIONS_PATH).await?;
    let rows: Vec<SessionRow> = read(at, &body)?;
    match (admin.json, rows.is_empty()) {
        (true, _) => Ok(json(&rows)),
        (false, true) => Ok("no sessions\n".to_owned()),
        (false, false) => Ok(table(&rows)),
    }
}

async fn show(agent: AgentId, admin: &AdminArgs) -> Result<String, Error> {
    let (at, body) = ask(admin, Method::GET, &format!("{SESSIONS_PATH}/{agent}")).await?;
    let row: SessionRow = read(at, &body)?;
    Ok(if admin.json { json(&row) } else { table(std::slice::from_ref(&row)) })
}

async fn sign_out(agent: AgentId, admin: &AdminArgs) -> Result<String, Error> {
    ask(admin, Method::DELETE, &format!("{SESSIONS_PATH}/{agent}")).await?;
    Ok(if admin.json {
        json(&serde_json::json!({ "agent": agent, "signed_out": true }))
    } else {
        format!("agent {agent} is signed out\n")
    })
}

fn read<T: serde::de::DeserializeOwned>(at: Uri, body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|source| Error::Answer { at, source })
}

/// One request; what was asked, and the answer of a 200.
async fn ask(args: &AdminArgs, method: Method, path: &str) -> Result<(Uri, Bytes), Error> {
    let at = address(args, path)?;
    let tls = ClientTls {
        ca_file: args.ca_file.clone(),
        server_name: args.server_name.clone(),
        pin_sha256: Vec::new(),
        client_cert: args.client_cert_file.clone().zip(args.client_key_file.clone()),
    };
    let timeout = args.timeout.get();
    let client = Client::new(&ClientConfig { tls, connect_timeout: timeout, response_timeout: timeout });
    let client = client.map_err(Error::Tls)?;
    let mut request = Request::new(Full::default());
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
fn address(args: &AdminArgs, path: &str) -> Result<Uri, Error> {
    let base = match (&args.admin, &args.config) {
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

fn json(value: &impl serde::Serialize) -> String {
    // A row and a list of rows can always be written.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Columns as wide as their widest cell; a dash for what is not known.
fn table(rows: &[SessionRow]) -> String {
    let dash = || "-".to_owned();
    let cells = |row: &SessionRow| {
        [
            row.agent.to_string(),
            row.state.to_string(),
            row.kind.as_ref().map_or_else(dash, ToString::to_string),
            if row.owned { "here" } else { "elsewhere" }.to_owned(),
            row.since.map_or_else(dash, |at| format!("{at:.0}")),
            row.rotations.map_or_else(dash, |count| count.to_string()),
            row.in_use.to_string(),
            row.waiting.to_string(),
            row.password_expires.map_or_else(dash, |at| format!("{at:.0}")),
        ]
    };
    let head = ["AGENT", "STATE", "KIND", "OWNED", "SINCE", "ROTATIONS", "IN USE", "WAITING", "PASSWORD ENDS"];
    let lines: Vec<[String; 9]> = std::iter::once(head.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let mut widths = [0; 9];
    for cells in &lines {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = cell.len().max(*width);
        }
    }
    let print = |cells: &[String; 9]| {
        let padded: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(print).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(agent: u32) -> SessionRow {
        SessionRow {
            agent: AgentId::try_from(agent).expect("an agent"),
            state: "active".into(),
            kind: Some("own".into()),
            owned: true,
            rotations: Some(3),
            in_use: 1,
            waiting: 0,
            since: Some("2024-01-02T03:04:05.6Z".parse().expect("a time")),
            password_expires: None,
        }
    }

    #[test]
    fn rows_stand_in_columns() {
        let other = SessionRow { kind: None, owned: false, rotations: None, since: None, ..row(49_770) };
        let wanted = "AGENT  STATE   KIND  OWNED      SINCE                 ROTATIONS  IN USE  WAITING  PASSWORD ENDS\n\
                      101    active  own   here       2024-01-02T03:04:05Z  3          1       0        -\n\
                      49770  active  -     elsewhere  -                     -          1       0        -\n";
        assert_eq!(table(&[row(101), other]), wanted);
    }

    #[test]
    fn a_row_survives_the_way_over_json() {
        let text = serde_json::to_string(&row(101)).expect("JSON");
        assert!(text.starts_with(r#"{"agent":"101","state":"active","kind":"own","owned":true,"#), "{text}");
        assert_eq!(serde_json::from_str::<SessionRow>(&text).expect("a row"), row(101));
        assert!(serde_json::from_str::<SessionRow>(&text.replace("101", "0101")).is_err());
    }

    #[test]
    fn plain_http_is_for_this_machine() {
        let of = |admin: &'static str| {
            let args = AdminArgs {
                admin: Some(Uri::from_static(admin)),
                config: None,
                ca_file: None,
                server_name: None,
                client_cert_file: None,
                client_key_file: None,
                timeout: config::Duration::from_secs(1),
                json: false,
            };
            address(&args, "/sessions").map(|url| url.to_string()).map_err(|error| error.exit())
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
