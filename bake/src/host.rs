//! What a command needs from this machine: root, and programs. Asked before anything is done, all at once.

use std::path::PathBuf;

use crate::failure::Failure;

/// Programs with the Debian package of each.
pub type Programs<'a> = &'a [(&'a str, &'a str)];

/// What applying an app layer runs.
pub const SANDBOX: Programs<'_> = &[("bwrap", "bubblewrap"), ("timeout", "coreutils")];

/// What building a base root runs besides.
pub const BASE: Programs<'_> = &[("mmdebstrap", "mmdebstrap"), ("unshare", "util-linux"), ("tar", "tar")];

/// What writing a disk runs besides.
pub const DISK: Programs<'_> = &[("setpriv", "util-linux")];

/// Finds a program on the caller's `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Fails unless every program is on the `PATH`; names all that are not.
///
/// # Errors
/// [`Failure::Missing`].
pub fn need(programs: &[Programs<'_>]) -> Result<(), Failure> {
    missing(programs, |name| find(name).is_some()).map_or(Ok(()), Err)
}

fn missing(programs: &[Programs<'_>], there: impl Fn(&str) -> bool) -> Option<Failure> {
    let gone: Vec<_> = programs.iter().copied().flatten().filter(|(name, _)| !there(name)).collect();
    let names: Vec<_> = gone.iter().map(|(name, _)| format!("'{name}'")).collect();
    let mut packages: Vec<_> = gone.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let remedy = format!("install with 'apt-get install {}'", packages.join(" "));
    (!gone.is_empty()).then(|| Failure::Missing { what: names.join(", "), remedy })
}

/// Fails unless this process is root; `doing` is what needs it.
///
/// # Errors
/// [`Failure::NotRoot`].
pub fn need_root(doing: &'static str) -> Result<(), Failure> {
    if nix::unistd::Uid::effective().is_root() { Ok(()) } else { Err(Failure::NotRoot(doing)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_program_is_named_at_once_with_what_installs_it() {
        let told = missing(&[SANDBOX, BASE], |name| !["bwrap", "mmdebstrap"].contains(&name));
        assert_eq!(
            told.expect("two are missing").to_string(),
            "missing on this machine: 'bwrap', 'mmdebstrap'; install with 'apt-get install bubblewrap mmdebstrap'"
        );
        assert!(missing(&[SANDBOX, BASE], |_| true).is_none());
    }
}
