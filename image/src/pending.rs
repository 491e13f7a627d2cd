//! A file that gets its name when it is complete.

use std::fs::{self, File, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{At, Result};

/// `.NAME.partial` beside the file to be. Removed on drop; what a killed process left is overwritten by the
/// next, so leftovers never pile up.
#[derive(Debug)]
pub(crate) struct Pending {
    file: File,
    path: PathBuf,
    out: PathBuf,
    done: bool,
}

impl Pending {
    pub(crate) fn create(out: &Path) -> Result<Self> {
        let mut name = std::ffi::OsString::from(".");
        name.push(out.file_name().unwrap_or_default());
        name.push(".partial");
        let path = out.with_file_name(name);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        Ok(Self { file: file.at("create", &path)?, path, out: out.to_owned(), done: false })
    }

    /// Another handle to the file.
    pub(crate) fn file(&self) -> Result<File> {
        self.file.try_clone().at("open", &self.path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, readable by all: later steps need no root.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.file.set_permissions(Permissions::from_mode(0o644)).at("set the mode of", &self.path)?;
        fs::rename(&self.path, &self.out).at("rename to", &self.out)?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.path);
        }
    }
}
