//! A frontend's lock file, read: npm's, pnpm's, Yarn's.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use serde_json::Value;

use super::Npm;
use crate::manifest::Manager;

/// One package of a tree, and what becomes of it.
pub(super) struct Found {
    pub(super) package: Npm,
    /// Only develops and builds. npm alone says so; of the others every package counts as shipped.
    pub(super) dev: bool,
    pub(super) license: Option<String>,
}

/// Every package of a lock file that comes from elsewhere.
///
/// # Errors
/// It is not in its manager's format.
pub(super) fn read(manager: Manager, service: &str, text: &str) -> anyhow::Result<Vec<Found>> {
    match manager {
        Manager::Npm => Ok(package_lock(service, &serde_json::from_str(text).context("it is not JSON")?)),
        Manager::Pnpm => pnpm_lock(service, text),
        Manager::Yarn => yarn_lock(service, text),
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
        packages: BTreeMap<String, Entry>,
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
    let Lock { lockfile_version, packages } =
        serde_saphyr::from_str(text).context("it is no lock file of pnpm")?;
    if lockfile_version != "9.0" {
        bail!("its version is {lockfile_version}, and 9.0 is read");
    }
    let read = |(key, entry): (String, Entry)| {
        let Resolution { integrity, commit, tarball } = entry.resolution;
        let at = key.get(1..)?.find('@')? + 1;
        let (name, version) =
            (key[..at].to_owned(), entry.version.unwrap_or_else(|| key[at + 1..].to_owned()));
        let integrity = integrity.or(commit).or(tarball)?;
        let package = Npm { service: service.to_owned(), name, version, integrity };
        Some(Found { package, dev: false, license: None })
    };
    Ok(packages.into_iter().filter_map(read).collect())
}

fn yarn_lock(service: &str, text: &str) -> anyhow::Result<Vec<Found>> {
    // Its error quotes the whole rest of the file.
    let Ok(lock) = yarn_lock_parser::parse_str(text) else {
        bail!("it is no lock file of Yarn");
    };
    let read = |entry: &yarn_lock_parser::Entry<'_>| {
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
        Some(Found { package, dev: false, license: None })
    };
    Ok(lock.entries.iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: Manager, text: &str) -> Vec<String> {
        let found = read(manager, "shop", text).expect("it is read");
        let tell = |Found { package, dev, .. }: Found| {
            let Npm { name, version, integrity, .. } = package;
            format!("{name} {version} {integrity}{}", if dev { " dev" } else { "" })
        };
        found.into_iter().map(tell).collect()
    }

    #[test]
    fn npms_tree_is_read_without_the_apps_own_packages() {
        let tree = serde_json::json!({ "packages": {
            "": { "name": "shop" },
            "libs/ui": { "name": "@shop/ui", "version": "1.0.0" },
            "node_modules/@shop/ui": { "resolved": "libs/ui", "link": true },
            "node_modules/a/node_modules/@b/c": { "version": "2.0.0", "integrity": "sha512-x" },
            "node_modules/alias": { "name": "real", "version": "1.0.0", "integrity": "sha512-y", "dev": true },
            "node_modules/git": { "version": "0.1.0", "resolved": "git+ssh://git@example.com/git.git#0123" },
        }});
        assert_eq!(
            told(Manager::Npm, &tree.to_string()),
            [
                "@b/c 2.0.0 sha512-x",
                "real 1.0.0 sha512-y dev",
                "git 0.1.0 git+ssh://git@example.com/git.git#0123"
            ]
        );
    }

    #[test]
    fn pnpms_packages_are_read_with_scopes_and_repositories() {
        let text = "lockfileVersion: '9.0'\nimporters:\n  .:\n    dependencies: {}\npackages:\n  '@b/c@2.0.0':\n    \
                    resolution: {integrity: sha512-x}\n  a@1.0.0:\n    resolution: {integrity: sha512-y}\n    engines: {node: '>=18'}\n  \
                    git@https://codeload.example.com/git/tar.gz/0123:\n    resolution: {tarball: https://codeload.example.com/git/tar.gz/0123}\n    \
                    version: 0.1.0\nsnapshots:\n  a@1.0.0: {}\n";
        assert_eq!(
            told(Manager::Pnpm, text),
            [
                "@b/c 2.0.0 sha512-x",
                "a 1.0.0 sha512-y",
                "git 0.1.0 https://codeload.example.com/git/tar.gz/0123"
            ]
        );
    }

    #[test]
    fn yarns_entries_are_read_of_both_formats() {
        let classic = "# THIS IS AN AUTOGENERATED FILE. DO NOT EDIT THIS FILE DIRECTLY.\n# yarn lockfile v1\n\n\n\"@b/c@^2.0.0\", \"@b/c@^2.0.1\":\n  version \"2.0.1\"\n  resolved \"https://registry.yarnpkg.com/@b/c/-/c-2.0.1.tgz#aa\"\n  integrity sha512-x\n";
        assert_eq!(told(Manager::Yarn, classic), ["@b/c 2.0.1 sha512-x"]);
        let modern = "# This file is generated\n\n__metadata:\n  version: 8\n  cacheKey: 10c0\n\n\"a@npm:^1.0.0\":\n  version: 1.0.0\n  resolution: \"a@npm:1.0.0\"\n  checksum: 10c0/ff\n  languageName: node\n  linkType: hard\n\n\"shop@workspace:.\":\n  version: 0.0.0-use.local\n  resolution: \"shop@workspace:.\"\n  dependencies:\n    a: \"npm:^1.0.0\"\n  languageName: unknown\n  linkType: soft\n";
        assert_eq!(told(Manager::Yarn, modern), ["a 1.0.0 10c0/ff"]);
    }

    #[test]
    fn what_is_no_lock_file_is_refused() {
        for (manager, text) in [
            (Manager::Npm, "{"),
            (Manager::Pnpm, "lockfileVersion: '6.0'\n"),
            (Manager::Pnpm, "- a\n"),
            (Manager::Pnpm, "lockfileVersion: '9.0'\npackages: [1]\n"),
            (Manager::Yarn, "{\"a\": 1}"),
        ] {
            assert!(read(manager, "shop", text).is_err(), "{text}");
        }
    }
}
