//! The upper directory of an overlay, read as a list of changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::error::{At, Error, Result};

/// What an overlay's upper directory says about one path.
#[derive(Debug)]
pub(crate) enum Change {
    /// A directory; `opaque`: nothing of the base's directory shows through.
    Dir { opaque: bool },
    /// Anything that replaces or adds: file, symbolic link, device.
    Node,
    /// Removed from the base.
    Whiteout,
}

/// All changes, by path relative to the root.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    pub(crate) changes: BTreeMap<PathBuf, (Change, Option<Metadata>)>,
}

impl Layer {
    /// Reads an upper directory; only root may read the kernel's own marks in it.
    pub(crate) fn read(upper: &Path) -> Result<Self> {
        let mut changes = BTreeMap::new();
        for entry in WalkDir::new(upper).min_depth(1) {
            let entry = entry.at("read", upper)?;
            let path = entry.path();
            let meta = entry.metadata().at("look at", path)?;
            let kind = meta.file_type();
            let change = if kind.is_char_device() && meta.rdev() == 0 {
                Change::Whiteout
            } else if kind.is_dir() {
                Change::Dir { opaque: opaque(path)? }
            } else if kind.is_socket() {
                continue; // A socket means nothing without its listener, and tar has no word for it.
            } else {
                Change::Node
            };
            let name = path.strip_prefix(upper).unwrap_or(path).to_owned();
            changes.insert(name, (change, Some(meta)));
        }
        Ok(Self { changes })
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Change> {
        self.changes.get(path).map(|(change, _)| change)
    }

    /// Whether an entry of the base at `path` is gone: itself replaced or removed, or below something that is.
    pub(crate) fn hides(&self, path: &Path) -> bool {
        match self.get(path) {
            Some(Change::Whiteout | Change::Node) => return true,
            Some(Change::Dir { .. }) | None => {}
        }
        path.ancestors().skip(1).any(|up| {
            matches!(self.get(up), Some(Change::Whiteout | Change::Node | Change::Dir { opaque: true }))
        })
    }

    /// The layer's own entries in the order in which they are written: each group after the ones that change
    /// less often, so that a change moves few blocks of the disk. Directories come right before the first
    /// entry in them; those that `base` has already are left out.
    pub(crate) fn order(&self, base: &BTreeSet<PathBuf>) -> Vec<&Path> {
        let mut nodes: Vec<&Path> = self
            .changes
            .iter()
            .filter(|(_, (change, _))| !matches!(change, Change::Whiteout))
            .map(|(path, _)| path.as_path())
            .collect();
        nodes.sort_by(|a, b| {
            let key = |path: &Path| (volatility(path), path.as_os_str().as_bytes().to_owned());
            key(a).cmp(&key(b))
        });
        let mut written = BTreeSet::new();
        let mut order = Vec::with_capacity(nodes.len());
        for path in nodes {
            let mut chain: Vec<&Path> = path.ancestors().filter(|up| !up.as_os_str().is_empty()).collect();
            chain.reverse();
            for step in chain {
                let is_dir = matches!(self.get(step), Some(Change::Dir { .. }));
                if !(is_dir && base.contains(step)) && written.insert(step) {
                    order.push(step);
                }
            }
        }
        order
    }
}

fn opaque(path: &Path) -> Result<bool> {
    match xattr::get(path, "trusted.overlay.opaque") {
        Ok(value) => Ok(value.is_some_and(|value| value == b"y")),
        Err(source) => Err(Error::Io { doing: "read the overlay's marks of", path: path.to_owned(), source }),
    }
}

/// How often a path's content changes between two bakes of one app, from seldom (0) to always.
fn volatility(path: &Path) -> u8 {
    let parts: Vec<&[u8]> = path.iter().map(OsStrExt::as_bytes).collect();
    match parts.as_slice() {
        [b"srv", _, b"venvs", ..] => 0,
        [b"usr", b"bin", b"kiln-agent"] => 2,
        // Always another, and before what differs in number: so they keep their inodes' numbers, and the folders that they
        // are in stay as they are.
        [b"etc", b"kiln", b"image.json"] | [b"srv", _, b"current"] => 3,
        [b"srv", _, b"releases", ..] => 4,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(entries: &[(&str, Change)]) -> Layer {
        let copy = |change: &Change| match change {
            Change::Dir { opaque } => Change::Dir { opaque: *opaque },
            Change::Node => Change::Node,
            Change::Whiteout => Change::Whiteout,
        };
        Layer { changes: entries.iter().map(|(path, change)| (path.into(), (copy(change), None))).collect() }
    }

    #[test]
    fn what_changes_most_often_is_written_last() {
        let dir = || Change::Dir { opaque: false };
        let layer = layer(&[
            ("etc", dir()),
            ("etc/kiln", dir()),
            ("etc/kiln/image.json", Change::Node),
            ("etc/kiln/agent.toml", Change::Node),
            ("srv", dir()),
            ("srv/shop", dir()),
            ("srv/shop/current", Change::Node),
            ("srv/shop/releases", dir()),
            ("srv/shop/releases/r1", Change::Node),
            ("srv/shop/venvs", dir()),
            ("srv/shop/venvs/v1", Change::Node),
            ("usr", dir()),
            ("usr/gone", Change::Whiteout),
        ]);
        let base = ["etc", "srv", "usr"].map(PathBuf::from).into();
        let order: Vec<_> =
            layer.order(&base).into_iter().map(|path| path.to_str().expect("ASCII")).collect();
        assert_eq!(
            order,
            [
                "srv/shop",
                "srv/shop/venvs",
                "srv/shop/venvs/v1",
                "etc/kiln",
                "etc/kiln/agent.toml",
                "etc/kiln/image.json",
                "srv/shop/current",
                "srv/shop/releases",
                "srv/shop/releases/r1",
            ]
        );
    }

    #[test]
    fn the_base_is_hidden_by_what_lies_over_it() {
        let layer = layer(&[
            ("etc", Change::Dir { opaque: false }),
            ("etc/gone", Change::Whiteout),
            ("etc/new", Change::Dir { opaque: true }),
            ("etc/was-dir", Change::Node),
        ]);
        let table = [
            ("etc", false),
            ("etc/hosts", false),
            ("etc/gone", true),
            ("etc/new", false),
            ("etc/new/old", true),
            ("etc/was-dir", true),
            ("etc/was-dir/deep/file", true),
            ("etc/newer", false),
        ];
        for (path, hidden) in table {
            assert_eq!(layer.hides(Path::new(path)), hidden, "{path}");
        }
    }
}
