//! The whole publication: look, send, register, wait; and take everything back if that fails.

use std::pin::Pin;
use std::time::Instant;

use crate::clients::Clients;
use crate::disk::Disk;
use crate::error::{Error, Failure};
use crate::image::{ImageRegistration, Registered};
use crate::progress::{Progress, Watch};
use crate::receipt::Published;
use crate::spec::PublishSpec;
use crate::upload::{Sent, SnapshotUpload};

/// Every IAM action that [`publish`] may use, the last two only to take back what it made.
pub const ACTIONS: &[&str] = &[
    "ec2:DescribeImages",
    "ec2:DescribeSnapshots",
    "ebs:StartSnapshot",
    "ec2:CreateTags",
    "ebs:PutSnapshotBlock",
    "ebs:CompleteSnapshot",
    "ec2:RegisterImage",
    "ec2:DeregisterImage",
    "ec2:DeleteSnapshot",
];

/// Publishes `spec`'s disk as an AMI, or finds that it is published.
///
/// `interrupted` resolving ends it early: what was made is removed first. Calls that create something are not cut
/// short, since their reply carries the only id; each is bounded by the client's timeouts.
///
/// # Errors
/// [`Failure`], with its cause, what was removed again and what is left. An image that is registered but not yet
/// available when its wait runs out is left on purpose: the next publication of the digest adopts it.
pub async fn publish(
    clients: &Clients,
    spec: &PublishSpec,
    watch: Watch<'_>,
    interrupted: impl Future<Output = ()>,
) -> Result<Published, Failure> {
    let began = Instant::now();
    let mut interrupted = std::pin::pin!(interrupted);
    spec.check()?;
    let registration = ImageRegistration::new(clients.ec2.clone(), &clients.region);
    let receipt = |image: Registered, sent: Option<Sent>| Published {
        image_id: image.image_id,
        image_name: spec.image_name(),
        snapshot_id: image.snapshot_id,
        region: clients.region.clone(),
        digest: spec.digest.clone(),
        adopted: sent.is_none(),
        volume_gib: image.volume_gib,
        blocks_sent: sent.as_ref().map_or(0, |sent| sent.blocks),
        bytes_sent: sent.as_ref().map_or(0, |sent| sent.bytes),
        checksum: sent.map(|sent| sent.checksum),
        seconds: began.elapsed().as_secs_f64(),
        tags: spec.all_tags(),
    };

    if let Some(image) = unless(interrupted.as_mut(), registration.find(spec)).await? {
        watch(Progress::Adopted { image_id: image.image_id.clone() });
        unless(interrupted, registration.wait_for_image(&image.image_id, spec, watch)).await?;
        return Ok(receipt(image, None));
    }

    let (disk, data) = scan(spec, watch).await?;
    let upload = SnapshotUpload::new(clients.ebs.clone(), spec);
    let started = upload.start(&disk, spec).await?;
    watch(Progress::Started { snapshot_id: started.snapshot_id.clone() });
    let mut made =
        Made { registration: &registration, snapshot: Some(started.snapshot_id.clone()), image: None };

    let id = &started.snapshot_id;
    let blocks = if started.zeros_may_be_skipped { data } else { (0..disk.volume_blocks()).collect() };
    let sending = async {
        let sent = upload.send(id, &disk, &blocks, watch).await?;
        upload.complete(id, &sent).await?;
        registration.wait_for_snapshot(id, spec, watch).await?;
        Ok(sent)
    };
    let sent = match unless(interrupted.as_mut(), sending).await {
        Ok(sent) => sent,
        Err(cause) => return Err(made.take_back(cause).await),
    };

    let image = match registration.register(spec, id, disk.volume_gib()).await {
        Ok(image) => image,
        Err(cause) => return Err(made.take_back(cause).await),
    };
    watch(Progress::Registered { image_id: image.image_id.clone() });
    if image.snapshot_id == *id {
        made.image = Some(image.image_id.clone());
    } else {
        // Somebody else published the same digest meanwhile. Theirs has the name; ours is not needed.
        if let Err(cause) = registration.delete_snapshot(id).await {
            return Err(made.take_back(cause).await);
        }
        made.snapshot = None;
    }
    match unless(interrupted, registration.wait_for_image(&image.image_id, spec, watch)).await {
        Ok(()) => Ok(receipt(image, Some(sent))),
        Err(cause @ Error::TimedOut { .. }) => Err(made.leave(cause)),
        Err(cause) => Err(made.take_back(cause).await),
    }
}

/// Opens the disk and finds the blocks that hold data.
async fn scan(spec: &PublishSpec, watch: Watch<'_>) -> Result<(Disk, Vec<u32>), Error> {
    let path = spec.disk.clone();
    let work = move || -> Result<(Disk, Vec<u32>), Error> {
        let disk = Disk::open(&path)?;
        let data = disk.data_blocks()?;
        Ok((disk, data))
    };
    let (disk, data) = tokio::task::spawn_blocking(work).await.expect("scanning a disk does not panic")?;
    if data.is_empty() {
        return Err(Error::Spec(format!("disk '{}' holds nothing but zeros", spec.disk.display())));
    }
    let blocks = u32::try_from(data.len()).expect("no more than the disk has");
    watch(Progress::Scanned { blocks, of: disk.blocks(), volume_gib: disk.volume_gib() });
    Ok((disk, data))
}

/// Does `work`, unless the interrupt comes first.
async fn unless<T>(
    interrupted: Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        () = interrupted => Err(Error::Interrupted),
        done = work => done,
    }
}

/// What this publication has created so far.
struct Made<'a> {
    registration: &'a ImageRegistration,
    snapshot: Option<String>,
    image: Option<String>,
}

impl Made<'_> {
    /// Removes everything, image before snapshot: EC2 refuses to delete a snapshot that an image uses.
    async fn take_back(self, cause: Error) -> Failure {
        let mut failure = Failure::from(cause);
        if let Some(id) = &self.image {
            match self.registration.deregister(id).await {
                Ok(()) => failure.removed.push(format!("image {id}")),
                Err(error) => failure.left.push((
                    format!("image {id}"),
                    format!("{} ({error})", self.registration.remedy("deregister-image", "image-id", id)),
                )),
            }
        }
        if let Some(id) = &self.snapshot {
            match self.registration.delete_snapshot(id).await {
                Ok(()) => failure.removed.push(format!("snapshot {id}")),
                Err(error) => failure.left.push((
                    format!("snapshot {id}"),
                    format!("{} ({error})", self.registration.remedy("delete-snapshot", "snapshot-id", id)),
                )),
            }
        }
        failure
    }

    /// Leaves everything, and says so.
    fn leave(self, cause: Error) -> Failure {
        let left =
            self.image.map(|id| (format!("image {id}"), "publish again to go on waiting for it".to_owned()));
        Failure { left: left.into_iter().collect(), ..Failure::from(cause) }
    }
}
