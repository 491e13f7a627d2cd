//! Removes what provisioning leaves and no image may carry. `residue.rs` then checks the result: this is the attempt.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// Folders whose content goes and which stay themselves.
const EMPTIED: [&str; 10] = [
    "var/lib/apt/lists",
    "var/cache/apt",
    "var/cache/ldconfig",
    "var/lib/cloud",
    "var/lib/dhcp",
    "var/log/journal",
    "tmp",
    "var/tmp",
    "run",
    "root/.cache",
];

/// Files and folders that go.
const REMOVED: [&str; 18] = [
    "etc/hostname",
    "etc/.pwd.lock",
    "etc/passwd-",
    "etc/group-",
    "etc/shadow-",
    "etc/gshadow-",
    "etc/subuid-",
    "etc/subgid-",
    "root/.cache",
    "root/.npm",
    "root/.ssh",
    "root/.bash_history",
    "root/.python_history",
    "var/lib/amazon/ssm",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/credential.secret",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/timers",
];

/// Cleans a root that is no live system.
///
/// # Errors
/// Something cannot be removed.
pub fn root(root: &Path) -> anyhow::Result<()> {
    for path in EMPTIED {
        for entry in children(&root.join(path))? {
            remove(&entry)?;
        }
    }
    for path in REMOVED {
        remove(&root.join(path))?;
    }
    for folder in ["var/lib/dpkg", "var/cache/debconf"] {
        for path in children(&root.join(folder))? {
            if path.to_string_lossy().ends_with("-old") {
                remove(&path)?;
            }
        }
    }
    for path in children(&root.join("etc/ssh"))? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ssh_host_")) {
            remove(&path)?;
        }
    }
    for entry in walkdir::WalkDir::new(root.join("var/log")).into_iter().flatten() {
        if !entry.file_type().is_dir() {
            remove(entry.path())?;
        }
    }
    let id = root.join("etc/machine-id");
    if fs::metadata(&id).is_ok_and(|id| id.len() > 0) {
        // Empty, not absent: an absent one makes systemd preset every unit again.
        fs::write(&id, "").context("failed to empty /etc/machine-id")?;
    }
    Ok(())
}

fn children(dir: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("failed to list {}", dir.display())),
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    result.with_context(|| format!("failed to remove {}", path.display()))
}
