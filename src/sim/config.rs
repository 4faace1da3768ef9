//! What a simulated site is set up like: agents, Guid mode, limits and shapes. Holds no state and does no IO.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// How the simulated site is set up. The defaults are those of the vendor: dynamic Guids, polling, downloads enabled.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each one is an independent switch of the site, as in the gateway's basic.properties"
)]
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen with TLS; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the control port listens (plain HTTP); must be a loopback address. None: no control port.
    pub control: Option<SocketAddr>,
    /// Names and addresses in the certificate.
    pub names: Vec<String>,
    /// The certificate, in place of one of a fresh CA; then `names` count for nothing.
    pub certificate: Option<Certificate>,
    /// Certificates whose clients alone are let in, PEM; None: no client certificate is asked for.
    pub client_ca_pem: Option<String>,
    /// Which agents exist.
    pub agents: AgentSource,
    /// Agents that are inspectors, beside those of [`AgentSource::List`] that say so themselves.
    pub inspectors: Vec<u32>,
    /// `AUTHMODE`.
    pub guid_mode: GuidMode,
    /// How a Guid looks.
    pub guid_shape: GuidShape,
    /// Name of the node, behind the dot of every Guid.
    pub node: String,
    /// `MAXTIME`: an agent without a request for so long is signed out.
    pub max_time: Duration,
    /// How long a poll with nothing to tell waits for an event.
    pub poll_wait: Duration,
    /// Events come by callback: polls answer `000-001`, heartbeats work. Otherwise the other way round.
    pub push_mode: bool,
    /// Framing of bodies.
    pub framing: Framing,
    /// Agents whose bodies are chunked, whatever `framing` says.
    pub chunked: Vec<u32>,
    /// Whether `Range` is honoured.
    pub ranges: bool,
    /// `VIDEO_DOWNLOAD_FLAG`; off: every download answers `104-001`.
    pub download_enabled: bool,
    /// So many wrong passwords in a row lock the account.
    pub lockout_after: u32,
    /// How long a sign-in takes.
    pub sign_in_delay: Duration,
    /// Size in bytes of every recording that was not added with its own.
    pub default_size: u64,
    /// What the system keeps of an answer that has not been taken yet, in bytes; None: as much as it likes. A gateway on
    /// another machine takes none of the memory that the system has for the connections of this one.
    pub send_buffer: Option<u32>,
    /// `timeRemaining`: days until the password expires; None: never.
    pub password_days: Option<u16>,
    /// `isForceChange`.
    pub must_change: bool,
    /// Sessions of `loginex` are refused downloads with `000-003`.
    pub full_sign_in_only: bool,
    /// Signing in as idle (or so that calls or chats come in) breaks a rule.
    pub forbid_idle: bool,
    /// Any forcible sign-in breaks a rule; otherwise it is only counted.
    pub forbid_force: bool,
    /// Result code of a call with a Guid that is wrong or no longer alive: `100-006` or `000-003`.
    pub dead_guid_retcode: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            control: None,
            names: ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec(),
            certificate: None,
            client_ca_pem: None,
            agents: AgentSource::Any { password: "simulated".to_owned() },
            inspectors: Vec::new(),
            guid_mode: GuidMode::Dynamic { interval: Duration::from_mins(1), timeout: Duration::from_mins(2) },
            guid_shape: GuidShape::Uuid,
            node: "AgentGateway0".to_owned(),
            max_time: Duration::from_mins(2),
            poll_wait: Duration::from_secs(10),
            push_mode: false,
            framing: Framing::ContentLength,
            chunked: Vec::new(),
            ranges: false,
            download_enabled: true,
            lockout_after: 5,
            sign_in_delay: Duration::ZERO,
            default_size: 64 * 1024,
            send_buffer: None,
            password_days: None,
            must_change: false,
            full_sign_in_only: false,
            forbid_idle: true,
            forbid_force: false,
            dead_guid_retcode: "100-006".to_owned(),
        }
    }
}

/// A certificate chain and its key. The key cannot be printed.
#[derive(Clone)]
pub struct Certificate {
    /// The chain, PEM, the server's certificate first.
    pub chain_pem: String,
    /// The private key, PEM.
    pub key_pem: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}

/// The agents of the site.
#[derive(Clone)]
pub enum AgentSource {
    /// Every agent id from 101 to 999999 exists, all with this password.
    Any {
        /// The password of all agents.
        password: String,
    },
    /// Exactly these.
    List(Vec<Agent>),
}

impl fmt::Debug for AgentSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any { .. } => f.write_str("Any"),
            Self::List(agents) => f.debug_tuple("List").field(agents).finish(),
        }
    }
}

/// One agent of the site.
#[derive(Clone)]
pub struct Agent {
    /// The agent id (work number), 101 to 999999.
    pub id: u32,
    /// The password, at most 32 characters.
    pub password: String,
    /// Whether the agent may listen to others' calls.
    pub inspector: bool,
}

impl fmt::Debug for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agent").field("id", &self.id).field("inspector", &self.inspector).finish_non_exhaustive()
    }
}

/// `AUTHMODE`: whether a session's Guid is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuidMode {
    /// `AUTHMODE = 1`: one Guid until sign-out or time-out.
    Static,
    /// `AUTHMODE = 2`: replaced on the answer of a poll or heartbeat.
    Dynamic {
        /// `GUIDINTERVAL`: age at which a Guid is replaced.
        interval: Duration,
        /// `GUIDTIMEOUT`: how long a replaced one is still taken, at most until its successor is replaced too.
        timeout: Duration,
    },
}

/// The two looks of a Guid, both followed by a dot and the node's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuidShape {
    /// A UUID.
    Uuid,
    /// 48 hex digits.
    Hex48,
}

/// How a body's end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Which sign-in a session came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SignInForm {
    /// `PUT /onlineagent/{agentid}`: takes a licence.
    Full,
    /// `PUT /onlineagent/{agentid}/loginex`: to the platform only.
    Platform,
    /// `PUT /onlineagent/{agentid}/forcelogin`.
    Forced,
}

/// What a live session was opened with: the effective values, defaults of the vendor filled in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SignedInAs {
    /// Which call opened it.
    pub form: SignInForm,
    /// 3 = busy, 4 = idle, 5 = wrap-up.
    pub status: u8,
    /// `autoenteridle`.
    pub auto_enter_idle: bool,
    /// `checkInWebm`.
    pub check_in_webm: bool,
    /// `checkInMailm`.
    pub check_in_mailm: bool,
    /// `callBackUri`, where given together with a service token: the session is in push mode.
    pub callback_uri: Option<String>,
    /// `phonenum`.
    pub phone_number: String,
}
