//! How much of an answer is certain to come, by its head as it goes by. It decides nothing for the reader, who parses the
//! head itself: when in doubt, nothing is certain. Only a head without an end is refused.

use std::io;

use super::low_water::ToCome;

/// The longest head of an answer that is taken, in bytes; hyper itself takes as much as it may read at once.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// A body of at most so many bytes is read in one go: whoever is slow has most of it in the system's buffers anyway.
pub(super) const SHORT_BYTES_MAX: usize = 128 * 1024;

/// The head of the answer is longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the head of the answer is longer than {HEAD_BYTES_MAX} bytes")]
struct TooLong;

/// The answer to the latest request.
#[derive(Debug)]
pub(super) struct Answer {
    part: Part,
    /// The answer to `HEAD` has a length and no body.
    bodiless: bool,
    /// No long body is known of.
    short: bool,
}

#[derive(Debug)]
enum Part {
    /// What has come of a head.
    Head(Vec<u8>),
    Body(ToCome),
}

impl Answer {
    /// Nothing was asked yet.
    pub(super) const fn none() -> Self {
        Self { part: Part::Body(ToCome::Nothing), bodiless: true, short: true }
    }

    /// Something is being asked; `request` is its beginning.
    pub(super) fn to(request: &[u8]) -> Self {
        Self { part: Part::Head(Vec::new()), bodiless: request.starts_with(b"HEAD "), short: true }
    }

    /// Whether it's short, or its head is still to come.
    pub(super) const fn is_short(&self) -> bool {
        self.short
    }

    /// What is still to come.
    pub(super) const fn to_come(&self) -> ToCome {
        match self.part {
            Part::Head(_) => ToCome::Nothing,
            Part::Body(to_come) => to_come,
        }
    }

    /// Bytes of it go by.
    pub(super) fn see(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        loop {
            match &mut self.part {
                Part::Body(ToCome::AtLeast(left)) => {
                    *left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                    return Ok(());
                }
                Part::Body(_) => return Ok(()),
                Part::Head(head) => {
                    let Some(taken) = take_head(head, bytes) else {
                        return too_long(head);
                    };
                    too_long(head)?;
                    let part = if is_interim(head) { Part::Head(Vec::new()) } else { Part::Body(body(head)) };
                    self.short = match &part {
                        Part::Body(ToCome::AtLeast(bytes)) => {
                            usize::try_from(*bytes).is_ok_and(|all| all <= SHORT_BYTES_MAX)
                        }
                        Part::Body(_) => false,
                        Part::Head(_) => true,
                    };
                    self.part = if self.bodiless { Part::Body(ToCome::Nothing) } else { part };
                    bytes = bytes.get(taken..).unwrap_or_default();
                }
            }
        }
    }
}

fn too_long(head: &[u8]) -> io::Result<()> {
    if head.len() > HEAD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong));
    }
    Ok(())
}

/// Moves the bytes of a head over, up to the empty line at its end. `None`: its end is not there yet.
fn take_head(head: &mut Vec<u8>, bytes: &[u8]) -> Option<usize> {
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let before = |back: usize| match at.checked_sub(back) {
            Some(index) => bytes.get(index),
            None => (head.len() + at).checked_sub(back).and_then(|index| head.get(index)),
        };
        // Some end their lines with a line feed alone.
        let is_empty = match before(1) {
            Some(b'\n') => true,
            Some(b'\r') => before(2) == Some(&b'\n'),
            _ => false,
        };
        if is_empty {
            head.extend_from_slice(bytes.get(..=at).unwrap_or(bytes));
            return Some(at + 1);
        }
    }
    let room = (HEAD_BYTES_MAX + 1).saturating_sub(head.len());
    head.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    None
}

/// An interim answer (1xx): another head follows.
fn is_interim(head: &[u8]) -> bool {
    head.starts_with(b"HTTP/1.1 1") || head.starts_with(b"HTTP/1.0 1")
}

/// What a whole head says of its body.
fn body(head: &[u8]) -> ToCome {
    let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let status = lines.next().and_then(|line| line.get(9..12));
    if !head.starts_with(b"HTTP/1.1 ") || matches!(status, None | Some(b"204" | b"304")) {
        return ToCome::Nothing;
    }
    let (mut length, mut coded) = (None, false);
    for line in lines.filter(|line| !line.is_empty()) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return ToCome::Nothing };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = value.get(1..).and_then(number);
            if length.is_some() || value.is_none() {
                return ToCome::Nothing;
            }
            length = value;
        }
        coded |= name.eq_ignore_ascii_case(b"transfer-encoding");
    }
    match (length, coded) {
        (Some(bytes), false) => ToCome::AtLeast(bytes),
        (Some(_), true) => ToCome::Nothing,
        (None, _) => ToCome::Unknown,
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    let all = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    all.then(|| std::str::from_utf8(digits).ok()?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(request: &str, answer: &str) -> ToCome {
        let whole = {
            let mut seen = Answer::to(request.as_bytes());
            seen.see(answer.as_bytes()).unwrap();
            seen.to_come()
        };
        for at in 0..answer.len() {
            let (one, two) = answer.as_bytes().split_at(at);
            let mut seen = Answer::to(request.as_bytes());
            seen.see(one).unwrap();
            seen.see(two).unwrap();
            assert_eq!(seen.to_come(), whole, "split at {at}");
        }
        whole
    }

    #[test]
    fn a_length_is_certain_where_it_is_given_once_and_alone() {
        for (head, to_come) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n", ToCome::AtLeast(10)),
            ("HTTP/1.1 206 Partial\r\nX: y\r\ncontent-length:12 \r\n", ToCome::AtLeast(10)),
            ("HTTP/1.1 200 OK\nContent-Length: 12\n", ToCome::AtLeast(10)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", ToCome::Unknown),
            ("HTTP/1.1 200 OK\r\nServer: x\r\n", ToCome::Unknown),
            ("HTTP/1.1 200 OK\r\n", ToCome::Unknown),
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Length: 12\r\n", ToCome::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 12\r\nTransfer-Encoding: chunked\r\n", ToCome::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length: +12\r\n", ToCome::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 12, 12\r\n", ToCome::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n", ToCome::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n", ToCome::Nothing),
            ("HTTP/1.1 200 OK\r\nContent-Length : 12\r\n", ToCome::Unknown),
            ("HTTP/1.1 200 OK\r\nfolded\r\n", ToCome::Nothing),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n", ToCome::Nothing),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 12\r\n", ToCome::Nothing),
            ("HTTP/1.0 200 OK\r\nContent-Length: 12\r\n", ToCome::Nothing),
            ("HTTP", ToCome::Nothing),
        ] {
            let end = if head.contains('\r') || !head.ends_with('\n') { "\r\n" } else { "\n" };
            assert_eq!(after("GET / HTTP/1.1", &format!("{head}{end}ab")), to_come, "{head}");
        }
    }

    #[test]
    fn an_answer_to_head_has_no_body_and_an_interim_one_is_passed_over() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
        assert_eq!(after("HEAD / HTTP/1.1", answer), ToCome::Nothing);
        let interim = "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\n";
        assert_eq!(after("GET / HTTP/1.1", &format!("{}{answer}a", interim.repeat(3))), ToCome::AtLeast(11));
        assert_eq!(after("GET / HTTP/1.1", interim), ToCome::Nothing);
    }

    #[test]
    fn a_body_is_short_by_its_declared_length_alone() {
        for (head, short) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 131072\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 131073\r\n\r\n", false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("HTTP/1.1 103 Early Hints\r\n\r\n", true),
        ] {
            let mut answer = Answer::to(b"GET ");
            assert!(answer.is_short());
            answer.see(head.as_bytes()).unwrap();
            assert_eq!(answer.is_short(), short, "{head}");
            if let ToCome::AtLeast(all) = answer.to_come() {
                answer.see(&b"x".repeat(131_000)).unwrap();
                assert_eq!(answer.to_come(), ToCome::AtLeast(all - 131_000));
                assert_eq!(answer.is_short(), short, "the end of a long one is not short");
            }
        }
    }

    #[test]
    fn nothing_is_less_than_nothing_to_come() {
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nand more than that";
        assert_eq!(after("GET / HTTP/1.1", answer), ToCome::AtLeast(0));
        let mut unasked = Answer::none();
        unasked.see(answer.as_bytes()).unwrap();
        assert_eq!(unasked.to_come(), ToCome::Nothing);
    }

    #[test]
    fn a_head_without_an_end_is_refused() {
        let mut answer = Answer::to(b"GET ");
        let line = [b'a'; 1023];
        let mut send = |times: usize| (0..times).try_for_each(|_| answer.see(&line).and_then(|()| answer.see(b"\n")));
        send(32).unwrap();
        let error = send(1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(10_000);
        Answer::to(b"GET ").see(interim.as_bytes()).unwrap();
    }
}
