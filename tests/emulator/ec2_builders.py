"""Instances that become images, as EC2's reference has them. The rules are listed in README.md.

Nothing boots here: a test boots what RunInstances was asked for and tells when it has stopped (/kiln/stopped), or has the
instance play its part, by the number of looks.
"""

import base64
import json
import re
from types import SimpleNamespace
from urllib.parse import urlparse

import ebs_strict
import ec2_images
from moto.core.responses import ActionResult
from moto.ebs.models import EBSSnapshot, ebs_backends
from moto.ec2 import utils
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import Ami
from moto.ec2.models.instances import InstanceBackend, InstanceState
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.utils import random_ami_id
from moto.s3.models import s3_backends

# builder_looks: after so many DescribeInstances an instance has stopped itself; None: a test says when.
# builder_report: what it has reported by then. terminate_looks: how long it takes to be gone.
SETTINGS = {"builder_looks": None, "builder_report": {"state": "done"}, "terminate_looks": 1}
TOKENS = {}
ACCOUNT = "123456789012"
# What every test's account has besides: a vendor's image, a subnet, a bucket.
BASE, SUBNET, BUCKET, OWNER = "ami-0ba5e0ba5e0ba5e01", "subnet-0123456789abcdef0", "shop-bakes", "136693071363"
ORDERS = re.compile(rb'json\.loads\(r"""(.*?)"""\)', re.S)


def patch():
    utils.filter_dict_attribute_mapping["client-token"] = "client_token"
    run, terminate = InstanceResponse.run_instances, InstanceResponse.terminate_instances

    def run_once(self):
        params = self._get_params()
        token = params.get("ClientToken")
        if token is None:
            return run(self)
        arguments = {k: v for k, v in params.items() if k != "ClientToken"}
        if token in TOKENS:
            answer, first = TOKENS[token]
            if first != arguments:
                message = "The client token was used with other arguments."
                raise EC2ClientError("IdempotentParameterMismatch", message)
            return answer
        image = self.ec2_backend.amis.get(params["ImageId"])
        if image is None or image.state != "available":
            raise EC2ClientError("InvalidAMIID.NotFound", f"The image id '[{params['ImageId']}]' does not exist")
        if params.get("MetadataOptions", {}).get("HttpTokens") != "required":
            raise EC2ClientError("UnsupportedOperation", "This account takes instances with IMDSv2 alone.")
        answer = run(self)
        for instance in answer.result.instances:
            instance._state = InstanceState("pending", 0)
            instance.looks = SETTINGS["builder_looks"]
            instance.asked = params
        TOKENS[token] = (answer, arguments)
        return answer

    def terminate_slowly(self):
        backend = self.ec2_backend
        for instance_id in self._get_param("InstanceIds", []):
            if backend.get_instance_by_id(instance_id) is None:
                raise EC2ClientError("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
        answer = terminate(self)
        for instance_id in self._get_param("InstanceIds", []):
            instance = backend.get_instance_by_id(instance_id)
            instance._state, instance.looks = InstanceState("shutting-down", 32), SETTINGS["terminate_looks"]
        return answer

    InstanceResponse.run_instances, InstanceResponse.terminate_instances = run_once, terminate_slowly
    for name in ("describe_instances", "get_reservations_by_instance_ids"):
        setattr(InstanceBackend, name, looked_at(getattr(InstanceBackend, name)))
    delete = SecurityGroupBackend.delete_security_group

    def delete_unused(self, name=None, group_id=None):
        for reservation in self.reservations.values():
            for instance in reservation.instances:
                groups = [group.id for group in instance.security_groups]
                if group_id in groups and instance.state != "terminated":
                    raise EC2ClientError("DependencyViolation", f"resource {group_id} has a dependent object")
        return delete(self, name, group_id)

    SecurityGroupBackend.delete_security_group = delete_unused
    AmisResponse.create_image = create_image


def looked_at(describe):
    def looking(self, *args, **kwargs):
        for reservation in self.reservations.values():
            for instance in reservation.instances:
                look(instance)
        return describe(self, *args, **kwargs)

    return looking


def look(instance):
    if instance.state == "shutting-down":
        if instance.looks > 0:
            instance.looks -= 1
        else:
            instance._state = InstanceState("terminated", 48)
    elif hasattr(instance, "asked") and instance.state in ("pending", "running"):
        instance._state = InstanceState("running", 16)
        if instance.looks is None:
            return
        instance.looks -= 1
        if instance.looks < 0:
            bucket, key = urlparse(orders(instance)["report"]).path.lstrip("/").split("/", 1)
            report = json.dumps(SETTINGS["builder_report"]).encode()
            s3_backends[ACCOUNT]["aws"].put_object(bucket, key, report)
            stop(instance)


def orders(instance):
    """What a builder's user data tells it to do."""
    return json.loads(ORDERS.search(base64.b64decode(instance.asked["UserData"])).group(1))


def stop(instance):
    instance._state = InstanceState("stopped", 80)
    instance.state_reason.code = "Client.InstanceInitiatedShutdown"
    instance.state_reason.message = "Client.InstanceInitiatedShutdown: Instance initiated shutdown"


def stopped(instance_id):
    """A test has seen the instance power itself off."""
    for regions in list(ec2_backends.values()):
        for backend in list(regions.values()):
            instance = backend.get_instance_by_id(instance_id)
            if instance is not None:
                stop(instance)


def create_image(self):
    params, backend = self._get_params(), self.ec2_backend
    instance = backend.get_instance_by_id(params["InstanceId"])
    if instance is None or instance.state != "stopped":
        # AWS would reboot a running one, and have an image that nobody has seen at rest.
        raise EC2ClientError("IncorrectState", f"{params['InstanceId']} is not stopped")
    ec2_images.check_name(backend, params["Name"])
    mapping = instance.asked["BlockDeviceMappings"][0]
    volume = backend.create_volume(size=int(mapping["Ebs"]["VolumeSize"]), zone_name=f"{backend.region_name}a")
    snapshot = backend.create_snapshot(volume.id, f"Created by CreateImage({instance.id})")
    snapshot.encrypted = str(mapping["Ebs"].get("Encrypted", "false")).lower() == "true"
    snapshot.kms_key_id = mapping["Ebs"].get("KmsKeyId") or (ebs_strict.DEFAULT_KEY if snapshot.encrypted else None)
    snapshot.status, snapshot.sealed = "pending", True
    # Nothing is read of its blocks; a copy has the same.
    held = EBSSnapshot(account_id=backend.account_id, snapshot=snapshot)
    held.status, held.kms_key, held.ec2 = "completed", snapshot.kms_key_id, snapshot
    ebs_backends[backend.account_id][backend.region_name].snapshots[snapshot.id] = held
    image = Ami(backend, random_ami_id(), instance=instance, name=params["Name"], owner_id=None)
    del backend.snapshots[image.ebs_snapshot.id]
    image.ebs_snapshot, image.from_snapshot = SimpleNamespace(id=snapshot.id), snapshot.id
    image.root_device_name, image.root_device_type = mapping["DeviceName"], "ebs"
    image.architecture, image.virtualization_type = "x86_64", "hvm"
    ebs = {"SnapshotId": snapshot.id, "VolumeSize": volume.size, "Encrypted": snapshot.encrypted}
    image.mapped = [{"DeviceName": mapping["DeviceName"], "Ebs": ebs}]
    image.state, image.looks = "pending", ec2_images.SETTINGS["image_looks"]
    for specification in params.get("TagSpecifications", []):
        target = {"image": image, "snapshot": snapshot}[specification["ResourceType"]]
        target.add_tags({tag["Key"]: tag["Value"] for tag in specification["Tags"]})
    backend.amis[image.id] = image
    return ActionResult({"ImageId": image.id})


def furnish():
    """An account with a vendor's image in reach, a subnet and a bucket of its own."""
    backend = ec2_backends[ACCOUNT]["us-east-1"]
    image = backend.register_image("debian-12-amd64-20260101-1", "")
    del backend.snapshots[image.ebs_snapshot.id], backend.amis[image.id]
    image.id, image.owner_id, image.state = BASE, OWNER, "available"
    image.architecture, image.virtualization_type = "x86_64", "hvm"
    image.root_device_name, image.root_device_type = "/dev/xvda", "ebs"
    image.mapped = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0ba5e0ba5e0ba5e01", "VolumeSize": 2}}]
    backend.amis[BASE] = image
    zone = next(iter(backend.subnets.values()))
    subnet = zone.pop(next(iter(zone)))
    subnet.id = SUBNET
    zone[SUBNET] = subnet
    s3_backends[ACCOUNT]["aws"].create_bucket(BUCKET, "us-east-1")
    return {"base": BASE, "subnet": SUBNET, "bucket": BUCKET}


def holdings():
    """What builders have made and not taken down."""
    found = {"instances": [], "groups": [], "volumes": [], "objects": []}
    for regions in list(ec2_backends.values()):
        for backend in list(regions.values()):
            for reservation in list(backend.reservations.values()):
                found["instances"] += [
                    {"id": one.id, "state": one.state, "tags": {tag["key"]: tag["value"] for tag in one.get_tags()}}
                    for one in reservation.instances
                    if one.state not in ("terminated", "shutting-down")
                ]
            for groups in list(backend.groups.values()):
                found["groups"] += [
                    {"id": group.id, "ingress": len(group.ingress_rules)}
                    | {"tags": {tag["key"]: tag["value"] for tag in group.get_tags()}}
                    for group in groups.values()
                    if group.name != "default"
                ]
            found["volumes"] += [
                volume.id
                for volume in list(backend.volumes.values())
                if any(tag["key"] == "kiln:publication" for tag in volume.get_tags())
            ]
    for partitions in list(s3_backends.values()):
        for backend in list(partitions.values()):
            for bucket in list(backend.buckets.values()):
                found["objects"] += [f"{bucket.name}/{key}" for key in bucket.keys]
    return found
