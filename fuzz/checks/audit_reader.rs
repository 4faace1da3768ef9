//! What holds for any bytes as the files of an audit log: reading and verifying them never panics and always ends, twice in
//! the same way.

use ccgate::trail::verify::verify_witnessed;
use ccgate::trail::{last_signed_lines, last_witnessed_lines, signed_lines};

use super::log_dir::LogDir;

/// The input is a log's files. Says whether the log is sound and signed.
pub fn check(data: &[u8]) -> bool {
    let Some(dir) = LogDir::new(data) else { return false };
    let _ = last_signed_lines(dir.path());
    let _ = last_witnessed_lines(dir.path());
    if let Ok(lines) = signed_lines(dir.path()) {
        let _ = lines.count();
    }
    let verify = || verify_witnessed(dir.path(), &dir.keys, &dir.witnesses, &mut |_, _| {});
    let verified = verify();
    assert_eq!(format!("{:?}", verify()), format!("{verified:?}"), "the same log, verified again");
    let sound = verified.is_ok_and(|report| report.damage_count() == 0 && report.signed.is_some());
    assert!(!sound || !dir.keys.is_empty(), "signed without a key");
    sound
}
