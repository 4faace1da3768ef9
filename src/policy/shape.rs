//! How deep a policy text is, before anybody parses it. It understands nothing but brackets and links.
//!
//! The engine's parser descends by recursion and has no bound of its own: in a debug build 64 brackets within each other,
//! or 256 conditions in a chain, overflow a thread's stack of 2 MiB. That ends the process, at a reload a running one. A
//! chain (`a || b || ...`, `when {..} when {..}`) is a tree as deep as it is long.

use super::error::Cause;

/// Most brackets within each other. The built-in rules have 4.
pub(super) const BRACKETS_MAX: usize = 16;

/// Most links (`.`, `&&`, `||`, `+`, `-`, `*`, `if`, a clause) in one rule: some 25 conditions. The longest built-in
/// rule has 26. Lists of values are not counted: `[..].contains(..)` may be as long as it likes.
pub(super) const LINKS_MAX: usize = 64;

/// The first place where a text is too deep.
pub(super) fn too_deep(text: &str) -> Option<(usize, Cause)> {
    let (mut brackets, mut links, mut offset) = (0_usize, 0_usize, 0_usize);
    while let Some(rest) = text.get(offset..).filter(|rest| !rest.is_empty()) {
        let (token, len) = token(rest);
        match token {
            Token::Open => {
                // A clause of its own is linked to the one before.
                links += usize::from(brackets == 0);
                brackets += 1;
            }
            Token::Close => brackets = brackets.saturating_sub(1),
            Token::Link => links += 1,
            Token::End if brackets == 0 => links = 0,
            Token::End | Token::Other => {}
        }
        if brackets > BRACKETS_MAX {
            return Some((offset, Cause::TooDeep { max: BRACKETS_MAX }));
        }
        if links > LINKS_MAX {
            return Some((offset, Cause::TooLong { max: LINKS_MAX }));
        }
        offset += len;
    }
    None
}

enum Token {
    Open,
    Close,
    Link,
    End,
    Other,
}

/// What a text starts with, and its length in bytes.
fn token(text: &str) -> (Token, usize) {
    let Some(first) = text.chars().next() else { return (Token::Other, 0) };
    match first {
        '"' => (Token::Other, string(text)),
        '/' if text.starts_with("//") => (Token::Other, text.find('\n').unwrap_or(text.len())),
        '(' | '[' | '{' => (Token::Open, 1),
        ')' | ']' | '}' => (Token::Close, 1),
        ';' => (Token::End, 1),
        '&' | '|' if text.starts_with("&&") || text.starts_with("||") => (Token::Link, 2),
        '.' | '+' | '-' | '*' => (Token::Link, 1),
        _ if is_word(first) => {
            let len = text.find(|c| !is_word(c)).unwrap_or(text.len());
            let link = text.get(..len) == Some("if");
            (if link { Token::Link } else { Token::Other }, len)
        }
        _ => (Token::Other, first.len_utf8()),
    }
}

const fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of a string with its quotes; one that does not end goes on to the end of the text.
fn string(text: &str) -> usize {
    let mut escaped = true;
    for (offset, c) in text.char_indices() {
        match c {
            // The first character is the opening quote, which `escaped` leaves alone.
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return offset + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<usize> {
        too_deep(text).map(|(offset, _)| offset)
    }

    #[test]
    fn brackets_within_each_other_are_counted() {
        assert_eq!(at(&"(".repeat(16)), None);
        assert_eq!(at(&"(".repeat(17)), Some(16));
        assert_eq!(at(&"([{".repeat(6)), Some(16));
        assert_eq!(at(&"([{}])".repeat(20)), None);
    }

    #[test]
    fn links_are_counted_by_rule() {
        for link in [".a", " && a", "||a", "+1", "-1", " *1", " if a"] {
            assert_eq!(at(&format!("x{};", link.repeat(64)).repeat(3)), None, "{link}");
            assert!(at(&format!("x{}", link.repeat(65))).is_some(), "{link}");
        }
        assert!(at(&"when {a} ".repeat(65)).is_some(), "each clause is a link");
        assert_eq!(at(&format!("[{}]", "1, ".repeat(1_000))), None, "values are none");
        assert_eq!(at(&"a_if ifa a::b ".repeat(200)), None, "nor names");
        assert!(at(&format!("{{{}}}", "a && b; ".repeat(65))).is_some(), "a semicolon in brackets ends no rule");
    }

    #[test]
    fn strings_and_comments_hide_nothing_and_count_nothing() {
        assert_eq!(at(&format!("\"{}\"", "(".repeat(99))), None);
        assert_eq!(at(&format!("\"\\\"{}\"", "(".repeat(99))), None);
        assert_eq!(at(&format!("\"\\\\\"{}", "(".repeat(99))), Some(20));
        assert_eq!(at(&format!("// {}\n", "(".repeat(99))), None);
        assert!(at(&format!("// \"\n{}", "(".repeat(99))).is_some(), "a quote in a comment opens no string");
        assert!(at(&format!("\"//\" {}", "(".repeat(99))).is_some(), "two slashes in a string open no comment");
        assert_eq!(at("\"é"), None);
    }
}
