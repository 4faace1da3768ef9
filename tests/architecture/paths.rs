//! Lists the paths that a file's tokens name. Never follows an alias: `use a::b as c` is `a::b`, a later `c::d` is `c::d`.

use crate::source::{Kind, Path, Token, ident};

/// Every path of two or more segments, in `use` items as well as in code, and strings that are such a path of the crate
/// (`#[serde(with = "crate::yaml::duration")]`).
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut reader = Reader { out: Vec::new(), inline: Vec::new(), braces: 0 };
    let mut rest = tokens;
    while let Some((first, tail)) = rest.split_first() {
        reader.track(rest);
        rest = match &first.kind {
            Kind::Ident(word) if word == "use" && !tail.first().is_some_and(|t| t.is_punct('<')) => {
                reader.use_tree(tail, &mut Vec::new())
            }
            Kind::Ident(_) => reader.path(rest),
            Kind::Text(text) if text.starts_with("crate::") => {
                reader.push(text.split("::").map(str::to_owned).collect(), first.line);
                tail
            }
            _ => tail,
        };
    }
    reader.out
}

struct Reader {
    out: Vec<Path>,
    /// Brace depth at which each surrounding inline module was opened.
    inline: Vec<usize>,
    braces: usize,
}

impl Reader {
    fn push(&mut self, segments: Vec<String>, line: usize) {
        if segments.len() > 1 || segments.first().is_some_and(|only| only == "crate") {
            self.out.push(Path { segments, line, inline_depth: self.inline.len() });
        }
    }

    fn track(&mut self, rest: &[Token]) {
        match rest {
            [keyword, name, open, ..] if keyword.is_ident("mod") && ident(name).is_some() && open.is_punct('{') => {
                self.inline.push(self.braces);
            }
            [token, ..] if token.is_punct('{') => self.braces += 1,
            [token, ..] if token.is_punct('}') => {
                self.braces = self.braces.saturating_sub(1);
                if self.inline.last() == Some(&self.braces) {
                    self.inline.pop();
                }
            }
            _ => {}
        }
    }

    /// A path in code. `pub(crate)` is none.
    fn path<'t>(&mut self, tokens: &'t [Token]) -> &'t [Token] {
        let (segments, rest) = segments(tokens);
        let line = tokens.first().map_or(0, |token| token.line);
        if segments.len() > 1 {
            self.push(segments, line);
        }
        rest
    }

    /// One tree of a `use` item behind `prefix`; returns what follows it.
    fn use_tree<'t>(&mut self, tokens: &'t [Token], prefix: &mut Vec<String>) -> &'t [Token] {
        let line = tokens.first().map_or(0, |token| token.line);
        let tokens = match tokens {
            [first, tail @ ..] if first.kind == Kind::Sep => tail,
            all => all,
        };
        let (own, rest) = segments(tokens);
        let depth = prefix.len();
        prefix.extend(own);
        let rest = match rest {
            [sep, open, tail @ ..] if sep.kind == Kind::Sep && open.is_punct('{') => self.use_group(tail, prefix),
            [open, tail @ ..] if open.is_punct('{') => self.use_group(tail, prefix),
            [sep, star, tail @ ..] if sep.kind == Kind::Sep && star.is_punct('*') => {
                self.push(prefix.iter().cloned().chain(["*".to_owned()]).collect(), line);
                tail
            }
            all => {
                self.push(prefix.clone(), line);
                all
            }
        };
        prefix.truncate(depth);
        match rest {
            [keyword, _alias, tail @ ..] if keyword.is_ident("as") => tail,
            all => all,
        }
    }

    fn use_group<'t>(&mut self, mut tokens: &'t [Token], prefix: &mut Vec<String>) -> &'t [Token] {
        loop {
            match tokens {
                [] => return tokens,
                [close, tail @ ..] if close.is_punct('}') => return tail,
                [comma, tail @ ..] if comma.is_punct(',') => tokens = tail,
                [star, tail @ ..] if star.is_punct('*') => {
                    self.push(prefix.iter().cloned().chain(["*".to_owned()]).collect(), star.line);
                    tokens = tail;
                }
                all => {
                    let rest = self.use_tree(all, prefix);
                    // Not a use tree after all (a macro's `use`): step over one token, so that the walk ends.
                    tokens = if rest.len() == all.len() { all.get(1..).unwrap_or_default() } else { rest };
                }
            }
        }
    }
}

/// `a::b::c` at the start, and what follows it; empty if there is no identifier.
fn segments(tokens: &[Token]) -> (Vec<String>, &[Token]) {
    let mut found = Vec::new();
    let mut rest = tokens;
    while let Some(name) = rest.first().and_then(ident) {
        found.push(name.to_owned());
        rest = rest.get(1..).unwrap_or_default();
        match rest {
            [sep, next, ..] if sep.kind == Kind::Sep && ident(next).is_some() => {
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => break,
        }
    }
    (found, rest)
}
