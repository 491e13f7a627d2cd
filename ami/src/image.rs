//! Registers a snapshot as an AMI, or adopts the image that has the same digest already.

use aws_sdk_ec2::types::{
    ArchitectureValues, BlockDeviceMapping, BootModeValues, EbsBlockDevice, Filter, Image, ImdsSupportValues,
    ResourceType, Tag, TagSpecification, TpmSupportValues, VolumeType,
};

use crate::call::{CallError, Kind, call};
use crate::error::Error;
use crate::progress::Watch;
use crate::spec::{BootMode, DIGEST_TAG, PublishSpec};
use crate::wait::{Seen, until_ready};

/// The root device's name in the mapping; the guest finds its root by UUID, whatever the kernel calls the disk.
const ROOT_DEVICE: &str = "/dev/xvda";

/// Registers, finds and waits for images.
#[derive(Debug, Clone)]
pub struct ImageRegistration {
    client: aws_sdk_ec2::Client,
    region: String,
}

/// An image and the snapshot behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Registered {
    pub(crate) image_id: String,
    pub(crate) snapshot_id: String,
    pub(crate) volume_gib: u32,
}

impl ImageRegistration {
    /// Registers in `region`.
    pub fn new(client: aws_sdk_ec2::Client, region: impl Into<String>) -> Self {
        Self { client, region: region.into() }
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
        let (snapshot_id, volume_gib) =
            root_snapshot(image).ok_or_else(|| taken("has no snapshot behind its root device".to_owned()))?;
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
        Ok(Some(Registered { image_id: image_id.to_owned(), snapshot_id, volume_gib }))
    }

    /// Registers `snapshot_id`. `RegisterImage` takes no client token and inherits nothing: its defaults are a
    /// 32-bit paravirtual machine, so everything is said. A lost reply is made good by looking the name up.
    pub(crate) async fn register(
        &self,
        spec: &PublishSpec,
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
            .tag_specifications(tags_for(ResourceType::Image, spec))
            .send()
            .await;
        let ours = |image_id: &str| Registered {
            image_id: image_id.to_owned(),
            snapshot_id: snapshot_id.to_owned(),
            volume_gib,
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
        until_ready("image", id, spec.waits.image, &spec.waits, watch, look).await
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

    /// The command with which a person removes what could not be removed here.
    pub(crate) fn remedy(&self, what: &str, flag: &str, id: &str) -> String {
        format!("aws ec2 {what} --region {} --{flag} {id}", self.region)
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

fn tags_for(resource: ResourceType, spec: &PublishSpec) -> TagSpecification {
    let tags = spec.all_tags().into_iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    TagSpecification::builder().resource_type(resource).set_tags(Some(tags.collect())).build()
}

/// Ok if the digest tag says `wanted`, else what it says.
fn same_digest(tags: &[Tag], wanted: &str) -> Result<(), String> {
    match tags.iter().find(|tag| tag.key() == Some(DIGEST_TAG)).and_then(Tag::value) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("has digest {found}")),
        None => Err(format!("has no {DIGEST_TAG} tag")),
    }
}

fn root_snapshot(image: &Image) -> Option<(String, u32)> {
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

    fn tag(key: &str, value: &str) -> Tag {
        Tag::builder().key(key).value(value).build()
    }

    #[test]
    fn only_the_same_digest_is_the_same_image() {
        assert_eq!(same_digest(&[tag("Name", "x"), tag(DIGEST_TAG, "abc")], "abc"), Ok(()));
        assert_eq!(same_digest(&[tag(DIGEST_TAG, "abd")], "abc"), Err("has digest abd".to_owned()));
        assert_eq!(same_digest(&[tag("Name", "abc")], "abc"), Err("has no kiln:digest tag".to_owned()));
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
