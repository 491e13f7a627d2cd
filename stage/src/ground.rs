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
    /// The kernel or the container that this runs in refused.
    #[error("failed to {what}: {why}, which containers need CAP_SYS_ADMIN and CAP_NET_ADMIN for")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        why: nix::Error,
    },
}

/// Proof that this process has been taken into namespaces of its own by [`enter`].
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
