//! A gateway that is none: keeps the vendor's rules for sessions, fails on demand, and tells what was asked of it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prometheus::Registry;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::*;
use crate::cc::Retcode;
use crate::clock::Clock;
use crate::session::store::Memory;
use crate::session::{Calls, Config, Journal, Metrics, SignIn};

pub(super) const PASSWORD: &str = "planted-password";

/// A gateway, the accounts and the sessions before it.
pub(super) struct World {
    pub(super) sessions: Sessions,
    pub(super) gateway: Gateway,
    pub(super) registry: Registry,
    pub(super) accounts: TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let accounts = tempfile::tempdir().expect("a folder");
        let gateway = Gateway::default();
        let registry = Registry::new();
        let mut config = Self::rules(accounts.path());
        change(&mut config);
        let sessions = Sessions::new(
            config,
            Memory::new(Clock::fixed(Timestamp::UNIX_EPOCH), 10_000),
            gateway.clone(),
            Arc::new(gateway.clone()),
            Clock::fixed(Timestamp::UNIX_EPOCH),
            Metrics::register(&registry).expect("fresh names"),
        );
        let world = Self { sessions, gateway, registry, accounts };
        world.account(agent(1001), "");
        world
    }

    /// The rules that a test begins with.
    pub(super) fn rules(accounts: &std::path::Path) -> Config {
        Config {
            upstream: "gateway.example:8043".to_owned(),
            accounts_dir: accounts.to_owned(),
            sign_in: SignIn::Platform,
            keep_alive: KeepAlive::Poll,
            callback: None,
            keep_alive_interval: Duration::from_secs(30),
            idle_sign_out: Duration::from_mins(15),
            lease_timeout: Config::LEASE_TIMEOUT,
            waiters_max: Config::WAITERS_MAX,
            agents_max: Config::AGENTS_MAX,
            sign_ins_at_once: 1_000,
        }
    }

    /// Writes an account with the right password and further lines.
    pub(super) fn account(&self, agent: AgentId, more: &str) {
        let path = self.accounts.path().join(format!("{agent}.yaml"));
        fs::write(path, format!("password: {PASSWORD}\n{more}")).expect("a file");
    }

    /// The value of a series, as the metrics page shows it.
    pub(super) fn metric(&self, series: &str) -> Option<String> {
        let page = prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("a page");
        page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned))
    }
}

pub(super) fn agent(number: u32) -> AgentId {
    AgentId::try_from(number).expect("an agent")
}

/// How the next calls of a kind end. Without one they do what the gateway does.
#[derive(Debug, Clone)]
pub(super) enum Fault {
    Code(&'static str),
    Unreachable,
    /// No answer in time, yet done.
    TimeoutAfterAll,
    MustChange,
    Panic,
    /// Never answers.
    Hang,
}

#[derive(Clone, Default)]
pub(super) struct Gateway(Arc<Mutex<Inner>>);

#[derive(Default)]
pub(super) struct Inner {
    /// Whatever happened, in order: calls as they began, events as they were recorded.
    pub(super) log: Vec<String>,
    pub(super) sign_in_faults: VecDeque<Fault>,
    pub(super) sign_out_faults: VecDeque<Fault>,
    pub(super) keep_alive_faults: VecDeque<Fault>,
    /// Each keep-alive brings a new Guid.
    pub(super) rotates: bool,
    pub(super) delay: Duration,
    pub(super) password_days_left: Option<u16>,
    pub(super) sign_outs_at_once_max: usize,
    /// Keep-alives that wait for their answer.
    pub(super) keep_alives_open: usize,
    live: HashMap<AgentId, Guid>,
    in_flight: HashSet<AgentId>,
    sign_outs_at_once: usize,
    guids: u64,
}

impl Gateway {
    pub(super) fn set(&self, change: impl FnOnce(&mut Inner)) {
        // An assertion that fails while it is held must not turn the drops that follow into an abort.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How often something stands in the log.
    pub(super) fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|line| line.as_str() == what).count()
    }

    pub(super) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).log.clone()
    }

    /// The log without keep-alives.
    pub(super) fn story(&self) -> Vec<String> {
        self.log().into_iter().filter(|line| !matches!(line.as_str(), "poll" | "heartbeat")).collect()
    }

    pub(super) fn is_live(&self, agent: AgentId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).live.contains_key(&agent)
    }

    /// Somebody else signs in as the agent.
    pub(super) fn hold_elsewhere(&self, agent: AgentId) {
        self.set(|inner| {
            let guid = inner.guid();
            inner.live.insert(agent, guid);
        });
    }

    pub(super) fn release(&self, agent: AgentId) {
        self.set(|inner| drop(inner.live.remove(&agent)));
    }

    async fn fail(fault: Option<&Fault>) -> Result<(), upstream::Error> {
        match fault {
            None | Some(Fault::MustChange | Fault::TimeoutAfterAll) => Ok(()),
            Some(Fault::Code(code)) => Err(refused(code)),
            Some(Fault::Unreachable) => Err(upstream::Error::Unreachable { source: "no route".into() }),
            Some(Fault::Panic) => panic!("a defect in a call"),
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    /// A call that must not overlap with its like; the guard ends it, also when it is dropped.
    fn begin(&self, agent: AgentId, line: String) -> InFlight {
        self.set(|inner| {
            inner.log.push(line);
            assert!(inner.in_flight.insert(agent), "two sign-ins or sign-outs of {agent} at once");
        });
        InFlight(self.clone(), agent)
    }

    async fn keep_alive(&self, agent: AgentId, guid: &Guid, name: &str) -> Result<Option<Guid>, upstream::Error> {
        let mut fault = None;
        self.set(|inner| {
            inner.log.push(name.to_owned());
            inner.keep_alives_open += 1;
            fault = inner.keep_alive_faults.pop_front();
        });
        let _open = KeepAliveOpen(self.clone());
        sleep(Duration::from_secs(10)).await;
        Self::fail(fault.as_ref()).await?;
        let mut answer = Err(refused("100-006"));
        self.set(|inner| {
            if inner.live.get(&agent).is_some_and(|live| live.same_as(guid)) {
                answer = Ok(inner.rotates.then(|| {
                    let guid = inner.guid();
                    inner.live.insert(agent, guid.clone());
                    guid
                }));
            }
        });
        answer
    }
}

impl Inner {
    fn guid(&mut self) -> Guid {
        self.guids += 1;
        Guid::from_text(&format!("planted{:041x}.AgentGateway0", self.guids)).expect("a Guid")
    }
}

struct InFlight(Gateway, AgentId);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.set(|inner| assert!(inner.in_flight.remove(&self.1)));
    }
}

/// Ends a keep-alive, also one that is dropped.
struct KeepAliveOpen(Gateway);

impl Drop for KeepAliveOpen {
    fn drop(&mut self) {
        self.0.set(|inner| inner.keep_alives_open -= 1);
    }
}

fn refused(code: &str) -> upstream::Error {
    let retcode = Retcode::parse(code).expect("a code");
    upstream::Error::Refused { retcode, message: "free text".to_owned() }
}

impl Calls for Gateway {
    fn sign_in<'a>(
        &'a self,
        agent: AgentId,
        request: &'a upstream::SignInRequest<'a>,
    ) -> BoxFuture<'a, Result<upstream::SignedIn, upstream::Error>> {
        Box::pin(async move {
            let form = request.form;
            let pushes = if request.callback.is_some() { ", push mode" } else { "" };
            let _in_flight = self.begin(agent, format!("sign in {form:?}{pushes}"));
            let (mut fault, mut delay, mut answer) = (None, Duration::ZERO, Err(refused("100-002")));
            self.set(|inner| (fault, delay) = (inner.sign_in_faults.pop_front(), inner.delay));
            sleep(delay).await;
            Self::fail(fault.as_ref()).await?;
            if request.password.expose_secret() != PASSWORD {
                return Err(refused("100-004"));
            }
            self.set(|inner| {
                if form == SignInForm::Force || !inner.live.contains_key(&agent) {
                    let guid = inner.guid();
                    inner.live.insert(agent, guid.clone());
                    answer = Ok(upstream::SignedIn {
                        guid,
                        password_days_left: inner.password_days_left,
                        must_change_password: matches!(fault, Some(Fault::MustChange)),
                    });
                }
            });
            if matches!(fault, Some(Fault::TimeoutAfterAll)) { Err(upstream::Error::Timeout) } else { answer }
        })
    }

    fn poll<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<Option<Guid>, upstream::Error>> {
        Box::pin(self.keep_alive(agent, guid, "poll"))
    }

    fn heartbeat<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<Option<Guid>, upstream::Error>> {
        Box::pin(self.keep_alive(agent, guid, "heartbeat"))
    }

    fn sign_out<'a>(&'a self, agent: AgentId, guid: &'a Guid) -> BoxFuture<'a, Result<(), upstream::Error>> {
        Box::pin(async move {
            let _in_flight = self.begin(agent, "sign out".to_owned());
            let (mut fault, mut delay, mut answer) = (None, Duration::ZERO, Err(refused("100-006")));
            self.set(|inner| {
                (fault, delay) = (inner.sign_out_faults.pop_front(), inner.delay);
                inner.sign_outs_at_once += 1;
                inner.sign_outs_at_once_max = inner.sign_outs_at_once_max.max(inner.sign_outs_at_once);
            });
            sleep(delay).await;
            let failed = Self::fail(fault.as_ref()).await;
            self.set(|inner| {
                inner.sign_outs_at_once -= 1;
                if failed.is_ok() && inner.live.get(&agent).is_some_and(|live| live.same_as(guid)) {
                    inner.live.remove(&agent);
                    answer = Ok(());
                }
            });
            failed.and(answer)
        })
    }

    fn desk_sign_in<'a>(
        &'a self,
        agent: AgentId,
        sign_in: &'a upstream::DeskSignIn,
    ) -> BoxFuture<'a, Result<upstream::DeskAnswer, upstream::Error>> {
        Box::pin(async move {
            let form = sign_in.form();
            let _in_flight = self.begin(agent, format!("desk signs in {form:?}"));
            let (mut fault, mut delay, mut answer) = (None, Duration::ZERO, desk_answer(None, "100-002"));
            self.set(|inner| (fault, delay) = (inner.sign_in_faults.pop_front(), inner.delay));
            sleep(delay).await;
            Self::fail(fault.as_ref()).await?;
            self.set(|inner| {
                if form == SignInForm::Force || !inner.live.contains_key(&agent) {
                    let guid = inner.guid();
                    inner.live.insert(agent, guid.clone());
                    answer = desk_answer(Some(guid), "0");
                }
            });
            Ok(answer)
        })
    }

    fn desk_sign_out<'a>(
        &'a self,
        agent: AgentId,
        guid: &'a Guid,
    ) -> BoxFuture<'a, Result<upstream::DeskAnswer, upstream::Error>> {
        Box::pin(async move {
            match self.sign_out(agent, guid).await {
                Ok(()) => Ok(desk_answer(None, "0")),
                Err(upstream::Error::Refused { retcode, .. }) => Ok(upstream::DeskAnswer::for_test(None, retcode)),
                Err(error) => Err(error),
            }
        })
    }
}

fn desk_answer(guid: Option<Guid>, code: &str) -> upstream::DeskAnswer {
    upstream::DeskAnswer::for_test(guid, Retcode::parse(code).expect("a code"))
}

impl Journal for Gateway {
    fn record(&self, _agent: AgentId, event: SessionEvent) {
        self.set(|inner| inner.log.push(event.shown()));
    }
}
