//! The whole publication: look, send, register, wait, settle. Begun by one process, it can be finished by another.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::after::{self, Place, Steps};
use crate::blocks::{BlockDigest, Blocks, to_send};
use crate::builder::{Builder, Building};
use crate::clients::Clients;
use crate::disk::Disk;
use crate::error::{Error, Failure};
use crate::image::{ImageRegistration, Registered};
use crate::journal::Journal;
use crate::progress::{Progress, Watch};
use crate::receipt::Published;
use crate::snapshot;
use crate::spec::{PublishSpec, Source};
use crate::thing::{SnapshotAsk, What};
use crate::undo;
use crate::upload::{Sent, Upload};
use crate::wait::Seen;

/// Publishes `spec`'s disk as an AMI, or finds that it is published, or goes on with what `journal` says was begun.
///
/// `interrupted` resolving ends it early: what was made is removed first. A call that creates something may be cut
/// short by that, since the journal knows how to find what it made.
///
/// # Errors
/// [`Failure`], with its cause, what was removed again and what is left. Where another try would get further
/// ([`Error::leaves_open`]), everything is left and the journal stays open; otherwise it is removed.
pub async fn publish(
    clients: &Clients,
    spec: &PublishSpec,
    journal: &mut Journal,
    watch: Watch<'_>,
    interrupted: impl Future<Output = ()>,
) -> Result<Published, Failure> {
    spec.check()?;
    let began = Instant::now();
    let registration = ImageRegistration::new(clients.ec2.clone());
    let done = {
        let mut work = Work {
            clients,
            registration: &registration,
            spec,
            journal,
            watch,
            blocks: None,
            places: Vec::new(),
            changed: Vec::new(),
        };
        let done = tokio::select! {
            biased;
            () = interrupted => Err(Error::Interrupted),
            done = work.run() => done,
        };
        done.map(|(image, sent)| Published {
            adopted: !work.ours(&image) || (sent.is_none() && spec.builder().is_none()),
            blocks: work.blocks,
            copies: after::copies(&work.places),
            changed: work.changed,
            ..receipt(clients, spec, image, sent, began)
        })
    };
    let cause = match done {
        Ok(receipt) => {
            return journal.end().map(|()| receipt).map_err(Failure::from);
        }
        Err(cause) => cause,
    };
    if cause.leaves_open() {
        return Err(Failure::open(cause, journal));
    }
    let undone = undo::undo(clients, journal, &spec.waits).await;
    Err(Failure { cause, removed: undone.removed, left: undone.left })
}

/// The AMI that `spec` would publish, if the region has it already. Changes nothing.
///
/// # Errors
/// [`Error::NameTaken`] if another image has its name, or the call's own.
pub async fn published(clients: &Clients, spec: &PublishSpec) -> Result<Option<String>, Error> {
    let found = ImageRegistration::new(clients.ec2.clone()).find(spec).await?;
    Ok(found.map(|image| image.image_id))
}

fn receipt(
    clients: &Clients,
    spec: &PublishSpec,
    image: Registered,
    sent: Option<Sent>,
    began: Instant,
) -> Published {
    Published {
        image_id: image.image_id,
        image_name: spec.image_name(),
        snapshot_id: image.snapshot_id,
        region: clients.region.clone(),
        digest: spec.digest.clone(),
        base: spec.builder().map(|builder| builder.base.image_id.clone()),
        adopted: false,
        volume_gib: image.volume_gib,
        blocks_sent: sent.as_ref().map_or(0, |sent| sent.blocks),
        bytes_sent: sent.as_ref().map_or(0, |sent| sent.bytes),
        checksum: sent.map(|sent| sent.checksum),
        seconds: began.elapsed().as_secs_f64(),
        tags: spec.all_tags(),
        copies: BTreeMap::new(),
        changed: Vec::new(),
        parameter: spec.after.parameter.clone(),
        blocks: None,
    }
}

/// One publication under way.
struct Work<'a> {
    clients: &'a Clients,
    registration: &'a ImageRegistration,
    spec: &'a PublishSpec,
    journal: &'a mut Journal,
    watch: Watch<'a>,
    /// What the snapshot holds, once the disk was read.
    blocks: Option<Blocks>,
    /// Where the image is in the end, and what was done for it.
    places: Vec<Place>,
    changed: Vec<String>,
}

impl Work<'_> {
    async fn run(&mut self) -> Result<(Registered, Option<Sent>), Error> {
        let mut image = match self.registration.find(self.spec).await? {
            Some(image) => {
                self.found(&image)?;
                image
            }
            None => match (&self.spec.source, self.registration) {
                (Source::Disk(disk), _) => self.make(disk).await?,
                (Source::Instance(builder), at) => self.building(builder).run(at).await?,
            },
        };
        // Somebody else published the same digest meanwhile. Theirs has the name; ours is not needed.
        if self.ours(&image) {
            self.watch_registered(&image);
        } else {
            undo::undo_snapshot(self.clients, self.journal, &self.spec.waits).await?;
            (self.watch)(Progress::Adopted { image_id: image.image_id.clone() });
        }
        let bound = self.spec.waits.image;
        self.registration.wait_for_image(&image.image_id, bound, self.spec, self.watch).await?;
        if image.snapshot_id.is_empty() {
            image = self.registration.find(self.spec).await?.unwrap_or(image);
        }
        if let Some(builder) = self.spec.builder() {
            self.building(builder).dismantle(&image).await?;
        }
        let (clients, spec, watch) = (self.clients, self.spec, self.watch);
        let mut steps = Steps { clients, spec, journal: &mut *self.journal, watch, changed: Vec::new() };
        self.places = steps.run(&image).await?;
        self.changed = steps.changed;
        let sent = self.journal.sealing().cloned().filter(|_| self.ours(&image));
        Ok((image, sent))
    }

    fn ours(&self, image: &Registered) -> bool {
        image.publication.as_ref() == Some(&self.journal.head().publication)
    }

    /// An image that this publication registered and whose id was lost on the way.
    fn found(&mut self, image: &Registered) -> Result<(), Error> {
        if self.ours(image) && self.journal.thing("image").is_none_or(|thing| thing.id.is_none()) {
            if self.journal.thing("image").is_none() {
                self.journal.intend(What::Image { name: self.spec.image_name() })?;
            }
            self.journal.made("image", &image.image_id)?;
        }
        Ok(())
    }

    fn building<'b>(&'b mut self, builder: &'b Builder) -> Building<'b> {
        let (clients, spec, watch) = (self.clients, self.spec, self.watch);
        Building { clients, spec, builder, journal: &mut *self.journal, watch }
    }

    fn watch_registered(&self, image: &Registered) {
        (self.watch)(Progress::Registered { image_id: image.image_id.clone() });
    }

    async fn make(&mut self, disk: &Path) -> Result<Registered, Error> {
        let (disk, data) = scan(disk, self.watch).await?;
        let id = self.snapshot(&disk, &data).await?;
        self.blocks = Some(Blocks::new(&id, disk.volume_gib(), &data));
        self.registration.wait_for_snapshot(&id, self.spec, self.watch).await?;
        if self.journal.thing("image").is_none() {
            self.journal.intend(What::Image { name: self.spec.image_name() })?;
        }
        let head = self.journal.head().clone();
        let image = self.registration.register(self.spec, &head, &id, disk.volume_gib()).await?;
        if self.ours(&image) {
            self.journal.made("image", &image.image_id)?;
        } else {
            self.journal.removed("image")?;
        }
        Ok(image)
    }

    /// The snapshot with the disk's blocks, sealed. What an earlier process opened is written again from its first
    /// block: nobody can ask which blocks arrived, and the same block twice is one block.
    async fn snapshot(&mut self, disk: &Disk, data: &BTreeMap<u32, BlockDigest>) -> Result<String, Error> {
        if let Some(id) = self.earlier_snapshot().await? {
            return Ok(id);
        }
        if self.journal.thing("snapshot").is_none() {
            let ask = SnapshotAsk {
                volume_gib: disk.volume_gib(),
                description: self.spec.description.clone(),
                tags: self.spec.tags_of(self.journal.head()),
                parent: self.parent(disk.volume_gib()).await?,
                kms_key: self.spec.kms_key.clone(),
            };
            self.journal.intend(What::Snapshot(ask))?;
        }
        let Some(thing) = self.journal.thing("snapshot").cloned() else {
            unreachable!("it was just intended")
        };
        let What::Snapshot(ask) = &thing.what else { unreachable!("the slot is a snapshot's") };
        let ebs = &self.clients.ebs;
        let (id, encrypted) = if let Some(id) = thing.id {
            (id, thing.encrypted)
        } else {
            let started = snapshot::open(ebs, ask, &thing.token).await?;
            self.journal.opened(&started.snapshot_id, started.encrypted)?;
            (started.snapshot_id, started.encrypted)
        };
        (self.watch)(Progress::Started { snapshot_id: id.clone(), parent: ask.parent.clone() });
        let sent = if let Some(sent) = self.journal.sealing().cloned() {
            sent
        } else {
            let parent = self.spec.parent.as_ref().filter(|_| ask.parent.is_some());
            let blocks = to_send(data, parent, ask.volume_gib, encrypted);
            let sent = Upload::new(self.clients, &id, disk, self.spec).send(&blocks, self.watch).await?;
            self.journal.seal(&sent)?;
            sent
        };
        snapshot::seal(ebs, &id, &sent).await?;
        Ok(id)
    }

    /// The parent, if it is still what its hashes say: completed, ours, and no larger than the new volume.
    async fn parent(&self, volume_gib: u32) -> Result<Option<String>, Error> {
        let Some(parent) = &self.spec.parent else {
            return Ok(None);
        };
        let id = &parent.snapshot_id;
        let ready = match self.registration.snapshot_state(id).await? {
            Some(Seen::Ready) => true,
            // EBS completed it a moment ago, or its blocks could not have been read; EC2 does not know yet.
            Some(Seen::Pending { .. }) => {
                self.registration.wait_for_snapshot(id, self.spec, self.watch).await?;
                true
            }
            _ => false,
        };
        Ok((ready && parent.volume_gib <= volume_gib).then(|| id.clone()))
    }

    /// The snapshot of an earlier process, if it is complete. One that cannot be gone on with is struck off: EBS gives
    /// a snapshot up an hour after the last write, people delete what nobody seems to own, and of one that only tags
    /// tell of it is not known what it was to hold.
    async fn earlier_snapshot(&mut self) -> Result<Option<String>, Error> {
        let Some(thing) = self.journal.thing("snapshot").cloned() else {
            return Ok(None);
        };
        let Some(id) = thing.id else {
            return Ok(None);
        };
        let parent = self.spec.parent.as_ref().map(|parent| &parent.snapshot_id);
        let What::Snapshot(ask) = &thing.what else { unreachable!("the slot is a snapshot's") };
        // Only tags tell of it, or it was opened over a parent whose hashes are not at hand.
        let unknown = ask.volume_gib == 0 || (ask.parent.is_some() && ask.parent.as_ref() != parent);
        let unknown = unknown && self.journal.sealing().is_none();
        let deadline = Instant::now() + self.spec.waits.visible;
        loop {
            match self.registration.snapshot_state(&id).await? {
                Some(Seen::Ready) => return Ok(Some(id)),
                Some(Seen::Pending { .. }) if !unknown => return Ok(None),
                Some(_) => {
                    self.registration.delete_snapshot(&id).await?;
                    self.journal.removed("snapshot")?;
                    return Ok(None);
                }
                // What was made a moment ago may not be shown yet.
                None if Instant::now() < deadline => tokio::time::sleep(self.spec.waits.poll).await,
                None => {
                    self.journal.removed("snapshot")?;
                    return Ok(None);
                }
            }
        }
    }
}

/// Opens the disk and hashes the blocks that hold data.
async fn scan(path: &Path, watch: Watch<'_>) -> Result<(Disk, BTreeMap<u32, BlockDigest>), Error> {
    let path = path.to_owned();
    let shown = path.display().to_string();
    let work = move || -> Result<_, Error> {
        let disk = Disk::open(&path)?;
        let data = disk.data_blocks()?;
        Ok((disk, data))
    };
    let (disk, data) = tokio::task::spawn_blocking(work).await.expect("scanning a disk does not panic")?;
    if data.is_empty() {
        return Err(Error::Spec(format!("disk '{shown}' holds nothing but zeros")));
    }
    let blocks = u32::try_from(data.len()).expect("no more than the disk has");
    watch(Progress::Scanned { blocks, of: disk.blocks(), volume_gib: disk.volume_gib() });
    Ok((disk, data))
}
