//! Whether something will fit, asked before it is begun.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::error::{At, Error, Result};

/// Bytes that may still be written on the file system that holds `path` (an existing directory or file).
pub fn available(path: &Path) -> Result<u64> {
    let stat = statvfs(path).at("ask for the free space of", path)?;
    Ok(stat.blocks_available() * stat.fragment_size())
}

/// Refuses with [`Error::NoSpace`] when fewer than `needed` bytes are free where `path` is.
pub fn require(path: &Path, what: &'static str, needed: u64) -> Result<()> {
    let available = available(path)?;
    if available < needed {
        return Err(Error::NoSpace { what, path: path.to_owned(), needed, available });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_refused_with_the_size() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        assert!(require(dir.path(), "disk.raw", 1).is_ok());
        let error = require(dir.path(), "disk.raw", u64::MAX).expect_err("nothing is that large");
        assert!(error.to_string().contains("it needs 17592186044416 MiB"), "{error}");
        assert!(matches!(error, Error::NoSpace { available, .. } if available > 0));
    }
}
