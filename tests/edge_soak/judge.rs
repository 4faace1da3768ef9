//! Whether a client got what it must get. Knows nothing of when.

use ccgate::sim;

use crate::order::{Expects, Manner, Order};
use crate::visit::{End, Got};

/// Statuses that say that there is no session, or that it was lost under the request.
const TROUBLE: [u16; 5] = [403, 409, 502, 503, 504];

/// What is wrong with an answer. `closed`: what the policy said to [`Expects::FileIfOpen`] all the time; `None`: it changed.
pub fn wrong(order: &Order, got: &Got, closed: Option<bool>) -> Option<String> {
    if let Some(at) = got.wrong_at {
        return Some(format!("wrong byte at {at}"));
    }
    if got.end == End::Hung {
        return Some("it hangs".to_owned());
    }
    if matches!(order.manner, Manner::LeavesAt(_) | Manner::LeavesBeforeHead(_)) && got.end == End::Left {
        return None;
    }
    let problem = |allowed: &[u16]| got.status.is_some_and(|status| allowed.contains(&status)) && got.code.is_some();
    let is_right = match order.expects {
        Expects::File | Expects::Half => is_whole(order, got),
        Expects::Refused(status, code) => is_refused(got, status, code),
        Expects::Broken => is_broken(order, got),
        Expects::FileOrRefused(status, code) => is_whole(order, got) || is_refused(got, status, code),
        Expects::FileOrTrouble => is_whole(order, got) || problem(&TROUBLE),
        Expects::FileIfOpen => match closed {
            Some(true) => is_refused(got, 403, "closed_today"),
            Some(false) => is_whole(order, got),
            None => is_whole(order, got) || is_refused(got, 403, "closed_today"),
        },
    };
    (!is_right).then(|| "it got something else".to_owned())
}

fn is_whole(order: &Order, got: &Got) -> bool {
    let head = match &order.range {
        None => got.status == Some(200) && got.content_range.is_none(),
        Some((first, last, _)) => {
            let content_range = format!("bytes {first}-{last}/{}", order.file.size);
            got.status == Some(206) && got.content_range.as_deref() == Some(&content_range)
        }
    };
    head && got.end == End::Complete && got.bytes == got.promised(order) && got.entry.is_some()
}

fn is_broken(order: &Order, got: &Got) -> bool {
    // What begins like a failure is held back until it is known to be none; a fault by then has a status.
    let has_status = matches!(got.status, Some(502 | 504)) && got.code.is_some() && got.end == End::Complete;
    if has_status && begins_like_a_failure(order) {
        return true;
    }
    let status = if order.range.is_some() { 206 } else { 200 };
    got.status == Some(status) && got.end == End::Broken && got.bytes < got.promised(order) && got.entry.is_some()
}

fn is_refused(got: &Got, status: u16, code: &str) -> bool {
    got.status == Some(status) && got.code.as_deref() == Some(code) && got.end == End::Complete
}

/// One body of 256, more or less: it could be a result code under a file's content type.
fn begins_like_a_failure(order: &Order) -> bool {
    let from = order.range.as_ref().map_or(0, |(first, ..)| *first);
    let begin = sim::body_bytes(&order.file.key, from, 64, order.file.size);
    begin.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::File;

    fn order(expects: Expects, manner: Manner) -> Order {
        let file = File { key: "1-1".into(), size: 100 };
        let target = file.target(1001);
        Order { class: "", agent: 1001, target, token: None, range: None, manner, file, expects, fault: None }
    }

    fn got(status: u16, bytes: u64, end: End) -> Got {
        let code = (status >= 400).then(|| "code".to_owned());
        Got { status: Some(status), bytes, end, code, entry: Some("e".to_owned()), ..Got::default() }
    }

    #[test]
    fn what_is_wrong_is_found() {
        let is_wrong = |expects, got: &Got| wrong(&order(expects, Manner::Fast), got, Some(true)).is_some();
        let whole = got(200, 100, End::Complete);
        assert!(!is_wrong(Expects::File, &whole));
        for other in [
            got(200, 99, End::Complete),
            got(200, 99, End::Broken),
            got(200, 100, End::Broken),
            got(200, 100, End::Hung),
            got(200, 100, End::Left),
            got(206, 100, End::Complete),
            got(503, 0, End::Complete),
            got(200, 0, End::NoHead(String::new())),
            Got { wrong_at: Some(7), ..got(200, 100, End::Complete) },
            Got { entry: None, ..got(200, 100, End::Complete) },
        ] {
            assert!(is_wrong(Expects::File, &other), "{other:?}");
        }
        assert!(!is_wrong(Expects::Half, &got(200, 50, End::Complete)) && is_wrong(Expects::Half, &whole));
        assert!(!is_wrong(Expects::Broken, &got(200, 50, End::Broken)));
        // A transfer that broke off and looks complete is what must never be.
        assert!(is_wrong(Expects::Broken, &got(200, 50, End::Complete)) && is_wrong(Expects::Broken, &whole));
        assert!(!is_wrong(Expects::Refused(403, "code"), &got(403, 0, End::Complete)));
        assert!(is_wrong(Expects::Refused(403, "other"), &got(403, 0, End::Complete)));
        assert!(is_wrong(Expects::Refused(403, "code"), &whole));
        let either = Expects::FileOrRefused(502, "code");
        assert!(!is_wrong(either, &whole) && !is_wrong(either, &got(502, 0, End::Complete)));
        for other in [got(200, 99, End::Broken), got(503, 0, End::Complete), got(502, 0, End::Broken)] {
            assert!(is_wrong(either, &other), "{other:?}");
        }
        assert!(
            !is_wrong(Expects::FileOrTrouble, &whole) && !is_wrong(Expects::FileOrTrouble, &got(409, 0, End::Complete))
        );
        assert!(is_wrong(Expects::FileOrTrouble, &got(200, 50, End::Broken)));
        assert!(is_wrong(Expects::FileOrTrouble, &got(401, 0, End::Complete)));
    }

    #[test]
    fn what_the_policy_says_counts_unless_it_changed_meanwhile() {
        let order = order(Expects::FileIfOpen, Manner::Fast);
        let whole = got(200, 100, End::Complete);
        let refused = Got { code: Some("closed_today".to_owned()), ..got(403, 0, End::Complete) };
        for (closed, got, is_right) in [
            (Some(true), &whole, false),
            (Some(false), &whole, true),
            (None, &whole, true),
            (Some(true), &refused, true),
            (Some(false), &refused, false),
            (None, &refused, true),
        ] {
            assert_eq!(wrong(&order, got, closed).is_none(), is_right, "{closed:?} {got:?}");
        }
    }

    #[test]
    fn who_leaves_is_owed_nothing_but_right_bytes() {
        let order = order(Expects::File, Manner::LeavesAt(50));
        assert_eq!(wrong(&order, &got(200, 50, End::Left), None), None);
        assert!(wrong(&order, &Got { wrong_at: Some(1), ..got(200, 50, End::Left) }, None).is_some());
        assert!(wrong(&order, &got(200, 20, End::Broken), None).is_some());
    }

    #[test]
    fn a_fault_at_the_beginning_of_what_looks_like_a_failure_has_a_status() {
        let file = File { key: "1621413752-2251".into(), size: 362_313 };
        let part = Order {
            file,
            range: Some((247_315, 362_312, "bytes=-114998".to_owned())),
            ..order(Expects::Broken, Manner::Fast)
        };
        assert_eq!(sim::body_bytes("1621413752-2251", 247_315, 1, 362_313), b"{");
        let refused = Got { code: Some("upstream_timeout".to_owned()), ..got(504, 0, End::Complete) };
        assert_eq!(wrong(&part, &refused, Some(true)), None);
        let whole = Order { range: None, ..part };
        assert!(wrong(&whole, &refused, Some(true)).is_some());
    }
}
