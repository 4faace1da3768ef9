//! Moves aside what stands at the end of a segment and does not count. Nothing is thrown away.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::Serialize;

use super::super::segment::sync_dir;

/// Bytes that stood behind the last line that counts.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(in super::super) struct Moved {
    segment: String,
    kept_in: String,
    bytes: u64,
}

/// Moves a segment's bytes from `offset` on to `<segment>.torn-N`.
pub(super) fn move_aside(dir: &Path, path: &Path, offset: u64) -> io::Result<Moved> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (kept_in, mut copy) = torn_file(dir, name)?;
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let bytes = io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    sync_dir(dir)?;
    // A crash before this line leaves the bytes in both places, and the next start moves them once more.
    if offset == 0 {
        fs::remove_file(path)?;
        sync_dir(dir)?;
    } else {
        file.set_len(offset)?;
        file.sync_all()?;
    }
    Ok(Moved { segment: name.to_owned(), kept_in, bytes })
}

/// The first `<segment>.torn-N` that does not exist yet.
fn torn_file(dir: &Path, segment: &str) -> io::Result<(String, File)> {
    for number in 1..=u16::MAX {
        let name = format!("{segment}.torn-{number}");
        match OpenOptions::new().write(true).create_new(true).mode(0o640).open(dir.join(&name)) {
            Ok(file) => return Ok((name, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("there are too many torn files"))
}
