//! What user data asks of the file system: files, the machine's name, keys that may log in.

use super::accounts::{Account, Accounts};
use crate::durable;
use kiln_userdata::{File, Owner};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Writes `files` in their order, under `root`. One that was begun before is appended to only if its content does not
/// stand at the end already. The error names the file.
pub(super) fn write(root: &Path, accounts: &Accounts, files: &[File], again: bool) -> Result<(), String> {
    files.iter().try_for_each(|file| {
        let path = below(root, &file.path);
        let written = if file.append {
            append(&path, accounts, file, again)
        } else {
            owner(accounts, file.owner.as_ref()).and_then(|owner| {
                durable::write_owned(&path, &file.content, file.mode.unwrap_or(File::MODE), owner)
            })
        };
        written.map_err(|error| format!("failed to write '{}': {error}", file.path))
    })
}

/// Appends by a whole new file, so that half of the content is never there.
fn append(path: &Path, accounts: &Accounts, file: &File, again: bool) -> io::Result<()> {
    // A link is followed: what is appended to is the file behind it.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (mut bytes, there) = match fs::read(&path) {
        Ok(bytes) => (bytes, Some(fs::metadata(&path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (Vec::new(), None),
        Err(error) => return Err(error),
    };
    if !(again && bytes.ends_with(&file.content)) {
        bytes.extend_from_slice(&file.content);
    }
    let mode = there.as_ref().map_or(File::MODE, |there| there.mode() & 0o7777);
    let kept = there.map(|there| (there.uid(), there.gid()));
    let owner = owner(accounts, file.owner.as_ref())?.or(kept);
    durable::write_owned(&path, &bytes, file.mode.unwrap_or(mode), owner)
}

fn owner(accounts: &Accounts, owner: Option<&Owner>) -> io::Result<Option<(u32, u32)>> {
    let Some(owner) = owner else { return Ok(None) };
    let account = accounts.find(owner).map_err(|reason| io::Error::new(io::ErrorKind::NotFound, reason))?;
    Ok(Some((account.uid, account.gid)))
}

/// Names the machine, now and for its next boots.
pub(super) fn hostname(root: &Path, name: &str) -> Result<(), String> {
    let failed = |path: &Path, error| format!("failed to write '{}': {error}", path.display());
    let path = root.join("etc/hostname");
    durable::write(&path, format!("{name}\n").as_bytes(), 0o644).map_err(|error| failed(&path, error))?;
    if root == Path::new("/") {
        // Not by /proc/sys, which containers have read-only.
        nix::unistd::sethostname(name).map_err(|error| format!("failed to set the host name: {error}"))?;
    }
    Ok(())
}

/// Adds `keys` to those that may log in as `account`, each once.
pub(super) fn keys(root: &Path, account: &Account, keys: &[String]) -> Result<(), String> {
    let folder = below(root, &account.home.to_string_lossy()).join(".ssh");
    let path = folder.join("authorized_keys");
    let written = || -> io::Result<()> {
        let mut text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        for key in keys.iter().map(String::as_str) {
            if !text.lines().any(|line| line == key) {
                let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
                text = text + gap + key + "\n";
            }
        }
        // sshd reads neither a file nor a folder that others may write to.
        fs::create_dir_all(&folder)?;
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700))?;
        std::os::unix::fs::chown(&folder, Some(account.uid), Some(account.gid))?;
        durable::write_owned(&path, text.as_bytes(), 0o600, Some((account.uid, account.gid)))
    };
    written().map_err(|error| format!("failed to write '{}': {error}", path.display()))
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}
