//! One record, one line: the envelope, the escaping, the salt. It never does IO and never reads a clock.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::error::Unspecified;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::Formatter;
use uuid::Uuid;

use super::metrics::{Fate, Kind, Metrics};
use crate::random;

/// Longest line, in bytes without the line feed: what a transparency log's entry bundle can hold (uint16 length).
pub(super) const LINE_BYTES_MAX: usize = 65_535;

/// The envelope's bytes at most: version, 20 digits of `seq`, `ts`, `salt` and the longest event name, rounded up.
const ENVELOPE_BYTES_MAX: usize = 256;

/// Usual size of a record's own fields; an `authorized` record has some 700 bytes.
const BODY_BYTES_USUAL: usize = 1_024;

/// A record on its way. It counts itself as lost when it is dropped without having been written or refused, so no path
/// can lose one silently.
#[derive(Debug)]
pub(super) struct Draft {
    event: &'static str,
    at: Timestamp,
    body: Vec<u8>,
    ledger: Arc<Ledger>,
    settled: bool,
}

/// The count of what was lost, of which the log itself must tell.
#[derive(Debug)]
pub(super) struct Ledger {
    pub(super) metrics: Metrics,
    /// Lost records that no gap record has told of yet.
    untold: AtomicU64,
}

impl Ledger {
    pub(super) fn new(metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { metrics, untold: AtomicU64::new(0) })
    }

    /// How many lost records are to be told of.
    pub(super) fn untold(&self) -> u64 {
        self.untold.load(Ordering::Acquire)
    }

    /// A durable gap record has told of this many.
    pub(super) fn told(&self, count: u64) {
        self.untold.fetch_sub(count, Ordering::AcqRel);
    }
}

impl Draft {
    /// Encodes a record's own fields. `None` when they are too long for a line or cannot be encoded.
    pub(super) fn new(
        event: &'static str,
        at: Timestamp,
        fields: &impl Serialize,
        ledger: &Arc<Ledger>,
    ) -> Option<Self> {
        let mut body = Vec::with_capacity(BODY_BYTES_USUAL);
        let encoded = fields.serialize(&mut serde_json::Serializer::with_formatter(&mut body, OneLine));
        let fits = encoded.is_ok() && body.starts_with(b"{") && body.len() <= LINE_BYTES_MAX - ENVELOPE_BYTES_MAX;
        fits.then(|| Self { event, at, body, ledger: Arc::clone(ledger), settled: false })
    }

    /// A record that nobody is refused for: what cannot be encoded is lost, and counted.
    pub(super) fn or_lost(
        event: &'static str,
        at: Timestamp,
        fields: &impl Serialize,
        ledger: &Arc<Ledger>,
    ) -> Option<Self> {
        let draft = Self::new(event, at, fields, ledger);
        if draft.is_none() {
            lost(event, ledger);
        }
        draft
    }

    /// A record of the writer's own that is made anew when it fails, so that dropping it loses nothing.
    pub(super) fn own(
        event: &'static str,
        at: Timestamp,
        fields: &impl Serialize,
        ledger: &Arc<Ledger>,
    ) -> Option<Self> {
        let mut draft = Self::new(event, at, fields, ledger)?;
        draft.settled = true;
        Some(draft)
    }

    pub(super) const fn at(&self) -> Timestamp {
        self.at
    }

    /// The record's own fields, in bytes.
    pub(super) const fn len(&self) -> usize {
        self.body.len()
    }

    /// Appends the line.
    pub(super) fn write(&self, seq: u64, salt: u128, buffer: &mut Vec<u8>) -> io::Result<()> {
        // 32 hex digits, as those of a UUID are printed: much faster than `{:032x}`.
        let (at, event, salt) = (self.at, self.event, Uuid::from_u128(salt).simple());
        write!(buffer, r#"{{"v":1,"seq":{seq},"ts":"{at:.6}","salt":"{salt}","event":"{event}""#)?;
        match self.body.strip_prefix(b"{") {
            Some(fields) if fields != b"}" => {
                buffer.push(b',');
                buffer.extend_from_slice(fields);
            }
            _ => buffer.push(b'}'),
        }
        buffer.push(b'\n');
        Ok(())
    }

    /// It is durable.
    pub(super) fn written(self) {
        self.settle(Fate::Written);
    }

    /// Its opener was told no, so it does not count.
    pub(super) fn refused(self) {
        self.settle(Fate::Refused);
    }

    fn settle(mut self, fate: Fate) {
        self.settled = true;
        self.ledger.metrics.record(Kind::of(self.event), fate);
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.settled {
            lost(self.event, &self.ledger);
        }
    }
}

fn lost(event: &'static str, ledger: &Ledger) {
    ledger.metrics.record(Kind::of(event), Fate::Lost);
    ledger.untold.fetch_add(1, Ordering::AcqRel);
}

/// Random numbers for the field `salt`, fetched in blocks. Without a salt the hash of an erased record could be searched
/// for, as a record's fields have few values.
#[derive(Debug, Default)]
pub(super) struct Salts {
    pool: random::Pool,
}

impl Salts {
    /// The next salt. It fails with the system's generator.
    pub(super) fn next(&mut self) -> Result<u128, Unspecified> {
        self.pool.bytes().map(u128::from_be_bytes)
    }
}

/// JSON in which every character that any reader takes for a line's end, a terminal's command or a change of direction
/// is escaped. `serde_json` itself escapes what is below U+0020 only.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        // All of them are looked at, so that many are at once.
        if fragment.bytes().fold(0, u8::max) < 0x7f {
            return writer.write_all(fragment.as_bytes());
        }
        for piece in fragment.split_inclusive(is_unsafe) {
            let last = piece.chars().next_back().filter(|c| is_unsafe(*c));
            match last.and_then(|c| piece.strip_suffix(c).map(|head| (head, u32::from(c)))) {
                Some((head, code)) => write!(writer, "{head}\\u{code:04x}")?,
                None => writer.write_all(piece.as_bytes())?,
            }
        }
        Ok(())
    }
}

/// The bytes that a text takes between its quotation marks: six for each character that becomes `\uXXXX`, as all below
/// U+0020 count here.
pub(super) fn escaped_bytes(text: &str) -> usize {
    let bytes = |c: char| match c {
        '"' | '\\' => 2,
        _ if c < ' ' || is_unsafe(c) => 6,
        _ => c.len_utf8(),
    };
    text.chars().map(bytes).sum()
}

/// All of them are in the basic plane, so each is one `\uXXXX`.
const fn is_unsafe(c: char) -> bool {
    matches!(
        c,
        // DEL and the second set of controls, with NEL (U+0085) and CSI (U+009B).
        '\u{7f}'..='\u{9f}'
        // Marks and changes of direction, line and paragraph separator, byte order mark.
        | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
    )
}
