//! Every alert asks for metrics and labels that the code has, is tried in both directions, and has its section in the docs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use prometheus::Registry;
use prometheus::process_collector::ProcessCollector;

/// Metrics that the rules ask for and that are not in the code yet: whoever adds one takes it off this list.
const AWAITED: &[&str] = &[];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The whole program's source; the simulator and the demo are no part of what is watched.
fn source() -> String {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut text = String::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let named = |name: &str| path.file_stem().is_some_and(|stem| stem == name);
            match path {
                path if named("sim") || named("demo") || named("tests") => drop(path),
                path if path.is_dir() => folders.push(path),
                path => text.push_str(&fs::read_to_string(path).unwrap()),
            }
        }
    }
    text
}

/// The words of a text that begin like a metric.
fn metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("ccgate_") || word.starts_with("process_")).collect()
}

/// A metric's name without what a histogram's series add.
fn base(metric: &str) -> &str {
    ["_bucket", "_count", "_sum"].iter().find_map(|end| metric.strip_suffix(end)).unwrap_or(metric)
}

fn alerts(rules: &str) -> Vec<&str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect()
}

#[test]
fn every_metric_of_the_rules_is_one_of_the_code() {
    let (rules, source) = (read("deploy/prometheus/ccgate.rules.yaml"), source());
    let process = Registry::new();
    process.register(Box::new(ProcessCollector::for_self())).unwrap();
    let process: BTreeSet<String> = process.gather().iter().map(|family| family.name().to_owned()).collect();
    let known = |metric: &str| source.contains(&format!("\"{}\"", base(metric))) || process.contains(metric);
    let unknown: Vec<&str> = metrics(&rules).into_iter().filter(|metric| !known(metric)).collect();
    assert_eq!(unknown, AWAITED, "unknown metrics in the rules, against those that are awaited");
    assert!(metrics(&rules).len() > 20);
    assert!(!known("ccgate_audit_record_total") && !known("process_fds"), "a name that is none is noticed");
}

#[test]
fn every_label_value_of_the_rules_is_one_of_the_code() {
    let (rules, source) = (read("deploy/prometheus/ccgate.rules.yaml"), source());
    let mut seen = 0;
    for expression in rules.lines().filter(|line| line.contains('{') && line.contains("ccgate_")) {
        let Some((_, rest)) = expression.split_once('{') else { continue };
        let Some((selector, _)) = rest.split_once('}') else { continue };
        for value in selector.split('"').skip(1).step_by(2).flat_map(|values| values.split('|')) {
            assert!(source.contains(&format!("\"{value}\"")), "{value}: {expression}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn every_alert_is_tried_as_it_fires_and_as_it_stays_quiet_and_has_its_section() {
    let rules = read("deploy/prometheus/ccgate.rules.yaml");
    let (tests, docs) = (read("deploy/prometheus/ccgate.test.yaml"), read("docs/alerts.md"));
    let all = alerts(&rules);
    assert!(all.len() >= 20 && all.iter().collect::<BTreeSet<_>>().len() == all.len(), "{all:?}");
    for alert in &all {
        assert!(
            tests.contains(&format!("        alertname: {alert}\n        exp_alerts:")),
            "{alert} is not seen to fire"
        );
        assert!(tests.contains(&format!(", alertname: {alert}}}\n")), "{alert} is not seen to stay quiet");
        let anchor = format!("docs/alerts.md#{}\n", alert.to_lowercase());
        assert!(rules.contains(&anchor) && docs.contains(&format!("\n## {alert}\n")), "{alert} has no section");
    }
    let sections: Vec<&str> = docs.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, all, "the docs have the alerts in the order of the rules, and no other");
    for link in docs.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
        assert!(all.iter().any(|alert| alert.to_lowercase() == link), "{link}");
    }
}

#[test]
fn every_file_that_the_docs_of_the_alerts_link_is_there() {
    let docs = read("docs/alerts.md");
    let links = docs.split("](").skip(1).map(|rest| rest.split([')', '#']).next().unwrap_or_default());
    for link in links.filter(|link| !link.is_empty()) {
        let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(link);
        assert!(path.exists(), "{link}");
    }
}
