//! Packages of a root that another made: those that the app layer needs and those that the manifest names. A base of
//! Kiln's own has them.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use kiln_image::os::Manager;
use kiln_image::{Os, Progress as _};

use crate::bench::Bench;
use crate::manifest::Manifest;
use crate::report::Step;
use crate::sandbox::{CommandFailed, Sandbox};

/// Refuses every start of a daemon while packages are installed (Debian's own interface for it). Packages of Amazon Linux
/// start none.
const POLICY: &str = "#!/bin/sh\nexit 101\n";

/// Installs what is missing; returns what that was.
///
/// # Errors
/// The package manager fails: no network, no such package.
pub fn ensure(
    bench: &Bench,
    root: &Path,
    os: &Os,
    manifest: &Manifest,
    progress: &Step<'_>,
) -> anyhow::Result<Vec<String>> {
    let mut missing = Os::missing(root, os.runtime);
    missing.extend(absent(bench, root, os.manager, &manifest.image.packages)?);
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    progress.message(&format!("installing {}", missing.join(", ")));
    let sandbox = Sandbox::root(root).network(root);
    let run = || {
        let commands = os.manager.install(&missing);
        commands.iter().try_for_each(|command| sandbox.run(bench, command).map(drop))
    };
    let result = match os.manager {
        Manager::Apt => without_daemons(root, run)?,
        Manager::Dnf => run(),
    };
    result.with_context(|| format!("failed to install {}", missing.join(", ")))?;
    Ok(missing.into_iter().map(str::to_owned).collect())
}

/// Those of `names` that the root's package manager does not call installed.
fn absent<'a>(
    bench: &Bench,
    root: &Path,
    manager: Manager,
    names: &'a [String],
) -> anyhow::Result<Vec<&'a str>> {
    let names = names.iter().map(String::as_str);
    match manager {
        Manager::Apt => {
            let status = root.join("var/lib/dpkg/status");
            let text = fs::read_to_string(&status);
            let text = text.with_context(|| format!("failed to read {}", status.display()))?;
            let installed = by_dpkg(&text);
            Ok(names.filter(|name| !installed.contains(name)).collect())
        }
        Manager::Dnf => {
            let mut absent = Vec::new();
            for name in names {
                match Sandbox::root_read_only(root).run(bench, &["rpm", "--quiet", "-q", name]) {
                    Err(error) if error.is::<CommandFailed>() => absent.push(name),
                    other => drop(other?),
                }
            }
            Ok(absent)
        }
    }
}

fn without_daemons<T>(root: &Path, run: impl FnOnce() -> T) -> anyhow::Result<T> {
    let policy = root.join("usr/sbin/policy-rc.d");
    let before = fs::read(&policy).ok();
    write_executable(&policy, POLICY.as_bytes())?;
    let result = run();
    match before {
        Some(before) => write_executable(&policy, &before)?,
        None => fs::remove_file(&policy).context("failed to remove policy-rc.d")?,
    }
    Ok(result)
}

fn write_executable(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let put = || {
        fs::write(path, content).and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)))
    };
    put().with_context(|| format!("failed to write {}", path.display()))
}

/// The packages that a dpkg status file calls installed.
fn by_dpkg(status: &str) -> Vec<&str> {
    let installed = |paragraph: &&str| paragraph.lines().any(|line| line == "Status: install ok installed");
    status
        .split("\n\n")
        .filter(installed)
        .filter_map(|paragraph| paragraph.lines().find_map(|line| line.strip_prefix("Package: ")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::by_dpkg;

    #[test]
    fn a_removed_package_is_not_installed() {
        let status =
            "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok config-files\n";
        assert_eq!(by_dpkg(status), ["a"]);
    }
}
