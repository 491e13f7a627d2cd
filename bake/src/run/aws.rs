//! The commands that speak with AWS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use kiln_ami::{Clients, PublishSpec, Terms};
use tokio::runtime::Runtime;

use super::Answer;
use crate::bench::Bench;
use crate::cli::{Agent, Gc, Publish, Unfinished};
use crate::failure::Failure;
use crate::inputs::Inputs;
use crate::interrupt::kill_children;
use crate::manifest::{self, Manifest};
use crate::plan::{Plan, There};
use crate::publish::{self, Wishes};
use crate::signals::{runtime, signalled};
use crate::store::Store;
use crate::unfinished::{self, Chosen};
use crate::{builder, gc, host, outlook};

/// The manifest's region and `[publish]`. An image can be published without its app at hand; a manifest that is there
/// has to be valid, or shares and copies would be forgotten.
fn wanted(dir: &Path) -> anyhow::Result<(Option<String>, manifest::Publish)> {
    if !dir.join(manifest::FILE).exists() {
        return Ok((None, manifest::Publish::default()));
    }
    let manifest = Manifest::load(dir)?;
    Ok((manifest.region, manifest.publish))
}

/// What AWS has of a planned image, whose digest has to be known.
pub(super) fn there(manifest: &Manifest, plan: &Plan) -> anyhow::Result<There> {
    let Some(digest) = &plan.digest else {
        bail!(
            "the image's name in AWS holds its digest, which is known once the base layer is built: run 'kiln bake' first"
        );
    };
    let spec = PublishSpec::new("", &manifest.image.name, digest);
    runtime()?.block_on(async {
        let clients = publish::clients(manifest.region.as_deref()).await?;
        let image_id = kiln_ami::published(&clients, &spec).await?;
        Ok(There { region: clients.region, name: spec.image_name(), image_id })
    })
}

/// What a side of a comparison is called here: an AMI is the image that it was published from.
///
/// # Errors
/// [`Failure::Usage`] if Kiln did not publish it, or that image is not here; the call's own.
pub(super) fn side(dir: &Path, named: &str) -> anyhow::Result<String> {
    if !named.starts_with("ami-") || Path::new(named).exists() {
        return Ok(named.to_owned());
    }
    let region = wanted(dir)?.0;
    let (region, digest) = runtime()?.block_on(async {
        let clients = publish::clients(region.as_deref()).await?;
        anyhow::Ok((clients.region.clone(), kiln_ami::digest_of(&clients, named).await?))
    })?;
    let digest = digest.ok_or_else(|| {
        Failure::Usage(format!(
            "'{named}' in {region} has no digest in a tag kiln:digest that this account sees: name what it was made from"
        ))
    })?;
    if !Store::of(dir).image_dir(&digest).join("root.tar").is_file() {
        let again = "'kiln bake' from the same commit makes it again, the same bytes";
        return Err(Failure::Usage(format!("'{named}' is image {digest}, which is not here: {again}")).into());
    }
    Ok(digest)
}

/// Reads the app for a bake on an instance, and asks AWS for its base.
fn prepare(
    dir: &Path,
    agent: &Agent,
    runtime: &Runtime,
) -> anyhow::Result<(Manifest, Inputs, builder::Prepared)> {
    let manifest = Manifest::load(dir)?;
    builder::table(&manifest)?;
    let inputs = super::collect(&manifest, agent, None)?;
    let prepared = runtime.block_on(builder::prepare(&manifest, &inputs, None))?;
    Ok((manifest, inputs, prepared))
}

pub(super) fn bake(bench: &Arc<Bench>, dir: &Path, agent: &Agent) -> anyhow::Result<Answer> {
    host::need(&[host::SANDBOX])?;
    super::own_ground()?;
    let runtime = runtime()?;
    let (manifest, inputs, prepared) = prepare(dir, agent, &runtime)?;
    let interrupted = async {
        signalled().await;
        bench.interrupt.raise();
        kill_children();
    };
    let baked = builder::bake(bench, &manifest, &inputs, &prepared, interrupted);
    let published = runtime.block_on(baked)?;
    Answer::new(publish::table(&published), &published)
}

pub(super) fn plan(bench: &Arc<Bench>, dir: &Path, agent: &Agent) -> anyhow::Result<Answer> {
    let (manifest, inputs, prepared) = prepare(dir, agent, &runtime()?)?;
    let plan = outlook::on_instance(bench, &manifest, &inputs, &prepared);
    Answer::new(plan.to_string(), &plan)
}

pub(super) fn send(bench: &Arc<Bench>, dir: &Path, what: Publish) -> anyhow::Result<Answer> {
    let store = Store::of(dir);
    let found = store.resolve(what.image.as_deref())?;
    let (region, publish) = wanted(dir)?;
    let region = what.region.or(region);
    let wishes = Wishes { region, workers: what.workers, parent: what.parent, full: what.full, publish };
    let published = runtime()?.block_on(publish::publish(bench, &store, &found, &wishes, signalled()))?;
    Answer::new(publish::table(&published), &published)
}

pub(super) fn resume(bench: &Arc<Bench>, dir: &Path, which: Unfinished) -> anyhow::Result<Answer> {
    let chosen = Chosen { publication: which.publication, region: which.region, publish: wanted(dir)?.1 };
    let done = runtime()?.block_on(unfinished::resume(bench, dir, &chosen, signalled()))?;
    let text: Vec<_> = done.iter().map(publish::table).collect();
    let text = if text.is_empty() { "nothing is open".to_owned() } else { text.join("\n\n") };
    Answer::new(text, &done)
}

pub(super) fn abort(bench: &Arc<Bench>, dir: &Path, which: Unfinished) -> anyhow::Result<Answer> {
    let chosen = Chosen { publication: which.publication, region: which.region, publish: wanted(dir)?.1 };
    let done = runtime()?.block_on(unfinished::abort(bench, dir, &chosen))?;
    let mut answer = Answer::new(unfinished::table(&done), &done)?;
    answer.code = u8::from(done.iter().any(|one| !one.left.is_empty()));
    Ok(answer)
}

pub(super) fn collect(dir: &Path, what: &Gc) -> anyhow::Result<Answer> {
    let manifest = Manifest::load(dir)?;
    let (name, publish) = (&manifest.image.name, &manifest.publish);
    let terms =
        Terms { keep: what.keep.unwrap_or(publish.keep), grace: Duration::from_hours(24) * what.grace_days };
    let collected = runtime()?.block_on(async {
        let home = publish::clients(what.region.as_deref().or(manifest.region.as_deref())).await?;
        let others = publish.regions.iter().filter(|_| what.region.is_none());
        let mut places: Vec<Clients> = others.map(|region| home.in_region(region)).collect();
        places.insert(0, home);
        if what.orphans {
            let bucket = manifest.builder.as_ref().map(|builder| builder.bucket.as_str());
            gc::orphans(&places, name, bucket, what.apply).await
        } else {
            gc::images(&places, name, terms, what.apply).await
        }
    })?;
    Answer::new(gc::table(&collected), &collected)
}
