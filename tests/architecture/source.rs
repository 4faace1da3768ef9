//! Reads Rust source as far as the house rules need it: tokens without comments, production code without test items,
//! and the paths that it names. Never resolves types and never expands macros.

use std::iter::Peekable;
use std::str::CharIndices;

/// One token and the line on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

/// What the rules tell apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ident(String),
    /// `::`
    Sep,
    Punct(char),
    /// The content of a string literal, escapes left as written.
    Text(String),
}

/// A path as written, `use` groups multiplied out: `use a::{b, c::d}` is `a::b` and `a::c::d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    /// Inline modules (`mod x { .. }`) around the path; a leading `super` is counted from there.
    pub(crate) inline_depth: usize,
}

impl Token {
    pub(crate) fn is_ident(&self, name: &str) -> bool {
        matches!(&self.kind, Kind::Ident(ident) if ident == name)
    }

    pub(crate) fn is_punct(&self, wanted: char) -> bool {
        self.kind == Kind::Punct(wanted)
    }
}

impl Path {
    pub(crate) fn starts_with(&self, prefix: &[&str]) -> bool {
        self.segments.len() >= prefix.len() && self.segments.iter().zip(prefix).all(|(a, b)| a == b)
    }

    pub(crate) fn ends_with(&self, suffix: &[&str]) -> bool {
        self.segments.len() >= suffix.len() && self.segments.iter().rev().zip(suffix.iter().rev()).all(|(a, b)| a == b)
    }
}

/// Splits source into tokens; comments are dropped, literals other than strings too.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    Lexer { source, chars: source.char_indices().peekable(), line: 1, out: Vec::new() }.run()
}

struct Lexer<'a> {
    source: &'a str,
    chars: Peekable<CharIndices<'a>>,
    line: usize,
    out: Vec<Token>,
}

impl Lexer<'_> {
    fn run(mut self) -> Vec<Token> {
        while let Some((at, char)) = self.next() {
            let line = self.line;
            match char {
                '/' if self.peek() == Some('/') => while self.next_if(|c| c != '\n').is_some() {},
                '/' if self.peek() == Some('*') => self.block_comment(),
                '"' => self.string(line),
                '\'' => self.quote(),
                ':' if self.peek() == Some(':') => {
                    self.next();
                    self.push(Kind::Sep, line);
                }
                c if c.is_alphabetic() || c == '_' => self.word(at, line),
                c if c.is_ascii_digit() => while self.next_if(|c| c.is_alphanumeric() || c == '_').is_some() {},
                c if c.is_whitespace() => {}
                c => self.push(Kind::Punct(c), line),
            }
        }
        self.out
    }

    fn next(&mut self) -> Option<(usize, char)> {
        let next = self.chars.next();
        if let Some((_, '\n')) = next {
            self.line += 1;
        }
        next
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<(usize, char)> {
        if self.peek().is_some_and(wanted) { self.next() } else { None }
    }

    fn peek(&mut self) -> Option<char> {
        self.chars.peek().map(|(_, char)| *char)
    }

    fn push(&mut self, kind: Kind, line: usize) {
        self.out.push(Token { kind, line });
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        let mut last = '/';
        while let Some((_, char)) = self.next() {
            match (last, char) {
                ('/', '*') => {
                    depth += 1;
                    last = ' ';
                }
                ('*', '/') => {
                    depth -= 1;
                    last = ' ';
                }
                _ => last = char,
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// After the opening quote of a string without `#`.
    fn string(&mut self, line: usize) {
        let mut text = String::new();
        while let Some((_, char)) = self.next() {
            match char {
                '"' => break,
                '\\' => {
                    text.push(char);
                    text.extend(self.next().map(|(_, c)| c));
                }
                c => text.push(c),
            }
        }
        self.push(Kind::Text(text), line);
    }

    /// After `r`, `br` or `cr`: `#"..."#` with any number of `#`. False if it is a raw identifier.
    fn raw_string(&mut self, line: usize) -> bool {
        let mut hashes = 0_usize;
        while self.next_if(|c| c == '#').is_some() {
            hashes += 1;
        }
        if self.next_if(|c| c == '"').is_none() {
            return false;
        }
        let end = format!("\"{}", "#".repeat(hashes));
        let mut text = String::new();
        while let Some((_, char)) = self.next() {
            text.push(char);
            if text.ends_with(&end) {
                text.truncate(text.len() - end.len());
                break;
            }
        }
        self.push(Kind::Text(text), line);
        true
    }

    /// After `'`: a character or a lifetime.
    fn quote(&mut self) {
        match self.next() {
            Some((_, '\\')) => {
                self.next();
                while self.next().is_some_and(|(_, c)| c != '\'') {}
            }
            Some(_) if self.peek() == Some('\'') => {
                self.next();
            }
            _ => while self.next_if(|c| c.is_alphanumeric() || c == '_').is_some() {},
        }
    }

    fn word(&mut self, from: usize, line: usize) {
        while self.next_if(|c| c.is_alphanumeric() || c == '_').is_some() {}
        let end = self.chars.peek().map_or(self.source.len(), |(at, _)| *at);
        let word = self.source.get(from..end).unwrap_or_default();
        match (word, self.peek()) {
            ("b" | "c", Some('"')) => {
                self.next();
                self.string(line);
            }
            ("b", Some('\'')) => {
                self.next();
                self.quote();
            }
            ("r" | "br" | "cr", Some('"' | '#')) if self.raw_string(line) => {}
            // A raw identifier: its name follows as the next word.
            ("r", _) if self.peek().is_some_and(char::is_alphabetic) => {}
            _ => self.push(Kind::Ident(word.to_owned()), line),
        }
    }
}

/// Production code of a file, and the names of its `#[cfg(test)] mod name;` files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Production {
    pub(crate) tokens: Vec<Token>,
    pub(crate) test_modules: Vec<String>,
}

/// Leaves out items under `#[cfg(test)]` and `#[cfg(all(test, ..))]`; all of the file under `#![cfg(test)]`.
pub(crate) fn production(tokens: &[Token]) -> Production {
    let mut found = Production::default();
    let mut rest = tokens;
    while let Some((first, tail)) = rest.split_first() {
        let Some(attribute) = attribute(rest) else {
            found.tokens.push(first.clone());
            rest = tail;
            continue;
        };
        if !attribute.test_only {
            found.tokens.extend(rest.iter().take(attribute.len).cloned());
            rest = rest.get(attribute.len..).unwrap_or_default();
            continue;
        }
        if attribute.inner {
            return Production::default();
        }
        rest = rest.get(attribute.len..).unwrap_or_default();
        while let Some(next) = self::attribute(rest) {
            rest = rest.get(next.len..).unwrap_or_default();
        }
        if let [keyword, Token { kind: Kind::Ident(name), .. }, end, ..] = rest
            && keyword.is_ident("mod")
            && end.is_punct(';')
        {
            found.test_modules.push(name.clone());
        }
        rest = rest.get(item_len(rest)..).unwrap_or_default();
    }
    found
}

struct Attribute {
    len: usize,
    inner: bool,
    test_only: bool,
}

fn attribute(tokens: &[Token]) -> Option<Attribute> {
    let (hash, tail) = tokens.split_first()?;
    let inner = tail.first()?.is_punct('!');
    let open = usize::from(inner);
    if !hash.is_punct('#') || !tail.get(open)?.is_punct('[') {
        return None;
    }
    let body = tail.get(open..)?;
    let len = group_len(body);
    let idents: Vec<&str> = body.iter().take(len).filter_map(ident).collect();
    let test_only = matches!(idents.as_slice(), ["cfg", "test"] | ["cfg", "all", ..])
        && idents.contains(&"test")
        && !idents.contains(&"any")
        && !idents.contains(&"not");
    Some(Attribute { len: 1 + open + len, inner, test_only })
}

pub(crate) fn ident(token: &Token) -> Option<&str> {
    match &token.kind {
        Kind::Ident(name) => Some(name),
        _ => None,
    }
}

/// Length of the bracketed group that starts with the first token, both brackets counted.
fn group_len(tokens: &[Token]) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Punct('(' | '[' | '{') => depth += 1,
            Kind::Punct(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// Length of the item, statement, field or match arm at the start of `tokens`.
fn item_len(tokens: &[Token]) -> usize {
    const ITEMS: [&str; 16] = [
        "pub",
        "fn",
        "mod",
        "struct",
        "enum",
        "union",
        "impl",
        "const",
        "static",
        "type",
        "trait",
        "macro_rules",
        "extern",
        "unsafe",
        "async",
        "let",
    ];
    let first = tokens.first().and_then(ident).unwrap_or_default();
    let is_use = tokens.iter().take(6).any(|token| token.is_ident("use"));
    let is_item = is_use || ITEMS.contains(&first);
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::Punct(';') => return at + 1,
            Kind::Punct(',') if !is_item => return at + 1,
            Kind::Punct('{') if !is_use => {
                return at + group_len(tokens.get(at..).unwrap_or_default());
            }
            Kind::Punct('(' | '[' | '{') => at += group_len(tokens.get(at..).unwrap_or_default()),
            Kind::Punct(')' | ']' | '}') => return at,
            _ => at += 1,
        }
    }
    tokens.len()
}
