//! A writable view of a base root: what is changed lands in a directory of its own, the base stays as it is.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use crate::error::{At, Error, Result};
use crate::host;

/// Gives the process a mount namespace of its own: whatever it mounts from here on is seen by no other
/// process and is gone when it dies, however it dies.
///
/// Call it first thing in `main`: only the calling thread moves, and threads that exist already stay behind.
pub fn private_mounts() -> Result<()> {
    host::need_root("leave the host's mount namespace")?;
    let root = Path::new("/");
    unshare(CloneFlags::CLONE_NEWNS).at("make a mount namespace for", root)?;
    let none = None::<&str>;
    match mount(none, root, none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none) {
        // The kernel's word for a root that is a folder of somebody else's file system.
        Err(Errno::EINVAL) => Err(Error::Invalid(
            "cannot keep mounts from the host: '/' is no mount point, as in a plain chroot; before entering it make it one \
             with 'mount --bind DIR DIR', or use a container or systemd-nspawn"
                .to_owned(),
        )),
        done => done.at("make private", root),
    }
}

/// A mounted overlay; unmounted on drop.
#[derive(Debug)]
pub struct Overlay {
    upper: PathBuf,
    merged: PathBuf,
    mounted: bool,
}

impl Overlay {
    /// Mounts `lower` with `upper` over it at `merged`. `upper`, `work` and `merged` are created if need be;
    /// the first two have to be on one file system, and `work` belongs to the kernel.
    ///
    /// Every feature that would leave a base file's data behind in `upper` by reference is off: `upper`
    /// alone, with the base, is the layer.
    pub fn mount(lower: &Path, upper: &Path, work: &Path, merged: &Path) -> Result<Self> {
        host::need_root("mount an overlay")?;
        for dir in [upper, work, merged] {
            fs::create_dir_all(dir).at("create", dir)?;
        }
        // The root of the view has upper's mode, and that would be the caller's umask.
        let mode = fs::metadata(lower).at("look at", lower)?.permissions();
        fs::set_permissions(upper, mode).at("set the mode of", upper)?;
        let mut options = Vec::new();
        for (name, path) in [("lowerdir", lower), ("upperdir", upper), ("workdir", work)] {
            let path = path.canonicalize().at("find", path)?;
            let text = path.to_str().filter(|text| !text.contains([',', ':', '\\'])).ok_or_else(|| {
                Error::Invalid(format!(
                    "cannot mount '{}': overlay paths hold no comma, colon or backslash; use another directory",
                    path.display()
                ))
            })?;
            options.push(format!("{name}={text}"));
        }
        options.push("index=off,redirect_dir=off,metacopy=off,xino=off".to_owned());
        let options = options.join(",");
        mount(Some("overlay"), merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .at("mount an overlay on", merged)?;
        Ok(Self { upper: upper.to_owned(), merged: merged.to_owned(), mounted: true })
    }

    /// The view to write into.
    pub fn merged(&self) -> &Path {
        &self.merged
    }

    /// Where the changes are.
    pub fn upper(&self) -> &Path {
        &self.upper
    }

    /// Unmounts, and says so if it cannot: a file still open in there may be incomplete.
    pub fn unmount(mut self) -> Result<()> {
        self.mounted = false;
        umount2(&self.merged, MntFlags::empty()).at("unmount", &self.merged)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if self.mounted {
            // On a way out with an error already: detaching cannot fail for a straggler's open file.
            let _ = umount2(&self.merged, MntFlags::MNT_DETACH);
        }
    }
}
