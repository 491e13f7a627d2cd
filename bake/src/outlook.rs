//! What a bake would do on this machine, as it is: reads the caches for the plan, changes nothing.

use std::path::Path;

use kiln_ami::BaseImage;
use kiln_image::{Base, Tools};

use crate::bench::Bench;
use crate::builder::Prepared;
use crate::calls::{calls, calls_on_instance};
use crate::hardening;
use crate::inputs::Inputs;
use crate::lockfile::Lockfile;
use crate::manifest::Manifest;
use crate::plan::{Held, Plan, Subject};
use crate::store::Store;

/// What a bake of `manifest` would do; without a lock the base is not known yet. No network, no root, nothing is written.
///
/// # Errors
/// A source cannot be read.
pub fn plan(
    bench: &Bench,
    manifest: &Manifest,
    inputs: &Inputs,
    lock: Option<&Lockfile>,
) -> anyhow::Result<Plan> {
    let spec = lock.map(|lock| lock.base_spec(bench, &manifest.dir)).transpose()?;
    let base = spec.and_then(|spec| Base::cached(&bench.cache, &spec));
    let digest = base.as_ref().map(|base| inputs.digest(&base.meta().tar_sha256));
    let store = Store::of(&manifest.dir);
    let (frontends, venvs) = parts(bench, manifest, inputs);
    let held = Held {
        image: digest
            .as_deref()
            .and_then(|digest| store.receipt(digest))
            .map(|image| image.disk.report.allocated),
        tools: lock.is_some_and(|lock| Tools::cached(&bench.cache, &lock.tool).is_some()),
        frontends,
        venvs,
        base: base.map(|base| base.meta().tar_size),
        before: store.all().pop(),
    };
    Ok(Plan::new(subject(manifest, inputs, digest), &held))
}

/// What a bake on an instance would do, from the base that was found for it.
pub fn on_instance(bench: &Bench, manifest: &Manifest, inputs: &Inputs, prepared: &Prepared) -> Plan {
    let (frontends, venvs) = parts(bench, manifest, inputs);
    let BaseImage { image_id, name, .. } = &prepared.base;
    let subject = Subject {
        base: format!("{image_id}  {name}"),
        calls: manifest
            .builder
            .as_ref()
            .map_or_else(Vec::new, |builder| calls_on_instance(manifest, builder)),
        ..subject(manifest, inputs, Some(prepared.digest.clone()))
    };
    Plan::on_instance(subject, &Held { frontends, venvs, ..Held::default() })
}

fn subject(manifest: &Manifest, inputs: &Inputs, digest: Option<String>) -> Subject {
    Subject {
        name: manifest.image.name.clone(),
        base: manifest.image.base.clone(),
        disk_gib: manifest.image.size_gib,
        packages: manifest.image.packages.clone(),
        hardening: hardening::on(&manifest.image),
        inputs: inputs.parts.clone(),
        digest,
        calls: calls(manifest),
    }
}

/// A service's name, and the bytes of what is cached for it.
type Cached = Vec<(String, Option<u64>)>;

/// Frontends and venvs.
fn parts(bench: &Bench, manifest: &Manifest, inputs: &Inputs) -> (Cached, Cached) {
    let services = || manifest.services.iter().zip(&inputs.services);
    let frontends = services().filter_map(|(service, inputs)| {
        let (_, key) = inputs.frontend.as_ref()?;
        Some((service.name.clone(), size(&bench.cache.join("web").join(key))))
    });
    let venvs = services().filter_map(|(service, inputs)| {
        let (_, lock_hash) = inputs.backend.as_ref()?;
        let venv = crate::venv::cached(&bench.cache, service, lock_hash);
        Some((service.name.clone(), venv.and_then(|venv| size(&venv))))
    });
    (frontends.collect(), venvs.collect())
}

/// Bytes of all files below a folder, if it is there.
fn size(dir: &Path) -> Option<u64> {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten().filter_map(|entry| entry.metadata().ok());
    dir.is_dir().then(|| files.filter(std::fs::Metadata::is_file).map(|file| file.len()).sum())
}
