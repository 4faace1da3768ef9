//! Signs one agent in, keeps it alive the configured way, watches, and signs it out. Never forced, never tried twice.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use super::judge::{Seen, judge};
use super::report::{Finding, Report, causes};
use crate::cc::{AgentId, Guid, Meaning, SignInForm};
use crate::config::{self, Config, KeepAlive, SignIn};
use crate::session::accounts::{self, Account};
use crate::upstream::{self, Gateway, SignInRequest, SignedIn};

/// Between a poll's answer and the next poll: the manual says 200 to 500 ms.
const POLL_PAUSE: Duration = Duration::from_millis(350);
/// Keep-alives in a row that are not answered, before watching is given up.
const UNANSWERED_MAX: u32 = 3;
/// Days before a password's end that are warned of.
const PASSWORD_DAYS_WARN: u16 = 14;

/// Signs the agent in, watches, tells, signs out. SIGINT and SIGTERM end the watching, not the signing out.
pub(super) async fn agent(
    config: &Config,
    agent: AgentId,
    watch: Duration,
    gateway: &Gateway,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let callback = match callback(config) {
        Ok(callback) => callback,
        Err(finding) => return report.tell(&finding),
    };
    let account = match accounts::read(&config.sessions.accounts_dir, agent, config.sessions.sign_in.into()) {
        Ok(account) => account,
        Err(error) => return report.tell(&Finding::problem("sessions.accounts_dir", causes(&error), "")),
    };
    // Not raced with a signal: a sign-in that is dropped may have worked, and nobody would sign out.
    let signed_in = match sign_in(config, agent, gateway, &account, callback.as_ref()).await {
        Ok(signed_in) => signed_in,
        Err(error) => return report.tell(&refused(config, agent, &error)),
    };
    // From here on nothing returns before the sign-out.
    let mut told = fresh(config, agent, &signed_in);
    let must_change = signed_in.must_change_password;
    let mut living = Living { config, gateway, agent, guid: signed_in.guid, seen: Seen::default() };
    if !must_change {
        let begun = Instant::now();
        let interrupted = tokio::select! {
            () = living.watch(watch) => false,
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
        };
        living.seen.interrupted = interrupted;
        living.seen.watched = begun.elapsed();
        told.extend(judge(&config.sessions, &living.seen));
    }
    told.extend(sign_out(agent, gateway, &living.guid).await);
    told.iter().try_for_each(|finding| report.tell(finding))
}

fn callback(config: &Config) -> Result<Option<upstream::Callback>, Finding> {
    let Some(callback) = &config.sessions.callback else { return Ok(None) };
    let key = "sessions.callback.service_token_file";
    let token = config::read_secret(&callback.service_token_file);
    let service_token = token.map_err(|error| Finding::problem(key, causes(&error), ""))?;
    Ok(Some(upstream::Callback { uri: callback.uri.clone(), service_token }))
}

async fn sign_in(
    config: &Config,
    agent: AgentId,
    gateway: &Gateway,
    account: &Account,
    callback: Option<&upstream::Callback>,
) -> Result<SignedIn, upstream::Error> {
    let form = match config.sessions.sign_in {
        SignIn::Platform => SignInForm::Platform,
        SignIn::Full => SignInForm::Full,
    };
    let phone_number = account.phone_number.as_deref();
    gateway.sign_in(agent, &SignInRequest { form, password: &account.password, phone_number, callback }).await
}

/// Why there is no session.
fn refused(config: &Config, agent: AgentId, error: &upstream::Error) -> Finding {
    let accounts = "sessions.accounts_dir";
    match error.retcode().map(crate::cc::Retcode::meaning) {
        Some(Meaning::AgentBusy) => {
            let what = format!("agent {agent} is signed in elsewhere (100-002) and was left alone");
            Finding::warning("--agent", what, "name an agent that nobody uses now")
        }
        Some(Meaning::WrongPassword) => {
            let what = format!("agent {agent}: wrong user name or password (100-004); it was tried once");
            Finding::problem(accounts, what, "mend the account's file; each further try counts towards a lock")
        }
        Some(Meaning::WrongAccount) => {
            Finding::problem(accounts, format!("agent {agent}: {}", causes(error)), "look at phone_number in its file")
        }
        Some(Meaning::WrongKeepAlive) => {
            Finding::problem("sessions.keep_alive", format!("the sign-in: {}", causes(error)), other(config))
        }
        Some(Meaning::TryLater) => {
            Finding::warning("upstream.url", format!("agent {agent}: {}", causes(error)), "try again later")
        }
        Some(_) => Finding::problem("sessions.sign_in", format!("agent {agent}: {}", causes(error)), ""),
        None => {
            let next = "the sign-in may have worked all the same: the gateway forgets it after two minutes";
            Finding::problem("upstream.url", format!("agent {agent}: {}", causes(error)), next)
        }
    }
}

/// What to set instead.
fn other(config: &Config) -> &'static str {
    super::judge::other_mode(config.sessions.keep_alive)
}

fn fresh(config: &Config, agent: AgentId, signed_in: &SignedIn) -> Vec<Finding> {
    let form = match config.sessions.sign_in {
        SignIn::Platform => "platform",
        SignIn::Full => "full",
    };
    let mut told = vec![Finding::ok("sessions.sign_in", format!("{form}: agent {agent} was signed in"))];
    let key = "sessions.accounts_dir";
    if signed_in.must_change_password {
        let what = format!("agent {agent}: the password must be changed first");
        told.push(Finding::problem(key, what, "change it at the gateway, then in the account's file"));
    }
    if let Some(days) = signed_in.password_days_left.filter(|days| *days <= PASSWORD_DAYS_WARN) {
        told.push(Finding::warning(
            key,
            format!("agent {agent}: the password ends in {days} days"),
            "change it in time",
        ));
    }
    told
}

/// A session that lives, and how.
struct Living<'a> {
    config: &'a Config,
    gateway: &'a Gateway,
    agent: AgentId,
    guid: Guid,
    seen: Seen,
}

impl Living<'_> {
    /// Keeps the session alive for so long; ends early where the gateway refuses to. Cancel safe but for the Guid that an
    /// answer under way would have brought: the older one is still taken for a sign-out.
    async fn watch(&mut self, watch: Duration) {
        let mode = self.config.sessions.keep_alive;
        let begun = Instant::now();
        let (mut issued, mut unanswered) = (begun, 0);
        while begun.elapsed() < watch {
            let asked = Instant::now();
            let answer = match mode {
                KeepAlive::Poll => self.gateway.poll(self.agent, &self.guid).await,
                KeepAlive::Heartbeat => self.gateway.heartbeat(self.agent, &self.guid).await,
            };
            match answer {
                Ok(new) => {
                    unanswered = 0;
                    self.seen.answered(asked.elapsed());
                    if let Some(new) = new.filter(|new| !new.same_as(&self.guid)) {
                        self.seen.replaced(issued.elapsed());
                        issued = Instant::now();
                        self.guid = new;
                    }
                }
                Err(error) => {
                    unanswered += 1;
                    if error.retcode().is_some() || unanswered >= UNANSWERED_MAX {
                        self.seen.failed = Some((begun.elapsed(), error));
                        return;
                    }
                }
            }
            let pause = match mode {
                KeepAlive::Poll => POLL_PAUSE,
                KeepAlive::Heartbeat => self.config.sessions.keep_alive_interval,
            };
            tokio::time::sleep(pause.min(watch.saturating_sub(begun.elapsed()))).await;
        }
    }
}

async fn sign_out(agent: AgentId, gateway: &Gateway, guid: &Guid) -> Option<Finding> {
    let error = gateway.sign_out(agent, guid).await.err()?;
    // Then there is nothing left to sign out.
    let gone = matches!(
        error.retcode().map(crate::cc::Retcode::meaning),
        Some(Meaning::SessionLost | Meaning::SessionOrRight)
    );
    let what = format!("agent {agent} was not signed out: {}", causes(&error));
    (!gone).then(|| Finding::warning("--agent", what, "the gateway forgets it after two minutes"))
}
