"""EC2's images and snapshots as RegisterImage's reference has them; moto keeps a name and a description.

The rules are listed in README.md. Copies and retirement are in ec2_copies.py.
"""

from types import SimpleNamespace

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.elastic_block_store import EBSBackend, Snapshot
from moto.ec2.responses.amis import AmisResponse

SETTINGS = {"snapshot_looks": 2, "image_looks": 2, "image_end": "available"}


def patch():
    AmisResponse.register_image = register_image
    mappings = Ami.block_device_mappings
    Ami.block_device_mappings = property(lambda self: getattr(self, "mapped", None) or mappings.fget(self))

    describe_images = AmiBackend.describe_images

    def looked_at_images(self, *args, **kwargs):
        images = describe_images(self, *args, **kwargs)
        for image in images:
            look_at_image(image)
        return images

    AmiBackend.describe_images = looked_at_images
    filtered = Ami.get_filter_value

    def with_snapshot(self, filter_name, method_name=None):
        if filter_name == "block-device-mapping.snapshot-id":
            return getattr(self, "from_snapshot", None)
        return filtered(self, filter_name, method_name)

    Ami.get_filter_value = with_snapshot
    AmisResponse.describe_images = describe_images_but_disabled

    describe_snapshots = EBSBackend.describe_snapshots

    def looked_at_snapshots(self, *args, **kwargs):
        snapshots = describe_snapshots(self, *args, **kwargs)
        for snapshot in snapshots:
            look_at_snapshot(snapshot)
        return snapshots

    EBSBackend.describe_snapshots = looked_at_snapshots
    Snapshot.progress = property(lambda self: getattr(self, "percent", "100%"))

    delete_snapshot = EBSBackend.delete_snapshot

    def delete_unused(self, snapshot_id):
        for image in self.amis.values():
            if getattr(image, "from_snapshot", None) == snapshot_id:
                message = f"The snapshot {snapshot_id} is currently in use by {image.id}"
                raise EC2ClientError("InvalidSnapshot.InUse", message)
        return delete_snapshot(self, snapshot_id)

    EBSBackend.delete_snapshot = delete_unused


def describe_images_but_disabled(self):
    params = self._get_params()
    images = self.ec2_backend.describe_images(
        ami_ids=params.get("ImageIds", []),
        filters=self._filters_from_querystring(),
        exec_users=params.get("ExecutableUsers", []),
        owners=params.get("Owners", []),
    )
    if str(params.get("IncludeDisabled")).lower() != "true":
        images = [image for image in images if image.state != "disabled"]
    return ActionResult({"Images": images})


def look_at_image(image):
    looks = getattr(image, "looks", None)
    if looks is None or image.state != "pending":
        return
    if looks > 0:
        image.looks -= 1
        return
    image.state = SETTINGS["image_end"]
    # A copy is available once its snapshot is complete.
    copied = image.ec2_backend.snapshots.get(image.from_snapshot)
    if image.state == "available" and copied is not None:
        copied.sealed, copied.status, copied.percent = False, "completed", "100%"
    if image.state != "available":
        image.state_reason = {"Code": "Client.BadDisk", "Message": "the disk has no boot sector"}


def look_at_snapshot(snapshot):
    if not getattr(snapshot, "sealed", False):
        return
    snapshot.looks = getattr(snapshot, "looks", SETTINGS["snapshot_looks"])
    if snapshot.looks > 0:
        snapshot.looks -= 1
        snapshot.percent = f"{99 - snapshot.looks}%"
        return
    snapshot.sealed, snapshot.status, snapshot.percent = False, "completed", "100%"


def check_name(backend, name):
    """A name is unique in an account and region, among disabled images too."""
    if not 3 <= len(name) <= 128 or not all(c.isascii() and (c.isalnum() or c in "()[] ./-'@_") for c in name):
        raise EC2ClientError("InvalidAMIName.Malformed", f"'{name}' is not an image's name.")
    for image in backend.amis.values():
        if image.name == name and image.owner_id == backend.account_id:
            message = f"AMI name {name} is already in use by AMI {image.id}"
            raise EC2ClientError("InvalidAMIName.Duplicate", message)


def register_image(self):
    params = self._get_params()
    name, backend = params["Name"], self.ec2_backend
    check_name(backend, name)
    mappings, root = params.get("BlockDeviceMappings", []), params.get("RootDeviceName")
    for mapping in mappings:
        check_snapshot(backend, mapping.get("Ebs", {}))
    sources = [m["Ebs"]["SnapshotId"] for m in mappings if m["DeviceName"] == root]
    if not sources:
        raise EC2ClientError("InvalidBlockDeviceMapping", f"No snapshot for root device {root}.")
    if params.get("TpmSupport") and params.get("BootMode") not in ("uefi", "uefi-preferred"):
        raise EC2ClientError("InvalidParameterCombination", "TpmSupport needs UEFI.")

    image = backend.register_image(name, params.get("Description", ""))
    # moto makes up a snapshot for each image.
    del backend.snapshots[image.ebs_snapshot.id]
    image.ebs_snapshot = SimpleNamespace(id=sources[0])
    image.from_snapshot = sources[0]
    encrypted = {"Encrypted": backend.snapshots[sources[0]].encrypted}
    image.mapped = [m | ({"Ebs": m["Ebs"] | encrypted} if "Ebs" in m else {}) for m in mappings]
    image.root_device_name, image.root_device_type = root, "ebs"
    image.architecture = params.get("Architecture", "i386")
    image.virtualization_type = params.get("VirtualizationType", "paravirtual")
    image.ena_support = params.get("EnaSupport", False)
    image.sriov_net_support = image.sriov = params.get("SriovNetSupport")
    image.boot_mode = params.get("BootMode")
    image.imds_support, image.tpm_support = params.get("ImdsSupport"), params.get("TpmSupport")
    image.state, image.looks = "pending", SETTINGS["image_looks"]
    for specification in params.get("TagSpecifications", []):
        if specification["ResourceType"] != "image":
            raise EC2ClientError("InvalidParameterValue", "RegisterImage tags images only.")
        image.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    return ActionResult({"ImageId": image.id})


def check_snapshot(backend, ebs):
    if "Encrypted" in ebs:
        raise EC2ClientError("InvalidParameterCombination", "A snapshot decides about its encryption.")
    snapshot = backend.snapshots.get(ebs.get("SnapshotId"))
    if snapshot is None:
        message = f"The snapshot '{ebs.get('SnapshotId')}' does not exist."
        raise EC2ClientError("InvalidSnapshot.NotFound", message)
    if snapshot.status != "completed":
        raise EC2ClientError("IncorrectState", f"The snapshot '{snapshot.id}' is not completed.")
    if ebs.get("VolumeSize", snapshot.volume_size) < snapshot.volume_size:
        raise EC2ClientError("InvalidBlockDeviceMapping", "The volume is smaller than its snapshot.")
