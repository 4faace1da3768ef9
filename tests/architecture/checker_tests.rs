//! Shows that each house rule can fail: small made-up trees, and what the checker must say of them.

use crate::check::{File, Rule, Violation, allowed, check, may_import};
use crate::paths::paths;
use crate::rules::{APART, Allowed, FOR_ALL, IMPORTS, LINE};
use crate::source::{production, tokens};

/// A tree of one file, its doc line added.
fn broken_in(path: &str, code: &str) -> Vec<Violation> {
    check(&[File { path: path.to_owned(), text: format!("//! A made-up file.\n{code}") }])
}

fn rules_in(path: &str, code: &str) -> Vec<Rule> {
    broken_in(path, code).into_iter().map(|violation| violation.rule).collect()
}

/// Paths of production code.
fn written(code: &str) -> Vec<String> {
    paths(&production(&tokens(code)).tokens).into_iter().map(|path| path.segments.join("::")).collect()
}

#[test]
fn an_import_from_the_right_is_refused() {
    assert_eq!(rules_in("src/route.rs", "use crate::policy::Policy;"), [Rule::Import]);
    assert_eq!(rules_in("src/upstream/mod.rs", "use crate::session;"), [Rule::Import]);
    assert_eq!(rules_in("src/audit/line.rs", "fn f() { crate::serve::g() }"), [Rule::Import]);
}

#[test]
fn an_import_from_the_left_needs_its_row() {
    assert_eq!(rules_in("src/route.rs", "use crate::cc::AgentId;"), []);
    assert_eq!(rules_in("src/relay/mod.rs", "use crate::policy::Authorized;"), [Rule::Import]);
    assert_eq!(rules_in("src/net/tls.rs", "use crate::cc::Guid;"), [Rule::Import]);
    assert_eq!(rules_in("src/session/actor.rs", "use crate::{clock::Clock, ready::Ready};"), []);
    assert_eq!(rules_in("src/cc/mod.rs", "use crate::clock::Clock;"), [Rule::Import]);
}

#[test]
fn every_way_of_writing_an_import_is_seen() {
    for code in [
        "use crate::serve;",
        "pub use crate::serve::Problem as P;",
        "use crate::{cc::AgentId, serve::{Problem, pipeline}};",
        "use {crate::serve::Problem};",
        "use ::std::fmt;\nuse crate::serve::*;",
        "fn f(x: &crate::serve::Problem) {}",
        "fn f() { let x = <crate::serve::Problem as Into<u8>>::into(y); }",
        "macro_rules! m { () => { $crate::serve::run() } }",
        "#[serde(with = \"crate::serve::duration\")]\nstruct S;",
        "#[cfg(not(test))]\nuse crate::serve;",
        "#[cfg(any(test, feature = \"demo\"))]\nuse crate::serve;",
        "impl r#type { const C: char = '\"'; }\nuse crate::serve;",
        "const S: &str = r#\"a \" b\"#;\nuse crate::serve;",
        "/* a /* nested */ comment */ use crate::serve;",
    ] {
        assert_eq!(rules_in("src/upstream/mod.rs", code), [Rule::Import], "{code}");
    }
}

#[test]
fn comments_texts_and_test_code_are_no_imports() {
    for code in [
        "// use crate::serve;",
        "/// See [`crate::serve::Problem`].\nstruct S;",
        "/* use crate::serve; /* */ use crate::serve; */",
        "const S: &str = \"use crate::serve;\";",
        "const S: &str = r##\"use crate::serve;\"##;",
        "#[cfg(test)]\nmod tests {\n    use crate::serve::{Problem, pipeline};\n    fn f() { if x { y } }\n}",
        "#[cfg(test)]\n#[allow(dead_code)]\nuse crate::serve::{a, b};",
        "#[cfg(all(test, feature = \"demo\"))]\nfn f<A, B>() { crate::serve::g() }",
        "struct S {\n    #[cfg(test)]\n    x: crate::serve::Problem,\n    y: u8,\n}",
        "#![cfg(test)]\nuse crate::serve;",
        "pub(crate) fn f<'a>(x: &'a str) -> char { 'x' }",
    ] {
        assert_eq!(rules_in("src/upstream/mod.rs", code), [], "{code}");
    }
}

#[test]
fn code_behind_a_test_item_is_still_checked() {
    let code =
        "#[cfg(test)]\nuse crate::{cc, serve};\nuse crate::session;\n#[cfg(test)]\nmod tests;\nuse crate::relay::x;";
    let broken = broken_in("src/upstream/mod.rs", code);
    assert_eq!(broken.iter().map(|v| v.line).collect::<Vec<_>>(), [4, 7], "{broken:?}");
}

#[test]
fn files_of_test_modules_may_import_anything() {
    let file = |path: &str, code: &str| File { path: path.to_owned(), text: format!("//! A made-up file.\n{code}") };
    let module = file("src/upstream/mod.rs", "#[cfg(test)]\nmod tests;");
    let tests = file("src/upstream/tests.rs", "use crate::serve;");
    let deeper = file("src/upstream/tests/cut.rs", "use crate::serve;");
    assert_eq!(check(&[module, tests.clone(), deeper]), []);
    let public = file("src/upstream/mod.rs", "mod tests;");
    assert_eq!(check(&[public, tests]).len(), 1, "a `tests` module without cfg(test) is production code");
}

#[test]
fn the_simulator_imports_nothing_of_the_crate() {
    assert_eq!(rules_in("src/sim/http.rs", "use crate::cc::AgentId;"), [Rule::Apart]);
    assert_eq!(rules_in("src/sim/http.rs", "use crate::clock::Clock;"), [Rule::Apart]);
    assert_eq!(rules_in("src/sim/http.rs", "use crate::sim::Fault; use super::Rule;"), []);
    assert_eq!(rules_in("src/serve/mod.rs", "use crate::sim::Fault;"), [Rule::Import]);
    assert_eq!(rules_in("src/app.rs", "use crate::sim::Fault;"), [Rule::Import]);
    assert_eq!(rules_in("src/demo.rs", "use crate::{app::App, sim::Fault};"), []);
    assert_eq!(rules_in("src/app.rs", "use crate::demo;"), [Rule::Import]);
}

#[test]
fn the_root_is_no_door() {
    assert_eq!(rules_in("src/route.rs", "use super::policy::Policy;"), [Rule::RootPath]);
    assert_eq!(rules_in("src/policy/cedar.rs", "use super::super::serve::Problem;"), [Rule::RootPath]);
    assert_eq!(rules_in("src/policy/cedar.rs", "mod inner { use super::Error; fn f() {} }\nuse super::Policy;"), []);
    assert_eq!(rules_in("src/route.rs", "mod inner { use super::Error; } use super::cc;"), [Rule::RootPath]);
    assert_eq!(rules_in("src/route.rs", "use crate::*;"), [Rule::RootPath]);
    assert_eq!(rules_in("src/route.rs", "use crate as root;"), [Rule::RootPath]);
    assert_eq!(rules_in("src/route.rs", "use crate::Something;"), [Rule::RootPath]);
    assert_eq!(rules_in("src/cc/guid.rs", "pub(crate) struct S; pub(in crate::cc) struct T;"), []);
}

#[test]
fn a_circle_is_found_even_where_each_step_is_reported() {
    let file = |path: &str, code: &str| File { path: path.to_owned(), text: format!("//! A made-up file.\n{code}") };
    let broken = check(&[
        file("src/upstream/mod.rs", "use crate::audit::OpenEntry;"),
        file("src/audit/mod.rs", "use crate::policy::Authorized;"),
        file("src/policy/mod.rs", "use crate::upstream::Gateway;"),
    ]);
    let circles: Vec<_> = broken.iter().filter(|violation| violation.rule == Rule::Cycle).collect();
    assert_eq!(circles.len(), 1, "{broken:?}");
    assert_eq!(circles.first().unwrap().detail, "audit -> policy -> upstream -> audit");
}

#[test]
fn a_module_has_its_line_in_lib_and_its_place_in_the_table() {
    let file = |path: &str, code: &str| File { path: path.to_owned(), text: format!("//! A made-up file.\n{code}") };
    let rules = |files: &[File]| check(files).into_iter().map(|violation| violation.rule).collect::<Vec<_>>();
    assert_eq!(rules(&[file("src/lib.rs", "pub mod cc;"), file("src/cc/mod.rs", "")]), []);
    assert_eq!(rules(&[file("src/lib.rs", "mod cc;"), file("src/cc/mod.rs", "")]), [Rule::Unlisted]);
    assert_eq!(rules(&[file("src/lib.rs", "pub mod cc;"), file("src/route.rs", "")]), [Rule::Unlisted]);
    assert_eq!(rules(&[file("src/lib.rs", "pub mod cash;"), file("src/cash/mod.rs", "")]), [Rule::UnknownModule]);
}

#[test]
fn forbidden_calls_are_found_where_they_are_forbidden() {
    for (path, code) in [
        ("src/serve/listener.rs", "use std::{fs, io};"),
        ("src/serve/listener.rs", "fn f() { tokio::fs::read(x) }"),
        ("src/session/actor.rs", "fn f() { tokio::spawn(async {}); }"),
        ("src/session/actor.rs", "use tokio::{net::TcpStream, spawn};"),
        ("src/session/actor.rs", "use tokio::task; fn f() { task::spawn(async {}); }"),
        ("src/app.rs", "fn f() { std::time::SystemTime::now() }"),
        ("src/app.rs", "fn f() { SystemTime::now() }"),
        ("src/ready.rs", "use std::time::{Duration, Instant};"),
        ("src/audit/writer.rs", "use tokio::net::TcpStream;"),
        ("src/audit/recover/scan.rs", "fn f() { std::net::TcpStream::connect(x) }"),
        ("src/cc/guid.rs", "use tokio::sync::Mutex;"),
        ("src/policy/quota.rs", "use tokio::time::Instant;"),
        ("src/admin/mod.rs", "fn f() { prometheus::default_registry() }"),
    ] {
        assert_eq!(rules_in(path, code), [Rule::Ban], "{path}: {code}");
    }
}

#[test]
fn what_is_forbidden_elsewhere_is_allowed_here() {
    for (path, code) in [
        ("src/clock.rs", "fn f() { std::time::SystemTime::now() }"),
        ("src/config/mod.rs", "use std::fs;"),
        ("src/session/actor.rs", "fn f() { tokio::task::spawn_blocking(g); std::thread::spawn(g); tracker.spawn(g); }"),
        ("src/audit/sink.rs", "use tokio::net::TcpStream;"),
        ("src/app.rs", "use tokio::time::Instant;"),
    ] {
        assert_eq!(rules_in(path, code), [], "{path}: {code}");
    }
}

#[test]
fn a_file_has_a_doc_line_a_telling_name_and_an_end() {
    let rules = |path: &str, text: String| {
        check(&[File { path: path.to_owned(), text }]).into_iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    assert_eq!(rules("src/main.rs", "fn main() {}".to_owned()), [Rule::Doc]);
    assert_eq!(rules("src/main.rs", "//!\n//! Late.".to_owned()), [Rule::Doc]);
    assert_eq!(rules("src/main.rs", String::new()), [Rule::Doc]);
    assert_eq!(rules("src/route.rs", format!("//! Doc.{}", "\n".repeat(500))), []);
    assert_eq!(rules("src/route.rs", format!("//! Doc.{}", "\n// Line.".repeat(500))), [Rule::TooLong]);
    for path in
        ["src/serve/utils.rs", "tests/common/mod.rs", "src/cc/types.rs", "src/net/helpers/tls.rs", "src/cc/misc.rs"]
    {
        assert_eq!(rules(path, "//! Doc.".to_owned()), [Rule::Name], "{path}");
    }
}

#[test]
fn the_table_agrees_with_the_line() {
    for (module, row) in IMPORTS {
        let place = LINE.iter().position(|name| *name == module);
        assert_ne!(place.is_some(), APART.contains(&module), "`{module}` stands in the line or apart");
        let Allowed::These(list) = row else { continue };
        for target in list {
            let target_place = LINE.iter().position(|name| name == target);
            let left = target_place.zip(place).is_some_and(|(target, own)| target < own);
            assert!(left || APART.contains(target), "`{module}` lists `{target}`, which is not left of it");
        }
    }
    for module in LINE.iter().chain(&APART) {
        assert!(allowed(module).is_some(), "`{module}` has no row");
        assert!(!may_import("sim", module), "the simulator stands apart");
    }
    assert!(FOR_ALL.iter().all(|module| LINE.contains(module)));
}

#[test]
fn use_trees_are_multiplied_out() {
    assert_eq!(
        written("use a::{self, b::{c as d, e::*}, f}; use {g::h, i}; fn x() { j::k::<l::m>(n) }"),
        ["a::self", "a::b::c", "a::b::e::*", "a::f", "g::h", "j::k", "l::m"]
    );
}
