//! A frontend's lock file, read: npm's, pnpm's, Yarn's.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use super::Npm;
use crate::manifest::Manager;

/// One package of a tree, and what becomes of it.
pub(super) struct Found {
    pub(super) package: Npm,
    /// Only develops and builds.
    pub(super) dev: bool,
    /// npm alone says.
    pub(super) license: Option<String>,
}

/// Every package of a lock file that comes from elsewhere. `own` is the package.json beside it.
///
/// # Errors
/// It is not in its manager's format.
pub(super) fn read(manager: Manager, service: &str, text: &str, own: &Value) -> anyhow::Result<Vec<Found>> {
    match manager {
        Manager::Npm => Ok(package_lock(service, &serde_json::from_str(text).context("it is not JSON")?)),
        Manager::Pnpm => pnpm_lock(service, text),
        Manager::Yarn => yarn_lock(service, text, own),
    }
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

fn pnpm_lock(service: &str, text: &str) -> anyhow::Result<Vec<Found>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Lock {
        lockfile_version: String,
        #[serde(default)]
        importers: BTreeMap<String, Importer>,
        #[serde(default)]
        packages: BTreeMap<String, Entry>,
        #[serde(default)]
        snapshots: BTreeMap<String, Snapshot>,
    }
    /// A folder of the app's, without what only develops and builds.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Importer {
        #[serde(default)]
        dependencies: BTreeMap<String, Direct>,
        #[serde(default)]
        optional_dependencies: BTreeMap<String, Direct>,
    }
    #[derive(Deserialize)]
    struct Direct {
        version: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Snapshot {
        #[serde(default)]
        dependencies: BTreeMap<String, String>,
        #[serde(default)]
        optional_dependencies: BTreeMap<String, String>,
    }
    #[derive(Deserialize)]
    struct Entry {
        resolution: Resolution,
        /// Of a package from a repository or an archive, whose key is its address.
        version: Option<String>,
    }
    #[derive(Deserialize)]
    struct Resolution {
        integrity: Option<String>,
        commit: Option<String>,
        tarball: Option<String>,
    }
    let Lock { lockfile_version, importers, packages, snapshots } =
        serde_saphyr::from_str(text).context("it is no lock file of pnpm")?;
    if lockfile_version != "9.0" {
        bail!("its version is {lockfile_version}, and 9.0 is read");
    }
    // `react-dom@19.0.0(react@19.0.0)`; of an alias the version is the real one's whole key.
    let key = |name: &str, version: &str| {
        let plain = format!("{name}@{version}");
        if snapshots.contains_key(&plain) { plain } else { version.to_owned() }
    };
    let roots = importers.values().flat_map(|own| own.dependencies.iter().chain(&own.optional_dependencies));
    let shipped = reached(roots.map(|(name, direct)| key(name, &direct.version)), |found| {
        let of =
            snapshots.get(found).map(|found| found.dependencies.iter().chain(&found.optional_dependencies));
        of.into_iter().flatten().map(|(name, version)| key(name, version)).collect()
    });
    let shipped: BTreeSet<&str> = shipped.iter().map(|key| key.split('(').next().unwrap_or(key)).collect();
    let read = |(key, entry): (String, Entry)| {
        let dev = !shipped.contains(key.as_str());
        let Resolution { integrity, commit, tarball } = entry.resolution;
        let at = key.get(1..)?.find('@')? + 1;
        let (name, version) =
            (key[..at].to_owned(), entry.version.unwrap_or_else(|| key[at + 1..].to_owned()));
        let integrity = integrity.or(commit).or(tarball)?;
        let package = Npm { service: service.to_owned(), name, version, integrity };
        Some(Found { package, dev, license: None })
    };
    Ok(packages.into_iter().filter_map(read).collect())
}

/// Everything that is reached from `roots`, by what each leads to.
fn reached(roots: impl Iterator<Item = String>, next: impl Fn(&str) -> Vec<String>) -> BTreeSet<String> {
    let (mut open, mut seen) = (roots.collect::<Vec<_>>(), BTreeSet::new());
    while let Some(found) = open.pop() {
        if !seen.contains(&found) {
            open.extend(next(&found));
            seen.insert(found);
        }
    }
    seen
}

fn yarn_lock(service: &str, text: &str, own: &Value) -> anyhow::Result<Vec<Found>> {
    // Its error quotes the whole rest of the file.
    let Ok(lock) = yarn_lock_parser::parse_str(text) else {
        bail!("it is no lock file of Yarn");
    };
    // `react@^19.0.0`; modern Yarn writes `react@npm:^19.0.0`.
    let key = |name: &str, range: &str| format!("{name}@{}", range.strip_prefix("npm:").unwrap_or(range));
    let by_key: BTreeMap<String, &yarn_lock_parser::Entry<'_>> = lock
        .entries
        .iter()
        .flat_map(|entry| entry.descriptors.iter().map(move |(name, range)| (key(name, range), entry)))
        .collect();
    let direct =
        ["dependencies", "optionalDependencies"].into_iter().filter_map(|kind| own[kind].as_object());
    let roots = direct.flatten().filter_map(|(name, range)| Some(key(name, range.as_str()?)));
    let shipped = reached(roots, |found| {
        let of = by_key.get(found).map(|entry| entry.dependencies.iter().chain(&entry.optional_dependencies));
        of.into_iter().flatten().map(|(name, range)| key(name, range)).collect()
    });
    // What the other folders of a workspace ship, the lock file does not tell from what builds them.
    let all = !own["workspaces"].is_null();
    let read = |entry: &yarn_lock_parser::Entry<'_>| {
        let dev = !all && !entry.descriptors.iter().any(|(name, range)| shipped.contains(&key(name, range)));
        // Neither the app's own packages nor patches over others come from elsewhere.
        if ["@workspace:", "@link:", "@portal:", "@patch:"].iter().any(|own| entry.resolved.contains(own)) {
            return None;
        }
        // Yarn keeps no checksum of a package for another system.
        let integrity = [entry.integrity, entry.resolved].into_iter().find(|text| !text.is_empty())?;
        let package = Npm {
            service: service.to_owned(),
            name: entry.name.to_owned(),
            version: entry.version.to_owned(),
            integrity: integrity.to_owned(),
        };
        Some(Found { package, dev, license: None })
    };
    Ok(lock.entries.iter().filter_map(read).collect())
}
