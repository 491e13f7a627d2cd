//! `kiln bake`: from a manifest to an image, step by step.
//!
//! ```text
//! base             → venv     → overlay → provision → clean → root.tar → assert → receipt
//! frontend → tools   frontend                               ╰─▶ disk.raw ──────╯
//! ```
//!
//! Everything is written to a folder beside the image's own and renamed at the end: a bake that fails, or is killed,
//! leaves no image under its digest. Its mounts are this process's alone and die with it.

mod ground;
mod log;
mod root;
mod steps;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kiln_image::disk::{self, DiskReport};
use kiln_image::tree::TreeReport;
use kiln_image::{Base, BaseSpec, Content, Deb, DiskSpec, Tools, lock};

use crate::bench::Bench;
use crate::cache::InUse;
use crate::hardening;
use crate::host;
use crate::inputs::Inputs;
use crate::lockfile::Lockfile;
use crate::manifest::Manifest;
use crate::receipt::{BaseInput, Change, DiskFile, Receipt, RootFile, ServiceRelease, short};
use crate::report::{Outcome, Saying, StepRecord};
use crate::store::Store;
use crate::{carried, sbom, uv};

use self::ground::Webs;
use self::log::Log;
use self::root::Root;
use self::steps::Steps;

/// Another bake of the same digest takes a minute or two; past this it hangs.
const LOCK_WAIT: Duration = Duration::from_mins(15);

/// Bakes, unless the image is there already. Runs in a mount namespace of its own (see `kiln_image::private_mounts`).
///
/// # Errors
/// Any step's; what it left is removed, and its log is kept.
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
    let fresh = cached.is_none() || Tools::cached(&bench.cache, &lock.tool).is_none();
    if let Some(receipt) = cached.and_then(|base| store.receipt(&inputs.digest(&base.meta().tar_sha256))) {
        return Ok(already(bench, &store, receipt));
    }
    host::need_root("a bake")?;
    host::need(&[host::SANDBOX, if fresh { host::BASE } else { &[] }])?;
    store.create()?;
    let log = Log::begin(bench, &store)?;
    let work = Bake {
        bench,
        manifest,
        inputs,
        store: &store,
        log: &log,
        steps: Steps::new(bench),
        begun: Instant::now(),
    };
    let receipt = work.image(&spec, &lock.tool).inspect_err(|error| log.fail(error))?;
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

struct Bake<'a> {
    bench: &'a Bench,
    manifest: &'a Manifest,
    inputs: &'a Inputs,
    store: &'a Store,
    log: &'a Log<'a>,
    steps: Steps<'a>,
    begun: Instant,
}

impl Bake<'_> {
    fn image(&self, spec: &BaseSpec, tools: &[Deb]) -> anyhow::Result<Receipt> {
        let Self { bench, inputs, store, log, .. } = *self;
        let (tools, base, webs) = self.ground(spec, tools)?;
        let digest = inputs.digest(&base.meta().tar_sha256);
        let _held = lock::acquire(&store.lock_path(&digest), LOCK_WAIT, &Saying(&bench.report))?;
        if let Some(receipt) = store.receipt(&digest) {
            return Ok(already(bench, store, receipt));
        }
        store.remove_dead(&digest);
        let building = bench.interrupt.scratch(&store.building_dir(&digest));
        let building = building.context("failed to make a folder for the image")?;
        // Under the lock nobody works in there: it is what a killed bake left.
        let left = Root::left(building.path(), log);
        root::clear(building.path(), left.is_some())?;
        let receipt = self.build(&tools, &base, &digest, building.path(), webs, left)?;
        bench.interrupt.check()?;
        log.keep(building.path())?;
        let image = store.image_dir(&digest);
        std::fs::rename(building.path(), &image)
            .with_context(|| format!("failed to move the image to {}", image.display()))?;
        Ok(receipt)
    }

    fn build(
        &self,
        tools: &Tools,
        base: &Base,
        digest: &str,
        dir: &Path,
        webs: Option<Webs>,
        left: Option<Root>,
    ) -> anyhow::Result<Receipt> {
        let built = self.parts(base, webs)?;
        let assets = built.iter().zip(&self.inputs.services).map(|(built, inputs)| match &built.web {
            Some(web) => carried::assets(web, inputs.carried.as_ref()),
            None => Ok(Vec::new()),
        });
        let assets = assets.collect::<anyhow::Result<Vec<_>>>()?;
        let before = self.store.before(digest);
        let disk = |content: Content<'_>| self.disk(tools, content, dir, before.as_ref());
        let (root, disk) = match left {
            Some(root) => {
                for step in ["root.tar", "assert"] {
                    let detail = "by a bake that was killed over the disk".to_owned();
                    self.steps.run(step, |_| Ok(((), Outcome::Cached, detail)))?;
                }
                (root, disk(Content::Archive(&dir.join(root::ARCHIVE)))?)
            }
            None => self.root(base, digest, dir, built, disk)?,
        };
        let change = before.zip(disk.blocks_changed);
        let change = change.map(|(before, blocks_changed)| Change { since: before.digest, blocks_changed });
        let Root { tree, software } = root;
        self.steps.run("receipt", |_| {
            Root::forget(dir)?;
            let list = dir.join("packages.spdx.json");
            sbom::write(&list, &self.manifest.image.name, digest, &software)?;
            let told = change.as_ref().map(|change| {
                format!(", {} blocks changed since {}", change.blocks_changed, short(&change.since))
            });
            Ok(((), Outcome::Built, format!("{} packages{}", software.len(), told.unwrap_or_default())))
        })?;
        let image = self.store.image_dir(digest);
        let mut receipt = self.receipt(base, digest, &image, tree, disk, tools.versions()?);
        receipt.packages = software.len();
        for (service, assets) in receipt.services.iter_mut().zip(assets) {
            service.assets = assets;
        }
        receipt.disk.change = change;
        let text = serde_json::to_vec_pretty(&receipt).context("failed to write the receipt")?;
        std::fs::write(dir.join("receipt.json"), text).context("failed to write the receipt")?;
        Ok(receipt)
    }

    fn disk(
        &self,
        tools: &Tools,
        content: Content<'_>,
        dir: &Path,
        before: Option<&Receipt>,
    ) -> anyhow::Result<DiskReport> {
        self.steps.run("disk.raw", |step| {
            let before = before.map(|before| before.disk.path.as_path());
            let spec = DiskSpec { before, ..DiskSpec::gib(u64::from(self.manifest.image.size_gib)) };
            let report = disk::write(tools, content, &dir.join("disk.raw"), &spec, step)?;
            let detail = format!("{} of {} blocks hold data", report.blocks_nonzero, report.blocks_total);
            Ok((report, Outcome::Built, detail))
        })
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
            steps: self.steps.records(),
            seconds: self.begun.elapsed().as_secs_f64(),
        }
    }
}
