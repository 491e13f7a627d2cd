//! What a bake would do on this machine, as it is: reads the caches for the plan, changes nothing.

use kiln_image::{Base, BaseSpec, Tools};

use crate::bench::Bench;
use crate::inputs::Inputs;
use crate::manifest::Manifest;
use crate::packages;
use crate::plan::{Held, Plan, Subject};
use crate::store::Store;

/// The base root that a manifest asks for, with what the app layer needs on it.
pub fn base_spec(manifest: &Manifest) -> BaseSpec {
    BaseSpec::debian_12(packages::wanted(manifest))
}

/// What a bake of `manifest` would do. No network, no root, nothing is written.
///
/// # Errors
/// A source cannot be read.
pub fn plan(bench: &Bench, manifest: &Manifest, inputs: &Inputs) -> anyhow::Result<Plan> {
    let base = Base::cached(&bench.cache, &base_spec(manifest)).map(|base| base.meta().tar_sha256.clone());
    let digest = base.as_deref().map(|base| inputs.digest(base));
    let store = Store::of(&manifest.dir);
    let services = || manifest.services.iter().zip(&inputs.services);
    let held = Held {
        image: digest.as_deref().is_some_and(|digest| store.receipt(digest).is_some()),
        tools: Tools::cached(&bench.cache).is_some(),
        frontends: services()
            .filter_map(|(service, inputs)| {
                let (_, key) = inputs.frontend.as_ref()?;
                Some((service.name.clone(), bench.cache.join("web").join(key).is_dir()))
            })
            .collect(),
        venvs: services()
            .filter_map(|(service, inputs)| {
                let (_, lock_hash) = inputs.backend.as_ref()?;
                Some((service.name.clone(), crate::venv::is_cached(&bench.cache, service, lock_hash)))
            })
            .collect(),
        base,
    };
    let subject = Subject {
        name: manifest.image.name.clone(),
        base: manifest.image.base.clone(),
        disk_gib: manifest.image.size_gib,
        packages: packages::wanted(manifest),
        inputs: inputs.parts.clone(),
        digest,
    };
    Ok(Plan::new(subject, &held))
}
