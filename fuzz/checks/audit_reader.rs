//! What holds for any bytes as the files of an audit log: reading and verifying them never panics and always ends, twice in
//! the same way.

use std::fs;
use std::path::Path;

use ccgate::trail::verify::verify;
use ccgate::trail::{last_signed_lines, parse_keys, signed_lines};

/// What stands between two files of an input: a line of its own.
const BETWEEN: &[u8] = b"\n==\n";

/// Lays the input out as a log's directory and reads it. Each file begins with a line that is its name. Says whether the
/// log is sound and signed.
pub fn check(data: &[u8]) -> bool {
    let Ok(dir) = tempfile::tempdir() else { return false };
    let mut keys = Vec::new();
    for file in parts(data).into_iter().take(16) {
        let Some(end) = file.iter().position(|byte| *byte == b'\n') else { continue };
        let (name, bytes) = (file.get(..end).unwrap_or_default(), file.get(end + 1..).unwrap_or_default());
        if name == b"audit.pub" {
            keys = std::str::from_utf8(bytes).ok().and_then(|text| parse_keys(text).ok()).unwrap_or_default();
        } else if let Some(name) = allowed(name) {
            let path = dir.path().join(name);
            let _ = path.parent().map(fs::create_dir_all);
            let _ = fs::write(path, bytes);
        }
    }
    let _ = last_signed_lines(dir.path());
    if let Ok(lines) = signed_lines(dir.path()) {
        let _ = lines.count();
    }
    let verified = verify(dir.path(), &keys, &mut |_, _| {});
    let again = verify(dir.path(), &keys, &mut |_, _| {});
    assert_eq!(format!("{again:?}"), format!("{verified:?}"), "the same log, verified again");
    let sound = verified.is_ok_and(|report| report.damage_count() == 0 && report.signed.is_some());
    assert!(!sound || !keys.is_empty(), "signed without a key");
    sound
}

/// A name of a log's file, which leads nowhere else.
fn allowed(name: &[u8]) -> Option<&Path> {
    let name = std::str::from_utf8(name).ok()?;
    let fits = name.len() < 80 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-./".contains(&byte));
    let inside = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let known = ["audit-", "tile/", "checkpoint"].iter().any(|start| name.starts_with(start));
    (fits && inside && known).then(|| Path::new(name))
}

fn parts(data: &[u8]) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), data);
    while let Some(at) = rest.windows(BETWEEN.len()).position(|found| found == BETWEEN) {
        let (part, after) = rest.split_at(at);
        parts.push(part);
        rest = after.get(BETWEEN.len()..).unwrap_or_default();
    }
    parts.push(rest);
    parts
}
