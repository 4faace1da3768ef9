//! `ccgate simulate`: the simulator alone, until a signal. Prints where it listens, never a Guid.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use tokio::signal::unix::{SignalKind, signal};

use super::{
    Error, Simulator,
    config::{AgentSource, Config, Framing, GuidMode, GuidShape},
};

/// Runs a simulated CC-Gateway for development and tests.
#[expect(clippy::struct_excessive_bools, reason = "each one is a flag of the command line")]
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen with TLS
    #[arg(long, default_value = "127.0.0.1:8043", value_name = "ADDR")]
    listen: SocketAddr,
    /// Where the control port listens (plain HTTP, loopback only)
    #[arg(long, value_name = "ADDR")]
    control: Option<SocketAddr>,
    /// Writes the CA's certificate to this file; without it the certificate is printed
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The password of every agent, 101 to 999999; of the simulator only, so no secret
    #[arg(long, default_value = "simulated", value_name = "TEXT")]
    password: String,
    /// Agents that are inspectors
    #[arg(long, value_name = "AGENT", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(101..=999_999))]
    inspectors: Vec<u32>,
    /// AUTHMODE 1: one Guid until sign-out
    #[arg(long)]
    static_guid: bool,
    /// GUIDINTERVAL: age at which a Guid is replaced
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = duration)]
    guid_interval: Duration,
    /// GUIDTIMEOUT: how long a replaced Guid is still taken
    #[arg(long, default_value = "120s", value_name = "DURATION", value_parser = duration)]
    guid_timeout: Duration,
    /// Guids of 48 hex digits instead of UUIDs
    #[arg(long)]
    hex_guid: bool,
    /// MAXTIME: an agent without a request for so long is signed out
    #[arg(long, default_value = "120s", value_name = "DURATION", value_parser = duration)]
    max_time: Duration,
    /// How long a poll waits for an event
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = duration)]
    poll_wait: Duration,
    /// How long a sign-in takes
    #[arg(long, default_value = "0s", value_name = "DURATION", value_parser = duration)]
    sign_in_delay: Duration,
    /// Events by callback: heartbeats instead of polls
    #[arg(long)]
    push_mode: bool,
    /// Chunked bodies instead of a length
    #[arg(long)]
    chunked: bool,
    /// Honours Range
    #[arg(long)]
    ranges: bool,
    /// Size of every recording
    #[arg(long, default_value = "1MiB", value_name = "SIZE")]
    size: bytesize::ByteSize,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration = text.parse().map_err(|error: jiff::Error| error.to_string())?;
    Duration::try_from(parsed).map_err(|_| "must not be negative".to_owned())
}

impl Args {
    fn config(&self) -> Config {
        let guid_mode = if self.static_guid {
            GuidMode::Static
        } else {
            GuidMode::Dynamic { interval: self.guid_interval, timeout: self.guid_timeout }
        };
        Config {
            listen: self.listen,
            control: self.control,
            agents: AgentSource::Any { password: self.password.clone() },
            inspectors: self.inspectors.clone(),
            guid_mode,
            guid_shape: if self.hex_guid { GuidShape::Hex48 } else { GuidShape::Uuid },
            max_time: self.max_time,
            poll_wait: self.poll_wait,
            push_mode: self.push_mode,
            framing: if self.chunked { Framing::Chunked } else { Framing::ContentLength },
            ranges: self.ranges,
            sign_in_delay: self.sign_in_delay,
            default_size: self.size.as_u64(),
            send_buffer: None,
            ..Config::default()
        }
    }
}

/// Runs the simulator until Ctrl-C or SIGTERM, then tells what clients did.
pub async fn main(args: Args, out: &mut dyn io::Write) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signal)?;
    let interrupted = async {
        tokio::select! {
            // Where Ctrl-C cannot be waited for there is no terminal either; SIGTERM remains.
            Ok(()) = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    run_until(args, out, interrupted).await
}

async fn run_until(args: Args, out: &mut dyn io::Write, end: impl Future<Output = ()>) -> Result<(), Error> {
    let simulator = Simulator::start(args.config()).await?;
    writeln!(out, "simulated CC-Gateway: {}/agentgateway/resource", simulator.url()).map_err(Error::Output)?;
    if let Some(control) = simulator.control_url() {
        writeln!(out, "control port: {control}/state").map_err(Error::Output)?;
    }
    match args.ca_file {
        Some(path) => {
            write_ca(&simulator, &path).await.map_err(|source| Error::CaFile { path: path.clone(), source })?;
            writeln!(out, "CA: {}", path.display()).map_err(Error::Output)?;
        }
        None => write!(out, "CA:\n{}", simulator.ca_pem()).map_err(Error::Output)?,
    }
    out.flush().map_err(Error::Output)?;
    end.await;
    let counts = simulator.counts();
    writeln!(out, "{} requests, {} sign-ins, {} downloads", counts.requests, counts.sign_ins, counts.downloads)
        .map_err(Error::Output)?;
    for broken in simulator.broken_rules() {
        writeln!(out, "broken rule: {broken}").map_err(Error::Output)?;
    }
    simulator.stop().await;
    Ok(())
}

async fn write_ca(simulator: &Simulator, path: &std::path::Path) -> io::Result<()> {
    let (path, pem) = (path.to_owned(), simulator.ca_pem().to_owned());
    tokio::task::spawn_blocking(move || std::fs::write(path, pem)).await?
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_defaults_are_the_vendors() {
        let config = Line::try_parse_from(["simulate"]).ok().unwrap().args.config();
        let default = Config::default();
        assert_eq!(config.listen.port(), 8043);
        assert_eq!(
            (config.guid_mode, config.max_time, config.poll_wait),
            (default.guid_mode, default.max_time, default.poll_wait)
        );
        assert_eq!(config.default_size, 1 << 20);
    }

    #[test]
    fn values_are_checked() {
        let parse = |option: &str| Line::try_parse_from(["simulate", option]).ok().map(|line| line.args.config());
        assert_eq!(parse("--poll-wait=250ms").unwrap().poll_wait, Duration::from_millis(250));
        assert_eq!(parse("--static-guid").unwrap().guid_mode, GuidMode::Static);
        assert_eq!(parse("--inspectors=200,201").unwrap().inspectors, [200, 201]);
        for bad in ["--poll-wait=-1s", "--poll-wait=soon", "--size=many", "--listen=here", "--inspectors=7"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }

    #[tokio::test]
    async fn it_says_where_it_listens_and_what_happened() {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let line = ["simulate", "--listen=127.0.0.1:0", "--control=127.0.0.1:0", "--ca-file", ca.to_str().unwrap()];
        let args = Line::try_parse_from(line).ok().unwrap().args;
        let mut out = Vec::new();
        run_until(args, &mut out, async {}).await.unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.starts_with("simulated CC-Gateway: https://127.0.0.1:"), "{out}");
        assert!(out.contains("control port: http://127.0.0.1:") && out.contains("0 requests"), "{out}");
        assert!(std::fs::read_to_string(ca).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
