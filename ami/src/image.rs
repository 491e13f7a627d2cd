//! Registers a snapshot as an AMI, or adopts the image that has the same digest already.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, EbsBlockDevice, Filter, Image, ImageState,
    ImdsSupportValues, ResourceType, Tag, TagSpecification, TpmSupportValues, VolumeType,
};

use crate::call::{CallError, Kind, call};
use crate::error::Error;
use crate::progress::Watch;
use crate::spec::{BootMode, DIGEST_TAG, PUBLICATION_TAG, PUBLISHED, PUBLISHING, PublishSpec, STATE_TAG};
use crate::thing::Head;
use crate::wait::{Seen, until_ready};

/// The root device's name in the mapping; the guest finds its root by UUID, whatever the kernel calls the disk.
const ROOT_DEVICE: &str = "/dev/xvda";

/// Registers, finds and waits for images.
#[derive(Debug, Clone)]
pub(crate) struct ImageRegistration {
    client: aws_sdk_ec2::Client,
}

/// An image and the snapshot behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) image_id: String,
    pub(crate) snapshot_id: String,
    pub(crate) volume_gib: u32,
    /// The publication that created it.
    pub(crate) publication: Option<String>,
    /// False while that publication, or one that went on with it, has not finished.
    pub(crate) settled: bool,
}

impl ImageRegistration {
    pub(crate) fn new(client: aws_sdk_ec2::Client) -> Self {
        Self { client }
    }

    /// The image of this account that has the publication's name, if it is that image: same digest tag, on the
    /// image and on the snapshot behind it.
    ///
    /// # Errors
    /// [`Error::NameTaken`] if something else has the name.
    pub(crate) async fn find(&self, spec: &PublishSpec) -> Result<Option<Registered>, Error> {
        let name = spec.image_name();
        let found = self
            .client
            .describe_images()
            .owners("self")
            // A disabled image is not shown otherwise, yet its name is taken.
            .include_disabled(true)
            .filters(Filter::builder().name("name").values(&name).build())
            .send()
            .await
            .map_err(|error| call("ec2:DescribeImages", &name, &error))?;
        let Some(image) = found.images().first() else {
            return Ok(None);
        };
        let image_id = image.image_id().unwrap_or_default();
        let taken = |found: String| Error::NameTaken {
            name: name.clone(),
            image_id: image_id.to_owned(),
            found,
            wanted: spec.digest.clone(),
        };
        same_digest(image.tags(), &spec.digest).map_err(taken)?;
        let registered = |snapshot_id, volume_gib| Registered {
            image_id: image_id.to_owned(),
            snapshot_id,
            volume_gib,
            publication: tag(image.tags(), PUBLICATION_TAG).map(str::to_owned),
            settled: tag(image.tags(), STATE_TAG) != Some(PUBLISHING),
        };
        let Some((snapshot_id, volume_gib)) = root_snapshot(image) else {
            // A copy that is on its way may have none yet; it is looked at again once it is available.
            if image.state() == Some(&ImageState::Pending) {
                return Ok(Some(registered(String::new(), 0)));
            }
            return Err(taken("has no snapshot behind its root device".to_owned()));
        };
        let snapshots = self
            .client
            .describe_snapshots()
            .snapshot_ids(&snapshot_id)
            .send()
            .await
            .map_err(|error| call("ec2:DescribeSnapshots", &snapshot_id, &error))?;
        let tags = snapshots.snapshots().first().map(aws_sdk_ec2::types::Snapshot::tags).unwrap_or_default();
        same_digest(tags, &spec.digest)
            .map_err(|why| taken(format!("rests on {snapshot_id}, which {why}")))?;
        Ok(Some(registered(snapshot_id, volume_gib)))
    }

    /// Registers `snapshot_id`. `RegisterImage` takes no client token and inherits nothing: its defaults are a
    /// 32-bit paravirtual machine, so everything is said. A lost reply is made good by looking the name up.
    pub(crate) async fn register(
        &self,
        spec: &PublishSpec,
        head: &Head,
        snapshot_id: &str,
        volume_gib: u32,
    ) -> Result<Registered, Error> {
        let name = spec.image_name();
        let sent = self
            .client
            .register_image()
            .name(&name)
            .description(&spec.description)
            .architecture(ArchitectureValues::X8664)
            .virtualization_type("hvm")
            .ena_support(true)
            .sriov_net_support("simple")
            .boot_mode(match spec.boot_mode {
                BootMode::UefiPreferred => BootModeValues::UefiPreferred,
                BootMode::Uefi => BootModeValues::Uefi,
                BootMode::LegacyBios => BootModeValues::LegacyBios,
            })
            .set_tpm_support((spec.boot_mode == BootMode::Uefi).then_some(TpmSupportValues::V20))
            .imds_support(ImdsSupportValues::V20)
            .root_device_name(ROOT_DEVICE)
            .block_device_mappings(root_volume(snapshot_id, volume_gib))
            .tag_specifications(tags_for(ResourceType::Image, &spec.tags_of(head)))
            .send()
            .await;
        let ours = |image_id: &str| Registered {
            image_id: image_id.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            volume_gib,
            publication: Some(head.publication.clone()),
            settled: false,
        };
        let failed = match sent {
            Ok(answer) => return Ok(ours(answer.image_id().unwrap_or_default())),
            Err(error) => call("ec2:RegisterImage", &name, &error),
        };
        let maybe_done = matches!(failed.kind, Kind::Unreachable | Kind::Failed)
            || failed.code.as_deref() == Some("InvalidAMIName.Duplicate");
        if maybe_done && let Some(found) = self.find(spec).await? {
            return Ok(found);
        }
        Err(failed.into())
    }

    /// Waits until the snapshot can be registered.
    pub(crate) async fn wait_for_snapshot(
        &self,
        id: &str,
        spec: &PublishSpec,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let look = async || -> Result<Seen, CallError> {
            let action = "ec2:DescribeSnapshots";
            let answer = self.client.describe_snapshots().snapshot_ids(id).send().await;
            let answer = answer.map_err(|error| call(action, id, &error))?;
            let snapshot = answer.snapshots().first().ok_or_else(|| nothing(action, id))?;
            Ok(Seen::snapshot(snapshot.state(), snapshot.progress(), snapshot.state_message()))
        };
        until_ready("snapshot", id, spec.waits.snapshot, &spec.waits, watch, look).await
    }

    /// Waits until instances can be launched from the image.
    pub(crate) async fn wait_for_image(
        &self,
        id: &str,
        bound: Duration,
        spec: &PublishSpec,
        watch: Watch<'_>,
    ) -> Result<(), Error> {
        let look = async || -> Result<Seen, CallError> {
            let action = "ec2:DescribeImages";
            let answer = self.client.describe_images().image_ids(id).include_disabled(true).send().await;
            let answer = answer.map_err(|error| call(action, id, &error))?;
            let image = answer.images().first().ok_or_else(|| nothing(action, id))?;
            Ok(Seen::image(image.state(), image.state_reason().and_then(|reason| reason.message())))
        };
        until_ready("image", id, bound, &spec.waits, watch, look).await
    }

    /// Says on the image and its snapshot that all of the publication is done: from here on they belong to nobody's
    /// unfinished work.
    pub(crate) async fn settle(&self, image: &Registered) -> Result<(), Error> {
        let done = Tag::builder().key(STATE_TAG).value(PUBLISHED).build();
        let sent =
            self.client.create_tags().resources(&image.image_id).resources(&image.snapshot_id).tags(done);
        sent.send().await.map_err(|error| call("ec2:CreateTags", &image.image_id, &error))?;
        Ok(())
    }

    /// The state of a snapshot and whether it was ever there.
    pub(crate) async fn snapshot_state(&self, id: &str) -> Result<Option<Seen>, Error> {
        let answer = self.client.describe_snapshots().snapshot_ids(id).send().await;
        match answer.map_err(|error| call("ec2:DescribeSnapshots", id, &error)) {
            Ok(answer) => Ok(answer.snapshots().first().map(|snapshot| {
                Seen::snapshot(snapshot.state(), snapshot.progress(), snapshot.state_message())
            })),
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes an image back. The snapshot stays.
    pub(crate) async fn deregister(&self, id: &str) -> Result<(), Error> {
        let sent = self.client.deregister_image().image_id(id).send().await;
        sent.map(drop).or_else(|error| gone_is_fine(call("ec2:DeregisterImage", id, &error)))
    }

    /// Deletes a snapshot that no image uses, a pending one included.
    pub(crate) async fn delete_snapshot(&self, id: &str) -> Result<(), Error> {
        let sent = self.client.delete_snapshot().snapshot_id(id).send().await;
        sent.map(drop).or_else(|error| gone_is_fine(call("ec2:DeleteSnapshot", id, &error)))
    }
}

fn root_volume(snapshot_id: &str, volume_gib: u32) -> BlockDeviceMapping {
    let volume = EbsBlockDevice::builder()
        .snapshot_id(snapshot_id)
        .volume_type(VolumeType::Gp3)
        .volume_size(i32::try_from(volume_gib).expect("64 TiB are 65536 GiB"))
        .delete_on_termination(true)
        .build();
    BlockDeviceMapping::builder().device_name(ROOT_DEVICE).ebs(volume).build()
}

pub(crate) fn tags_for(resource: ResourceType, tags: &BTreeMap<String, String>) -> TagSpecification {
    let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder().resource_type(resource).set_tags(Some(tags.collect())).build()
}

/// Ok if the digest tag says `wanted`, else what it says.
fn same_digest(tags: &[Tag], wanted: &str) -> Result<(), String> {
    match tag(tags, DIGEST_TAG) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("has digest {found}")),
        None => Err(format!("has no {DIGEST_TAG} tag")),
    }
}

/// The value of one tag.
pub(crate) fn tag<'t>(tags: &'t [Tag], key: &str) -> Option<&'t str> {
    tags.iter().find(|tag| tag.key() == Some(key)).and_then(Tag::value)
}

pub(crate) fn root_snapshot(image: &Image) -> Option<(String, u32)> {
    let root = image
        .block_device_mappings()
        .iter()
        .find(|mapping| mapping.device_name() == image.root_device_name())?
        .ebs()?;
    let gib = u32::try_from(root.volume_size().unwrap_or_default()).unwrap_or_default();
    Some((root.snapshot_id()?.to_owned(), gib))
}

fn gone_is_fine(error: CallError) -> Result<(), Error> {
    if error.kind == Kind::NotFound { Ok(()) } else { Err(error.into()) }
}

fn nothing(action: &'static str, id: &str) -> CallError {
    let message = "the answer is empty".to_owned();
    CallError { kind: Kind::NotFound, action, resource: id.to_owned(), code: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Tag {
        Tag::builder().key(key).value(value).build()
    }

    #[test]
    fn only_the_same_digest_is_the_same_image() {
        assert_eq!(same_digest(&[with("Name", "x"), with(DIGEST_TAG, "abc")], "abc"), Ok(()));
        assert_eq!(same_digest(&[with(DIGEST_TAG, "abd")], "abc"), Err("has digest abd".to_owned()));
        assert_eq!(same_digest(&[with("Name", "abc")], "abc"), Err("has no kiln:digest tag".to_owned()));
    }

    #[test]
    fn the_root_snapshot_is_the_one_behind_the_root_device() {
        let data = BlockDeviceMapping::builder()
            .device_name("/dev/sdb")
            .ebs(EbsBlockDevice::builder().snapshot_id("snap-data").build())
            .build();
        let image = Image::builder()
            .root_device_name(ROOT_DEVICE)
            .block_device_mappings(data)
            .block_device_mappings(root_volume("snap-root", 3))
            .build();
        assert_eq!(root_snapshot(&image), Some(("snap-root".to_owned(), 3)));
        assert_eq!(root_snapshot(&Image::builder().build()), None);
    }
}
