//! What can go wrong between a package mirror and a disk, told apart where a caller acts differently.

use std::io;
use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Sizes are told in it: a person compares them with what `df -m` prints.
const MIB: u64 = 1 << 20;

/// A failure of the image pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program of the host is not installed (`EX_UNAVAILABLE`).
    #[error("cannot run '{program}': it is not installed; 'apt-get install {package}' brings it")]
    MissingTool {
        /// The program, as in `PATH`.
        program: String,
        /// The Debian package that holds it.
        package: &'static str,
    },
    /// Owners, device nodes and mounts of a root need root.
    #[error("cannot {doing} as uid {uid}: it needs root")]
    NotRoot {
        /// What was to be done.
        doing: &'static str,
        /// The effective user id.
        uid: u32,
    },
    /// The disk step or an unpack would not fit; nothing was written.
    #[error(
        "not enough space for {what} in '{}': it needs {} MiB and {} MiB are free; free {} MiB there",
        path.display(), needed.div_ceil(MIB), available / MIB, (needed - available).div_ceil(MIB)
    )]
    NoSpace {
        /// What was to be written.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes that an unprivileged or privileged writer may still allocate there.
        available: u64,
    },
    /// Another process holds the lock and kept it longer than the caller would wait (`EX_TEMPFAIL`).
    #[error("gave up waiting for '{}', held by {holder}, after {waited} s", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The holder's own words: program and process id.
        holder: String,
        /// Seconds waited.
        waited: u64,
    },
    /// The package mirror could not be reached, or does not have what was asked (`EX_UNAVAILABLE`).
    #[error(
        "failed to fetch packages from {mirror}: {detail}; try again when it answers, or name other mirrors by \
         KILN_DEBIAN_MIRROR and KILN_SECURITY_MIRROR"
    )]
    Mirror {
        /// The mirror's address.
        mirror: String,
        /// What apt said.
        detail: String,
    },
    /// A mirror has a package of that name and version with other bytes than were locked.
    #[error("package '{name}' {version} is locked with SHA-256 {locked}, and {mirror} has {found}")]
    Changed {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// SHA-256 in hex.
        locked: String,
        /// SHA-256 in hex.
        found: String,
        /// The mirror's address.
        mirror: String,
    },
    /// Nobody has a locked package any more: mirrors keep one version (`EX_UNAVAILABLE`).
    #[error("failed to fetch package '{name}' {version}: {mirror} does not give it ({detail})")]
    Gone {
        /// The package.
        name: String,
        /// Its version.
        version: String,
        /// The mirror's address.
        mirror: String,
        /// What apt said.
        detail: String,
    },
    /// A program ran and failed.
    #[error("'{program}' failed ({status}): {tail}")]
    Tool {
        /// The program.
        program: String,
        /// Its exit status, in words.
        status: String,
        /// The last lines that it printed.
        tail: String,
    },
    /// An input is not what it has to be, e.g. a size that is no whole number of GiB.
    #[error("{0}")]
    Invalid(String),
    /// The operating system refused.
    #[error("failed to {doing} '{}'", path.display())]
    Io {
        /// Verb phrase.
        doing: &'static str,
        /// The file concerned.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Adds verb and path to an I/O error.
pub(crate) trait At<T> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, doing: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Io { doing, path: path.to_owned(), source: source.into() })
    }
}
