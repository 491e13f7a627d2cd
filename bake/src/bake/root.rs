//! The image's root: base and app layer, looked through and packed.
//!
//! A bake that was killed over the disk left `root.tar` and what is known of it, and the next one goes on from there.

use std::fs::File;
use std::io::PipeWriter;
use std::path::Path;

use anyhow::Context as _;
use kiln_image::tree::{self, TreeReport};
use kiln_image::{Base, Content, DiskReport, Overlay, ids};
use serde::{Deserialize, Serialize};

use crate::expect::Found;
use crate::provision::{self, Layer};
use crate::release::Built;
use crate::report::Outcome;
use crate::{clean, hardening, lockfile, residue, sbom, secrets, sources, units};

use super::Bake;
use super::log::Log;

/// Where the app layer comes into being, below the image's folder.
const LAYER: &str = "layer";

/// The archive's name.
pub(super) const ARCHIVE: &str = "root.tar";

/// The note's name; it is no part of a finished image.
const NOTE: &str = "root.json";

/// What was logged until then.
const LOG: &str = "root.log";

/// A root that was packed and in which nothing was found that must not ship.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Root {
    pub(super) tree: TreeReport,
    pub(super) software: Vec<sbom::Package>,
}

impl Root {
    /// Writes the note beside the archive.
    fn note(&self, dir: &Path, log: &Log<'_>) -> anyhow::Result<()> {
        log.copy(&dir.join(LOG))?;
        let text = serde_json::to_vec(self).context("failed to write what is known of the root")?;
        std::fs::write(dir.join(NOTE), text).with_context(|| format!("failed to write {NOTE}"))
    }

    /// What a killed bake left in `dir`, if it is whole.
    pub(super) fn left(dir: &Path, log: &Log<'_>) -> Option<Self> {
        let root: Self = serde_json::from_reader(File::open(dir.join(NOTE)).ok()?).ok()?;
        let sha256 = sources::hash_file(&dir.join(ARCHIVE)).ok()?;
        if sha256 != root.tree.sha256 {
            return None;
        }
        log.go_on(&dir.join(LOG));
        Some(root)
    }

    /// Takes the note away.
    pub(super) fn forget(dir: &Path) -> anyhow::Result<()> {
        for name in [NOTE, LOG] {
            std::fs::remove_file(dir.join(name)).with_context(|| format!("failed to remove {name}"))?;
        }
        Ok(())
    }
}

/// Empties the folder in which an image is to be built, but for a root that was packed already.
pub(super) fn clear(building: &Path, packed: bool) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(building).context("failed to read the image's folder")?.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if packed && [ARCHIVE, NOTE, LOG].iter().any(|kept| name == *kept) {
            continue;
        }
        let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        gone.with_context(|| format!("failed to remove {}", path.display()))?;
    }
    Ok(())
}

impl Bake<'_> {
    /// The steps that see the root, and `disk`, which reads what they pack while they pack it. Everything that is mounted
    /// is unmounted when this returns.
    pub(super) fn root(
        &self,
        base: &Base,
        digest: &str,
        dir: &Path,
        built: Vec<Built>,
        disk: impl FnOnce(Content<'_>) -> anyhow::Result<DiskReport> + Send,
    ) -> anyhow::Result<(Root, DiskReport)> {
        let Self { bench, manifest, inputs, .. } = *self;
        // In the image's own folder, which goes when a bake fails; an overlay's upper and work share a file system.
        let layer =
            bench.interrupt.scratch(&dir.join(LAYER)).context("failed to make a folder for the layer")?;
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| layer.path().join(name));
        let overlay = self.steps.run("overlay", |_| {
            Ok((Overlay::mount(&base.tree(), &upper, &work, &merged)?, Outcome::Built, String::new()))
        })?;
        self.steps.run("provision", |step| {
            let base = Some(base.meta().tar_sha256.clone());
            let layer = Layer { manifest, inputs, built, digest: digest.to_owned(), base };
            let detail = provision::apply(bench, overlay.merged(), &layer, step)?;
            Ok(((), Outcome::Built, detail))
        })?;
        self.steps.run("clean", |_| Ok((clean::root(overlay.merged())?, Outcome::Built, String::new())))?;
        let (from, into) = std::io::pipe().context("failed to make a pipe")?;
        let bytes = tree::size(&base.tar(), &upper)?;
        let packed = move || {
            // When something fails, the last of these goes first: what is removed is mounted no more.
            let (layer, overlay) = (layer, overlay);
            let tree = self.pack(base, &upper, &dir.join(ARCHIVE), into)?;
            let root = self.steps.run("assert", |_| {
                let (files, software) = self.assert(base, &upper, overlay.merged())?;
                let root = Root { tree, software };
                root.note(dir, self.log)?;
                Ok((root, Outcome::Built, format!("{files} files, no findings")))
            })?;
            overlay.unmount()?;
            drop(layer);
            Ok(root)
        };
        bench.interrupt.both(packed, || disk(Content::Stream { from, bytes }))
    }

    fn pack(&self, base: &Base, upper: &Path, out: &Path, reader: PipeWriter) -> anyhow::Result<TreeReport> {
        self.steps.run("root.tar", |step| {
            let epoch = ids::SOURCE_DATE_EPOCH;
            let report = tree::write_root_tar(&base.tar(), upper, out, epoch, Some(reader), step)?;
            let detail = format!("{} entries, {} MiB", report.entries, report.bytes >> 20);
            Ok((report, Outcome::Built, detail))
        })
    }

    /// Nothing is in the root that must not ship or that nobody expects. Returns how many files were looked at, and what
    /// software is in it.
    fn assert(&self, base: &Base, upper: &Path, root: &Path) -> anyhow::Result<(usize, Vec<sbom::Package>)> {
        let Self { manifest, inputs, .. } = *self;
        let mut found = Found::default();
        let files = residue::check(root, |path, entry| found.see(path, entry))?;
        found.read(root);
        let mut enabled = units::wanted(manifest, &inputs.files);
        enabled.extend(hardening::masks(&manifest.image).1.into_iter().map(str::to_owned));
        found.judge(&manifest.expect, &enabled)?;
        secrets::check(base, upper, root, &manifest.expect)?;
        let mut software = sbom::collect(root)?;
        software.extend(lockfile::bundled(manifest)?);
        software.sort();
        software.dedup();
        Ok((files, software))
    }
}
