//! The program's own log: JSON or text on standard error, one line an event, with a level that can change at run time. It
//! never decides what is logged, and no character of an event can end its line or move a cursor (R16).

pub mod otlp;

use std::io;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{FILTER_VARIABLE, Format, Level, Log};

/// The log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The filter of [`FILTER_VARIABLE`] is malformed.
    #[error("{FILTER_VARIABLE} is no filter, as in info,ccgate=debug")]
    Filter(#[source] tracing_subscriber::filter::ParseError),
    /// Another log has been set up in this process.
    #[error("the log has been set up before")]
    Again(#[source] tracing::subscriber::SetGlobalDefaultError),
    /// The log that the handle belongs to is gone.
    #[error("the log is gone")]
    Gone(#[source] reload::Error),
}

/// Changes the level of a running log; clones change the same.
#[derive(Debug, Clone)]
pub struct Levels {
    handle: reload::Handle<EnvFilter, Registry>,
}

impl Levels {
    /// From now on, lines of this level and the more severe ones are written. Takes the place of a filter from the
    /// environment.
    pub fn set(&self, level: Level) -> Result<(), Error> {
        let filter = EnvFilter::try_new(directives(level)).map_err(Error::Filter)?;
        self.handle.reload(filter).map_err(Error::Gone)
    }
}

/// Sets up the log of this process, on standard error. [`FILTER_VARIABLE`] wins over the configured level.
pub fn init(log: Log) -> Result<Levels, Error> {
    let filter = std::env::var(FILTER_VARIABLE).ok();
    let (subscriber, levels) = subscriber(log, filter.as_deref(), io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(Error::Again)?;
    Ok(levels)
}

/// A log that writes elsewhere, with a filter in the syntax of `RUST_LOG` instead of the level.
pub fn subscriber<W>(
    log: Log,
    filter: Option<&str>,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, Levels), Error>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = match filter {
        Some(filter) => EnvFilter::try_new(filter),
        None => EnvFilter::try_new(directives(log.level)),
    };
    let (filter, handle) = reload::Layer::new(filter.map_err(Error::Filter)?);
    let subscriber = tracing_subscriber::registry().with(filter).with(lines(log.format, writer));
    Ok((subscriber, Levels { handle }))
}

/// Writes events in one of the formats.
fn lines<S, W>(format: Format, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_ansi(false).with_writer(OneLine { format, inner: writer });
    match format {
        Format::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
        Format::Text => layer.boxed(),
    }
}

/// What a level lets through. Below `info` only our own lines: at `trace` the HTTP and TLS libraries could write what they
/// carry (R17). Who needs those says so in [`FILTER_VARIABLE`].
const fn directives(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "info,ccgate=debug",
        Level::Trace => "info,ccgate=trace",
    }
}

/// Makes writers that keep an event on its line.
struct OneLine<W> {
    format: Format,
    inner: W,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = LineWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        LineWriter { format: self.format, inner: self.inner.make_writer() }
    }
}

/// Invariant: each `write` is one whole event with a newline at its end. The layer above hands over its buffer in one call,
/// and this writer always takes all of it.
struct LineWriter<W> {
    format: Format,
    inner: W,
}

impl<W: io::Write> io::Write for LineWriter<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = escape(text.strip_suffix('\n').unwrap_or(&text), self.format);
        self.inner.write_all((line + "\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Escapes what a terminal or a reader of lines could take for more than text. In JSON such a character stands in a string
/// only, where `\u` and four digits mean the same.
fn escape(line: &str, format: Format) -> String {
    let mut escaped = String::with_capacity(line.len() + 1);
    for char in line.chars() {
        match (char, format) {
            _ if !char.is_control() && !moves(char) => escaped.push(char),
            // Every character that `moves` or is a control lies in the first plane: four digits are enough.
            (_, Format::Json) => escaped.extend(format!("\\u{:04x}", u32::from(char)).chars()),
            (_, Format::Text) => escaped.extend(char.escape_default()),
        }
    }
    escaped
}

/// Line and paragraph separators, and the marks that turn the direction of the text around.
const fn moves(char: char) -> bool {
    matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    /// What was written, shared with the log that writes it.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic while locked").clone()).expect("UTF-8")
        }
    }

    /// What `work` logs.
    fn logged(format: Format, level: Level, filter: Option<&str>, work: impl FnOnce(&Levels)) -> String {
        let written = Written::default();
        let writer = written.clone();
        let (subscriber, levels) =
            subscriber(Log { level, format }, filter, move || writer.clone()).expect("a good filter");
        tracing::subscriber::with_default(subscriber, || work(&levels));
        written.text()
    }

    const HOSTILE: &str = "a\r\nb\u{1b}[2J\u{7f}\u{9b}\u{2028}\u{2029}\u{202e}\0\"\\é";

    fn everything_hostile() {
        let span = tracing::info_span!("request", agent = HOSTILE);
        let _entered = span.enter();
        tracing::info!(display = %HOSTILE, debug = ?HOSTILE, text = HOSTILE, "{HOSTILE}");
    }

    #[test]
    fn r16_hostile_text_stays_on_one_line_of_json_and_is_kept() {
        let log = logged(Format::Json, Level::Info, None, |_| everything_hostile());
        assert_eq!(log.matches('\n').count(), 1, "{log:?}");
        let line = log.strip_suffix('\n').expect("a line");
        assert!(!line.contains(|char: char| char.is_control() || moves(char)), "{line:?}");
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(
            (&event["message"], &event["text"], &event["display"]),
            (&HOSTILE.into(), &HOSTILE.into(), &HOSTILE.into())
        );
        assert_eq!(event["span"]["agent"], HOSTILE);
    }

    #[test]
    fn r16_hostile_text_stays_on_one_line_of_text() {
        let log = logged(Format::Text, Level::Info, None, |_| everything_hostile());
        assert_eq!(log.matches('\n').count(), 1, "{log:?}");
        assert!(!log.trim_end().contains(|char: char| char.is_control() || moves(char)), "{log:?}");
        assert!(log.contains("a\\r\\nb") && log.contains('é'), "{log:?}");
    }

    #[test]
    fn the_level_decides_and_can_change_while_running() {
        let log = logged(Format::Text, Level::Info, None, |levels| {
            tracing::debug!("one");
            tracing::info!("two");
            levels.set(Level::Debug).expect("the log is there");
            tracing::debug!("three");
            tracing::debug!(target: "hyper", "four");
            levels.set(Level::Error).expect("the log is there");
            tracing::warn!("five");
        });
        assert!(!log.contains("one") && log.contains("two") && log.contains("three"), "{log}");
        assert!(!log.contains("four") && !log.contains("five"), "{log}");
    }

    #[test]
    fn r17_at_trace_only_our_own_lines_are_written() {
        let log = logged(Format::Text, Level::Trace, None, |_| {
            tracing::trace!("ours");
            tracing::trace!(target: "hyper::proto", "theirs");
            tracing::info!(target: "rustls", "also theirs");
        });
        assert!(log.contains("ours") && log.contains("also theirs"), "{log}");
        assert!(!log.contains("hyper::proto"), "{log}");
    }

    #[test]
    fn a_filter_wins_over_the_level() {
        let log = logged(Format::Text, Level::Error, Some("off,hyper=trace"), |_| {
            tracing::error!("ours");
            tracing::trace!(target: "hyper", "theirs");
        });
        assert!(!log.contains("ours") && log.contains("theirs"), "{log}");
        let bad = subscriber(Log { level: Level::Info, format: Format::Json }, Some("ccgate=loud"), io::sink);
        assert!(matches!(bad.map(|_| ()), Err(Error::Filter(_))));
    }

    proptest! {
        #[test]
        fn r16_any_text_is_one_json_object_a_line(text in any::<String>()) {
            let log = logged(Format::Json, Level::Info, None, |_| tracing::info!(field = %text, "{text}"));
            prop_assert_eq!(log.lines().count(), 1);
            let event: serde_json::Value = serde_json::from_str(log.trim_end_matches('\n')).expect("JSON");
            prop_assert_eq!(event["field"].as_str(), Some(text.as_str()));
        }
    }
}
