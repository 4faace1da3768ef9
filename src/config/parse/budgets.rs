//! From what a person wrote about budgets to limits; the rules of `parse` hold here too.

use std::time::Duration;

use super::Parser;
use crate::budget::Limits;
use crate::config::raw;
use crate::config::sections::Audit;
use crate::config::units::Size;

impl Parser<'_> {
    pub(super) fn budgets(&mut self, raw: raw::Budgets) -> Option<Limits> {
        self.reachable("recordings_per_hour", raw.recordings_per_hour, "recordings_per_day", raw.recordings_per_day);
        self.reachable("bytes_per_hour", raw.bytes_per_hour, "bytes_per_day", raw.bytes_per_day);
        let alert_percent = self.read("budgets.alert_at", &raw.alert_at, percent);
        let exempt_roles = self.each("budgets.exempt_roles", &raw.exempt_roles, role);
        Some(Limits {
            recordings_per_hour: raw.recordings_per_hour,
            recordings_per_day: raw.recordings_per_day,
            bytes_per_hour: raw.bytes_per_hour.map(Size::bytes),
            bytes_per_day: raw.bytes_per_day.map(Size::bytes),
            alert_percent: alert_percent?,
            at_once_per_subject: raw.downloads_at_once_per_subject,
            at_once_per_agent: raw.downloads_at_once_per_agent,
            exempt_roles: exempt_roles.into_iter().collect(),
        })
    }

    /// A start counts on from the log, so what retention has removed is not counted.
    pub(super) fn remembered(&mut self, budgets: &Limits, audit: &Audit) {
        // A window and its longest slot.
        let (of_hour, of_day) = (Duration::from_mins(61), Duration::from_mins(24 * 60 + 30));
        let day = budgets.recordings_per_day.is_some() || budgets.bytes_per_day.is_some();
        let hour = budgets.recordings_per_hour.is_some() || budgets.bytes_per_hour.is_some();
        let needed = if day { of_day } else { of_hour };
        if (day || hour) && audit.retention.is_some_and(|retention| retention < needed) {
            let what = "shorter than the budgets look back: after a restart they count only what is still in the log";
            self.warn("audit.retention", what, "keep 25h for budgets over a day, 2h for budgets over an hour");
        }
    }

    /// Whoever may take so much in a day cannot take more in an hour.
    fn reachable<T: PartialOrd>(&mut self, hour: &str, of_hour: Option<T>, day: &str, of_day: Option<T>) {
        if let (Some(of_hour), Some(of_day)) = (of_hour, of_day)
            && of_hour > of_day
        {
            let what = format!("can never be reached: it is more than budgets.{day}");
            self.warn(&format!("budgets.{hour}"), what, "raise the limit of the day, or leave this one out");
        }
    }
}

fn percent(text: &str) -> Result<u8, &'static str> {
    const EXPECTED: &str = "not a percentage from 1% to 100%, as in 80%";
    let digits = text.strip_suffix('%').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let percent = digits.and_then(|digits| digits.parse().ok()).filter(|percent| (1..=100).contains(percent));
    percent.ok_or(EXPECTED)
}

fn role(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("not the name of a role") } else { Ok(text.to_owned()) }
}
