//! `kiln publish`: the disk becomes an AMI; idempotent by digest, and open in a journal until it is done.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kiln_ami::{Clients, Head, Journal, Progress as Sending, PublishSpec, Published};
use kiln_image::lock::{self, Lock};
use kiln_image::{Progress as _, Silent, Unit};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::report::Outcome;
use crate::store::{Found, Store};

/// Publishes a finished image to `region`, or to the AWS environment's own; writes `published.json` beside it.
///
/// # Errors
/// [`Failure::TryAgain`] when AWS throttles or cannot be reached, or another process publishes the same image;
/// whatever was made is removed, or stays open in the journal and is named.
pub async fn publish(
    bench: &Bench,
    store: &Store,
    found: &Found,
    region: Option<&str>,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let spec = spec(found)?;
    let clients = clients(region).await?;
    let head = spec.head(&clients.region, jiff::Timestamp::now());
    let (_lock, path) = hold(store, &head)?;
    let mut journal = match Journal::load(&path)? {
        Some(journal) => {
            bench
                .report
                .say(&format!("going on with {}, which was not finished", journal.head().publication));
            journal
        }
        None => Journal::begin(&path, head)?,
    };
    perform(bench, found, &clients, &mut journal, interrupted).await
}

/// Goes on with whatever `journal` says was begun; an empty one begins.
///
/// # Errors
/// As [`publish`].
pub async fn perform(
    bench: &Bench,
    found: &Found,
    clients: &Clients,
    journal: &mut Journal,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let spec = spec(found)?;
    let step = bench.report.step(1, 1, "publish");
    let watch = |progress: Sending| match &progress {
        Sending::Sent { blocks, of, .. } => {
            step.position(u64::from(*blocks), Some(u64::from(*of)), Unit::Items);
        }
        _ => step.message(&progress.to_string()),
    };
    let published = kiln_ami::publish(clients, &spec, journal, &watch, interrupted).await;
    let published = published.map_err(|failure| {
        let text = failure.to_string();
        match &failure.cause {
            kiln_ami::Error::Interrupted if failure.left.is_empty() => Failure::Interrupted.into(),
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

/// Clients for `region`, or the environment's own.
///
/// # Errors
/// [`Failure::Usage`] if there is no region.
pub async fn clients(region: Option<&str>) -> Result<Clients, Failure> {
    Clients::from_env(region).await.map_err(|error| Failure::Usage(error.to_string()))
}

/// One process per publication: its lock, and the path of its journal.
///
/// # Errors
/// The lock is held, or the folders cannot be made.
pub fn hold(store: &Store, head: &Head) -> anyhow::Result<(Lock, PathBuf)> {
    store.create()?;
    let name = format!("{}-{}", head.digest, head.region);
    let taken = lock::acquire(&store.lock_path(&format!("publish-{name}")), Duration::ZERO, &Silent)?;
    Ok((taken, store.publications().join(format!("{name}.jsonl"))))
}

fn spec(found: &Found) -> anyhow::Result<PublishSpec> {
    let Some(receipt) = &found.receipt else {
        bail!(
            "{} has no receipt beside it: publish an image that 'kiln bake' made",
            found.root_tar.display()
        );
    };
    let mut spec = PublishSpec::new(found.dir.join("disk.raw"), &receipt.name, &receipt.digest);
    spec.owner = owner();
    spec.waits = waits();
    Ok(spec)
}

/// How patiently AWS is waited for. `KILN_AWS_POLL_MS`, milliseconds between two looks, is for emulators.
pub fn waits() -> kiln_ami::Waits {
    let poll = std::env::var("KILN_AWS_POLL_MS").ok().and_then(|text| text.parse().ok());
    let default = kiln_ami::Waits::default();
    kiln_ami::Waits { poll: poll.map_or(default.poll, Duration::from_millis), ..default }
}

/// `user@host`: whom to ask about a publication that somebody finds unfinished.
fn owner() -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}@{}", user.as_deref().unwrap_or("unknown"), host.trim())
}

/// The receipt, for people: the AMI's id stands alone on its line, for those who cut it out.
pub fn table(published: &Published) -> String {
    let Published { image_id, image_name, snapshot_id, region, .. } = published;
    let how = if published.adopted { "was there already" } else { "registered" };
    format!(
        "ami       {image_id}\nname      {image_name}  ({how})\nsnapshot  {snapshot_id}\nregion    {region}"
    )
}
