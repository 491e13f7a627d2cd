//! The tools of Debian that a stage is made of, and which package has each.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

/// Every program that a play starts, with its Debian package.
pub const TOOLS: [(&str, &str); 6] = [
    ("systemd-nspawn", "systemd-container"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// Tools that are not installed. Callers exit 69 with its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("missing {}: apt-get install {}", self.tools().join(", "), self.packages().join(" "))]
pub struct Missing {
    /// Each missing program and the Debian package that has it.
    pub missing: Vec<(&'static str, &'static str)>,
}

impl Missing {
    fn tools(&self) -> Vec<&'static str> {
        self.missing.iter().map(|(tool, _)| *tool).collect()
    }

    /// The packages to install, each once.
    pub fn packages(&self) -> Vec<&'static str> {
        let mut packages: Vec<_> = self.missing.iter().map(|(_, package)| *package).collect();
        packages.sort_unstable();
        packages.dedup();
        packages
    }
}

/// Where the tools are looked for, to check and to start them: Debian keeps haproxy and ip in sbin, which is not on
/// every `PATH`.
pub(crate) fn path() -> OsString {
    let own = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    // A directory with a colon in its name cannot have come out of PATH.
    env::join_paths(env::split_paths(&own).chain(system)).unwrap_or(own)
}

/// Finds out whether every tool is installed.
///
/// # Errors
/// [`Missing`] with all that are not, so that one installation mends it.
pub fn check() -> Result<(), Missing> {
    let path = path();
    let dirs: Vec<PathBuf> = env::split_paths(&path).collect();
    let missing: Vec<_> =
        TOOLS.into_iter().filter(|(tool, _)| !dirs.iter().any(|dir| dir.join(tool).is_file())).collect();
    if missing.is_empty() { Ok(()) } else { Err(Missing { missing }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_tools_and_each_package_once() {
        let missing = Missing {
            missing: vec![("nsenter", "util-linux"), ("haproxy", "haproxy"), ("unshare", "util-linux")],
        };
        assert_eq!(
            missing.to_string(),
            "missing nsenter, haproxy, unshare: apt-get install haproxy util-linux"
        );
    }
}
