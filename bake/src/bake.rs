//! `kiln bake`: from a manifest to an image, step by step.
//!
//! ```text
//! tools → base → frontend → venv → overlay → provision → clean → assert → root.tar → disk.raw → receipt
//! ```
//!
//! Everything is written to a folder beside the image's own and renamed at the end: a bake that fails, or is killed,
//! leaves no image under its digest. Its mounts are this process's alone and die with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kiln_image::disk::{self, DiskReport};
use kiln_image::os::Manager;
use kiln_image::tree::{self, TreeReport};
use kiln_image::{Base, BaseSpec, Deb, DiskSpec, Error, Overlay, Tools, ids, lock};

use crate::bench::Bench;
use crate::cache::{self, InUse};
use crate::expect::Found;
use crate::hardening;
use crate::host;
use crate::inputs::Inputs;
use crate::lockfile::{self, Lockfile};
use crate::manifest::Manifest;
use crate::plan::STEPS;
use crate::provision::{self, Layer};
use crate::receipt::{BaseInput, Change, DiskFile, Receipt, RootFile, ServiceRelease, short};
use crate::release::Built;
use crate::report::{Outcome, Saying, StepRecord};
use crate::store::Store;
use crate::{carried, clean, residue, sbom, secrets, units, uv};

/// Another bake of the same digest takes a minute or two; past this it hangs.
const LOCK_WAIT: Duration = Duration::from_mins(15);

/// Bakes, unless the image is there already. Runs in a mount namespace of its own (see `kiln_image::private_mounts`).
///
/// # Errors
/// Any step's; what it left is removed.
pub fn bake(
    bench: &Bench,
    manifest: &Manifest,
    inputs: &Inputs,
    lock: &Lockfile,
    in_use: InUse,
) -> anyhow::Result<Receipt> {
    let store = Store::of(&manifest.dir);
    let spec = lock.base_spec(bench, &manifest.dir)?;
    let cached = Base::cached(&bench.cache, &spec);
    if let Some(receipt) = cached.and_then(|base| store.receipt(&inputs.digest(&base.meta().tar_sha256))) {
        return Ok(already(bench, &store, receipt));
    }
    host::need_root("a bake")?;
    let fresh =
        Base::cached(&bench.cache, &spec).is_none() || Tools::cached(&bench.cache, &lock.tool).is_none();
    host::need(&[host::SANDBOX, host::DISK, if fresh { host::BASE } else { &[] }])?;
    store.create()?;
    store.remove_dead_buildings();
    let mut work = Bake { bench, manifest, inputs, steps: Vec::new(), begun: Instant::now() };
    let (tools, base) = work.ground(&spec, &lock.tool)?;
    let digest = inputs.digest(&base.meta().tar_sha256);
    let _held = lock::acquire(&store.lock_path(&digest), LOCK_WAIT, &Saying(&bench.report))?;
    if let Some(receipt) = store.receipt(&digest) {
        return Ok(already(bench, &store, receipt));
    }
    let building = store.building_dir(&digest);
    // Under the lock nobody works in there: it is what a killed bake left.
    let _ = std::fs::remove_dir_all(&building);
    let building = bench.interrupt.scratch(&building).context("failed to make a folder for the image")?;
    bench.report.log_to(&building.path().join("log")).context("failed to open the bake's log")?;
    let result = work.build(&tools, &base, &digest, building.path(), &store.image_dir(&digest));
    bench.report.end_log();
    let receipt = result?;
    bench.interrupt.check()?;
    let image = store.image_dir(&digest);
    std::fs::rename(building.path(), &image)
        .with_context(|| format!("failed to move the image to {}", image.display()))?;
    let made = |step: &StepRecord| {
        ["base", "frontend", "venv"].contains(&&*step.step) && step.outcome == Outcome::Built
    };
    if receipt.steps.iter().any(made) {
        in_use.bound(bench)?;
    }
    Ok(receipt)
}

fn already(bench: &Bench, store: &Store, receipt: Receipt) -> Receipt {
    bench.report.say(&format!("image {} is built already; nothing to do", short(&receipt.digest)));
    store.touch(&receipt.digest);
    receipt
}

/// Says what moves a lock whose packages cannot be had.
fn locked_otherwise(error: Error) -> anyhow::Error {
    let way_out = match &error {
        Error::Changed { .. } => Some(
            "what is locked is not what the mirror has; if that is to be trusted, 'kiln update' locks it",
        ),
        Error::Gone { .. } => Some("mirrors keep the latest version alone; 'kiln update' locks it"),
        _ => None,
    };
    match way_out {
        Some(way_out) => anyhow::Error::new(error)
            .context(format!("cannot have the packages of {}: {way_out}", lockfile::FILE)),
        None => error.into(),
    }
}

/// Refuses a root that another made without the packages that the manifest names; one of Kiln's own has them.
fn has_packages(base: &Base, manifest: &Manifest) -> anyhow::Result<()> {
    let image = &manifest.image;
    let lacking = image.packages.iter().filter(|name| !base.meta().packages.contains_key(*name));
    let lacking: Vec<_> = lacking.map(String::as_str).collect();
    anyhow::ensure!(
        lacking.is_empty(),
        "'{}' lacks packages that kiln.toml names: run '{}' in it and export it again",
        image.base,
        Manager::Apt.advice(&lacking)
    );
    Ok(())
}

/// What differs from the app's image before; an image without a readable disk is none to compare with.
fn change(store: &Store, digest: &str, disk: &Path) -> Option<Change> {
    let before = store.before(digest)?;
    let blocks_changed = disk::blocks_changed(&before.disk.path, disk).ok()??;
    Some(Change { since: before.digest, blocks_changed })
}

struct Bake<'a> {
    bench: &'a Bench,
    manifest: &'a Manifest,
    inputs: &'a Inputs,
    steps: Vec<StepRecord>,
    begun: Instant,
}

impl Bake<'_> {
    fn number(name: &str) -> usize {
        STEPS.iter().position(|step| *step == name).map_or(0, |index| index + 1)
    }

    fn step<T>(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&crate::report::Step<'_>) -> anyhow::Result<(T, Outcome, String)>,
    ) -> anyhow::Result<T> {
        self.bench.interrupt.check()?;
        let step = self.bench.report.step(Self::number(name), STEPS.len(), name);
        let (result, outcome, detail) = work(&step)?;
        self.steps.push(step.done(outcome, detail));
        Ok(result)
    }

    fn ground(&mut self, spec: &BaseSpec, tools: &[Deb]) -> anyhow::Result<(Tools, Base)> {
        let cache = self.bench.cache_dir("")?;
        let outcome = |cached: bool| if cached { Outcome::Cached } else { Outcome::Built };
        let held = Tools::cached(&cache, tools).is_some();
        let tools = self.step("tools", |step| {
            let tools = Tools::ensure(&cache, tools, &spec.mirror, spec.since.as_deref(), step);
            Ok((tools.map_err(locked_otherwise)?, outcome(held), String::new()))
        })?;
        let (held, manifest) = (Base::cached(&cache, spec).is_some(), self.manifest);
        let base = self.step("base", |step| {
            let base = Base::ensure(&cache, spec, step).map_err(locked_otherwise)?;
            has_packages(&base, manifest)?;
            let detail =
                format!("{} packages, {} MiB", base.meta().packages.len(), base.meta().tar_size >> 20);
            Ok((base, outcome(held), detail))
        })?;
        [tools.dir(), base.dir()].into_iter().for_each(cache::touch);
        Ok((tools, base))
    }

    fn build(
        &mut self,
        tools: &Tools,
        base: &Base,
        digest: &str,
        dir: &Path,
        image: &Path,
    ) -> anyhow::Result<Receipt> {
        let (bench, manifest, inputs) = (self.bench, self.manifest, self.inputs);
        let (built, records) =
            provision::build_parts(bench, manifest, inputs, Some(&base.tree()), Self::number, STEPS.len())?;
        self.steps.extend(records);
        // A venv lies in its entry under the name of its lock.
        let venvs = built.iter().filter_map(|built| built.venv.as_deref()?.parent());
        built.iter().filter_map(|built| built.web.as_deref()).chain(venvs).for_each(cache::touch);
        let assets = built.iter().zip(&inputs.services).map(|(built, inputs)| match &built.web {
            Some(web) => carried::assets(web, inputs.carried.as_ref()),
            None => Ok(Vec::new()),
        });
        let assets = assets.collect::<anyhow::Result<Vec<_>>>()?;
        let (root, software) = self.root(base, digest, dir, built)?;
        let disk = self.step("disk.raw", |step| {
            let spec = DiskSpec::gib(u64::from(manifest.image.size_gib));
            let report = disk::write(tools, &dir.join("root.tar"), &dir.join("disk.raw"), &spec, step)?;
            let detail = format!("{} of {} blocks hold data", report.blocks_nonzero, report.blocks_total);
            Ok((report, Outcome::Built, detail))
        })?;
        let change = self.step("receipt", |_| {
            sbom::write(&dir.join("packages.spdx.json"), &manifest.image.name, digest, &software)?;
            let change = change(&Store::of(&manifest.dir), digest, &dir.join("disk.raw"));
            let told = change.as_ref().map(|change| {
                format!(", {} blocks changed since {}", change.blocks_changed, short(&change.since))
            });
            Ok((change, Outcome::Built, format!("{} packages{}", software.len(), told.unwrap_or_default())))
        })?;
        let mut receipt = self.receipt(base, digest, image, root, disk, tools.versions()?);
        receipt.packages = software.len();
        for (service, assets) in receipt.services.iter_mut().zip(assets) {
            service.assets = assets;
        }
        receipt.disk.change = change;
        let text = serde_json::to_vec_pretty(&receipt).context("failed to write the receipt")?;
        std::fs::write(dir.join("receipt.json"), text).context("failed to write the receipt")?;
        Ok(receipt)
    }

    /// The steps that see the root: everything that is mounted is unmounted when this returns.
    fn root(
        &mut self,
        base: &Base,
        digest: &str,
        dir: &Path,
        built: Vec<Built>,
    ) -> anyhow::Result<(TreeReport, Vec<sbom::Package>)> {
        let (bench, manifest, inputs) = (self.bench, self.manifest, self.inputs);
        // In the image's own folder, which goes when a bake fails; an overlay's upper and work share a file system.
        let layer =
            bench.interrupt.scratch(&dir.join("layer")).context("failed to make a folder for the layer")?;
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| layer.path().join(name));
        let overlay = self.step("overlay", |_| {
            Ok((Overlay::mount(&base.tree(), &upper, &work, &merged)?, Outcome::Built, String::new()))
        })?;
        self.step("provision", |step| {
            let base = Some(base.meta().tar_sha256.clone());
            let layer = Layer { manifest, inputs, built, digest: digest.to_owned(), base };
            let detail = provision::apply(bench, overlay.merged(), &layer, step)?;
            Ok(((), Outcome::Built, detail))
        })?;
        self.step("clean", |_| Ok((clean::root(overlay.merged())?, Outcome::Built, String::new())))?;
        let software = self.step("assert", |_| {
            let mut found = Found::default();
            let files = residue::check(overlay.merged(), |path, entry| found.see(path, entry))?;
            found.read(overlay.merged());
            let mut enabled = units::wanted(manifest, &inputs.files);
            enabled.extend(hardening::masks(&manifest.image).1.into_iter().map(str::to_owned));
            found.judge(&manifest.expect, &enabled)?;
            secrets::check(base, &upper, overlay.merged(), &manifest.expect)?;
            let mut software = sbom::collect(overlay.merged())?;
            software.extend(lockfile::bundled(manifest)?);
            software.sort();
            software.dedup();
            Ok((software, Outcome::Built, format!("{files} files, no findings")))
        })?;
        overlay.unmount()?;
        let tree = self.step("root.tar", |step| {
            let out = dir.join("root.tar");
            let report = tree::write_root_tar(&base.tar(), &upper, &out, ids::SOURCE_DATE_EPOCH, step)?;
            let detail = format!("{} entries, {} MiB", report.entries, report.bytes >> 20);
            Ok((report, Outcome::Built, detail))
        })?;
        Ok((tree, software))
    }

    fn receipt(
        &self,
        base: &Base,
        digest: &str,
        image: &Path,
        root: TreeReport,
        disk: DiskReport,
        mut tools: BTreeMap<String, String>,
    ) -> Receipt {
        tools.insert("uv".to_owned(), uv::VERSION.to_owned());
        tools.extend(self.inputs.node.iter().map(|node| ("node".to_owned(), node.version.clone())));
        let releases = self.manifest.services.iter().zip(&self.inputs.services);
        let path = |name: &str| -> PathBuf { image.join(name) };
        Receipt {
            name: self.manifest.image.name.clone(),
            digest: digest.to_owned(),
            created_by: format!("kiln {}", env!("CARGO_PKG_VERSION")),
            created_at: jiff::Timestamp::now().to_string(),
            dir: image.to_owned(),
            disk: DiskFile { path: path("disk.raw"), report: disk, change: None },
            root: RootFile {
                path: path("root.tar"),
                entries: root.entries,
                size: root.bytes,
                sha256: root.sha256,
            },
            base: BaseInput {
                name: self.manifest.image.base.clone(),
                key: base.key().to_owned(),
                sha256: base.meta().tar_sha256.clone(),
                exported: base.meta().exported.clone(),
            },
            services: releases
                .map(|(service, inputs)| ServiceRelease {
                    name: service.name.clone(),
                    release: inputs.release.clone(),
                    frontend: inputs.frontend.as_ref().map(|(_, key)| key.clone()),
                    assets: Vec::new(),
                })
                .collect(),
            inputs: self.inputs.parts.clone(),
            packages: 0,
            hardening: hardening::on(&self.manifest.image).into_iter().map(str::to_owned).collect(),
            tools,
            steps: self.steps.clone(),
            seconds: self.begun.elapsed().as_secs_f64(),
        }
    }
}
