//! `ccgate audit`: what a person asks the audit log. It reads directories and starts nothing.

mod verify;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Exit;

/// What the audit log can be asked.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Tell whether logs are what was signed, and where they are not
    Verify(VerifyArgs),
}

/// Arguments of `ccgate audit verify`.
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 sound, 1 damaged, 2 usage, or a directory that cannot be read.")]
pub struct VerifyArgs {
    /// A verifier key (<name>+<id>+<base64>), or a file with one a line; repeatable; without it DIR/audit.pub, which whoever
    /// can change the log can change too
    #[arg(long, value_name = "PUB")]
    pub key: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Directories of logs (audit.dir), of one replica each
    #[arg(value_name = "DIR", required = true)]
    pub dirs: Vec<PathBuf>,
}

/// Carries out a command. A result goes to `out`, what is wrong with the command to `err`.
///
/// # Errors
/// Only that `out` or `err` is gone.
pub fn audit(command: &AuditCommand, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    match command {
        AuditCommand::Verify(args) => verify::verify(args, io::stderr().is_terminal(), out, err),
    }
}
