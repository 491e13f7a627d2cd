//! `kiln publish`: the disk becomes an AMI; idempotent by digest, and open in a journal until it is done.

use std::fmt::Write as _;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kiln_ami::{After, Blocks, Clients, Head, Journal, Progress as Sending, PublishSpec, Published, Source};
use kiln_image::lock::{self, Lock};
use kiln_image::{Progress as _, Silent, Unit};

use crate::bench::Bench;
use crate::failure::Failure;
use crate::manifest::Publish;
use crate::report::Outcome;
use crate::store::{Found, Store};

/// A pipeline's log wants to know that blocks are on their way, not of each.
const SPEED_EVERY: Duration = Duration::from_secs(2);

/// How to publish.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Where; the AWS environment's own by default.
    pub region: Option<String>,
    /// Blocks in flight at most.
    pub workers: Option<NonZeroUsize>,
    /// The snapshot over which only what differs is sent; the latest of this app by default.
    pub parent: Option<String>,
    /// Over no snapshot at all.
    pub full: bool,
    /// The manifest's `[publish]`.
    pub publish: Publish,
}

/// Publishes a finished image; writes `published.json` beside it.
///
/// # Errors
/// [`Failure::TryAgain`] when AWS throttles or cannot be reached, or another process publishes the same image;
/// whatever was made is removed, or stays open in the journal and is named.
pub async fn publish(
    bench: &Bench,
    store: &Store,
    found: &Found,
    wishes: &Wishes,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let clients = clients(wishes.region.as_deref()).await?;
    let spec = spec(store, found, &clients, wishes).await?;
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
    perform(bench, &found.dir, &clients, &spec, &mut journal, interrupted).await
}

/// Goes on with whatever `journal` says was begun; an empty one begins. Its receipt goes into the folder `results`.
///
/// # Errors
/// As [`publish`].
pub async fn perform(
    bench: &Bench,
    results: &Path,
    clients: &Clients,
    spec: &PublishSpec,
    journal: &mut Journal,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Published> {
    let uploads = matches!(spec.source, Source::Disk(_));
    let step = bench.report.step(1, 1, if uploads { "publish" } else { "instance" });
    let told = Mutex::new(Instant::now());
    let watch = |progress: Sending| {
        if let Sending::Sent { blocks, of, .. } = &progress {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.elapsed() >= SPEED_EVERY || blocks == of {
                *told = Instant::now();
                step.message(&progress.to_string());
            }
            step.position(u64::from(*blocks), Some(u64::from(*of)), Unit::Items);
        } else {
            step.message(&progress.to_string());
        }
    };
    let published = kiln_ami::publish(clients, spec, journal, &watch, interrupted).await;
    let published = published.map_err(|failure| {
        let text = failure.to_string();
        match &failure.cause {
            kiln_ami::Error::Interrupted if failure.left.is_empty() => Failure::Interrupted.into(),
            cause if cause.is_temporary() => Failure::TryAgain(text).into(),
            _ => anyhow::Error::msg(text),
        }
    })?;
    let outcome = if published.adopted { Outcome::Cached } else { Outcome::Built };
    let sent = if uploads { format!("{} blocks sent, ", published.blocks_sent) } else { String::new() };
    step.done(outcome, format!("{sent}image {}", published.image_id));
    fs::create_dir_all(results).with_context(|| format!("failed to make {}", results.display()))?;
    let path = results.join("published.json");
    let text = serde_json::to_vec_pretty(&published).context("failed to write the receipt")?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    if let Some(blocks) = &published.blocks {
        let path = blocks_file(results, &published.region);
        let text = serde_json::to_vec(blocks).context("failed to write the blocks' hashes")?;
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(published)
}

/// Where the hashes of what was published stay, for the next image to be compared with.
fn blocks_file(image: &Path, region: &str) -> PathBuf {
    image.join(format!("blocks-{region}.json"))
}

/// The latest other image of this app that was published in the region, by the hashes of its blocks.
fn latest(store: &Store, digest: &str, region: &str) -> Option<Blocks> {
    let others = store.all().into_iter().rev().filter(|receipt| receipt.digest != digest);
    others
        .filter_map(|receipt| fs::read(blocks_file(&store.image_dir(&receipt.digest), region)).ok())
        .find_map(|text| serde_json::from_slice(&text).ok())
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

/// What is to be published, and how.
///
/// # Errors
/// The image has no receipt, or the parent that is named cannot be read.
pub async fn spec(
    store: &Store,
    found: &Found,
    clients: &Clients,
    wishes: &Wishes,
) -> anyhow::Result<PublishSpec> {
    let Some(receipt) = &found.receipt else {
        bail!(
            "{} has no receipt beside it: publish an image that 'kiln bake' made",
            found.root_tar.display()
        );
    };
    let spec = PublishSpec::new(found.dir.join("disk.raw"), &receipt.name, &receipt.digest);
    let mut spec = common(spec, &wishes.publish);
    spec.workers = wishes.workers.unwrap_or(spec.workers);
    let known = latest(store, &receipt.digest, &clients.region);
    spec.parent = match &wishes.parent {
        _ if wishes.full => None,
        None => known,
        Some(named) => match known.filter(|blocks| blocks.snapshot_id == *named) {
            Some(blocks) => Some(blocks),
            None => Some(Blocks::read(clients, named).await?),
        },
    };
    Ok(spec)
}

/// What every publication takes from `[publish]` and from this machine.
pub fn common(spec: PublishSpec, publish: &Publish) -> PublishSpec {
    PublishSpec {
        owner: owner(),
        waits: waits(),
        tags: publish.tags.clone(),
        kms_key: publish.kms_key.clone(),
        after: after(publish),
        ..spec
    }
}

/// What is done once the image is available.
pub fn after(publish: &Publish) -> After {
    After {
        regions: publish.regions.clone(),
        deprecate_after: publish.deprecate_after,
        accounts: publish.accounts.clone(),
        parameter: publish.parameter.clone(),
    }
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
    let Published { image_id, image_name, snapshot_id, region, changed, .. } = published;
    let how = if published.adopted { "was there already" } else { "registered" };
    let mut text = format!(
        "ami       {image_id}\nname      {image_name}  ({how})\nsnapshot  {snapshot_id}\nregion    {region}"
    );
    for (region, (image, snapshot)) in &published.copies {
        let _ = write!(text, "\ncopy      {image}  {snapshot}  {region}");
    }
    if let Some(base) = &published.base {
        let _ = write!(text, "\nbase      {base}");
    }
    for what in changed {
        let _ = write!(text, "\ndone      {what}");
    }
    if published.adopted && changed.is_empty() {
        text.push_str("\ndone      nothing: all of it was there");
    }
    text
}
