//! The screen: titles, aligned lines, a progress line. It knows nothing of what it tells.

use std::fmt::Display;
use std::io::{self, BufRead as _, Write};
use std::path::Path;

use tokio::time::{Duration, Instant};

/// How often the progress line changes on a terminal.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);
/// How often a progress line is printed where it can't be drawn anew.
const REPRINT_INTERVAL: Duration = Duration::from_secs(2);

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";
/// Back to the line's start, and empty it.
const REDRAW: &str = "\r\x1b[2K";

/// What the output can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Colours are wanted.
    pub colours: bool,
    /// A line can be drawn anew: it is a terminal.
    pub redraws: bool,
}

/// Writes the story.
pub(super) struct Teller<'o> {
    out: &'o mut (dyn Write + 'o),
    screen: Screen,
    step: u32,
    progress: Option<Instant>,
    drawn: bool,
}

impl<'o> Teller<'o> {
    pub(super) fn new(out: &'o mut (dyn Write + 'o), screen: Screen) -> Self {
        Self { out, screen, step: 0, progress: None, drawn: false }
    }

    /// What this is.
    pub(super) fn opening(&mut self) -> io::Result<()> {
        self.title("ccgate demo: web apps fetch call recordings with the token (JWT) that they already have.")?;
        self.raw("All of it runs on this machine alone, and nothing of it stays behind.\n\n")?;
        self.raw("  web app --- token ---> ccgate --- session ---> CC-Gateway (simulated)\n")?;
        self.raw("                           |\n                           +--> audit log\n")
    }

    /// A step of the story begins.
    pub(super) fn step(&mut self, text: impl Display) -> io::Result<()> {
        self.step += 1;
        let number = self.step;
        self.raw("\n")?;
        self.title(&format!("{number}. {text}"))
    }

    /// The number of the current step.
    pub(super) const fn number(&self) -> u32 {
        self.step
    }

    /// A heading without a number, with room before it.
    pub(super) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.raw("\n")?;
        self.title(text)
    }

    /// A sentence with room before it.
    pub(super) fn paragraph(&mut self, text: impl Display) -> io::Result<()> {
        self.raw(&format!("\n{text}\n"))
    }

    /// A line as it is: to be copied.
    pub(super) fn verbatim(&mut self, text: impl Display) -> io::Result<()> {
        self.raw(&format!("{text}\n"))
    }

    /// What the next line is for, as a comment of a shell; with room before it.
    pub(super) fn remark(&mut self, text: impl Display) -> io::Result<()> {
        let line = self.coloured(DIM, &format!("# {text}"));
        self.raw(&format!("\n{line}\n"))
    }

    /// A detail of a step.
    pub(super) fn detail(&mut self, label: &str, text: impl Display) -> io::Result<()> {
        let label = self.coloured(DIM, &format!("{label:<10}"));
        self.raw(&format!("   {label} {text}\n"))
    }

    /// What was checked, and held.
    pub(super) fn checked(&mut self, text: impl Display) -> io::Result<()> {
        let label = self.coloured(GREEN, &format!("{:<10}", "checked"));
        self.raw(&format!("   {label} {text}\n"))
    }

    /// How far something is that takes long; the next line of another kind takes its place on a terminal.
    pub(super) fn progress(&mut self, text: impl Display) -> io::Result<()> {
        let pause = if self.screen.redraws { REDRAW_INTERVAL } else { REPRINT_INTERVAL };
        let now = Instant::now();
        if self.progress.is_some_and(|last| now.duration_since(last) < pause) {
            return Ok(());
        }
        self.progress = Some(now);
        let label = self.coloured(DIM, &format!("{:<10}", "..."));
        if self.screen.redraws {
            self.raw(&format!("   {label} {text}"))?;
            self.drawn = true;
            return Ok(());
        }
        self.raw(&format!("   {label} {text}\n"))
    }

    /// The last lines of a log file, where something went wrong.
    pub(super) fn end_of_log(&mut self, log: &Path, lines_max: usize) -> io::Result<()> {
        let lines: Vec<String> = io::BufReader::new(std::fs::File::open(log)?).lines().collect::<Result<_, _>>()?;
        let heading = self.coloured(RED, "This did not go as it should. The last lines of ccgate's own log:");
        self.raw(&format!("\n{heading}\n"))?;
        lines.iter().skip(lines.len().saturating_sub(lines_max)).try_for_each(|line| self.raw(&format!("  {line}\n")))
    }

    fn title(&mut self, text: &str) -> io::Result<()> {
        let line = self.coloured(BOLD, text);
        self.raw(&format!("{line}\n"))
    }

    fn coloured(&self, colour: &str, text: &str) -> String {
        if self.screen.colours { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }

    fn raw(&mut self, text: &str) -> io::Result<()> {
        if std::mem::take(&mut self.drawn) {
            self.out.write_all(REDRAW.as_bytes())?;
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAPER: Screen = Screen { colours: false, redraws: false };
    const TERMINAL: Screen = Screen { colours: true, redraws: true };

    fn told(screen: Screen, tell: impl FnOnce(&mut Teller<'_>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        tell(&mut Teller::new(&mut out, screen)).expect("a Vec takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn on_paper_there_is_no_escape_and_steps_are_counted() {
        let told = told(PAPER, |teller| {
            teller.opening()?;
            teller.step("One.")?;
            teller.detail("asks", "GET /")?;
            teller.checked("whole")?;
            teller.step("Two.")?;
            teller.remark("why")?;
            assert_eq!(teller.number(), 2);
            Ok(())
        });
        assert!(!told.contains('\x1b') && !told.contains('\r'), "{told:?}");
        let story = "\n1. One.\n   asks       GET /\n   checked    whole\n\n2. Two.\n\n# why\n";
        assert!(told.ends_with(story), "{told}");
    }

    #[test]
    fn on_a_terminal_every_colour_ends() {
        let told = told(TERMINAL, |teller| {
            teller.step("One.")?;
            teller.detail("asks", "GET /")?;
            teller.checked("whole")
        });
        assert_eq!(told.matches("\x1b[").count(), 2 * told.matches(PLAIN).count());
        assert!(told.contains("\x1b[32mchecked   \x1b[0m whole\n"), "{told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_seldom_on_paper() {
        let mut out = Vec::new();
        let mut teller = Teller::new(&mut out, PAPER);
        for percent in 0..50 {
            teller.progress(format!("{percent} %")).expect("a Vec takes all");
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            "   ...        0 %\n   ...        20 %\n   ...        40 %\n"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_drawn_over_on_a_terminal() {
        let mut out = Vec::new();
        let mut teller = Teller::new(&mut out, Screen { colours: false, redraws: true });
        for percent in ["1 %", "2 %"] {
            teller.progress(percent).expect("a Vec takes all");
            tokio::time::advance(REDRAW_INTERVAL).await;
        }
        teller.verbatim("done").expect("a Vec takes all");
        let told = String::from_utf8(out).expect("UTF-8");
        assert_eq!(told, "   ...        1 %\r\x1b[2K   ...        2 %\r\x1b[2Kdone\n");
    }

    #[test]
    fn of_a_log_the_end_is_shown() {
        let log = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(log.path(), "one\ntwo\nthree\n").expect("written");
        let told = told(PAPER, |teller| teller.end_of_log(log.path(), 2));
        assert!(told.ends_with("log:\n  two\n  three\n"), "{told}");
    }
}
