//! The commands: what can be typed, and those that need neither runtime nor network. It maps outcomes to exit codes and
//! starts no listener.

mod audit;
mod check;
#[cfg(feature = "demo")]
mod demo;
mod explain;
mod healthcheck;
mod online;
mod operator;
mod run;
mod schema;
mod sessions;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};
use secrecy::SecretString;

use crate::cc::AgentId;
use crate::config::{self, CONFIG_VARIABLE, Loaded, Overrides};

pub use audit::{AuditCommand, audit};
pub use check::check;
pub use explain::explain;
pub use healthcheck::healthcheck;
pub use operator::Endpoint;
pub use run::run;
pub use schema::schema;
pub use sessions::{AdminArgs, SessionsCommand, sessions};

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "ccgate", version, about, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 ok, 1 failed, 2 usage or configuration.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What ccgate can do.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one, for the length of the process")]
pub enum Command {
    /// Run the gateway
    Run(RunArgs),
    /// Tell all that is wrong with a configuration, and with the files that it names
    Check(CheckArgs),
    /// Ask the rules on recordings
    #[command(disable_help_subcommand = true)]
    Policy {
        /// What to ask.
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Ask a running gateway for its sessions, or to end one
    #[command(disable_help_subcommand = true)]
    Sessions {
        /// What to ask.
        #[command(subcommand)]
        command: SessionsCommand,
    },
    /// Ask audit logs, verify them, or erase what must go
    #[command(disable_help_subcommand = true)]
    Audit {
        /// What to ask.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Print the JSON Schema of the config file, for editors
    Schema,
    /// Ask a running gateway whether it is ready, for exec probes
    Healthcheck(HealthcheckArgs),
    /// Tell the whole story on one machine: a simulated CC-Gateway, an issuer, ccgate
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Run the simulated CC-Gateway alone, with faults on demand
    #[cfg(feature = "demo")]
    Simulate(crate::sim::Args),
}

/// What the rules can be asked.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Tell the decision on a download, the rule that made it, and what would change it
    Explain(ExplainArgs),
}

/// Which configuration. Precedence: flag, environment, file.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The config file
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: PathBuf,
    /// A value that wins over the file and over CCGATE_… variables, as in server.listen=127.0.0.1:9000; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = config::parse_flag)]
    pub set: Vec<(String, String)>,
}

/// Arguments of `ccgate run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Arguments of `ccgate check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Do not open the files that the configuration names: for a machine that has none of them
    #[arg(long, conflicts_with = "online")]
    pub without_files: bool,
    /// Also ask the issuers, the store and the gateway
    #[arg(long)]
    pub online: bool,
    /// With --online: sign this agent in, never by force, watch how its session lives, and sign it out
    #[arg(long, value_name = "AGENT", requires = "online")]
    pub agent: Option<AgentId>,
    /// With --agent: how long to watch; 75s sees a Guid replaced at the gateway's default
    #[arg(long, value_name = "DURATION", requires = "agent", default_value = "75s")]
    pub watch: config::Duration,
}

/// Arguments of `ccgate policy explain`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("who").required(true).args(["token", "claims"]))]
pub struct ExplainArgs {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The caller's token; it is verified
    #[arg(long, value_name = "TOKEN", value_parser = secret)]
    pub token: Option<SecretString>,
    /// A file with the claims of a token as JSON, taken as verified
    #[arg(long, value_name = "FILE")]
    pub claims: Option<PathBuf>,
    /// The client certificate (PEM) of the caller's connection, for a token that is bound to one
    #[arg(long, value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// The request header Ccgate-Purpose
    #[arg(long)]
    pub purpose: Option<String>,
    /// The request header Ccgate-Ticket
    #[arg(long)]
    pub ticket: Option<String>,
    /// The caller's address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub peer: IpAddr,
    /// The download: a URL, or its path and query
    #[arg(value_name = "URL")]
    pub url: String,
}

/// Arguments of `ccgate healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Address of the admin plane; without it admin.listen of the config file, else 127.0.0.1:9090
    #[arg(long, value_name = "ADDRESS", env = "CCGATE_ADMIN__LISTEN", hide_env_values = true)]
    pub address: Option<SocketAddr>,
    /// The config file to take admin.listen from
    #[arg(long, value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// Ask whether it lives (/livez) instead of whether it is ready (/readyz)
    #[arg(long)]
    pub live: bool,
    /// For the whole answer
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub timeout: config::Duration,
}

/// Arguments of `ccgate demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End by itself after the story: 0 when every step happened, else 1
    #[arg(long)]
    pub once: bool,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it is for.
    Ok,
    /// It could not.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::from(0),
            Exit::Failed => Self::from(1),
            Exit::Usage => Self::from(2),
        }
    }
}

/// Carries out a command that needs no runtime; hands any other one back. A result goes to `out`, what is wrong to `err`.
pub fn offline(command: Command, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, Box<Command>> {
    let done = match command {
        Command::Check(args) if !args.online => check(&args, out),
        Command::Schema => schema(out),
        Command::Healthcheck(args) => healthcheck(&args, err),
        other => return Err(Box::new(other)),
    };
    // Nobody reads any more, as in `ccgate schema | head`: there is nobody to tell.
    Ok(done.unwrap_or(Exit::Failed))
}

/// Carries out any other command, inside a runtime.
pub async fn online(command: Command, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let done = match command {
        Command::Run(args) => run(&args, err).await,
        Command::Check(args) if args.online => online::online(&args, out).await,
        Command::Sessions { command } => sessions(&command, out, err).await,
        Command::Audit { command } => audit(&command, out, err).await,
        Command::Policy { command: PolicyCommand::Explain(args) } => explain(&args, out, err).await,
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::demo(&args, out, err).await,
        #[cfg(feature = "demo")]
        Command::Simulate(args) => simulate(args, out, err).await,
        other => match offline(other, out, err) {
            Ok(exit) => Ok(exit),
            Err(_other) => Ok(Exit::Usage),
        },
    };
    done.unwrap_or(Exit::Failed)
}

#[cfg(feature = "demo")]
async fn simulate(args: crate::sim::Args, out: &mut dyn Write, err: &mut dyn Write) -> std::io::Result<Exit> {
    match crate::sim::main(args, out).await {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => {
            writeln!(err, "ccgate: {error}")?;
            Ok(Exit::Failed)
        }
    }
}

impl ConfigArgs {
    /// Loads the configuration with the environment and the flags laid over it.
    pub fn load(&self) -> Result<Loaded, config::Errors> {
        config::load(&self.config, &Overrides::from_env(self.set.clone()))
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the form that clap wants")]
fn secret(text: &str) -> Result<SecretString, String> {
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests;
