//! Debian packages of a root: those that the app layer needs and those that the manifest names.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::manifest::Manifest;
use crate::sandbox::Sandbox;

/// What the app layer itself needs at run time.
const RUNTIME: [&str; 3] = ["libnginx-mod-http-brotli-static", "nginx-light", "python3"];

/// Another apt on a live builder host may be at work for some minutes.
const LOCK_TIMEOUT: &str = "DPkg::Lock::Timeout=300";

/// Refuses every start of a daemon while packages are installed (Debian's own interface for it).
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// All packages that a root must have, sorted.
pub fn wanted(manifest: &Manifest) -> Vec<String> {
    let runtime = RUNTIME.iter().map(|name| (*name).to_owned());
    let mut names: Vec<String> = runtime.chain(manifest.image.packages.iter().cloned()).collect();
    names.sort();
    names.dedup();
    names
}

/// Installs what is missing; returns how many that were.
///
/// # Errors
/// apt fails: no network, no such package.
pub fn ensure(bench: &Bench, root: &Path, manifest: &Manifest) -> anyhow::Result<usize> {
    let status = root.join("var/lib/dpkg/status");
    let status =
        fs::read_to_string(&status).with_context(|| format!("{} is not a Debian root", root.display()))?;
    let installed = installed(&status);
    let missing: Vec<String> =
        wanted(manifest).into_iter().filter(|name| !installed.contains(&name.as_str())).collect();
    if missing.is_empty() {
        return Ok(0);
    }
    let policy = root.join("usr/sbin/policy-rc.d");
    let before = fs::read(&policy).ok();
    write_executable(&policy, POLICY.as_bytes())?;
    let sandbox = Sandbox::root(root).network(root);
    let result = sandbox.run(bench, &["apt-get", "-q", "update"]).and_then(|_| {
        let install = ["apt-get", "-q", "-y", "--no-install-recommends", "-o", LOCK_TIMEOUT, "install"];
        let mut command: Vec<&str> = install.to_vec();
        command.extend(missing.iter().map(String::as_str));
        sandbox.run(bench, &command)
    });
    match before {
        Some(before) => write_executable(&policy, &before)?,
        None => fs::remove_file(&policy).context("failed to remove policy-rc.d")?,
    }
    result.with_context(|| format!("failed to install {}", missing.join(", ")))?;
    Ok(missing.len())
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
