//! What the app's own lock files name: the backend's `requirements.txt`, the frontend's tree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::trees::{self, Found};
use super::{Npm, Wheel};
use crate::manifest::Manifest;
use crate::sbom::{self, Package};

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
/// A lock file cannot be read.
pub(super) fn npm(manifest: &Manifest) -> anyhow::Result<Vec<Npm>> {
    let mut packages: Vec<Npm> = packages(manifest)?.into_iter().map(|found| found.package).collect();
    packages.sort();
    packages.dedup();
    Ok(packages)
}

/// What a build may put into the files that it writes: the frontends' packages but those that only develop and build.
///
/// # Errors
/// A lock file cannot be read.
pub fn bundled(manifest: &Manifest) -> anyhow::Result<Vec<Package>> {
    let mut shipped: BTreeMap<(String, String), Package> = BTreeMap::new();
    for Found { package, license, .. } in packages(manifest)?.into_iter().filter(|found| !found.dev) {
        let listed = sbom::npm(&package.name, &package.version, license);
        let known = shipped.entry((package.name, package.version)).or_insert_with(|| listed.clone());
        // One service's lock file may say what another's leaves open.
        if known.license.is_none() {
            *known = listed;
        }
    }
    Ok(shipped.into_values().collect())
}

fn packages(manifest: &Manifest) -> anyhow::Result<Vec<Found>> {
    let mut packages = Vec::new();
    for service in &manifest.services {
        if let Some(frontend) = &service.frontend {
            let lock = manifest.dir.join(frontend.lock());
            let own = manifest.dir.join(&frontend.dir).join("package.json");
            let own = serde_json::from_str(&read(&own)?)
                .with_context(|| format!("{} is not JSON", own.display()))?;
            let tree = trees::read(frontend.manager, &service.name, &read(&lock)?, &own);
            packages.extend(tree.with_context(|| format!("failed to read {}", lock.display()))?);
        }
    }
    Ok(packages)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// pip's format: a requirement goes on over lines that end in a backslash.
pub(crate) fn requirements(service: &str, text: &str) -> Vec<Wheel> {
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
}
