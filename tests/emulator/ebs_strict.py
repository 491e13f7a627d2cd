"""EBS direct as its API reference has it; moto keeps bytes and checks nothing. The rules are listed in README.md.

Not restored: KMS itself, throttling (faults play it), the noise that an omitted block of an encrypted snapshot reads as.
"""

import base64
import hashlib
import json
from datetime import timedelta

from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.core.utils import utcnow
from moto.ebs.models import EBSBackend, EBSSnapshot, ebs_backends
from moto.ebs.responses import EBSResponse

BLOCK = 524288
BLOCKS_PER_GIB = 2048

# encrypted: the account encrypts by default, which StartSnapshot's answer shows and its request does not.
SETTINGS = {"encrypted": False}
DEFAULT_KEY = "arn:aws:kms:us-east-1:123456789012:key/aws-ebs"

TOKENS = {}


class EbsError(ServiceException):
    """An exception of the EBS model, with its reason."""

    def __init__(self, code, reason, message):
        super().__init__(code, message)
        self.reason = reason


def invalid(reason, message):
    return EbsError("ValidationException", reason, message)


def patch():
    init = EBSSnapshot.__init__

    def with_real_blocks(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.block_size = BLOCK
        self.parent = None

    EBSSnapshot.__init__ = with_real_blocks
    EBSBackend.find = find
    for operation in (
        start_snapshot,
        put_snapshot_block,
        complete_snapshot,
        get_snapshot_block,
        list_snapshot_blocks,
        list_changed_blocks,
    ):
        setattr(EBSResponse, operation.__name__, operation)


def find(self, snapshot_id):
    snapshot = self.snapshots.get(snapshot_id)
    if snapshot is None or snapshot_id not in self.ec2_backend.snapshots:
        message = f"The snapshot '{snapshot_id}' does not exist."
        raise EbsError("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", message)
    return snapshot


def whole(snapshot):
    """Its blocks and, below them, its parent's: a parent that is deleted leaves its blocks to its children."""
    return (whole(snapshot.parent) if snapshot.parent else {}) | snapshot.blocks


def start_snapshot(self):
    params = self._get_params()
    size, timeout, tags = params.get("VolumeSize"), params.get("Timeout", 60), params.get("Tags") or []
    if not isinstance(size, int) or not 1 <= size <= 65536:
        raise invalid("INVALID_VOLUME_SIZE", f"Invalid volume size: {size}.")
    if not 10 <= timeout <= 4320:
        raise invalid("INVALID_PARAMETER_VALUE", f"Invalid timeout: {timeout}.")
    if len(params.get("Description") or "") > 255 or any(len(tag["Key"]) > 127 for tag in tags):
        raise invalid("INVALID_TAG", "Description or tag key too long.")
    parent = None
    if params.get("ParentSnapshotId"):
        if "Encrypted" in params or "KmsKeyArn" in params:
            raise invalid("INVALID_PARAMETER_VALUE", "A parent decides about encryption.")
        parent = self.ebs_backend.find(params["ParentSnapshotId"])
        if parent.status != "completed":
            raise invalid("INVALID_SNAPSHOT_ID", "The parent is not completed.")
        if size < parent.volume_size:
            raise invalid("INVALID_VOLUME_SIZE", "The volume is smaller than the parent's.")
    if params.get("KmsKeyArn") and not params.get("Encrypted"):
        raise invalid("INVALID_PARAMETER_VALUE", "A key without encryption.")
    # An answer that is asked for again comes from the token, until the snapshot's tags go.
    arguments = json.dumps({k: v for k, v in params.items() if k != "ClientToken"}, sort_keys=True, default=str)
    snapshot, first = TOKENS.get(params.get("ClientToken"), (None, None))
    if snapshot is None:
        key = params.get("KmsKeyArn") or (DEFAULT_KEY if params.get("Encrypted") or SETTINGS["encrypted"] else None)
        key = parent.kms_key if parent else key
        snapshot = self.ebs_backend.start_snapshot(size, tags, params.get("Description"))
        snapshot.parent, snapshot.kms_key = parent, key
        snapshot.ec2 = self.ebs_backend.ec2_backend.snapshots[snapshot.snapshot_id]
        snapshot.ec2.status = "pending"
        snapshot.ec2.encrypted, snapshot.ec2.kms_key_id = key is not None, key
        if params.get("ClientToken"):
            TOKENS[params["ClientToken"]] = (snapshot, arguments)
    elif first != arguments:
        raise EbsError("ConflictException", None, "The client token was used with other arguments.")
    result = {
        "SnapshotId": snapshot.snapshot_id,
        "OwnerId": snapshot.account_id,
        "Status": snapshot.status,
        "StartTime": snapshot.start_time,
        "VolumeSize": snapshot.volume_size,
        "BlockSize": snapshot.block_size,
        "Tags": tags,
        "Description": snapshot.description,
    }
    if snapshot.parent:
        result["ParentSnapshotId"] = snapshot.parent.snapshot_id
    if snapshot.kms_key:
        result["KmsKeyArn"], result["SseType"] = snapshot.kms_key, "sse-kms"
    return ActionResult(result)


def put_snapshot_block(self):
    params = self._get_params()
    snapshot = self.ebs_backend.find(params["SnapshotId"])
    index, data = params["BlockIndex"], params["BlockData"]
    if snapshot.status != "pending":
        raise invalid("INVALID_SNAPSHOT_ID", "Blocks can be put into pending snapshots only.")
    if params["DataLength"] != BLOCK or len(data) != BLOCK:
        raise invalid("INVALID_BLOCK", f"A block has {BLOCK} bytes, not {len(data)}.")
    if not 0 <= index < snapshot.volume_size * BLOCKS_PER_GIB:
        raise invalid("INVALID_BLOCK", f"Block {index} is beyond the volume.")
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    if params["ChecksumAlgorithm"] != "SHA256" or params["Checksum"] != digest:
        raise invalid("INVALID_BLOCK", "The checksum does not match the block.")
    snapshot.put_block(index, data, digest, "SHA256", BLOCK)
    return ActionResult({"Checksum": digest, "ChecksumAlgorithm": "SHA256"})


def complete_snapshot(self):
    params = self._get_params()
    snapshot = self.ebs_backend.find(params["SnapshotId"])
    if snapshot.status != "pending":
        raise invalid("INVALID_SNAPSHOT_ID", "The snapshot is not pending.")
    if params.get("ChangedBlocksCount") != len(snapshot.blocks):
        counts = f"{params.get('ChangedBlocksCount')} blocks announced, {len(snapshot.blocks)} put."
        raise invalid("INVALID_PARAMETER_VALUE", counts)
    if "Checksum" in params:
        if params.get("ChecksumAggregationMethod") != "LINEAR" or params.get("ChecksumAlgorithm") != "SHA256":
            raise invalid("INVALID_PARAMETER_VALUE", "The checksum must be linear SHA256.")
        digests = b"".join(base64.b64decode(block.checksum) for _, block in sorted(snapshot.blocks.items()))
        if params["Checksum"] != base64.b64encode(hashlib.sha256(digests).digest()).decode():
            raise invalid("INVALID_PARAMETER_VALUE", "The checksum does not match the blocks.")
    snapshot.status = "completed"
    # EC2 shows it as pending for some looks more; see ec2_images.
    snapshot.ec2.sealed = True
    return ActionResult({"Status": "completed"})


def completed(self, snapshot_id):
    snapshot = self.ebs_backend.find(snapshot_id)
    if snapshot.status != "completed":
        raise invalid("INVALID_SNAPSHOT_ID", "Blocks of completed snapshots only can be read.")
    return snapshot


def get_snapshot_block(self):
    params = self._get_params()
    block = whole(completed(self, params["SnapshotId"])).get(params["BlockIndex"])
    if block is None or block.block_token != params.get("BlockToken"):
        raise invalid("INVALID_BLOCK_TOKEN", "The token does not belong to the block.")
    return ActionResult(
        {
            "DataLength": block.data_length,
            "BlockData": block.block_data,
            "Checksum": block.checksum,
            "ChecksumAlgorithm": "SHA256",
        }
    )


def page(self, params, wanted, name, describe, snapshot):
    """The part of a listing that was asked for."""
    most = int(params.get("MaxResults") or 10000)
    if not 100 <= most <= 10000:
        raise invalid("INVALID_PARAMETER_VALUE", "MaxResults is 100 to 10000.")
    first = int(params.get("NextToken") or params.get("StartingBlockIndex") or 0)
    wanted = [index for index in sorted(wanted) if index >= first]
    result = {
        name: [describe(index) for index in wanted[:most]],
        "ExpiryTime": utcnow() + timedelta(days=7),
        "VolumeSize": snapshot.volume_size,
        "BlockSize": snapshot.block_size,
    }
    if len(wanted) > most:
        result["NextToken"] = str(wanted[most])
    return ActionResult(result)


def list_snapshot_blocks(self):
    params = self._get_params()
    snapshot = completed(self, params["SnapshotId"])
    blocks = whole(snapshot)
    describe = lambda index: {"BlockIndex": index, "BlockToken": blocks[index].block_token}  # noqa: E731
    return page(self, params, blocks, "Blocks", describe, snapshot)


def list_changed_blocks(self):
    params = self._get_params()
    second = completed(self, params["SecondSnapshotId"])
    first = completed(self, params["FirstSnapshotId"]) if params.get("FirstSnapshotId") else None
    line, ancestor = set(), second
    while ancestor:
        line.add(ancestor.snapshot_id)
        ancestor = ancestor.parent
    if first and first.snapshot_id not in line:
        raise invalid("UNRELATED_SNAPSHOTS", "The snapshots are not of one lineage.")
    old, new = whole(first) if first else {}, whole(second)
    bytes_of = lambda block: block.block_data if block else None  # noqa: E731
    changed = [i for i in old.keys() | new.keys() if bytes_of(old.get(i)) != bytes_of(new.get(i))]

    def describe(index):
        tokens = {"FirstBlockToken": old.get(index), "SecondBlockToken": new.get(index)}
        return {"BlockIndex": index} | {name: block.block_token for name, block in tokens.items() if block}

    return page(self, params, changed, "ChangedBlocks", describe, second)


def give_up_pending():
    """What EBS does `Timeout` minutes after the last write: the snapshot ends in error."""
    for regions in ebs_backends.values():
        for backend in regions.values():
            for snapshot in backend.snapshots.values():
                if snapshot.status == "pending":
                    snapshot.status = snapshot.ec2.status = "error"


def contents():
    """Every snapshot written here that still exists, for /kiln/snapshots."""
    return {
        id: {"status": snapshot.status, "blocks": len(snapshot.blocks), "bytes": len(snapshot.blocks) * BLOCK}
        for regions in ebs_backends.values()
        for backend in regions.values()
        for id, snapshot in backend.snapshots.items()
        if id in backend.ec2_backend.snapshots
    }
