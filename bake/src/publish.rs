//! `kiln publish`: the disk becomes an AMI; idempotent by digest.

use std::fs;

use anyhow::{Context as _, bail};
use kiln_ami::{Clients, Progress as Sending, PublishSpec, Published};
use kiln_image::{Progress as _, Unit};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::report::Outcome;
use crate::store::Found;

/// Publishes a finished image to `region`, or to the AWS environment's own; writes `published.json` beside it.
///
/// # Errors
/// [`Failure::TryAgain`] when AWS throttles or cannot be reached; whatever was made is removed, or named.
pub async fn publish(
    bench: &Bench,
    found: Found,
    region: Option<&str>,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let Some(receipt) = found.receipt else {
        bail!(
            "{} has no receipt beside it: publish an image that 'kiln bake' made",
            found.root_tar.display()
        );
    };
    let disk = found.dir.join("disk.raw");
    let spec = PublishSpec::new(&disk, &receipt.name, &receipt.digest);
    let clients = Clients::from_env(region).await.map_err(|error| Failure::Usage(format!("{error}")))?;
    let step = bench.report.step(1, 1, "publish");
    let watch = |progress: Sending| match &progress {
        Sending::Sent { blocks, of, .. } => {
            step.position(u64::from(*blocks), Some(u64::from(*of)), Unit::Items);
        }
        _ => step.message(&progress.to_string()),
    };
    let published = kiln_ami::publish(&clients, &spec, &watch, interrupted).await.map_err(|failure| {
        let text = failure.to_string();
        match &failure.cause {
            kiln_ami::Error::Interrupted => Failure::Interrupted.into(),
            cause if cause.is_temporary() => Failure::TryAgain(text).into(),
            _ => anyhow::Error::msg(text),
        }
    })?;
    let outcome = if published.adopted { Outcome::Cached } else { Outcome::Built };
    step.done(outcome, format!("{} blocks sent, image {}", published.blocks_sent, published.image_id));
    let path = found.dir.join("published.json");
    let text = serde_json::to_vec_pretty(&published).context("failed to write the receipt")?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(published)
}

/// The receipt, for people: the AMI's id stands alone on its line, for those who cut it out.
pub fn table(published: &Published) -> String {
    let Published { image_id, image_name, snapshot_id, region, .. } = published;
    let how = if published.adopted { "was there already" } else { "registered" };
    format!(
        "ami       {image_id}\nname      {image_name}  ({how})\nsnapshot  {snapshot_id}\nregion    {region}"
    )
}
