//! `ccgate healthcheck`: asks the admin plane, for exec probes in an image without a shell. It needs no runtime and no
//! library of HTTP: one request, one status line, one deadline.

use std::io::{self, Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::time::Instant;

use super::{Exit, HealthcheckArgs};
use crate::config::{self, Overrides};

/// Where the admin plane is by default.
const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
/// So much of an answer is read at most, in bytes; the status line is its beginning.
const ANSWER_MAX: usize = 512;

/// Exits with 0 when the gateway answers 200; says why not otherwise.
pub fn healthcheck(args: &HealthcheckArgs, err: &mut dyn Write) -> io::Result<Exit> {
    let address = match address(args) {
        Ok(address) => address,
        Err(errors) => {
            writeln!(err, "{errors}")?;
            return Ok(Exit::Usage);
        }
    };
    let path = if args.live { "/livez" } else { "/readyz" };
    match status(address, path, args.timeout.get()) {
        Ok(200) => return Ok(Exit::Ok),
        Ok(status) => writeln!(err, "http://{address}{path} answers {status}")?,
        Err(error) => writeln!(err, "http://{address}{path}: {error}")?,
    }
    Ok(Exit::Failed)
}

/// Flag or variable, then the file, then the default; an address that stands for all becomes this machine.
fn address(args: &HealthcheckArgs) -> Result<SocketAddr, config::Errors> {
    let listen = match (args.address, &args.config) {
        (Some(address), _) => address,
        (None, Some(file)) => {
            let loaded = config::load(file, &Overrides::from_env(Vec::new()))?;
            if loaded.config.admin.tls.is_some() {
                return Err(loaded.without_tls(file));
            }
            loaded.config.admin.listen
        }
        (None, None) => DEFAULT,
    };
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Ok(SocketAddr::new(ip, listen.port()))
}

/// The status of the answer to one GET.
fn status(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<u16> {
    let start = Instant::now();
    // A timeout of zero would be none at all.
    let left = || Some(timeout.saturating_sub(start.elapsed())).filter(|left| !left.is_zero());
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no answer in time");
    let mut stream = TcpStream::connect_timeout(&address, left().ok_or_else(late)?)?;
    stream.set_write_timeout(Some(left().ok_or_else(late)?))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut piece = [0; ANSWER_MAX];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_MAX {
        stream.set_read_timeout(Some(left().ok_or_else(late)?))?;
        let read = match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(late()),
            read => read?,
        };
        if read == 0 {
            break;
        }
        answer.extend(piece.iter().take(read));
    }
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

/// The status of a status line (RFC 9112 section 4).
fn parse(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.1 ")?;
    rest.split([' ', '\r']).next().filter(|code| code.len() == 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers one connection with this, piece by piece, and returns the request's first line.
    fn server(answer: &'static [&'static str]) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let serve = move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            // To its end: closing a connection with unread bytes resets it, and the answer may be lost.
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut piece = [0; 512];
                let length = stream.read(&mut piece).expect("a request");
                assert!(length > 0, "a whole request");
                request.extend_from_slice(&piece[..length]);
            }
            for piece in answer {
                // One who has seen enough may be gone.
                let _ = stream.write_all(piece.as_bytes());
            }
            String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned()
        };
        (address, thread::spawn(serve))
    }

    fn args(address: SocketAddr, live: bool) -> HealthcheckArgs {
        HealthcheckArgs { address: Some(address), config: None, live, timeout: config::Duration::from_secs(5) }
    }

    #[test]
    fn ok_when_ready() {
        let (address, request) = server(&["HTTP/1.1 2", "00 OK\r\nContent-Length: 0\r\n\r\n"]);
        let mut err = Vec::new();
        assert_eq!(healthcheck(&args(address, false), &mut err).expect("written"), Exit::Ok);
        assert_eq!(request.join().expect("served"), "GET /readyz HTTP/1.1");
        assert!(err.is_empty());
    }

    #[test]
    fn failed_when_not() {
        for (answer, wanted) in [
            (&["HTTP/1.1 503 Service Unavailable\r\n\r\n"][..], "answers 503"),
            (&["SSH-2.0-OpenSSH\r\n"], "the answer is no HTTP"),
            (&["HTTP/1.1 200"], "OK"),
            (&[""], "the answer is no HTTP"),
            (&["HTTP/1.1 2000 OK\r\n"], "the answer is no HTTP"),
        ] {
            let (address, request) = server(answer);
            let mut err = Vec::new();
            let exit = healthcheck(&args(address, true), &mut err).expect("written");
            let told = String::from_utf8(err).expect("UTF-8");
            assert!(told.contains(wanted) || (wanted == "OK" && exit == Exit::Ok), "{answer:?}: {told}");
            assert_eq!(request.join().expect("served"), "GET /livez HTTP/1.1");
        }
    }

    #[test]
    fn failed_when_nobody_listens_or_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let error = status(address, "/livez", Duration::from_millis(50)).expect_err("nobody accepts");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        drop(listener);
        assert_eq!(healthcheck(&args(address, false), &mut Vec::new()).expect("written"), Exit::Failed);
    }

    #[test]
    fn an_address_for_all_becomes_this_machine() {
        let of = |text: &str| address(&args(text.parse().expect("an address"), false)).expect("no file").to_string();
        assert_eq!(of("0.0.0.0:9090"), "127.0.0.1:9090");
        assert_eq!(of("[::]:1"), "[::1]:1");
        assert_eq!(of("10.0.0.1:1"), "10.0.0.1:1");
    }
}
