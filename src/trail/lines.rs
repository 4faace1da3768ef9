//! A segment's bytes as lines, whatever stands in them. Memory is bounded by one line.

use std::io::{self, BufRead, BufReader, Read};

/// Longest line, in bytes without the line feed: what a transparency log's entry bundle can hold (uint16 length).
pub const LINE_BYTES_MAX: usize = 65_535;

/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 18;

/// The lines of a segment.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    offset: u64,
    number: u64,
}

/// The next piece of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole line, without its line feed.
    Line(&'a [u8]),
    /// Bytes without a line feed at the end of the segment: a line that was torn.
    Torn,
    /// A line that is longer than any record.
    TooLong,
    /// There is nothing more.
    End,
}

impl<R: Read> Lines<R> {
    /// Reads from the start of a line, which `source` stands at.
    pub fn new(source: R) -> Self {
        Self { reader: BufReader::with_capacity(READ_BYTES, source), line: Vec::new(), offset: 0, number: 0 }
    }

    /// The next piece. After [`Piece::Torn`] or [`Piece::TooLong`] there is nothing more to be had.
    ///
    /// # Errors
    /// The segment can't be read.
    pub fn next_piece(&mut self) -> io::Result<Piece<'_>> {
        self.offset = self.offset.saturating_add(self.line.len() as u64);
        self.number = self.number.saturating_add(1);
        self.line.clear();
        let limit = LINE_BYTES_MAX as u64 + 1;
        let read = self.reader.by_ref().take(limit).read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(Piece::End);
        }
        if let Some(line) = self.line.strip_suffix(b"\n") {
            return Ok(Piece::Line(line));
        }
        // A torn tail has no line feed; a file system may have padded it with zeros of any length.
        Ok(if has_line_feed(&mut self.reader)? { Piece::TooLong } else { Piece::Torn })
    }

    /// The last piece's bytes, as far as they were read: all of a line, the beginning of one that is too long.
    pub fn bytes(&self) -> &[u8] {
        &self.line
    }

    /// Where the last piece begins, in bytes from where reading began.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next piece begins.
    pub const fn offset_of_next(&self) -> u64 {
        self.offset.saturating_add(self.line.len() as u64)
    }

    /// The number of the last piece, from 1.
    pub const fn number(&self) -> u64 {
        self.number
    }
}

fn has_line_feed(reader: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        if bytes.contains(&b'\n') {
            return Ok(true);
        }
        let count = bytes.len();
        reader.consume(count);
    }
}
