//! Takes back what a publication made, from its journal: the last thing first, and nothing that is published.

use std::time::Instant;

use aws_sdk_ec2::types::Filter;

use crate::after;
use crate::builder;
use crate::call::{CallError, Kind, call};
use crate::clients::Clients;
use crate::error::Error;
use crate::image::{ImageRegistration, tag};
use crate::journal::Journal;
use crate::parameter;
use crate::remedy::remedy;
use crate::snapshot;
use crate::spec::{PUBLICATION_TAG, PUBLISHED, STATE_TAG};
use crate::thing::{CopyAsk, Thing, What};
use crate::wait::Waits;

/// What became of a publication's resources.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Undone {
    /// What is gone, in the order of its going.
    pub removed: Vec<String>,
    /// What is still there: the id, and the command that removes it, with the reason why it is needed.
    pub left: Vec<(String, String)>,
    /// The image that was published meanwhile, for which everything was kept.
    pub kept: Option<String>,
}

/// Removes everything that a dead publication left, and its journal if nothing stays.
///
/// # Errors
/// [`Error::Journal`] if the journal cannot be written.
pub async fn abort(clients: &Clients, journal: &mut Journal, waits: &Waits) -> Result<Undone, Error> {
    let undone = undo(clients, journal, waits).await;
    if undone.left.is_empty() {
        journal.end()?;
    }
    Ok(undone)
}

/// The last first, and image before snapshot: EC2 refuses to delete a snapshot that an image uses.
pub(crate) async fn undo(clients: &Clients, journal: &mut Journal, waits: &Waits) -> Undone {
    let mut undone = Undone::default();
    match published(clients, journal).await {
        Ok(kept) => undone.kept = kept,
        Err(error) => {
            let what = format!("publication {}", journal.head().publication);
            undone.left.push((what, format!("kiln abort {} ({error})", journal.head().publication)));
            return undone;
        }
    }
    if undone.kept.is_some() {
        let _ = journal.end();
        return undone;
    }
    let things: Vec<Thing> = journal.things().iter().rev().cloned().collect();
    for thing in things {
        let slot = thing.what.slot();
        match remove(clients, journal, &thing, waits).await {
            Ok(Removed::Gone(ids)) => {
                undone.removed.extend(ids);
                // A journal that cannot be written still has what it takes to look again.
                let _ = journal.removed(&slot);
            }
            Ok(Removed::Published(id)) => {
                undone.kept = Some(id);
                break;
            }
            Err(error) => {
                let id = thing.id.clone().unwrap_or_else(|| "of unknown id".to_owned());
                undone.left.push((format!("{slot} {id}"), remedy(clients, &thing, &error)));
                // What lies below cannot go before it.
                break;
            }
        }
    }
    if undone.left.is_empty() {
        // The resources are gone, whatever becomes of the file.
        let _ = journal.end();
    }
    undone
}

/// Removes the uploaded snapshot alone: another publication of the digest was faster.
pub(crate) async fn undo_snapshot(
    clients: &Clients,
    journal: &mut Journal,
    waits: &Waits,
) -> Result<(), Error> {
    if let Some(thing) = journal.thing("snapshot").cloned() {
        remove(clients, journal, &thing, waits).await?;
        journal.removed("snapshot")?;
    }
    Ok(())
}

/// The image of this publication, if all of it is done: its last step says so on the image.
async fn published(clients: &Clients, journal: &Journal) -> Result<Option<String>, Error> {
    let Some(What::Image { name }) = journal.thing("image").map(|thing| &thing.what) else {
        return Ok(None);
    };
    let found = our_image(clients, name, &journal.head().publication).await?;
    Ok(found.filter(|(_, published)| *published).map(|(id, _)| id))
}

enum Removed {
    Gone(Vec<String>),
    Published(String),
}

async fn remove(
    clients: &Clients,
    journal: &Journal,
    thing: &Thing,
    waits: &Waits,
) -> Result<Removed, Error> {
    let registration = ImageRegistration::new(clients.ec2.clone());
    match &thing.what {
        What::Image { name } => {
            let mut gone = Vec::new();
            if let Some((id, published)) = our_image(clients, name, &journal.head().publication).await? {
                if published {
                    return Ok(Removed::Published(id));
                }
                registration.deregister(&id).await?;
                gone.push(format!("image {id}"));
            }
            // What was uploaded has its own place in the journal; CreateImage makes a snapshot by itself.
            if journal.head().base.is_some() {
                let ids = delete_tagged(clients, &registration, &journal.head().publication).await?;
                gone.extend(ids.iter().map(|id| format!("snapshot {id}")));
            }
            Ok(Removed::Gone(gone))
        }
        What::Group(_) | What::Bundle { .. } | What::Instance => {
            builder::remove(clients, journal.head(), thing, waits).await.map(Removed::Gone)
        }
        What::Snapshot(ask) => {
            let id = match &thing.id {
                Some(id) => id.clone(),
                // Asked for again with its token, it is the one that may be there; or it is made now, to go at once.
                None => snapshot::open(&clients.ebs, ask, &thing.token).await?.snapshot_id,
            };
            delete_unused(clients, journal, &registration, &id, waits).await
        }
        What::Copy(ask) => remove_copy(&clients.in_region(&ask.region), journal, thing, ask).await,
        What::Share { region, image_id, accounts } => {
            match after::permit(&clients.in_region(region), image_id, accounts, false).await {
                Err(Error::Call(error)) if error.kind == Kind::NotFound => Ok(Removed::Gone(Vec::new())),
                done => done.map(|()| Removed::Gone(vec![format!("shares of {image_id} in {region}")])),
            }
        }
        What::Parameter { region, name, image_id, before } => {
            let there = clients.in_region(region);
            let back = parameter::restore(&there, name, image_id, before.as_deref(), waits).await?;
            let told = before.as_ref().map_or("gone".to_owned(), |before| format!("{before} again"));
            Ok(Removed::Gone(
                back.then(|| format!("parameter {name} in {region}: {told}")).into_iter().collect(),
            ))
        }
    }
}

/// Removes a copy and its snapshot, which is tagged by itself: a copy that was on its way may not name it.
async fn remove_copy(
    there: &Clients,
    journal: &Journal,
    thing: &Thing,
    ask: &CopyAsk,
) -> Result<Removed, Error> {
    let publication = &journal.head().publication;
    let found = our_image(there, &ask.name, publication).await?.map(|(id, _)| id);
    let id = match found.or_else(|| thing.id.clone()) {
        Some(id) => Some(id),
        // Asked for again with its token; what is refused was never made.
        None => match after::copy(there, ask, &thing.token).await {
            Ok(id) => Some(id),
            Err(Error::Call(error)) if matches!(error.kind, Kind::Refused | Kind::NotFound) => None,
            Err(error) => return Err(error),
        },
    };
    let mut gone = Vec::new();
    let registration = ImageRegistration::new(there.ec2.clone());
    if let Some(id) = id {
        registration.deregister(&id).await?;
        gone.push(format!("image {id} in {}", there.region));
    }
    let ids = delete_tagged(there, &registration, publication).await?;
    gone.extend(ids.iter().map(|id| format!("snapshot {id} in {}", there.region)));
    Ok(Removed::Gone(gone))
}

/// Deletes the snapshots that have the publication's tag.
async fn delete_tagged(
    there: &Clients,
    registration: &ImageRegistration,
    publication: &str,
) -> Result<Vec<String>, Error> {
    let ours = Filter::builder().name(format!("tag:{PUBLICATION_TAG}")).values(publication).build();
    let asked = there.ec2.describe_snapshots().owner_ids("self").filters(ours).send().await;
    let asked = asked.map_err(|error| call("ec2:DescribeSnapshots", publication, &error))?;
    let ids = asked.snapshots().iter().filter_map(aws_sdk_ec2::types::Snapshot::snapshot_id);
    let ids: Vec<_> = ids.map(str::to_owned).collect();
    for id in &ids {
        registration.delete_snapshot(id).await?;
    }
    Ok(ids)
}

/// Deletes a snapshot. One that an image uses tells of a registration whose reply was lost and that was not shown
/// when it was looked for: the image goes first, then.
async fn delete_unused(
    clients: &Clients,
    journal: &Journal,
    registration: &ImageRegistration,
    id: &str,
    waits: &Waits,
) -> Result<Removed, Error> {
    let deadline = Instant::now() + waits.visible;
    let mut gone = Vec::new();
    loop {
        match registration.delete_snapshot(id).await {
            Ok(()) => {
                gone.push(format!("snapshot {id}"));
                return Ok(Removed::Gone(gone));
            }
            Err(Error::Call(error)) if in_use(&error) && Instant::now() < deadline => {}
            Err(error) => return Err(error),
        }
        match image_over(clients, id).await? {
            Some((image, publication, published))
                if publication.as_ref() == Some(&journal.head().publication) =>
            {
                if published {
                    return Ok(Removed::Published(image));
                }
                registration.deregister(&image).await?;
                gone.push(format!("image {image}"));
            }
            _ => tokio::time::sleep(waits.poll).await,
        }
    }
}

fn in_use(error: &CallError) -> bool {
    error.code.as_deref() == Some("InvalidSnapshot.InUse")
}

/// The image of that name that this publication registered, and whether it is published.
async fn our_image(
    clients: &Clients,
    name: &str,
    publication: &str,
) -> Result<Option<(String, bool)>, CallError> {
    let found = images(clients, "name", name).await?;
    Ok(found
        .into_iter()
        .find(|(_, by, _)| by.as_deref() == Some(publication))
        .map(|(id, _, done)| (id, done)))
}

async fn image_over(
    clients: &Clients,
    snapshot: &str,
) -> Result<Option<(String, Option<String>, bool)>, CallError> {
    Ok(images(clients, "block-device-mapping.snapshot-id", snapshot).await?.pop())
}

async fn images(
    clients: &Clients,
    filter: &str,
    value: &str,
) -> Result<Vec<(String, Option<String>, bool)>, CallError> {
    let asked = clients.ec2.describe_images().owners("self").include_disabled(true);
    let asked = asked.filters(Filter::builder().name(filter).values(value).build()).send().await;
    let found = asked.map_err(|error| call("ec2:DescribeImages", value, &error))?;
    let read = |image: &aws_sdk_ec2::types::Image| {
        let publication = tag(image.tags(), PUBLICATION_TAG).map(str::to_owned);
        let published = tag(image.tags(), STATE_TAG) == Some(PUBLISHED);
        Some((image.image_id()?.to_owned(), publication, published))
    };
    Ok(found.images().iter().filter_map(read).collect())
}
