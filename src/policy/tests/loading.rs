//! What is taken as a policy, and what happens when a rule fails.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const YES: &str = "permit (principal, action == Action::\"download\", resource)";

fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("a file");
    }
    dir
}

fn load_dir(dir: &Path) -> Result<Policy, Error> {
    Policy::load(&Config { dir: Some(dir.to_owned()), entities_file: None })
}

fn load(files: &[(&str, &str)]) -> Result<Policy, Error> {
    load_dir(dir(files).path())
}

fn refused(files: &[(&str, &str)]) -> String {
    load(files).expect_err("a policy that is refused").to_string()
}

/// One rule in a file of its own is refused at a place, with words.
fn check_refused(rule: &str, place: &str, words: &str) {
    let error = refused(&[("a.cedar", rule)]);
    assert!(error.contains(&format!("a.cedar:{place}: ")), "{rule}\n{error}");
    assert!(error.contains(words), "{rule}\n{error}");
}

#[test]
fn r19_a_policy_without_rules_is_refused() {
    assert!(refused(&[]).contains("holds no *.cedar file"));
    assert!(refused(&[("own.txt", YES), (".own.cedar", YES)]).contains("holds no *.cedar file"));
    assert!(refused(&[("a.cedar", ""), ("b.cedar", "// none")]).contains("hold no rule"));
    assert!(
        load_dir(Path::new("/nonexistent/policy")).expect_err("no directory").to_string().contains("cannot be read")
    );
    let entities_file = Some("/nonexistent/teams.yaml".into());
    let error = Policy::load(&Config { dir: None, entities_file }).expect_err("no file").to_string();
    assert!(error.contains("/nonexistent/teams.yaml: cannot be read"), "{error}");
}

#[test]
fn each_rule_has_a_name_of_its_own() {
    check_refused(&format!("{YES};"), "1:1", "needs an @id");
    for bad in ["", "Own", "0wn", "-own", "my rule", "own_rule", "é", &"x".repeat(65)] {
        check_refused(&format!("\n  @id(\"{bad}\") {YES};"), "2:3", "needs an @id");
    }
    let error = refused(&[("a.cedar", &format!("@id(\"x\") {YES};")), ("b.cedar", &format!("\n@id(\"x\") {YES};"))]);
    assert!(error.contains("b.cedar:2:1: rule x stands in a.cedar already"), "{error}");
    let policy = load(&[("a.cedar", &format!("@id(\"policy0\") {YES};"))]).expect("a rule that permits all");
    check(&policy, "4977", "4978: call", "policy0");
}

#[test]
fn an_unknown_word_is_found_before_it_decides() {
    let rule = |condition: &str| format!("@id(\"x\")\n{YES}\nwhen {{ {condition} }};");
    for (condition, words) in [
        ("resource.ownr == principal.agent", "`ownr`"),
        ("resource.owner == resource.session_agent", "optional attribute `owner`"),
        ("principal.agent == resource.session_agent", "optional attribute `agent`"),
        ("context.purpose == \"x\"", "optional attribute `purpose`"),
        ("resource.vdn == \"90\"", "vdn"),
        ("resource.belongs_to_nobody == \"yes\"", "type"),
        ("principal.roles.contains(1)", "type"),
        ("resource.kind == \"video\"", "type"),
        ("resource.kind == Kind::\"vidoe\"", "vidoe"),
        ("resource.kind == Kynd::\"video\"", "Kynd"),
        ("context.peer.isInRange(ip(\"10.0.0.0/99\"))", "10.0.0.0/99"),
        ("context.now < datetime(\"tomorrow\")", "tomorrow"),
        ("resource in Team::\"sales\"", "impossible"),
        ("principal is Recording", "impossible"),
        ("false", "impossible"),
    ] {
        let error = refused(&[("a.cedar", &rule(condition))]);
        assert!(
            error.contains("a.cedar:") && error.contains("rule x: ") && error.contains(words),
            "{condition}\n{error}"
        );
    }
    check_refused("@id(\"x\") permit (principal, action == Action::\"dowload\", resource);", "1:39", "dowload");
}

#[test]
fn a_rule_that_can_never_hold_is_an_error_though_cedar_only_warns() {
    check_refused("@id(\"x\")\nforbid (principal is Recording, action, resource);", "1:1", "impossible");
    let cyrillic = "@id(\"x\")\npermit (principal, action, resource) when { resource.reference == \"p\u{430}th\" };";
    check_refused(cyrillic, "2:67", "mixed scripts");
}

#[test]
fn annotations_are_known_and_reasons_are_words_of_forbids() {
    let forbid = "forbid (principal, action, resource)";
    check_refused(&format!("@id(\"x\") @reson(\"purpose_required\") {forbid};"), "1:1", "@reson is not known");
    check_refused(&format!("@id(\"x\") @reason(\"outside_window\") {YES};"), "1:1", "@reason belongs to a forbid");
    for bad in ["", "Out", "a-b", "a b", "_a", "policy_error", &"x".repeat(41)] {
        check_refused(&format!("@id(\"x\") @reason(\"{bad}\") {forbid};"), "1:1", "@reason is a word");
    }
    let yes = format!("@id(\"a\") {YES};");
    for (word, variant) in [
        ("outside_window", Reason::OutsideWindow),
        ("purpose_required", Reason::PurposeRequired),
        ("not_your_recording", Reason::NotYourRecording),
        ("on_hold", Reason::Custom("on_hold".into())),
    ] {
        let no = format!("@id(\"b\") @reason(\"{word}\") @doc(\"Why.\") {forbid};");
        let policy = load(&[("a.cedar", &yes), ("b.cedar", &no)]).expect("two rules");
        let denied = policy.authorize(caller("4977"), download("4977: call"), arrival()).expect_err("forbidden");
        assert_eq!((denied.reason(), denied.rule().map(RuleId::as_str)), (&variant, Some("b")));
    }
    let policy = load(&[("a.cedar", &format!("@id(\"a\") {forbid};"))]).expect("a rule that refuses all");
    check(&policy, "4977", "4977: call", "not_your_recording by a");
}

#[test]
fn of_several_rules_the_first_by_name_is_named() {
    let rule = |name: &str, effect: &str| format!("@id(\"{name}\") {effect} (principal, action, resource);\n");
    let yes = rule("y2", "permit") + &rule("y1", "permit");
    let policy = load(&[("a.cedar", &yes)]).expect("two permits");
    check(&policy, "4977", "4978: call", "y1");
    let policy = load(&[("a.cedar", &(yes + &rule("n2", "forbid") + &rule("n1", "forbid")))]).expect("four rules");
    check(&policy, "4977", "4978: call", "not_your_recording by n1");
}

#[test]
fn templates_are_refused() {
    check_refused("@id(\"x\")\npermit (principal == ?principal, action, resource);", "1:1", "templates are not used");
}

#[test]
fn a_mistake_is_shown_with_its_line_and_column() {
    check_refused(&format!("@id(\"x\")\n{YES}\nwhen {{ principal.roles.contains( }};"), "3:34", "unexpected token");
    check_refused("@id(\"é\u{20ac}\") permti (principal, action, resource);", "1:11", "permti");
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let files = dir(&[
        ("a.cedar", "@id(\"a\") permit (principal, action, resource) when { resource.ownr == 1 };"),
        ("b.cedar", "permit (principal"),
        ("c.cedar", &format!("{YES};")),
    ]);
    fs::write(files.path().join("teams.yaml"), "teams: {sales: [7]}").expect("a file");
    let entities_file = Some(files.path().join("teams.yaml"));
    let error = Policy::load(&Config { dir: Some(files.path().to_owned()), entities_file }).expect_err("four mistakes");
    let found: Vec<_> = error.problems().iter().map(|problem| problem.file.rsplit('/').next().unwrap_or("")).collect();
    let mut sorted = found.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["a.cedar", "b.cedar", "c.cedar", "teams.yaml"], "{error}");
    assert_eq!(error.to_string().lines().count(), 5, "{error}");
}

#[test]
fn what_is_unreadable_hides_no_other_mistake() {
    let files = dir(&[("a.cedar", "permit (principal")]);
    let entities_file = Some(files.path().join("none.yaml"));
    let error = Policy::load(&Config { dir: Some(files.path().to_owned()), entities_file }).expect_err("two mistakes");
    assert_eq!(error.problems().len(), 2, "{error}");
}

#[test]
fn sizes_are_bounded() {
    let rules = |count: usize| (0..count).map(|n| format!("@id(\"r{n}\") {YES};\n")).collect::<Vec<_>>().concat();
    assert!(load(&[("a.cedar", &rules(256))]).is_ok());
    assert!(refused(&[("a.cedar", &rules(257))]).contains("too many rules: at most 256"));
    let half = format!("{}{}", "// 1234\n".repeat(65_537), rules(1));
    let other = half.replace("\"r0\"", "\"s0\"");
    assert!(load(&[("a.cedar", &half)]).is_ok());
    assert!(
        refused(&[("a.cedar", &half), ("b.cedar", &other)]).contains("b.cedar: is too large: at most 1048576 bytes")
    );
    let many: Vec<_> = (0..257).map(|n| format!("{n:03}.cedar")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    assert!(refused(&many).contains("too many files: at most 256"));
    let files = dir(&[]);
    let entities_file = files.path().join("teams.yaml");
    fs::write(&entities_file, "#\n".repeat((4 << 20) / 2 + 1)).expect("a file");
    let error = Policy::load(&Config { dir: None, entities_file: Some(entities_file) }).expect_err("too large");
    assert!(error.to_string().contains("too large: at most 4194304 bytes"), "{error}");
}

#[test]
fn what_is_no_text_file_is_refused() {
    let files = dir(&[("own.cedar", &format!("@id(\"x\") {YES};"))]);
    fs::create_dir(files.path().join("more.cedar")).expect("a directory");
    assert!(load_dir(files.path()).expect_err("a directory").to_string().contains("more.cedar: is not a file"));
    fs::remove_dir(files.path().join("more.cedar")).expect("removed");
    fs::write(files.path().join("more.cedar"), b"// \xff\xfe\n").expect("a file");
    assert!(load_dir(files.path()).expect_err("no text").to_string().contains("more.cedar: is not UTF-8"));
}

#[cfg(unix)]
#[test]
fn a_mounted_volume_is_read_from_one_generation() {
    let volume = dir(&[]);
    let at = |name: &str| volume.path().join(name);
    for generation in ["..1", "..2"] {
        fs::create_dir(at(generation)).expect("a directory");
        let rule = format!("@id(\"r{}\") {YES};", generation.trim_matches('.'));
        fs::write(at(generation).join("own.cedar"), rule).expect("a file");
    }
    std::os::unix::fs::symlink("..2", at("..data")).expect("a link");
    std::os::unix::fs::symlink("..data/own.cedar", at("own.cedar")).expect("a link");
    check(&load_dir(volume.path()).expect("a rule"), "4977", "4978: call", "r2");
}

#[test]
fn the_hash_changes_with_all_that_decides_and_with_nothing_else() {
    let rule = format!("@id(\"x\") {YES};");
    let hash = |files: &[(&str, &str)]| load(files).expect("a policy").hash().to_owned();
    let one = hash(&[("a.cedar", &rule)]);
    assert_eq!(one, hash(&[("a.cedar", &rule), ("README.md", "text")]));
    for other in [
        hash(&[("b.cedar", &rule)]),
        hash(&[("a.cedar", &format!("{rule}\n"))]),
        hash(&[("a.cedar", &rule), ("b.cedar", "")]),
        with_teams().hash().to_owned(),
        Policy::builtin().expect("the built-in rules").hash().to_owned(),
    ] {
        assert_ne!(one, other);
    }
    assert_ne!(with_teams().hash(), Policy::builtin().expect("the built-in rules").hash());
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/policy");
    let shipped = load_dir(Path::new(shipped)).expect("the rules as shipped");
    assert_eq!(shipped.hash(), Policy::builtin().expect("the built-in rules").hash());
}

#[test]
fn a_rule_that_fails_refuses_whatever_the_others_say() {
    let yes = format!("@id(\"yes\") {YES};");
    let overflow = "(if resource has vdn then resource.vdn else 1) + 9223372036854775807 > 0";
    let failing =
        |effect: &str| format!("@id(\"fails\") {effect} (principal, action, resource) when {{ {overflow} }};");
    let registry = prometheus::Registry::new();
    let metrics = Metrics::register(&registry).expect("registered");
    for (counted, effect) in [(1, "forbid"), (2, "permit")] {
        let policy =
            load(&[("a.cedar", &yes), ("b.cedar", &failing(effect))]).expect("valid").with_metrics(metrics.clone());
        check(&policy, "4977", "4977: call", "policy_error by fails");
        assert_eq!(metrics.evaluation_errors.get(), counted);
    }
    assert!(Metrics::register(&registry).is_err(), "one name, one counter");
}

#[test]
fn r17_the_alarm_names_the_rules_and_no_value() {
    let failing = |name: &str| {
        let overflow = "9223372036854775807 + (if resource.reference == principal.subject then 2 else 1) > 0";
        format!("@id(\"{name}\") forbid (principal, action, resource) when {{ {overflow} }};\n")
    };
    let policy = load(&[("a.cedar", &(failing("second") + &failing("first")))]).expect("valid");
    let log = tempfile::NamedTempFile::new().expect("a file");
    let writer = std::sync::Mutex::new(log.reopen().expect("a file"));
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, || {
        check(&policy, "4977", "4977: file Y:/90/0/20210519/4977/1.mp4", "policy_error by first");
    });
    let log = fs::read_to_string(log.path()).expect("a log");
    assert!(log.contains("ERROR") && log.contains("first") && log.contains("second"), "{log}");
    assert!(!log.contains("alice") && !log.contains("20210519") && !log.contains("4977"), "{log}");
}

#[test]
fn a_policy_however_deep_ends_no_process() {
    let nested = |n: usize, inner: &str| format!("{}{inner}{}", "!(".repeat(n), ")".repeat(n));
    let endless = [
        nested(100_000, "true"),
        format!("{}true{}.isEmpty()", "[".repeat(100_000), "]".repeat(100_000)),
        format!("{}true{} has a", "{a:".repeat(50_000), "}".repeat(50_000)),
        "resource.owner_unknown || ".repeat(30_000) + "true",
        "if resource.owner_unknown then true else ".repeat(20_000) + "true",
        "1 + ".repeat(100_000) + "1 > 0",
        "principal".to_owned() + &".agent".repeat(100_000),
        "!".repeat(100_000) + "true",
        "true } when { ".repeat(50_000) + "true",
    ];
    for text in endless {
        let error = refused(&[("a.cedar", &format!("@id(\"x\") {YES} when {{ {text} }};"))]);
        assert!(error.contains("a.cedar:1:") && error.contains("too "), "{error:.200}");
    }
}

#[test]
fn the_deepest_policy_that_is_taken_is_decided_and_explained() {
    // One pair of brackets is the clause's own, and as many links as are left.
    let inner = "resource.belongs_to_nobody || ".repeat(30) + "true";
    let text = format!("{}{inner}{}", "(".repeat(15), ")".repeat(15));
    let policy = load(&[("a.cedar", &format!("@id(\"x\") {YES} when {{ {text} }};"))]).expect("just not too deep");
    check(&policy, "4977", "4977: call", "x");
    assert!(policy.explain(&caller("4977"), &download("4977: call"), &arrival()).permitted());
}
