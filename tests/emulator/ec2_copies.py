"""Copies, shares and the retirement of images, as EC2's reference has them. The rules are listed in README.md."""

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import ebs_strict
from ec2_images import SETTINGS, check_name
from moto.core.parse import default_timestamp_parser
from moto.core.responses import ActionResult, EmptyResult
from moto.ebs.models import EBSSnapshot, ebs_backends
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import random_ami_id
from moto.ec2.models.amis import Ami
from moto.ssm.models import ssm_backends

COPIES = {}

CARRIED = (
    "description root_device_name root_device_type architecture virtualization_type ena_support sriov_net_support "
    "sriov boot_mode imds_support tpm_support"
).split()


def patch():
    for operation in (
        copy_image,
        deregister_image,
        enable_image_deprecation,
        disable_image_deprecation,
        describe_image_references,
    ):
        setattr(AmisResponse, operation.__name__, operation)
    modify, disable = AmisResponse.modify_image_attribute, AmisResponse.disable_image

    def share(self):
        params = self._get_params()
        image = image_of(self.ec2_backend, params["ImageId"])
        if "ImdsSupport" in params:
            image.imds_support = params["ImdsSupport"]["Value"]
            return EmptyResult()
        if image.state != "available":
            raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
        snapshot = self.ec2_backend.snapshots.get(getattr(image, "from_snapshot", None))
        if snapshot is not None and snapshot.kms_key_id == ebs_strict.DEFAULT_KEY:
            message = "Images encrypted with the default EBS key cannot be shared."
            raise EC2ClientError("InvalidParameterCombination", message)
        return modify(self)

    def disabled(self):
        image = image_of(self.ec2_backend, self._get_params()["ImageId"])
        result = disable(self)
        image.launch_permissions.clear()
        return result

    AmisResponse.modify_image_attribute, AmisResponse.disable_image = share, disabled


def image_of(backend, image_id):
    image = backend.amis.get(image_id)
    if image is None:
        raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
    return image


def copy_image(self):
    params, backend = self._get_params(), self.ec2_backend
    account = backend.account_id
    token = params.get("ClientToken")
    arguments = {k: v for k, v in params.items() if k != "ClientToken"}
    if token in COPIES:
        image, first = COPIES[token]
        if first != arguments:
            raise EC2ClientError("IdempotentParameterMismatch", "The client token was used with other arguments.")
        return ActionResult({"ImageId": image.id})
    source_region = params["SourceRegion"]
    source_backend = ec2_backends[account][source_region]
    source = image_of(source_backend, params["SourceImageId"])
    if source.state != "available":
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{source.id}' is not available")
    check_name(backend, params["Name"])
    origin = source_backend.snapshots[source.from_snapshot]
    wanted = str(params.get("Encrypted", "false")).lower() == "true"
    if params.get("KmsKeyId") and not wanted:
        raise EC2ClientError("InvalidParameterCombination", "A key without encryption.")
    # What is encrypted stays so.
    key = params.get("KmsKeyId") or (ebs_strict.DEFAULT_KEY if wanted or origin.encrypted else None)

    volume = backend.create_volume(size=origin.volume_size, zone_name=f"{backend.region_name}a")
    snapshot = backend.create_snapshot(volume.id, f"Copied for {params['Name']}")
    snapshot.encrypted, snapshot.kms_key_id, snapshot.status = key is not None, key, "pending"
    snapshot.sealed = True
    held = EBSSnapshot(account_id=account, snapshot=snapshot)
    held.status, held.kms_key, held.ec2 = "completed", key, snapshot
    held.blocks = ebs_strict.whole(ebs_backends[account][source_region].snapshots[origin.id])
    ebs_backends[account][backend.region_name].snapshots[snapshot.id] = held

    image = Ami(backend, random_ami_id(), name=params["Name"], source_ami=source)
    del backend.snapshots[image.ebs_snapshot.id]
    image.ebs_snapshot, image.from_snapshot = SimpleNamespace(id=snapshot.id), snapshot.id
    for name in CARRIED:
        setattr(image, name, getattr(source, name, None))
    image.mapped = [
        mapping | {"Ebs": mapping["Ebs"] | {"SnapshotId": snapshot.id, "Encrypted": key is not None}}
        for mapping in source.mapped
    ]
    image.source_image_id, image.source_image_region = source.id, source_region
    image.state, image.looks = "pending", SETTINGS["image_looks"]
    if str(params.get("CopyImageTags", "false")).lower() == "true":
        image.add_tags({tag["key"]: tag["value"] for tag in source.get_tags()})
    for specification in params.get("TagSpecifications", []):
        target = {"image": image, "snapshot": snapshot}[specification["ResourceType"]]
        target.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    backend.amis[image.id] = image
    if token:
        COPIES[token] = (image, arguments)
    return ActionResult({"ImageId": image.id})


def deregister_image(self):
    params, backend = self._get_params(), self.ec2_backend
    image = image_of(backend, params["ImageId"])
    backend.deregister_image(image.id)
    deleted = []
    if str(params.get("DeleteAssociatedSnapshots", "false")).lower() == "true":
        snapshot = getattr(image, "from_snapshot", None)
        used = [other for other in backend.amis.values() if getattr(other, "from_snapshot", None) == snapshot]
        if snapshot in backend.snapshots and not used:
            backend.delete_snapshot(snapshot)
            deleted.append({"SnapshotId": snapshot, "ReturnCode": "success"})
        elif snapshot:
            deleted.append({"SnapshotId": snapshot, "ReturnCode": "skipped"})
    return ActionResult({"Return": True, "DeleteSnapshotResults": deleted})


def enable_image_deprecation(self):
    params = self._get_params()
    image = image_of(self.ec2_backend, params["ImageId"])
    at = params["DeprecateAt"]
    at = at if isinstance(at, datetime) else default_timestamp_parser(at)
    at = at.replace(tzinfo=at.tzinfo or timezone.utc)
    now = datetime.now(timezone.utc)
    if at < now - timedelta(minutes=1):
        raise EC2ClientError("InvalidParameterValue", "DeprecateAt is in the past.")
    if at > now + timedelta(days=3653):
        raise EC2ClientError("InvalidParameterValue", "DeprecateAt is more than ten years away.")
    # Seconds are rounded to the minute.
    at = (at + timedelta(seconds=30)).replace(second=0, microsecond=0)
    image.deprecation_time = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return ActionResult({"Return": True})


def disable_image_deprecation(self):
    image_of(self.ec2_backend, self._get_params()["ImageId"]).deprecation_time = None
    return ActionResult({"Return": True})


def describe_image_references(self):
    """Who uses an image: instances, launch templates in any version, SSM parameters of type aws:ec2:image."""
    params, backend = self._get_params(), self.ec2_backend
    account, region = backend.account_id, backend.region_name
    wanted, found = params["ImageIds"], []

    def tell(image_id, kind, arn):
        if image_id in wanted:
            found.append({"ImageId": image_id, "ResourceType": kind, "Arn": arn})

    for reservation in backend.reservations.values():
        for instance in reservation.instances:
            if instance.state != "terminated":
                arn = f"arn:aws:ec2:{region}:{account}:instance/{instance.id}"
                tell(instance.image_id, "ec2:Instance", arn)
    for template in backend.launch_templates.values():
        for version in template.versions:
            arn = f"arn:aws:ec2:{region}:{account}:launch-template/{template.id}"
            tell(version.image_id, "ec2:LaunchTemplate", arn)
    for name, versions in list(ssm_backends[account][region]._parameters.items()):
        if versions and versions[-1].data_type == "aws:ec2:image":
            arn = f"arn:aws:ssm:{region}:{account}:parameter/{name.lstrip('/')}"
            tell(versions[-1].value, "ssm:Parameter", arn)
    return ActionResult({"ImageReferences": found})


def holdings():
    """Everything of ours that exists, for /kiln/holdings."""
    found = {"snapshots": [], "images": [], "parameters": []}
    tags = lambda resource: {tag["key"]: tag["value"] for tag in resource.get_tags()}  # noqa: E731
    for account, regions in list(ec2_backends.items()):
        for region, backend in list(regions.items()):
            for snapshot in list(backend.snapshots.values()):
                held = ebs_backends[account][region].snapshots.get(snapshot.id)
                found["snapshots"].append(
                    {"id": snapshot.id, "region": region, "status": snapshot.status, "tags": tags(snapshot)}
                    | {"encrypted": snapshot.encrypted, "key": snapshot.kms_key_id}
                    | {"blocks": len(held.blocks) if held else None}
                )
            for image in [image for image in list(backend.amis.values()) if image.owner_id == account]:
                found["images"].append(
                    {"id": image.id, "region": region, "name": image.name, "state": image.state}
                    | {"tags": tags(image), "snapshot": getattr(image, "from_snapshot", None)}
                    | {"shared": [p.get("UserId") for p in image.launch_permissions]}
                    | {"deprecated": getattr(image, "deprecation_time", None)}
                    | {"imds": getattr(image, "imds_support", None)}
                )
    for regions in list(ssm_backends.values()):
        for region, backend in list(regions.items()):
            for name, versions in list(backend._parameters.items()):
                if versions and not name.startswith("/aws/"):
                    last = versions[-1]
                    found["parameters"].append(
                        {"name": name, "region": region, "value": last.value, "version": last.version}
                        | {"type": last.data_type}
                    )
    return found
