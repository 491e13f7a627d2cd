//! The commands that speak with AWS.

use std::path::Path;
use std::sync::Arc;

use super::Answer;
use crate::bench::Bench;
use crate::cli::{Publish, Unfinished};
use crate::manifest::{self, Manifest};
use crate::publish::{self, Wishes};
use crate::signals::{runtime, signalled};
use crate::store::Store;
use crate::unfinished::{self, Chosen};

/// The manifest's region and `[publish]`. An image can be published without its app at hand; a manifest that is there
/// has to be valid, or shares and copies would be forgotten.
fn wanted(dir: &Path) -> anyhow::Result<(Option<String>, manifest::Publish)> {
    if !dir.join(manifest::FILE).exists() {
        return Ok((None, manifest::Publish::default()));
    }
    let manifest = Manifest::load(dir)?;
    Ok((manifest.region, manifest.publish))
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
