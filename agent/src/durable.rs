//! Files that are whole or absent, whenever the machine stops: written beside, synced, renamed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes `bytes` to `path` with `mode`; a reader sees the file before or after, never in between.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_owned(path, bytes, mode, None)
}

/// [`write()`] for a file of another user: `owner` is a uid and a gid.
pub fn write_owned(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder =
        path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path has no folder"))?;
    make(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = folder.join(name);
    // A leftover of a killed writer may have another mode.
    remove(&beside)?;
    // Nobody reads it before it is whose it is to be.
    let first = if owner.is_some() { mode & 0o700 } else { mode };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(first).open(&beside)?;
    file.write_all(bytes)?;
    if let Some((user, group)) = owner {
        std::os::unix::fs::fchown(&file, Some(user), Some(group))?;
    }
    // The mode given to open is cut by the umask, and that of a program by a change of its owner.
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(mode))?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it. Each is an entry of the one above, which is synced too: a file in a folder that the
/// machine forgets is forgotten.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(above) = folder.parent() else { return Ok(()) };
    make(above)?;
    match fs::create_dir(folder) {
        // Made by somebody else meanwhile.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists || !folder.is_dir() => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}
