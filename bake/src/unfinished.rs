//! `kiln resume` and `kiln abort`: what a dead publication left is finished or removed.
//!
//! ```text
//! .kiln/publications/*.jsonl ── none? ──▶ tags in the region ──▶ one publication ──▶ publish it, or undo it
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_ami::{Clients, Head, Journal, Open, Published, Undone, abort as undo, open_publications};
use kiln_image::lock::Lock;
use serde::Serialize;

use crate::bench::Bench;
use crate::builder;
use crate::cli::Agent;
use crate::failure::Failure;
use crate::inputs::{self, Inputs};
use crate::manifest::{Manifest, Publish};
use crate::publish::{Wishes, after, clients, hold, perform, spec, waits};
use crate::store::Store;

/// Which publications are meant.
#[derive(Debug, Default)]
pub struct Chosen {
    /// First characters of a publication's name, or of an image's digest; all of this machine's by default.
    pub publication: Option<String>,
    /// Where to look for tags; the manifest's region or the environment's by default.
    pub region: Option<String>,
    /// The manifest's `[publish]`: where else to look.
    pub publish: Publish,
}

/// What `kiln abort` did to one publication.
#[derive(Debug, Serialize)]
pub struct Aborted {
    /// Who published what.
    #[serde(flatten)]
    pub head: Head,
    /// What is gone.
    pub removed: Vec<String>,
    /// What is still there, and how to remove it.
    pub left: Vec<(String, String)>,
    /// The image that turned out to be published: everything of it stays.
    pub kept: Option<String>,
}

/// A journal, held.
struct Held {
    journal: Journal,
    clients: Clients,
    _lock: Lock,
}

/// Finishes what was begun.
///
/// # Errors
/// The image is not on this machine, or the publication fails once more.
pub async fn resume(
    bench: &Arc<Bench>,
    dir: &Path,
    chosen: &Chosen,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Vec<Published>> {
    let store = Store::of(dir);
    let mut interrupted = std::pin::pin!(interrupted);
    let wishes = Wishes { publish: chosen.publish.clone(), ..Wishes::default() };
    let mut done = Vec::new();
    for mut held in find(bench, dir, &store, chosen).await? {
        let head = held.journal.head().clone();
        if head.base.is_some() {
            let manifest = Manifest::load(dir)?;
            let agent = inputs::find_agent(Agent::environment().as_deref())?;
            let inputs = Inputs::collect(&manifest, &agent, None, inputs::os_of(&manifest))?;
            bench.report.say(&format!("going on with {} of {}", head.publication, head.owner));
            let begun = (&held.clients, &mut held.journal);
            done.push(builder::resume(bench, &manifest, &inputs, begun, interrupted.as_mut()).await?);
            continue;
        }
        let found = store.resolve(Some(&head.digest)).map_err(|_| {
            Failure::Usage(format!(
                "{} publishes image {}, which is not on this machine: 'kiln bake' of the same commit makes the same bytes; or remove what it left with 'kiln abort {}'",
                head.publication, head.digest, head.publication
            ))
        })?;
        bench.report.say(&format!("going on with {} of {}", head.publication, head.owner));
        let spec = spec(&store, &found, &held.clients, &wishes).await?;
        let work = perform(bench, &found.dir, &held.clients, &spec, &mut held.journal, interrupted.as_mut());
        done.push(work.await?);
    }
    Ok(done)
}

/// Removes what was begun, and nothing that is published.
///
/// # Errors
/// AWS cannot be asked; what could not be removed is in the answer.
pub async fn abort(bench: &Bench, dir: &Path, chosen: &Chosen) -> anyhow::Result<Vec<Aborted>> {
    let store = Store::of(dir);
    let mut done = Vec::new();
    for mut held in find(bench, dir, &store, chosen).await? {
        let head = held.journal.head().clone();
        let Undone { removed, left, kept } = undo(&held.clients, &mut held.journal, &waits()).await?;
        done.push(Aborted { head, removed, left, kept });
    }
    Ok(done)
}

async fn find(bench: &Bench, dir: &Path, store: &Store, chosen: &Chosen) -> anyhow::Result<Vec<Held>> {
    let meant = |head: &Head| {
        let wanted = chosen.publication.as_deref();
        let named = wanted
            .is_none_or(|wanted| head.publication.starts_with(wanted) || head.digest.starts_with(wanted));
        named && chosen.region.as_ref().is_none_or(|region| *region == head.region)
    };
    let mut found = Vec::new();
    for path in journals(store) {
        let Some(head) = Journal::load(&path)?.map(|journal| journal.head().clone()) else {
            // It was killed before its first line was whole: nothing was asked for yet.
            let _ = fs::remove_file(&path);
            continue;
        };
        if meant(&head) {
            let (lock, path) = hold(store, &head)?;
            // Read again under the lock: it may have gone on, or ended, meanwhile.
            if let Some(journal) = Journal::load(&path)? {
                found.push(Held { journal, clients: clients(Some(&head.region)).await?, _lock: lock });
            }
        }
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let manifest = Manifest::load(dir)?;
    let region = chosen.region.clone().or(manifest.region);
    let clients = clients(region.as_deref()).await?;
    bench.report.say(&format!("no journal here; looking for tags in {}", clients.region));
    let bucket = manifest.builder.as_ref().map(|builder| builder.bucket.as_str());
    let open =
        open_publications(&clients, Some(&manifest.image.name), &after(&chosen.publish), bucket).await?;
    for open in choose(open.into_iter().filter(|open| meant(&open.head)).collect(), chosen)? {
        let (lock, path) = hold(store, &open.head)?;
        found.push(Held { journal: open.journal(&path)?, clients: clients.clone(), _lock: lock });
    }
    Ok(found)
}

/// Of what only tags tell of, somebody may still be at work on: unless it has expired it has to be named.
fn choose(open: Vec<Open>, chosen: &Chosen) -> Result<Vec<Open>, Failure> {
    let now = jiff::Timestamp::now();
    let alive: Vec<_> = open.iter().filter(|open| !open.is_expired(now)).collect();
    if alive.is_empty() || chosen.publication.is_some() {
        return Ok(open);
    }
    let told: Vec<_> = alive.iter().map(|open| told(&open.head)).collect();
    Err(Failure::Usage(format!(
        "{}; name the one that nobody works on any more, as in 'kiln abort {}'",
        told.join("; "),
        alive[0].head.publication
    )))
}

fn told(head: &Head) -> String {
    format!("{} of {} is open until {}", head.publication, head.owner, head.expires)
}

fn journals(store: &Store) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.publications()).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths
}

/// What `kiln abort` says.
pub fn table(aborted: &[Aborted]) -> String {
    let mut lines = Vec::new();
    for one in aborted {
        lines.push(format!("{} of {}, image {}", one.head.publication, one.head.owner, one.head.name));
        lines.extend(one.removed.iter().map(|what| format!("  removed {what}")));
        lines.extend(one.left.iter().map(|(what, how)| format!("  left    {what}: {how}")));
        lines.extend(one.kept.iter().map(|image| format!("  kept    image {image}: it is published")));
        if one.removed.is_empty() && one.left.is_empty() && one.kept.is_none() {
            lines.push("  nothing had been created".to_owned());
        }
    }
    if lines.is_empty() { "nothing is open".to_owned() } else { lines.join("\n") }
}
