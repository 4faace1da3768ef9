//! Starts ccgate: arguments in, exit code out. Nothing else.

use std::io::{self, Write as _};
use std::process::ExitCode;

use ccgate::cli::{self, Cli, Exit};
use clap::Parser as _;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let command = match cli::offline(Cli::parse().command, &mut out, &mut err) {
        Ok(exit) => return exit.into(),
        Err(command) => command,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Nothing more can be done where standard error is gone.
            let _ = writeln!(err, "ccgate: cannot start the runtime: {error}");
            return Exit::Failed.into();
        }
    };
    runtime.block_on(cli::online(*command, &mut out, &mut err)).into()
}
