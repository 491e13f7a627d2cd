//! Hard links of the base whose first name the layer replaces: the bytes live on under the next name.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{At, Result};
use crate::layer::Layer;

/// What a first pass over the base's headers found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Directories that stay.
    pub(crate) dirs: BTreeSet<PathBuf>,
    /// First names that go while another name stays, with the name that takes over.
    pub(crate) heirs: BTreeMap<PathBuf, PathBuf>,
    /// Entries in the archive.
    pub(crate) entries: u64,
}

/// A path as in an overlay: relative, without `./`.
pub(crate) fn plain(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, std::path::Component::Normal(_))).collect()
}

impl Survey {
    pub(crate) fn of<R: Read + std::io::Seek>(
        archive: &mut tar::Archive<R>,
        layer: &Layer,
        source: &Path,
    ) -> Result<Self> {
        let mut survey = Self::default();
        for entry in archive.entries_with_seek().at("read", source)? {
            let entry = entry.at("read", source)?;
            let path = plain(&entry.path().at("read", source)?);
            survey.entries += 1;
            if layer.hides(&path) {
                continue;
            }
            let kind = entry.header().entry_type();
            if kind.is_dir() {
                survey.dirs.insert(path);
            } else if kind.is_hard_link() {
                let Some(first) = entry.link_name().at("read", source)? else {
                    continue;
                };
                let first = plain(&first);
                if layer.hides(&first) {
                    survey.heirs.entry(first).or_insert(path);
                }
            }
        }
        Ok(survey)
    }
}
