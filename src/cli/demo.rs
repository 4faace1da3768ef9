//! `ccgate demo`: looks at the terminal, then leaves the stage to the demo.

use std::io::{self, IsTerminal as _, Write};

use super::run::tell;
use super::{DemoArgs, Exit};
use crate::demo::{Screen, main};

/// Tells the story. `out` is taken for standard output.
pub(super) async fn demo(args: &DemoArgs, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<Exit> {
    let terminal = io::stdout().is_terminal();
    // The convention of no-color.org: set, and not to nothing.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let screen = Screen { colours: terminal && !plain, redraws: terminal };
    match main(args.once, screen, out).await {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => {
            tell(err, &error)?;
            Ok(Exit::Failed)
        }
    }
}
