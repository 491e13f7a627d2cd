//! Why a command of Kiln ends without success, and the exit code that says so.
//!
//! A step returns `anyhow::Error`; where the caller of `kiln` must tell kinds apart, one of these is in the chain.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::manifest::Complaints;

/// The kinds of failure that a pipeline can act on. Everything else is a plain failure, code 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line makes no sense; code 2, as clap's own.
    #[error("{0}")]
    Usage(String),
    /// A tool or file of the host is missing; code 69 (`EX_UNAVAILABLE`).
    #[error("missing on this machine: {what}; {remedy}")]
    Missing {
        /// The tool, with its needed version if that is the trouble.
        what: String,
        /// The command that gets it.
        remedy: String,
    },
    /// A registry of packages did not answer; code 69, too.
    #[error(
        "{0} does not answer: run it again when it does (what was fetched is kept), or name another registry by \
         npm_config_registry or UV_INDEX_URL, a proxy by https_proxy"
    )]
    Unreachable(String),
    /// The command is root's; code 69, too.
    #[error("{0} needs root: run it again with sudo")]
    NotRoot(&'static str),
    /// The same command may well succeed later; code 75 (`EX_TEMPFAIL`).
    #[error("{0}")]
    TryAgain(String),
    /// The manifest or what it names is invalid; code 78 (`EX_CONFIG`).
    #[error(transparent)]
    Manifest(#[from] Complaints),
    /// `kiln.lock` cannot be read or does not fit the app; code 78, too.
    #[error("{0}")]
    Lock(String),
    /// SIGINT or SIGTERM came and everything was cleaned up; code 130.
    #[error("interrupted; nothing is left behind")]
    Interrupted,
}

impl Failure {
    /// The exit code of this kind.
    pub fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Missing { .. } | Self::Unreachable(_) | Self::NotRoot(_) => 69,
            Self::TryAgain(_) => 75,
            Self::Manifest(_) | Self::Lock(_) => 78,
            Self::Interrupted => 130,
        }
    }
}

/// The one place that turns an error into an exit code.
pub fn code(error: &anyhow::Error) -> u8 {
    // A kind may be the cause, or stand over one: only anyhow itself finds the latter.
    let cause = || error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    let own = error.downcast_ref::<Failure>().or_else(cause).map(Failure::code);
    let image = || error.chain().find_map(|cause| cause.downcast_ref::<kiln_image::Error>()).map(image_code);
    let stage = || error.chain().find_map(|cause| cause.downcast_ref::<kiln_stage::Error>()).map(stage_code);
    own.or_else(image).or_else(stage).unwrap_or(1)
}

fn image_code(error: &kiln_image::Error) -> u8 {
    use kiln_image::Error;
    match error {
        Error::MissingTool { .. } | Error::NotRoot { .. } => 69,
        Error::Mirror { .. } | Error::Gone { .. } => 69,
        Error::Changed { .. } => 78,
        Error::Locked { .. } => 75,
        _ => 1,
    }
}

fn stage_code(error: &kiln_stage::Error) -> u8 {
    match error {
        kiln_stage::Error::Missing(_) | kiln_stage::Error::Ground(_) => 69,
        kiln_stage::Error::Stage(_) => 1,
    }
}

/// Says what a full disk means here; every other error stays as it is.
///
/// A path in the message is worth more than the bare `ENOSPC` of whichever write came last; `written` is where a command writes,
/// on one file system or several.
pub fn explain(error: anyhow::Error, written: &[&Path]) -> anyhow::Error {
    let full = error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| {
            matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        }) || cause.to_string().to_lowercase().contains("no space left on device")
    });
    if !full {
        return error;
    }
    let mut disks: Vec<(u64, String)> = Vec::new();
    for path in written {
        // One that cannot be looked at is no disk of its own.
        let device = path.metadata().map_or(0, |meta| meta.dev());
        if !disks.iter().any(|(seen, _)| *seen == device) {
            let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
            disks.push((device, whole.display().to_string()));
        }
    }
    let disks: Vec<_> = disks.into_iter().map(|(_, shown)| shown).collect();
    error.context(format!(
        "the disk under {} is full; nothing of this bake was kept: free some space, or name another cache with KILN_CACHE",
        disks.join(" or ")
    ))
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_kind_deep_in_the_chain_decides_the_exit_code() {
        let table: [(anyhow::Error, u8); 7] = [
            (anyhow!("npm exited with 3"), 1),
            (Failure::Usage("no image".into()).into(), 2),
            (Failure::NotRoot("a bake").into(), 69),
            (Failure::Unreachable("https://pypi.org".into()).into(), 69),
            (Failure::TryAgain("lock held".into()).into(), 75),
            (Failure::Manifest(Complaints::default()).into(), 78),
            (Failure::Interrupted.into(), 130),
        ];
        for (error, expected) in table {
            let error = Err::<(), _>(error).context("failed to bake").expect_err("it is an error");
            assert_eq!(code(&error), expected, "{error:#}");
        }
        let over = anyhow!("npm ci failed").context(Failure::Unreachable("https://pypi.org".into()));
        assert_eq!(code(&over.context("failed to build")), 69);
    }

    #[test]
    fn a_full_disk_is_named_as_such() {
        for said in
            ["mke2fs: No space left on device while writing", "npm error ENOSPC: no space left on device"]
        {
            let error = anyhow!(said).context("failed to build the disk");
            let told = format!("{:#}", explain(error, &[Path::new("/dev/."), Path::new("/dev")]));
            assert!(told.starts_with("the disk under /dev is full"), "{told}");
        }
        // Two file systems wherever there is a kernel.
        let told = explain(anyhow!("No space left on device"), &[Path::new("/sys"), Path::new("/proc")]);
        assert!(told.to_string().starts_with("the disk under /sys or /proc is full"), "{told}");
    }
}
