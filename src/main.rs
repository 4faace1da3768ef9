//! Starts ccgate: arguments in, exit code out. Nothing else.

use std::io::{self, Write as _};
use std::process::ExitCode;

use ccgate::cli::{self, Cli, Exit};
use clap::Parser as _;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let exit = cli::offline(Cli::parse().command, &mut out, &mut err).unwrap_or_else(|_| {
        // Nothing more can be done where standard error is gone.
        let _ = writeln!(err, "this build does not hold the command");
        Exit::Usage
    });
    exit.into()
}
