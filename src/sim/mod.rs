//! A simulated CC-Gateway for tests, the demo and `ccgate simulate`; never part of the production image.
//!
//! Written from the vendor's documentation alone and as strict as its rules: it shares no code with the client that it
//! is there to test, or both would share one mistake. It answers the sign-ins, the event poll and the heartbeat, and the
//! five downloads, over TLS with a CA of its own; what a client does against the rules is recorded
//! ([`Simulator::broken_rules`]), and faults can be asked for ([`Simulator::fault`]).
//!
//! Time is tokio's: in a test with paused time its waits end as soon as nothing else can run.
//!
//! What it does not do: it pushes no events to a callback, and agents never talk, so no sign-out is refused for that.
//!
//! # Control port
//!
//! With [`Config::control`] the switches can be reached as JSON over plain HTTP, on loopback only:
//!
//! | request | body | does |
//! | --- | --- | --- |
//! | `GET /state` | | counts, live sessions, waiting faults, number of broken rules |
//! | `GET /rules`, `DELETE /rules` | | the broken rules; forgets them |
//! | `GET /requests` | | the last 10,000 requests that reached the gateway's port |
//! | `POST /fault` | `{"what": {"cut_at": 1000}, "calls": "download", "agent": 1001, "times": 2}` | [`Fault`]: `what` is a [`Kind`] in `snake_case` (`"reset"`, `{"retcode": "000-003"}`, `{"slow_body": {"piece": 100, "every": 50}}`, milliseconds); the others may be left out (`any`, every agent, once) |
//! | `DELETE /faults` | | no fault waits any more |
//! | `POST /throw-out` | `{"agent": 1001, "stay": false}` | [`Simulator::throw_out`]; `stay`: [`Simulator::throw_out_and_stay`] |
//! | `POST /release` | `{"agent": 1001}` | [`Simulator::release`] |
//! | `POST /restart` | | [`Simulator::restart`] |
//! | `POST /allow-password-retry` | `{"agent": 1001}` | [`Simulator::allow_password_retry`] and [`Simulator::unlock`] |
//! | `POST /file` | `{"key": "1621413752-2011", "size": 1048576}` | [`Simulator::add_file`]; without `size`: [`Simulator::add_missing`] |

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::{TcpListener, TcpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

mod agents;
mod answer;
mod calls;
mod command;
mod config;
mod control;
mod downloads;
mod faults;
mod files;
mod guid;
mod http;
mod hygiene;
mod respond;
mod rules;
mod server;
mod sign_in;
mod tls;
mod world;

pub use command::{Args, main};
pub use config::{Agent, AgentSource, Certificate, Config, Framing, GuidMode, GuidShape, SignInForm, SignedInAs};
pub use faults::{Fault, Kind, Scope};
pub use files::{body_bytes, body_sha256};
pub use rules::{BrokenRule, Rule};
pub use tls::Error as TlsError;
pub use world::{Counts, Seen};

use server::Face;
use world::World;

/// Why the simulator does not run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The control port has no authentication.
    #[error("the control port must listen on a loopback address, not {0}")]
    ControlNotLoopback(SocketAddr),
    /// No certificate.
    #[error("the simulator has no certificate")]
    Tls(#[source] tls::Error),
    /// The CA's certificate could not be written to its file.
    #[error("cannot write the CA's certificate to {}", path.display())]
    CaFile {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The output is closed.
    #[error("cannot write to the output")]
    Output(#[source] io::Error),
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
}

/// A running simulator. Dropping it ends its listeners and connections.
pub struct Simulator {
    world: Arc<World>,
    tasks: TaskTracker,
    address: SocketAddr,
    control: Option<SocketAddr>,
    ca_pem: String,
}

impl Simulator {
    /// Starts one, with a new CA. It listens when this returns.
    #[expect(clippy::unused_async, reason = "to bind waits for nothing here; the signature leaves it free to")]
    pub async fn start(config: Config) -> Result<Self, Error> {
        if let Some(control) = config.control.filter(|control| !control.ip().is_loopback()) {
            return Err(Error::ControlNotLoopback(control));
        }
        let identity = tls::identity(&config).map_err(Error::Tls)?;
        let (listener, address) = listen(config.listen, config.send_buffer)?;
        let control = match config.control {
            Some(control) => Some(listen(control, None)?),
            None => None,
        };
        let world = Arc::new(World::new(config));
        let tasks = TaskTracker::new();
        let gateway = Face::Gateway(TlsAcceptor::from(identity.server));
        tasks.spawn(server::accept(Arc::clone(&world), listener, gateway, tasks.clone()));
        let control = control.map(|(listener, address)| {
            tasks.spawn(server::accept(Arc::clone(&world), listener, Face::Control, tasks.clone()));
            address
        });
        tasks.close();
        Ok(Self { world, tasks, address, control, ca_pem: identity.ca_pem })
    }

    /// Ends all connections and waits until nothing of the simulator runs any more.
    pub async fn stop(self) {
        self.world.stop.cancel();
        self.tasks.wait().await;
    }

    /// `https://127.0.0.1:PORT`, without a path.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a path.
    pub fn control_url(&self) -> Option<String> {
        self.control.map(|control| format!("http://{control}"))
    }

    /// The CA to trust, PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The first 10,000 rules that clients broke.
    pub fn broken_rules(&self) -> Vec<BrokenRule> {
        self.world.rules.list()
    }

    /// Forgets the broken rules.
    pub fn clear_broken_rules(&self) {
        self.world.rules.clear();
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.world.counts()
    }

    /// The last 10,000 requests that could be parsed.
    pub fn requests(&self) -> Vec<Seen> {
        self.world.seen()
    }

    /// Asks for a fault in calls to come. At most 1,000 wait; what is beyond is not taken.
    pub fn fault(&self, fault: Fault) {
        self.world.faults.add(fault);
    }

    /// No fault waits any more. What has begun goes on.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Somebody else forces in as this agent and signs out again: the session's Guid dies, a sign-in works.
    pub fn throw_out(&self, agent: u32) {
        self.world.agents().throw_out(self.world.now(), agent, false);
        self.world.ring(agent);
    }

    /// Somebody else forces in as this agent and stays: sign-in answers `100-002` until [`Simulator::release`]; a forcible
    /// one works.
    pub fn throw_out_and_stay(&self, agent: u32) {
        self.world.agents().throw_out(self.world.now(), agent, true);
        self.world.ring(agent);
    }

    /// Somebody else is signed in as this agent from the start; the same as [`Simulator::throw_out_and_stay`].
    pub fn hold_elsewhere(&self, agent: u32) {
        self.throw_out_and_stay(agent);
    }

    /// Whoever else holds the agent signs out.
    pub fn release(&self, agent: u32) {
        self.world.agents().release(agent);
    }

    /// The gateway forgets all sessions at once. Connections stay.
    pub fn restart(&self) {
        self.world.agents().restart(self.world.now());
        self.world.ring_all();
    }

    /// The current Guid of the agent's session: for tests that look for leaks.
    pub fn guid_of(&self, agent: u32) -> Option<String> {
        self.world.agents().guid_of(self.world.now(), agent)
    }

    /// How the agent's live session was opened.
    pub fn signed_in(&self, agent: u32) -> Option<SignedInAs> {
        self.world.agents().signed_in(self.world.now(), agent)
    }

    /// Changes an agent's password at the gateway.
    pub fn set_password(&self, agent: u32, password: &str) {
        self.world.agents().set_password(agent, password.to_owned());
    }

    /// From now on a sign-in after `100-004` is no broken rule: somebody has put the password right. A locked account stays
    /// locked.
    pub fn allow_password_retry(&self, agent: u32) {
        self.world.agents().allow_password_retry(agent);
    }

    /// Forgets the wrong passwords that locked an account.
    pub fn unlock(&self, agent: u32) {
        self.world.agents().unlock(agent);
    }

    /// Gives a recording its own size. `key`: the call id, or the path with an upper-case drive letter, or
    /// `conferenceId[/recordId]`, or the file name.
    pub fn add_file(&self, key: &str, size: u64) {
        self.world.add_file(key, size);
    }

    /// There is no such recording, as with every key that starts with `missing`.
    pub fn add_missing(&self, key: &str) {
        self.world.add_missing(key);
    }

    /// An event for the agent's poll, which then answers at once.
    pub fn push_event(&self, agent: u32, event: serde_json::Value) {
        self.world.push_event(agent, event);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.world.stop.cancel();
    }
}

fn listen(address: SocketAddr, send_buffer: Option<u32>) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))?;
        socket.bind(address)?;
        socket.listen(1_024)
    };
    let listener = bind().map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests;
