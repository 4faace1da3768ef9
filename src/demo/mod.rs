//! `ccgate demo`: the whole story on one machine, each step checked. It serves nobody but the story and whoever tries it
//! out beside it, never listens beyond loopback, and leaves nothing behind.
//!
//! ```text
//!  story ---- client ---> ccgate (app::App) ---> sim::Simulator
//!    |                      |       |
//!  teller (the screen)   records   issuer (keys over HTTP)         all files: folder
//! ```

mod check;
mod client;
mod folder;
mod issuer;
mod people;
mod records;
mod site;
mod story;
mod teller;
mod trying;

use std::io::{self, Write};
use std::path::PathBuf;

use tokio::signal::unix::{Signal, SignalKind, signal};

pub use check::Broken;
pub use client::Error as ClientError;
use folder::Folder;
use site::Site;
pub use teller::Screen;
use teller::Teller;

use crate::config::{self, Format, Level, Log};
use crate::{app, sim, telemetry};

/// Lines of the program's own log that are shown when something went wrong.
const LOG_LINES_SHOWN: usize = 10;

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no place for its files.
    #[error("cannot make a folder for the demo in {} (the variable TMPDIR names another place)", .parent.display())]
    Folder {
        /// Where it was tried.
        parent: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the demo cannot be written.
    #[error("cannot write {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No key for the audit log.
    #[error("no key for the audit log can be made")]
    Key(#[source] rcgen::Error),
    /// The files of the demo cannot be removed.
    #[error("cannot remove {}", .path.display())]
    Remove {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program's own log cannot be set up.
    #[error("the log cannot be set up")]
    Log(#[source] telemetry::Error),
    /// No simulated CC-Gateway.
    #[error("the simulated CC-Gateway does not start")]
    Simulator(#[source] sim::Error),
    /// No issuer.
    #[error("the issuer of tokens does not start")]
    Issuer(#[source] io::Error),
    /// No key for the issuer, or no signature by it.
    #[error("the issuer cannot sign")]
    Signing,
    /// The demo's own configuration is refused.
    #[error("{0}")]
    Config(config::Errors),
    /// No ccgate.
    #[error("ccgate does not start")]
    Start(#[source] app::StartError),
    /// ccgate listens, but does not become ready.
    #[error("ccgate is not ready in time; it says:\n{0}")]
    NotReady(String),
    /// It cannot even be asked.
    #[error("ccgate's admin plane does not answer")]
    Admin(#[source] ClientError),
    /// A step of the story did not happen.
    #[error("step {number} of the story did not happen")]
    Step {
        /// Which, as printed.
        number: u32,
        /// What happened instead.
        source: Broken,
    },
    /// Ctrl-C or SIGTERM before the story was told.
    #[error("interrupted before the end of the story")]
    Interrupted,
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signal(#[source] io::Error),
    /// Nobody reads the story.
    #[error("cannot write to the output")]
    Output(#[from] io::Error),
}

/// Tells the story on `out`; with `once` it then ends, otherwise it stays up until Ctrl-C or SIGTERM.
///
/// # Errors
/// The first step that did not happen, or why there is no stage. In any case everything is stopped and removed.
pub async fn main(once: bool, screen: Screen, out: &mut dyn Write) -> Result<(), Error> {
    let mut signals = Signals::listen().map_err(Error::Signal)?;
    let folder = Folder::new()?;
    let log = folder.path().join("ccgate.log");
    keep_log(&log)?;
    let mut teller = Teller::new(out, screen);
    let told = perform(once, &folder, &mut teller, &mut signals).await;
    match told {
        Ok(()) => folder.remove(),
        Err(Error::Interrupted) => Err(Error::Interrupted),
        Err(error) => {
            // The story's error says more than one of the screen.
            let _ = teller.end_of_log(&log, LOG_LINES_SHOWN);
            Err(error)
        }
    }
}

async fn perform(once: bool, folder: &Folder, teller: &mut Teller<'_>, signals: &mut Signals) -> Result<(), Error> {
    teller.opening()?;
    let site = Site::start(folder.path()).await?;
    let told = tokio::select! {
        told = stay(once, &site, teller, folder) => told,
        // Whatever the story was about to do is given up; the site below is ended in order all the same.
        () = signals.any() => Err(Error::Interrupted),
    };
    if told.is_ok() && !once {
        signals.any().await;
    }
    let (hurry, mut leaving) = (site.hurry(), std::pin::pin!(site.leave()));
    let left = loop {
        tokio::select! {
            left = &mut leaving => break left,
            () = signals.any() => hurry.cancel(),
        }
    };
    told?;
    story::ending(&left, teller)
}

async fn stay(once: bool, site: &Site, teller: &mut Teller<'_>, folder: &Folder) -> Result<(), Error> {
    site.until_ready().await?;
    story::introduce(site, folder.path(), teller)?;
    story::tell(site, teller).await?;
    trying::tell(site, folder.path(), once, teller)?;
    Ok(())
}

/// The program's own log goes to a file: the screen belongs to the story.
fn keep_log(path: &std::path::Path) -> Result<(), Error> {
    let file = std::fs::File::create_new(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let log = Log { level: Level::Info, format: Format::Text };
    let (subscriber, _levels) = telemetry::subscriber(log, None, file).map_err(Error::Log)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|error| Error::Log(telemetry::Error::Again(error)))
}

/// What ends the demo from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one. Cancel safe.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
