//! `kiln gc`: retires old images step by step, and removes what dead publications left. A dry run unless told otherwise.

use kiln_ami::{
    After, Clients, Judged, Terms, Verdict, abort, image_users, judge_images, open_publications, retire,
};
use serde::Serialize;

use crate::publish::waits;

/// What `kiln gc` found, and did if it was told to.
#[derive(Debug, Serialize)]
pub struct Collected {
    /// Every image of the app.
    pub images: Vec<Judged>,
    /// Publications that nobody finishes any more.
    pub orphans: Vec<Orphan>,
    /// Whether it was done.
    pub applied: bool,
}

/// A publication that has expired without an end.
#[derive(Debug, Serialize)]
pub struct Orphan {
    /// Its name.
    pub publication: String,
    /// Where its resources are.
    pub region: String,
    /// What it left: ids.
    pub found: Vec<String>,
    /// Why it stays, if it does.
    pub kept: Option<String>,
    /// What is gone.
    pub removed: Vec<String>,
}

/// Retires images called `name` in each region.
///
/// # Errors
/// AWS cannot be asked, or refuses.
pub async fn images(clients: &[Clients], name: &str, terms: Terms, apply: bool) -> anyhow::Result<Collected> {
    let now = jiff::Timestamp::now();
    let mut images = Vec::new();
    for clients in clients {
        for judged in judge_images(clients, name, terms, now).await? {
            if apply {
                retire(clients, &judged, now).await?;
            }
            images.push(judged);
        }
    }
    Ok(Collected { images, orphans: Vec::new(), applied: apply })
}

/// Removes what expired publications of `name` left in each region, the first of which has the builders' `bucket`.
///
/// # Errors
/// AWS cannot be asked, or refuses.
pub async fn orphans(
    clients: &[Clients],
    name: &str,
    bucket: Option<&str>,
    apply: bool,
) -> anyhow::Result<Collected> {
    let now = jiff::Timestamp::now();
    let mut orphans = Vec::new();
    for (index, clients) in clients.iter().enumerate() {
        let bucket = bucket.filter(|_| index == 0);
        for open in open_publications(clients, Some(name), &After::default(), bucket).await? {
            if !open.is_expired(now) {
                continue;
            }
            let image = open.image.as_ref().map(|(id, _)| id.clone());
            let used = match &image {
                Some(id) => image_users(clients, &[id.as_str()]).await?.remove(id).unwrap_or_default(),
                None => Vec::new(),
            };
            let mut orphan = Orphan {
                publication: open.head.publication.clone(),
                region: clients.region.clone(),
                found: [&open.group, &open.instance, &image]
                    .into_iter()
                    .flatten()
                    .chain(&open.snapshots)
                    .cloned()
                    .collect(),
                kept: (!used.is_empty()).then(|| format!("used by {}", used.join(", "))),
                removed: Vec::new(),
            };
            if apply && orphan.kept.is_none() {
                let folder = tempfile::tempdir()?;
                let mut journal = open.journal(&folder.path().join("orphan.jsonl"))?;
                let undone = abort(clients, &mut journal, &waits()).await?;
                orphan.removed = undone.removed;
                orphan.kept = undone.left.into_iter().next().map(|(_, how)| how);
            }
            orphans.push(orphan);
        }
    }
    Ok(Collected { images: Vec::new(), orphans, applied: apply })
}

/// What `kiln gc` says.
pub fn table(collected: &Collected) -> String {
    let word = |verdict| match verdict {
        Verdict::Keep => "keep",
        Verdict::Deprecate => "deprecate",
        Verdict::Disable => "disable",
        Verdict::Deregister => "deregister",
    };
    let mut lines: Vec<String> = collected
        .images
        .iter()
        .map(|image| {
            format!(
                "{:<10} {}  {}  {}: {}",
                word(image.verdict),
                image.image_id,
                image.region,
                image.name,
                image.reason
            )
        })
        .collect();
    for orphan in &collected.orphans {
        let why = orphan.kept.as_ref().map_or("nobody finishes it any more".to_owned(), Clone::clone);
        let verb = if orphan.kept.is_some() { "keep" } else { "remove" };
        lines.push(format!(
            "{verb:<10} {}  {}  {}: {why}",
            orphan.publication,
            orphan.region,
            orphan.found.join(" ")
        ));
    }
    if lines.is_empty() {
        return "nothing is here".to_owned();
    }
    let due = collected.images.iter().any(|image| image.verdict != Verdict::Keep)
        || collected.orphans.iter().any(|orphan| orphan.kept.is_none());
    if due && !collected.applied {
        lines.push("nothing was changed: do it with --apply".to_owned());
    }
    lines.join("\n")
}
