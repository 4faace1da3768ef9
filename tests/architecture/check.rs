//! Holds source files against the tables of `rules.rs`. Works on texts that it is given; never reads a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::paths::paths;
use crate::rules::{APART, Allowed, BANNED_NAMES, BANS, FOR_ALL, IMPORTS, LINE, MAX_LINES, What};
use crate::source::{Path, Token, production, tokens};

/// A file: its path from the project's root, with `/`, and its text.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    pub(crate) detail: String,
}

/// The rules, by which the tests of this checker name what they expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    Import,
    Apart,
    UnknownModule,
    RootPath,
    Cycle,
    Unlisted,
    Ban,
    TooLong,
    Name,
    Doc,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {:?}: {}", self.path, self.line, self.rule, self.detail)
    }
}

/// All broken rules of a tree, in the order of its files.
pub(crate) fn check(files: &[File]) -> Vec<Violation> {
    let mut found: Vec<Violation> = files.iter().flat_map(looks).collect();
    let tree = Tree::read(files);
    found.extend(tree.unlisted());
    found.extend(tree.files.iter().flat_map(SourceFile::imports));
    found.extend(tree.files.iter().flat_map(SourceFile::bans));
    found.extend(tree.cycle());
    found.sort();
    found.dedup();
    found
}

/// Length, name and first line: asked of every file.
fn looks(file: &File) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut report = |line, rule, detail| {
        found.push(Violation { path: file.path.clone(), line, rule, detail });
    };
    let lines = file.text.lines().count();
    if lines > MAX_LINES {
        report(lines, Rule::TooLong, format!("{lines} lines, at most {MAX_LINES}"));
    }
    if let Some(name) = file.path.trim_end_matches(".rs").split('/').find(|part| BANNED_NAMES.contains(part)) {
        report(1, Rule::Name, format!("`{name}` says nothing of what lives here"));
    }
    let first = file.text.lines().next().unwrap_or_default();
    if first.strip_prefix("//!").is_none_or(|doc| doc.trim().is_empty()) {
        report(1, Rule::Doc, "the first line must be a `//!` doc".to_owned());
    }
    found
}

/// The production code under `src`.
struct Tree {
    files: Vec<SourceFile>,
    listed: BTreeSet<String>,
    lib: bool,
}

struct SourceFile {
    path: String,
    /// Path under `src`.
    within: String,
    /// Module path from the crate's root: `["serve", "problem"]`.
    module: Vec<String>,
    tokens: Vec<Token>,
    paths: Vec<Path>,
}

impl Tree {
    fn read(files: &[File]) -> Self {
        let mut tree = Self { files: Vec::new(), listed: BTreeSet::new(), lib: false };
        let mut tests = Vec::new();
        for file in files {
            let Some(within) = file.path.strip_prefix("src/") else {
                continue;
            };
            let production = production(&tokens(&file.text));
            let module = module_path(within);
            tests.extend(production.test_modules.into_iter().map(|name| [module.clone(), vec![name]].concat()));
            let paths = paths(&production.tokens);
            tree.files.push(SourceFile {
                path: file.path.clone(),
                within: within.to_owned(),
                module,
                tokens: production.tokens,
                paths,
            });
        }
        tree.files.retain(|file| !tests.iter().any(|test| file.module.starts_with(test)));
        if let Some(lib) = tree.files.iter().find(|file| file.within == "lib.rs") {
            tree.lib = true;
            tree.listed = listed_modules(&lib.tokens);
        }
        tree
    }

    /// Every top-level module is a `pub mod` line of lib.rs, and every such line has its place in the table.
    fn unlisted(&self) -> Vec<Violation> {
        let report = |path: &str, rule, detail| Violation { path: path.to_owned(), line: 1, rule, detail };
        let mut found = Vec::new();
        for file in &self.files {
            let Some(top) = file.module.first() else {
                continue;
            };
            if self.lib && !self.listed.contains(top) {
                found.push(report(&file.path, Rule::Unlisted, format!("`{top}` is not a `pub mod` of lib.rs")));
            }
            if allowed(top).is_none() {
                found.push(report(&file.path, Rule::UnknownModule, format!("`{top}` has no place in the line")));
            }
        }
        found
    }

    /// Depth-first over the real edges between top-level modules; reports the first circle found.
    fn cycle(&self) -> Option<Violation> {
        let mut edges: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for file in &self.files {
            let Some(top) = file.module.first() else {
                continue;
            };
            let targets = file.paths.iter().filter_map(Path::crate_module).filter(|to| to != top);
            edges.entry(top).or_default().extend(targets);
        }
        let mut done = BTreeSet::new();
        let circle = edges.keys().find_map(|start| circle(start, &edges, &mut Vec::new(), &mut done))?;
        let detail = circle.join(" -> ");
        Some(Violation { path: "src".to_owned(), line: 1, rule: Rule::Cycle, detail })
    }
}

fn circle<'t>(
    at: &'t str,
    edges: &BTreeMap<&'t str, BTreeSet<&'t str>>,
    trail: &mut Vec<&'t str>,
    done: &mut BTreeSet<&'t str>,
) -> Option<Vec<&'t str>> {
    if let Some(from) = trail.iter().position(|seen| *seen == at) {
        return Some(trail.iter().skip(from).copied().chain([at]).collect());
    }
    if done.contains(at) {
        return None;
    }
    trail.push(at);
    let found = edges.get(at).into_iter().flatten().find_map(|to| circle(to, edges, trail, done));
    trail.pop();
    done.insert(at);
    found
}

impl SourceFile {
    /// What the file names of the crate is allowed to its module.
    fn imports(&self) -> Vec<Violation> {
        let Some(top) = self.module.first() else {
            return Vec::new();
        };
        self.paths.iter().filter_map(|path| self.import(top, path)).collect()
    }

    fn import(&self, top: &str, path: &Path) -> Option<Violation> {
        let report = |rule, detail| Some(Violation { path: self.path.clone(), line: path.line, rule, detail });
        let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
        if supers > 0 && supers >= self.module.len() + path.inline_depth {
            return report(Rule::RootPath, "`super` reaches the root: write `crate::module`".to_owned());
        }
        if !path.starts_with(&["crate"]) {
            return None;
        }
        let target = match path.crate_module() {
            Some(target) if target == top => return None,
            Some(target) if allowed(target).is_some() => target,
            _ => {
                return report(Rule::RootPath, format!("`{}` names no module of the line", path.segments.join("::")));
            }
        };
        if APART.contains(&top) {
            return report(Rule::Apart, format!("`{top}` imports nothing of the crate, but names `{target}`"));
        }
        if may_import(top, target) {
            return None;
        }
        report(Rule::Import, format!("`{top}` must not import `{target}`"))
    }

    fn bans(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for ban in &BANS {
            let inside = |prefix: &&str| self.within.starts_with(*prefix);
            if ban.but.iter().any(inside) || !(ban.within.is_empty() || ban.within.iter().any(inside)) {
                continue;
            }
            let hit = |path: &&Path| match ban.what {
                What::StartsWith(prefix) => path.starts_with(prefix),
                What::EndsWith(suffix) => path.ends_with(suffix),
            };
            found.extend(self.paths.iter().filter(hit).map(|path| Violation {
                path: self.path.clone(),
                line: path.line,
                rule: Rule::Ban,
                detail: format!("`{}`: {}", path.segments.join("::"), ban.why),
            }));
        }
        found
    }
}

impl Path {
    /// The module that a `crate::` path goes into.
    fn crate_module(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [root, module, ..] if root == "crate" => Some(module),
            _ => None,
        }
    }
}

/// The row of the table for a module.
pub(crate) fn allowed(module: &str) -> Option<Allowed> {
    IMPORTS.iter().find(|(name, _)| *name == module).map(|(_, allowed)| *allowed)
}

/// Whether the table lets `from` import `to`.
pub(crate) fn may_import(from: &str, to: &str) -> bool {
    let place = |module: &str| LINE.iter().position(|name| *name == module);
    let left = place(to).zip(place(from)).is_some_and(|(to, from)| to < from);
    match allowed(from) {
        // The demo is the simulator's other user.
        Some(Allowed::AllLeft) => left || (from == "demo" && APART.contains(&to)),
        Some(Allowed::These(list)) => list.contains(&to) || (left && FOR_ALL.contains(&to)),
        None => false,
    }
}

/// `serve/problem.rs` is `["serve", "problem"]`; lib.rs and main.rs are the root.
fn module_path(within: &str) -> Vec<String> {
    let mut parts: Vec<String> = within.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod") || matches!(within, "lib.rs" | "main.rs") {
        parts.pop();
    }
    parts
}

/// Names of `pub mod name;` items.
fn listed_modules(tokens: &[Token]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for window in tokens.windows(4) {
        if let [public, keyword, name, end] = window
            && public.is_ident("pub")
            && keyword.is_ident("mod")
            && end.is_punct(';')
        {
            found.extend(crate::source::ident(name).map(str::to_owned));
        }
    }
    found
}
