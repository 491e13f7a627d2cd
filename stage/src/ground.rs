//! The ground that a stage stands on: a network and a mount namespace of this process alone.
//!
//! Nothing is named and nothing persists: when the process and what it started are gone, so are the namespaces.

use std::fs;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;

/// Why there is no ground to stand on.
#[derive(Debug, thiserror::Error)]
pub enum GroundError {
    /// Namespaces, bridges and containers take root.
    #[error("failed to make namespaces: not root, run it again as root")]
    NotRoot,
    /// Threads that were there before would stay outside.
    #[error("failed to make namespaces: {0} threads are running, enter before any runtime is built")]
    Threads(usize),
    /// This process was to be started in a network of its own, and was not.
    #[error(
        "failed to find a network of this process alone: it has {0}, start it with 'unshare --net --mount'"
    )]
    NotAlone(String),
    /// The kernel or the container that this runs in refused.
    #[error("failed to {what}: {why}, which containers need CAP_SYS_ADMIN and CAP_NET_ADMIN for")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        why: nix::Error,
    },
}

/// Proof that this process is in namespaces of its own, by [`enter`] or by [`entered`].
#[derive(Debug)]
pub struct Ground {
    _entered: (),
}

/// Takes this process into a fresh network namespace with nothing but `lo`, and into a private mount namespace.
///
/// There is no way out of that network afterwards: do all that needs one before. Call it first thing in `main`.
///
/// # Errors
/// When the process is not root, has other threads already, or the kernel refuses.
pub fn enter() -> Result<Ground, GroundError> {
    if !Uid::effective().is_root() {
        return Err(GroundError::NotRoot);
    }
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(GroundError::Threads(threads));
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|why| GroundError::Refused { what: "unshare the network and the mounts", why })?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .map_err(|why| GroundError::Refused { what: "make mounts private", why })?;
    Ok(Ground { _entered: () })
}

/// The same for a process that was started in namespaces of its own, by `unshare --net --mount`: it may have threads.
///
/// # Errors
/// When the network has anything but `lo` in it: this one is the machine's.
pub fn entered() -> Result<Ground, GroundError> {
    if !Uid::effective().is_root() {
        return Err(GroundError::NotRoot);
    }
    let devices = fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    let mut names = devices.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim()));
    match names.find(|name| *name != "lo") {
        None if !devices.is_empty() => Ok(Ground { _entered: () }),
        found => Err(GroundError::NotAlone(found.unwrap_or("no list of devices").to_owned())),
    }
}
