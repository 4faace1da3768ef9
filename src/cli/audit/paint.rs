//! Texts of records as a terminal may see them. It leaves out nothing: what could command a terminal, break a line or turn
//! the direction of writing is escaped.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Characters of a cell that people are shown.
const CELL_CHARS_MAX: usize = 80;
/// Rows that decide how wide columns are.
const ROWS_MEASURED: usize = 200;

/// Whether a character must not reach a terminal as it is.
const fn is_unsafe(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        // Soft hyphen, Arabic letter mark, zero width, marks and changes of direction, separators, byte order mark.
        | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// A text on one line, with what is unsafe as `\u{…}`.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_unsafe(c) { plain.extend(c.escape_unicode()) } else { plain.push(c) }
    }
    Cow::Owned(plain)
}

/// A cell of a table: plain, and not too long.
pub(super) fn cell(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(CELL_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None if text.is_empty() => "-".to_owned(),
        None => text.into_owned(),
    }
}

/// JSON on one line, with what is unsafe as `\uXXXX`. All of it can stand in JSON only within a text, so the value stays.
pub(super) fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    // What is printed has texts as keys and no numbers but integers.
    escaped(&serde_json::to_string(value).unwrap_or_default())
}

/// A line of JSON for a terminal.
pub(super) fn escaped(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unsafe(c) {
            // All of them are in the basic plane. Writing to a String can't fail.
            let _ = write!(plain, "\\u{:04x}", u32::from(c));
        } else {
            plain.push(c);
        }
    }
    plain
}

/// `1234567` as `1.2 MB`.
pub(super) fn bytes(count: u64) -> String {
    let mut unit = 1_u64;
    let mut name = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        if count / unit < 1_000 {
            break;
        }
        (unit, name) = (unit * 1_000, larger);
    }
    if unit == 1 {
        return format!("{count} B");
    }
    let tenths = count / (unit / 10);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

/// A table that is printed while its rows come. Columns are as wide as the first 200 rows need.
pub(super) struct Table<const N: usize> {
    widths: Option<[usize; N]>,
    waiting: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these heads.
    pub(super) fn new(heads: [&str; N]) -> Self {
        Self { widths: None, waiting: vec![heads.map(str::to_owned)] }
    }

    /// Adds a row; gives the lines that can be printed now.
    pub(super) fn row(&mut self, row: [String; N]) -> String {
        if let Some(widths) = &self.widths {
            return line(&row, widths);
        }
        self.waiting.push(row);
        if self.waiting.len() > ROWS_MEASURED { self.lines() } else { String::new() }
    }

    /// The lines that are left: none where there was no row.
    pub(super) fn finish(mut self) -> String {
        if self.waiting.len() > 1 { self.lines() } else { String::new() }
    }

    fn lines(&mut self) -> String {
        let mut widths = [0; N];
        for row in &self.waiting {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        self.widths = Some(widths);
        std::mem::take(&mut self.waiting).iter().map(|row| line(row, &widths)).collect()
    }
}

fn line<const N: usize>(row: &[String; N], widths: &[usize; N]) -> String {
    let padded: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
    padded.join("  ").trim_end().to_owned() + "\n"
}
