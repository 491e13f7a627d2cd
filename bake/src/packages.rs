//! Debian packages of a root that another made: those that the app layer needs and those that the manifest names. A
//! base of Kiln's own has them.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kiln_image::Progress as _;
use kiln_image::base::RUNTIME;

use crate::bench::Bench;
use crate::manifest::Manifest;
use crate::report::Step;
use crate::sandbox::Sandbox;

/// Another apt on a live builder host may be at work for some minutes.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// Refuses every start of a daemon while packages are installed (Debian's own interface for it).
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// Installs what is missing; returns what that was.
///
/// # Errors
/// apt fails: no network, no such package.
pub fn ensure(
    bench: &Bench,
    root: &Path,
    manifest: &Manifest,
    progress: &Step<'_>,
) -> anyhow::Result<Vec<String>> {
    let status = root.join("var/lib/dpkg/status");
    let status =
        fs::read_to_string(&status).with_context(|| format!("'{}' is no Debian root", root.display()))?;
    let installed = installed(&status);
    let wanted = RUNTIME.into_iter().chain(manifest.image.packages.iter().map(String::as_str));
    let missing: Vec<&str> = wanted.filter(|name| !installed.contains(name)).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    progress.message(&format!("installing {}", missing.join(", ")));
    let policy = root.join("usr/sbin/policy-rc.d");
    let before = fs::read(&policy).ok();
    write_executable(&policy, POLICY.as_bytes())?;
    let sandbox = Sandbox::root(root).network(root);
    let result = sandbox.run(bench, &["apt-get", "-q", "update"]).and_then(|_| {
        let install = ["apt-get", "-q", "-y", "--no-install-recommends", "-o", LOCK_TIMEOUT, "install"];
        sandbox.run(bench, &[&install[..], &missing].concat())
    });
    match before {
        Some(before) => write_executable(&policy, &before)?,
        None => fs::remove_file(&policy).context("failed to remove policy-rc.d")?,
    }
    result.with_context(|| format!("failed to install {}", missing.join(", ")))?;
    Ok(missing.into_iter().map(str::to_owned).collect())
}

fn write_executable(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let put = || {
        fs::write(path, content).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
    };
    put().with_context(|| format!("failed to write {}", path.display()))
}

/// The packages that a dpkg status file calls installed.
fn installed(status: &str) -> Vec<&str> {
    let installed = |paragraph: &&str| paragraph.lines().any(|line| line == "Status: install ok installed");
    status
        .split("\n\n")
        .filter(installed)
        .filter_map(|paragraph| paragraph.lines().find_map(|line| line.strip_prefix("Package: ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::installed;

    #[test]
    fn a_removed_package_is_not_installed() {
        let status =
            "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n";
        assert_eq!(installed(status), ["a"]);
    }
}
