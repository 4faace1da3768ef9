//! The stage: simulated CC-Gateway, issuer and ccgate, wired by a configuration file like any other. It tells nothing.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Error;
use super::check::Broken;
use super::client;
use super::issuer::{AUDIENCE, Issuer, KEYS_PATH};
use super::people::{INES, PEOPLE, Person, RECORDING_BYTES};
use super::records::Records;
use crate::app::{Addresses, App, Ended, Signals};
use crate::clock::Clock;
use crate::config::{self, Overrides};
use crate::sim::{self, AgentSource, GuidMode, Simulator};

/// How long ccgate may take to be ready: it has to fetch the keys.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
/// How often it is asked meanwhile.
const READY_INTERVAL: Duration = Duration::from_millis(20);
/// More than all deadlines of a shutdown together (drain 5 s, then 1, 3 and 5 s).
const LEAVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How old a Guid becomes here. Real sites take a minute, which would be a long story.
pub(super) const GUID_INTERVAL: Duration = Duration::from_secs(3);
/// How long a replaced Guid is still taken.
const GUID_TIMEOUT: Duration = Duration::from_secs(6);
/// How long CC-Gateway holds a poll without an event; real sites take ten seconds.
const POLL_WAIT: Duration = Duration::from_millis(500);

/// A running stage.
pub(super) struct Site {
    pub(super) sim: Simulator,
    pub(super) issuer: Issuer,
    pub(super) addresses: Addresses,
    audit: PathBuf,
    tokens: Vec<(&'static str, String)>,
    signals: Signals,
    running: JoinSet<Ended>,
}

/// What is left when ccgate has ended.
pub(super) struct Left {
    /// How it ended; `None` where it did not in time.
    pub(super) ended: Option<Ended>,
    /// How many agents were still signed in then.
    pub(super) signed_in: usize,
    audit: PathBuf,
}

impl Left {
    /// The audit log.
    pub(super) fn records(&self) -> Records<'_> {
        Records(&self.audit)
    }

    /// Its folder.
    pub(super) fn audit(&self) -> &Path {
        &self.audit
    }
}

impl Site {
    /// Writes all files below `folder` and starts everything.
    pub(super) async fn start(folder: &Path) -> Result<Self, Error> {
        let password = uuid::Uuid::new_v4().simple().to_string();
        let sim = Simulator::start(simulator(&password)).await.map_err(Error::Simulator)?;
        let issuer = Issuer::start().await?;
        let clock = Clock::system();
        for name in ["accounts", "audit"] {
            let path = folder.join(name);
            std::fs::create_dir(&path).map_err(|source| Error::File { path, source })?;
        }
        let mut tokens = Vec::new();
        for person in &PEOPLE {
            write(&folder.join(format!("accounts/{}.yaml", person.agent)), &format!("password: {password}\n"))?;
            let token = issuer.token(person, &clock)?;
            write(&folder.join(person.token_file()), &token)?;
            write(&folder.join(person.header_file()), &format!("Authorization: Bearer {token}\n"))?;
            tokens.push((person.subject, token));
        }
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).map_err(Error::Key)?;
        write(&folder.join("audit.key"), &key.serialize_pem())?;
        write(&folder.join("upstream-ca.pem"), sim.ca_pem())?;
        let config = folder.join("ccgate.yaml");
        write(&config, &configuration(&sim.url(), &issuer.name()))?;
        let loaded = config::load(&config, &Overrides::default()).map_err(Error::Config)?;
        let app = App::start(&loaded, clock).await.map_err(Error::Start)?;
        let (addresses, signals) = (app.addresses(), Signals::default());
        let mut running = JoinSet::new();
        running.spawn(app.run(signals.clone()));
        Ok(Self { sim, issuer, addresses, audit: folder.join("audit"), tokens, signals, running })
    }

    /// Waits until ccgate says that it is ready.
    pub(super) async fn until_ready(&self) -> Result<(), Error> {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let answer = client::get(self.addresses.admin, "/readyz?verbose", None, |_bytes| {}).await;
            let answer = answer.map_err(Error::Admin)?;
            if answer.status == 200 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::NotReady(answer.text()));
            }
            tokio::time::sleep(READY_INTERVAL).await;
        }
    }

    /// The audit log.
    pub(super) fn records(&self) -> Records<'_> {
        Records(&self.audit)
    }

    /// The folder of the audit log.
    pub(super) fn audit(&self) -> &Path {
        &self.audit
    }

    /// A person's token.
    pub(super) fn token(&self, person: &Person) -> &str {
        let of = |(subject, _): &&(&str, String)| *subject == person.subject;
        self.tokens.iter().find(of).map(|(_, token)| token.as_str()).unwrap_or_default()
    }

    /// One metric without labels, as its page says.
    pub(super) async fn metric(&self, name: &str) -> Result<f64, Broken> {
        let page = client::get(self.addresses.admin, "/metrics", None, |_bytes| {}).await.map_err(Broken::Client)?;
        let page = page.text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.ok_or_else(|| Broken::Unexpected {
            what: "the metrics page",
            expected: format!("a line {name}"),
            came: "without one".to_owned(),
        })
    }

    /// Cancelling it, while [`Site::leave`] waits, breaks off what still runs.
    pub(super) fn hurry(&self) -> CancellationToken {
        self.signals.hurry.clone()
    }

    /// Ends ccgate as SIGTERM would, then the others.
    pub(super) async fn leave(mut self) -> Left {
        self.signals.drain.cancel();
        let ended = tokio::time::timeout(LEAVE_TIMEOUT, self.running.join_next()).await;
        let left = Left {
            ended: ended.ok().flatten().and_then(Result::ok),
            signed_in: PEOPLE.iter().filter(|person| self.sim.signed_in(person.agent).is_some()).count(),
            audit: self.audit,
        };
        self.sim.stop().await;
        left
    }
}

fn simulator(password: &str) -> sim::Config {
    sim::Config {
        control: Some((std::net::Ipv4Addr::LOCALHOST, 0).into()),
        agents: AgentSource::Any { password: password.to_owned() },
        inspectors: vec![INES.agent],
        guid_mode: GuidMode::Dynamic { interval: GUID_INTERVAL, timeout: GUID_TIMEOUT },
        poll_wait: POLL_WAIT,
        ranges: true,
        default_size: RECORDING_BYTES,
        ..sim::Config::default()
    }
}

/// A configuration as short as it can be. The issuer's `ca_file` only spares the machine's own list of CAs, which a bare
/// container does not have.
fn configuration(upstream: &str, issuer: &str) -> String {
    format!(
        "# The configuration of `ccgate demo`: free ports on this machine, a simulated CC-Gateway.
version: 1
server:
  listen: 127.0.0.1:0
  drain: {{delay: 0s, timeout: 5s}}
admin:
  listen: 127.0.0.1:0
upstream:
  url: {upstream}
  ca_file: upstream-ca.pem
auth:
  issuers:
    - issuer: {issuer}
      audiences: [{AUDIENCE}]
      algorithms: [ES256]
      jwks_url: {issuer}{KEYS_PATH}
      ca_file: upstream-ca.pem
sessions:
  accounts_dir: accounts
audit:
  dir: audit
  signing_key_file: audit.key
  free_space_min: 1MiB
"
    )
}

/// Writes a new file that only this user can read.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    let open = || std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let written: io::Result<()> = open().and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| Error::File { path: path.to_owned(), source })
}
