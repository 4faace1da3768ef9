//! A file system of a test's own, to fill up or to be read-only. It needs the right to mount.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory on a folder, until it is dropped.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts one with these options; `None`, and a line that says so, where this process may not.
    pub fn tmpfs(folder: &Path, options: &str) -> Option<Self> {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "ccgate-test"]).arg(folder).output();
        match mount {
            Ok(done) if done.status.success() => Some(Self(folder.to_owned())),
            other => {
                println!("left out: nothing can be mounted here: {other:?}");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a file of it may still be open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
