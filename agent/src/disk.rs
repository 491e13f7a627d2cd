//! How full the root file system is.

use crate::board::Space;
use nix::sys::statvfs::statvfs;
use std::path::Path;

/// Reads a file system's space as `df` does: of what its users may have, how much is taken. `None` for a file system
/// without blocks, and where it cannot be asked.
pub fn read(path: &Path) -> Option<Space> {
    let stat = statvfs(path).ok()?;
    let used = stat.blocks().checked_sub(stat.blocks_free())?.checked_mul(stat.fragment_size())?;
    let free = stat.blocks_available().checked_mul(stat.fragment_size())?;
    Some(Space { used_bytes: used, total_bytes: used.checked_add(free)? })
        .filter(|space| space.total_bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_a_share_and_a_pseudo_file_system_has_none() {
        let space = read(Path::new("/")).expect("the root has blocks");
        assert!(space.percent().is_some_and(|percent| percent > 0.0 && percent <= 100.0), "{space:?}");
        assert_eq!(read(Path::new("/proc")), None);
        assert_eq!(read(Path::new("/nonexistent")), None);
    }
}
