//! How much each person may take.

use super::*;
use crate::budget::Limits;

fn limits(section: &str) -> Limits {
    good(&format!("{SMALLEST}budgets: {section}")).budgets
}

#[test]
fn nothing_is_limited_unless_somebody_says_so() {
    assert_eq!(limits("{}"), Limits::default());
    assert!(limits("{alert_at: 50%, exempt_roles: [a]}").are_none());
    let all = limits(
        "{recordings_per_hour: 1, recordings_per_day: 2, bytes_per_hour: 3KiB, bytes_per_day: 4KiB, alert_at: 100%, \
         downloads_at_once_per_subject: 5, downloads_at_once_per_agent: 6, exempt_roles: [b, a, b]}",
    );
    let expected = Limits {
        recordings_per_hour: Some(1),
        recordings_per_day: Some(2),
        bytes_per_hour: Some(3_072),
        bytes_per_day: Some(4_096),
        alert_percent: 100,
        at_once_per_subject: Some(5),
        at_once_per_agent: Some(6),
        exempt_roles: ["a".to_owned(), "b".to_owned()].into(),
    };
    assert_eq!(all, expected);
}

#[test]
fn what_is_no_limit_is_refused_and_what_has_no_effect_is_told() {
    let at = "line 4: budgets";
    let percent = "is not a percentage from 1% to 100%, as in 80%";
    for (section, wanted) in [
        ("{alert_at: 0%}", format!("{at}.alert_at: \"0%\" {percent}")),
        ("{alert_at: 101%}", format!("{at}.alert_at: \"101%\" {percent}")),
        ("{alert_at: '80'}", format!("{at}.alert_at: \"80\" {percent}")),
        ("{alert_at: +8%}", format!("{at}.alert_at: \"+8%\" {percent}")),
        ("{recordings_per_hour: 0}", format!("{at}.recordings_per_hour: 0 is not a whole number from 1 to 100000")),
        ("{bytes_per_day: 1B}", format!("{at}.bytes_per_day: 1B is not from 1KiB to 1024TiB")),
        ("{exempt_roles: ['']}", format!("{at}.exempt_roles[0]: \"\" is not the name of a role")),
        (
            "{recordings_per_hour: 3, recordings_per_day: 2}",
            format!(
                "warning: {at}.recordings_per_hour: can never be reached: it is more than budgets.recordings_per_day; raise the \
                 limit of the day, or leave this one out"
            ),
        ),
    ] {
        assert_eq!(problem(&format!("budgets: {section}")), wanted);
    }
}

#[test]
fn a_log_that_is_kept_for_less_than_budgets_look_back_is_warned_of() {
    for (budgets, retention, warned) in [
        ("recordings_per_day: 9", "24h", true),
        ("bytes_per_day: 1GiB, bytes_per_hour: 1GiB", "2h", true),
        ("recordings_per_hour: 9", "1h", true),
        ("recordings_per_day: 9", "25h", false),
        ("recordings_per_hour: 9", "2h", false),
        ("downloads_at_once_per_agent: 9", "1h", false),
    ] {
        let text = format!("{SMALLEST}budgets: {{{budgets}}}\naudit: {{retention: {retention}}}\n");
        let (_, warnings) = read_text(&text, &Overrides::default()).expect("a good file");
        let told = warnings.iter().any(|line| line.contains("audit.retention: shorter than the budgets look back"));
        assert_eq!(told, warned, "{budgets}, {retention}: {warnings:?}");
    }
}
