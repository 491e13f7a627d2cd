//! What the app's own lock files name: the backend's `requirements.txt`, the frontend's `package-lock.json`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::{Npm, Wheel};
use crate::manifest::Manifest;
use crate::sbom::{self, Package};

/// One package of a tree, and what becomes of it.
struct Found {
    package: Npm,
    /// Only develops and builds.
    dev: bool,
    license: Option<String>,
}

/// Every requirement of every backend, sorted.
///
/// # Errors
/// A lock file cannot be read.
pub(super) fn wheels(manifest: &Manifest) -> anyhow::Result<Vec<Wheel>> {
    let mut wheels = Vec::new();
    for service in &manifest.services {
        if let Some(backend) = &service.backend {
            wheels.extend(requirements(&service.name, &read(&manifest.dir.join(backend.lock()))?));
        }
    }
    wheels.sort();
    wheels.dedup();
    Ok(wheels)
}

/// Every package of every frontend's tree, sorted.
///
/// # Errors
/// A lock file cannot be read, or is no JSON.
pub(super) fn npm(manifest: &Manifest) -> anyhow::Result<Vec<Npm>> {
    let mut packages: Vec<Npm> = trees(manifest)?.into_iter().map(|found| found.package).collect();
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// What a build may put into the files that it writes: the frontends' packages but those that only develop and build.
///
/// # Errors
/// A lock file cannot be read, or is no JSON.
pub fn bundled(manifest: &Manifest) -> anyhow::Result<Vec<Package>> {
    let shipped = trees(manifest)?.into_iter().filter(|found| !found.dev);
    Ok(shipped
        .map(|Found { package, license, .. }| sbom::npm(&package.name, &package.version, license))
        .collect())
}

fn trees(manifest: &Manifest) -> anyhow::Result<Vec<Found>> {
    let mut packages = Vec::new();
    for service in &manifest.services {
        if let Some(frontend) = &service.frontend {
            let lock = manifest.dir.join(frontend.lock());
            let tree = serde_json::from_str(&read(&lock)?);
            let tree = tree.with_context(|| format!("{} is not JSON", lock.display()))?;
            packages.extend(package_lock(&service.name, &tree));
        }
    }
    Ok(packages)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// pip's format: a requirement goes on over lines that end in a backslash.
fn requirements(service: &str, text: &str) -> Vec<Wheel> {
    let logical = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let lines = logical.lines().map(str::trim).filter(|line| !line.starts_with(['#', '-']));
    let read = |line: &str| {
        let (name, rest) = line.split_once("==")?;
        let name = name.split('[').next().unwrap_or(name).trim().to_lowercase().replace(['_', '.'], "-");
        let version = rest.split([' ', ';', '\\', '#']).next()?.to_owned();
        let hashes = rest.split_whitespace().filter_map(|word| word.strip_prefix("--hash=sha256:"));
        let mut sha256: Vec<String> = hashes.map(str::to_owned).collect();
        sha256.sort();
        Some(Wheel { service: service.to_owned(), name, version, sha256 })
    };
    lines.filter_map(read).collect()
}

/// Versions 2 and 3 of the format; a package of the app's own (a workspace, a link) is no package from elsewhere.
fn package_lock(service: &str, tree: &Value) -> Vec<Found> {
    let packages = tree["packages"].as_object().into_iter().flatten();
    let read = |(path, entry): (&String, &Value)| {
        let (_, name) = path.rsplit_once("node_modules/")?;
        let text = |key: &str| entry[key].as_str();
        // A package from a repository has no integrity; its address ends in the commit.
        let integrity = text("integrity").or_else(|| text("resolved"))?;
        if entry["link"] == true {
            return None;
        }
        let package = Npm {
            service: service.to_owned(),
            name: text("name").unwrap_or(name).to_owned(),
            version: text("version").unwrap_or_default().to_owned(),
            integrity: integrity.to_owned(),
        };
        Some(Found { dev: entry["dev"] == true, license: text("license").map(str::to_owned), package })
    };
    packages.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_read_with_extras_markers_and_every_hash() {
        let text = "--only-binary :all:\n# made by uv\nZope.Interface[test]==5.0 ; python_version > '3' \\\n    --hash=sha256:bb \\\n    --hash=sha256:aa\n    # via shop\n";
        let expected = Wheel {
            service: "shop".into(),
            name: "zope-interface".into(),
            version: "5.0".into(),
            sha256: vec!["aa".into(), "bb".into()],
        };
        assert_eq!(requirements("shop", text), [expected]);
    }

    #[test]
    fn a_tree_is_read_without_the_apps_own_packages() {
        let tree = serde_json::json!({ "packages": {
            "": { "name": "shop" },
            "libs/ui": { "name": "@shop/ui", "version": "1.0.0" },
            "node_modules/@shop/ui": { "resolved": "libs/ui", "link": true },
            "node_modules/a/node_modules/@b/c": { "version": "2.0.0", "integrity": "sha512-x" },
            "node_modules/alias": { "name": "real", "version": "1.0.0", "integrity": "sha512-y", "dev": true },
            "node_modules/git": { "version": "0.1.0", "resolved": "git+ssh://git@example.com/git.git#0123" },
        }});
        let told: Vec<_> = package_lock("shop", &tree)
            .into_iter()
            .map(|Found { package, dev, .. }| {
                format!(
                    "{} {} {}{}",
                    package.name,
                    package.version,
                    package.integrity,
                    if dev { " dev" } else { "" }
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "@b/c 2.0.0 sha512-x",
                "real 1.0.0 sha512-y dev",
                "git 0.1.0 git+ssh://git@example.com/git.git#0123"
            ]
        );
    }
}
