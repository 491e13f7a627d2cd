//! What a command needs from this machine: root, and programs. Asked before anything is done, all at once.

use std::path::{Path, PathBuf};

use kiln_image::Os;
use kiln_image::os::Manager;

use crate::failure::Failure;

/// Programs with the Debian package of each.
pub type Programs<'a> = &'a [(&'a str, &'a str)];

/// What applying an app layer runs.
pub const SANDBOX: Programs<'_> = &[
    ("bwrap", "bubblewrap"),
    ("timeout", "coreutils"),
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
];

/// What building a base root runs besides.
pub const BASE: Programs<'_> = &[("mmdebstrap", "mmdebstrap"), ("tar", "tar")];

/// Finds a program on the caller's `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// Fails unless every program is on the `PATH`; names all that are not.
///
/// # Errors
/// [`Failure::Missing`].
pub fn need(programs: &[Programs<'_>]) -> Result<(), Failure> {
    // On a machine that Kiln does not know, Debian's names are the best guess.
    let manager = Os::of_root(Path::new("/")).map_or(Manager::Apt, |os| os.manager);
    missing(programs, manager, |name| find(name).is_some()).map_or(Ok(()), Err)
}

fn missing(programs: &[Programs<'_>], manager: Manager, there: impl Fn(&str) -> bool) -> Option<Failure> {
    let gone: Vec<_> = programs.iter().copied().flatten().filter(|(name, _)| !there(name)).collect();
    let names: Vec<_> = gone.iter().map(|(name, _)| format!("'{name}'")).collect();
    let mut packages: Vec<_> = gone.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    let remedy = format!("install with '{}'", manager.advice(&packages));
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
        let there = |name: &str| !["bwrap", "mmdebstrap"].contains(&name);
        for (manager, advice) in [
            (Manager::Apt, "'apt-get install --no-install-recommends bubblewrap mmdebstrap'"),
            (Manager::Dnf, "'dnf install bubblewrap mmdebstrap'"),
        ] {
            let told = missing(&[SANDBOX, BASE], manager, there).expect("two are missing").to_string();
            assert_eq!(
                told,
                format!("missing on this machine: 'bwrap', 'mmdebstrap'; install with {advice}")
            );
        }
        assert!(missing(&[SANDBOX, BASE], Manager::Apt, |_| true).is_none());
    }
}
