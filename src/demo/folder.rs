//! The demo's files: one folder with a random name, for this user alone, gone at the end. It never touches another.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Error;

/// A folder that is removed with all that is in it, at the latest when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    removed: bool,
}

impl Folder {
    /// Makes one below the system's folder for temporary files.
    pub(super) fn new() -> Result<Self, Error> {
        Self::below(&std::env::temp_dir())
    }

    fn below(parent: &Path) -> Result<Self, Error> {
        // Short, for a person types it: two demos at once will not meet, and `create` would notice.
        let name = format!("ccgate-demo-{:08x}", uuid::Uuid::new_v4().as_fields().0);
        let path = parent.join(name);
        // Passwords and tokens of the demo lie in it.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| Error::Folder { parent: parent.to_owned(), source })?;
        Ok(Self { path, removed: false })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it, and says so where that fails.
    pub(super) fn remove(mut self) -> Result<(), Error> {
        self.removed = true;
        fs::remove_dir_all(&self.path).map_err(|source| Error::Remove { path: self.path.clone(), source })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.removed {
            // On the way out of another error, which is the one to tell.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn it_is_ours_alone_and_goes_with_all_that_is_in_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let folders = [Folder::below(parent.path()).expect("made"), Folder::below(parent.path()).expect("made")];
        for folder in folders {
            assert_eq!(fs::metadata(folder.path()).expect("there").permissions().mode() & 0o777, 0o700);
            fs::create_dir_all(folder.path().join("a/b")).expect("made");
            fs::write(folder.path().join("a/b/c"), "x").expect("written");
            let path = folder.path().to_owned();
            drop(folder);
            assert!(!path.exists());
        }
        let folder = Folder::below(parent.path()).expect("made");
        folder.remove().expect("removed");
        assert_eq!(fs::read_dir(parent.path()).expect("read").count(), 0);
    }

    #[test]
    fn without_a_place_it_says_where_it_was_tried() {
        let error = Folder::below(Path::new("/nonexistent/tmp")).expect_err("no such folder");
        assert!(error.to_string().contains("/nonexistent/tmp"), "{error}");
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::below(parent.path()).expect("made");
        fs::remove_dir(folder.path()).expect("removed behind its back");
        assert!(matches!(folder.remove(), Err(Error::Remove { .. })));
    }
}
