//! Hashed assets of earlier releases, carried along: a page that a browser loaded before a rollout still finds its own.
//!
//! ```text
//! receipts of .kiln ─▶ the latest image with another frontend ─▶ its assets ─▶ part of the digest
//!                                                     its root.tar ─▶ those that this build lacks ─▶ web/assets
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::receipt::ServiceRelease;
use crate::sources;
use crate::store::Store;

/// Where a build puts what nginx serves as immutable.
const ASSETS: &str = "assets";

/// A page that was loaded more frontends ago than this has to be loaded anew.
const KEPT: u32 = 5;

/// An asset of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asset {
    /// Under the frontend's output: `assets/index-D3WIPi0Y.js`.
    pub path: PathBuf,
    /// In hex.
    pub sha256: String,
    /// How many frontends ago a build made it; 0 is this release's own.
    pub age: u32,
}

/// What a release takes over, and where that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    root_tar: PathBuf,
    /// In the archive, with a `/` at its end.
    web: String,
    /// With the age that they have in the new release.
    pub assets: Vec<Asset>,
}

impl Carried {
    /// What a release of `service` whose frontend has the cache key `frontend` takes over from the images in `store`.
    pub fn find(store: &Store, service: &str, frontend: &str) -> Option<Self> {
        store.all().into_iter().rev().find_map(|receipt| {
            let release = receipt.services.iter().find(|release| release.name == service)?;
            let another = release.frontend.as_ref().is_some_and(|before| before != frontend);
            let assets = aged(release);
            (another && !assets.is_empty() && receipt.root.path.is_file()).then(|| Self {
                root_tar: receipt.root.path.clone(),
                web: format!("srv/{service}/releases/{}/web/", release.release),
                assets,
            })
        })
    }

    /// For the digest.
    pub fn sha256(&self) -> String {
        let lines =
            self.assets.iter().map(|Asset { path, sha256, .. }| format!("{}\0{sha256}\n", path.display()));
        sources::hash_bytes(lines.collect::<String>())
    }

    /// Puts those that `web` lacks into it; returns how many.
    ///
    /// # Errors
    /// The archive has changed since its receipt was written, or a file cannot be written.
    pub fn add_to(&self, web: &Path) -> anyhow::Result<usize> {
        let lacking = self.assets.iter().filter(|asset| !web.join(&asset.path).exists());
        let mut lacking: BTreeMap<&Path, &Asset> =
            lacking.map(|asset| (asset.path.as_path(), asset)).collect();
        let count = lacking.len();
        let file = fs::File::open(&self.root_tar)
            .with_context(|| format!("failed to open {}", self.root_tar.display()))?;
        let mut archive = tar::Archive::new(BufReader::new(file));
        for entry in archive.entries_with_seek().context("failed to read the image before")? {
            let mut entry = entry.context("failed to read the image before")?;
            let path = entry.path().context("failed to read the image before")?.into_owned();
            let path = path.strip_prefix("./").unwrap_or(&path);
            let Some(asset) = path.strip_prefix(&self.web).ok().and_then(|path| lacking.remove(path)) else {
                continue;
            };
            let mut content = Vec::new();
            entry.read_to_end(&mut content).context("failed to read the image before")?;
            if sources::hash_bytes(&content) != asset.sha256 {
                bail!("{} in {} is not what its receipt says", path.display(), self.root_tar.display());
            }
            let target = web.join(&asset.path);
            let put = || {
                fs::create_dir_all(target.parent().unwrap_or(web)).and_then(|()| fs::write(&target, &content))
            };
            put().with_context(|| format!("failed to write {}", target.display()))?;
        }
        if let Some(asset) = lacking.into_keys().next() {
            bail!("{} is not in {}, as its receipt says", asset.display(), self.root_tar.display());
        }
        Ok(count)
    }
}

/// What the next release may take over from this one.
fn aged(release: &ServiceRelease) -> Vec<Asset> {
    let older = release.assets.iter().map(|asset| Asset { age: asset.age + 1, ..asset.clone() });
    older.filter(|asset| asset.age <= KEPT).collect()
}

/// The assets that a release has: what the build in `web` made, and what it carries besides.
///
/// # Errors
/// The build cannot be read.
pub fn assets(web: &Path, carried: Option<&Carried>) -> anyhow::Result<Vec<Asset>> {
    let built = sources::everything(web)?.into_iter().filter(|source| source.path.starts_with(ASSETS));
    let mut assets = built
        .map(|source| {
            let sha256 = sources::hash_file(&web.join(&source.path))?;
            Ok(Asset { path: source.path, sha256, age: 0 })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let own = assets.len();
    for asset in carried.iter().flat_map(|carried| &carried.assets) {
        if !assets[..own].iter().any(|own| own.path == asset.path) {
            assets.push(asset.clone());
        }
    }
    assets.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(assets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(path: &str, content: &str, age: u32) -> Asset {
        Asset { path: path.into(), sha256: sources::hash_bytes(content), age }
    }

    /// An image before that has `old.js` of one release and `older.js` of the one before it.
    fn carried(dir: &Path) -> Carried {
        let root_tar = dir.join("root.tar");
        let mut builder = tar::Builder::new(fs::File::create(&root_tar).expect("a file"));
        for (name, content) in [("old.js", "old"), ("older.js", "older"), ("same.js", "same")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            let name = format!("./srv/shop/releases/r1/web/assets/{name}");
            builder.append_data(&mut header, name, content.as_bytes()).expect("an entry");
        }
        builder.finish().expect("an archive");
        let assets = vec![
            asset("assets/old.js", "old", 1),
            asset("assets/older.js", "older", 2),
            asset("assets/same.js", "same", 1),
        ];
        Carried { root_tar, web: "srv/shop/releases/r1/web/".into(), assets }
    }

    fn web(dir: &Path) -> PathBuf {
        let web = dir.join("web");
        fs::create_dir_all(web.join("assets")).expect("a folder");
        for (name, content) in [("index.html", "page"), ("assets/new.js", "new"), ("assets/same.js", "same")]
        {
            fs::write(web.join(name), content).expect("a file");
        }
        web
    }

    #[test]
    fn only_what_the_build_lacks_is_taken_over_and_older_ones_come_along() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let (carried, web) = (carried(dir.path()), web(dir.path()));
        let listed = assets(&web, Some(&carried)).expect("a readable build");
        assert_eq!(carried.add_to(&web).expect("they are there"), 2);
        let text = |name: &str| fs::read_to_string(web.join("assets").join(name)).expect("a file");
        assert_eq!(
            (text("old.js"), text("older.js"), text("new.js")),
            ("old".into(), "older".into(), "new".into())
        );
        let ages: Vec<_> = listed.iter().map(|asset| (asset.path.to_str(), asset.age)).collect();
        assert_eq!(
            ages,
            [
                (Some("assets/new.js"), 0),
                (Some("assets/old.js"), 1),
                (Some("assets/older.js"), 2),
                (Some("assets/same.js"), 0)
            ]
        );
    }

    #[test]
    fn an_archive_that_is_not_what_its_receipt_says_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        for (path, content, expected) in
            [("assets/old.js", "other", "is not what"), ("assets/none.js", "x", "is not in")]
        {
            let mut carried = carried(dir.path());
            carried.assets = vec![asset(path, content, 1)];
            let error = carried.add_to(&dir.path().join("empty")).expect_err("it is refused").to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_asset_goes_when_it_is_too_old() {
        let release = ServiceRelease {
            name: "shop".into(),
            release: "r1".into(),
            frontend: None,
            assets: vec![asset("assets/a.js", "a", KEPT), asset("assets/b.js", "b", 0)],
        };
        assert_eq!(aged(&release), [asset("assets/b.js", "b", 1)]);
    }
}
