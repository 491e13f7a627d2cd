//! `kiln bake --on instance`: a builder instance becomes the image, and everything of `[publish]` is done with it.
//!
//! ```text
//! [builder] base ─▶ its id ─┐
//! app, agent, templates ────┴▶ digest ─▶ frontends, bundle ─▶ kiln_ami: instance ─▶ image ─▶ copies, shares, parameter
//! ```

use std::sync::Arc;

use kiln_ami::{Base, BaseImage, Clients, Journal, Pack, PublishSpec, Published};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::inputs::Inputs;
use crate::manifest::{Builder, Manifest};
use crate::publish::{clients, common, hold, perform};
use crate::release::Built;
use crate::store::Store;
use crate::{bundle, provision};

/// The builder's user data; `kiln_ami::ORDERS` stands in it once.
const SCRIPT: &str = include_str!("../../templates/builder/user-data.py");

/// What is to become an image, and of which base: decided before anything is made.
#[derive(Debug)]
pub struct Prepared {
    /// For the image's region.
    pub clients: Clients,
    /// What the instance starts from.
    pub base: BaseImage,
    /// The image's digest.
    pub digest: String,
}

/// `[builder]`, which there has to be.
///
/// # Errors
/// [`Failure::Usage`].
pub fn table(manifest: &Manifest) -> Result<&Builder, Failure> {
    let missing = "kiln.toml has no [builder]: name base, subnet and bucket of the instance to bake on";
    manifest.builder.as_ref().ok_or_else(|| Failure::Usage(missing.to_owned()))
}

/// Finds the base, by `[builder]` or, for what was begun with it, by the id that was pinned.
///
/// # Errors
/// There is no such base, or AWS cannot be asked.
pub async fn prepare(
    manifest: &Manifest,
    inputs: &Inputs,
    pinned: Option<(&str, &Clients)>,
) -> anyhow::Result<Prepared> {
    let (clients, base) = match pinned {
        Some((id, clients)) => (clients.clone(), Base::Id(id.to_owned())),
        None => (clients(manifest.region.as_deref()).await?, table(manifest)?.base.clone()),
    };
    let base = base.resolve(&clients).await?;
    let digest = inputs.digest_on(&base.image_id);
    Ok(Prepared { clients, base, digest })
}

/// Bakes; one whose digest is published already is not baked again.
///
/// # Errors
/// As `publish::publish`; of a provisioning that fails, the last lines of the instance's output.
pub async fn bake(
    bench: &Arc<Bench>,
    manifest: &Manifest,
    inputs: &Inputs,
    prepared: &Prepared,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let store = Store::of(&manifest.dir);
    store.create()?;
    let spec = spec(bench, manifest, inputs, prepared)?;
    let head = spec.head(&prepared.clients.region, jiff::Timestamp::now());
    let (_lock, path) = hold(&store, &head)?;
    let mut journal = match Journal::load(&path)? {
        Some(journal) => {
            let begun = &journal.head().publication;
            bench.report.say(&format!("going on with {begun}, which was not finished"));
            journal
        }
        None => Journal::begin(&path, head)?,
    };
    let results = store.publications().join(&prepared.digest);
    perform(bench, &results, &prepared.clients, &spec, &mut journal, interrupted).await
}

/// Goes on with a builder's publication, from the base that its journal names.
///
/// # Errors
/// The app is another by now; else as [`bake`].
pub async fn resume(
    bench: &Arc<Bench>,
    manifest: &Manifest,
    inputs: &Inputs,
    (clients, journal): (&Clients, &mut Journal),
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let head = journal.head().clone();
    let prepared = prepare(manifest, inputs, head.base.as_deref().map(|base| (base, clients))).await?;
    if prepared.digest != head.digest {
        let (publication, wanted) = (&head.publication, &head.digest);
        return Err(Failure::Usage(format!(
            "{publication} bakes image {wanted}, and this app comes to {}: go on from the same commit, or remove what it left with 'kiln abort {publication}'",
            prepared.digest
        ))
        .into());
    }
    let spec = spec(bench, manifest, inputs, &prepared)?;
    let results = Store::of(&manifest.dir).publications().join(&prepared.digest);
    perform(bench, &results, clients, &spec, journal, interrupted).await
}

/// What is to be made; frontends are built and packed once an instance is to fetch them.
fn spec(
    bench: &Arc<Bench>,
    manifest: &Manifest,
    inputs: &Inputs,
    prepared: &Prepared,
) -> anyhow::Result<PublishSpec> {
    let table = table(manifest)?;
    let pack = {
        let (bench, manifest, inputs) = (Arc::clone(bench), manifest.clone(), inputs.clone());
        move || {
            let step = bench.report.step(1, 1, "frontend");
            let built = provision::frontends(&bench, &manifest, &inputs, &step);
            let packed = built.and_then(|(webs, outcome, detail)| {
                step.done(outcome, detail);
                let venvs = vec![None; webs.len()];
                bundle::pack(&bench, &manifest, &inputs, &Built::each(webs, venvs))
            });
            packed.map_err(|error| format!("{error:#}"))
        }
    };
    let builder = kiln_ami::Builder {
        base: prepared.base.clone(),
        instance_type: table.instance_type.clone(),
        subnet: table.subnet.clone(),
        profile: table.profile.clone(),
        bucket: table.bucket.clone(),
        volume_gib: manifest.image.size_gib,
        lifetime: table.lifetime,
        script: SCRIPT.to_owned(),
        pack: Pack(Arc::new(pack)),
    };
    let spec = PublishSpec::on_instance(builder, &manifest.image.name, &prepared.digest);
    Ok(common(spec, &manifest.publish))
}

#[cfg(test)]
mod tests {
    use super::SCRIPT;

    #[test]
    fn the_user_data_has_one_place_for_its_orders() {
        assert_eq!(SCRIPT.matches(kiln_ami::ORDERS).count(), 1);
        assert!(SCRIPT.starts_with("#!"), "a base runs what begins so");
    }
}
