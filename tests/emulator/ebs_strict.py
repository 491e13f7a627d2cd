"""EBS direct as its API reference has it; moto keeps bytes and checks nothing.

Restored here: blocks are 524288 bytes and no other length; SHA-256 of each block is verified; writes go to pending
snapshots only and reads to completed ones; indexes stay within the volume; CompleteSnapshot compares the number of
distinct blocks and the linear checksum; a client token makes StartSnapshot idempotent and refuses other arguments;
an unknown snapshot is ResourceNotFoundException; block tokens are checked; listings are sorted and paged.
Not restored: parents, KMS, the write timeout, throttling (faults play it).
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

    EBSSnapshot.__init__ = with_real_blocks
    EBSBackend.find = find
    for operation in (start_snapshot, put_snapshot_block, complete_snapshot, get_snapshot_block, list_snapshot_blocks):
        setattr(EBSResponse, operation.__name__, operation)


def find(self, snapshot_id):
    snapshot = self.snapshots.get(snapshot_id)
    if snapshot is None or snapshot_id not in self.ec2_backend.snapshots:
        message = f"The snapshot '{snapshot_id}' does not exist."
        raise EbsError("ResourceNotFoundException", "SNAPSHOT_NOT_FOUND", message)
    return snapshot


def start_snapshot(self):
    params = self._get_params()
    size, timeout, tags = params.get("VolumeSize"), params.get("Timeout", 60), params.get("Tags") or []
    if not isinstance(size, int) or not 1 <= size <= 65536:
        raise invalid("INVALID_VOLUME_SIZE", f"Invalid volume size: {size}.")
    if not 10 <= timeout <= 4320:
        raise invalid("INVALID_PARAMETER_VALUE", f"Invalid timeout: {timeout}.")
    if len(params.get("Description") or "") > 255 or any(len(tag["Key"]) > 127 for tag in tags):
        raise invalid("INVALID_TAG", "Description or tag key too long.")
    arguments = json.dumps(params, sort_keys=True, default=str)
    snapshot, first = TOKENS.get(params.get("ClientToken"), (None, None))
    if snapshot is None:
        snapshot = self.ebs_backend.start_snapshot(size, tags, params.get("Description"))
        snapshot.ec2 = self.ebs_backend.ec2_backend.snapshots[snapshot.snapshot_id]
        snapshot.ec2.status = "pending"
        snapshot.ec2.encrypted = SETTINGS["encrypted"]
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
    if SETTINGS["encrypted"]:
        result["KmsKeyArn"] = "arn:aws:kms:us-east-1:123456789012:key/aws-ebs"
        result["SseType"] = "sse-kms"
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


def get_snapshot_block(self):
    params = self._get_params()
    snapshot = self.ebs_backend.find(params["SnapshotId"])
    if snapshot.status != "completed":
        raise invalid("INVALID_SNAPSHOT_ID", "Blocks can be read from completed snapshots only.")
    block = snapshot.blocks.get(params["BlockIndex"])
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


def list_snapshot_blocks(self):
    params = self._get_params()
    snapshot = self.ebs_backend.find(params["SnapshotId"])
    if snapshot.status != "completed":
        raise invalid("INVALID_SNAPSHOT_ID", "Blocks of completed snapshots only can be listed.")
    most = params.get("MaxResults", 10000)
    if not 100 <= most <= 10000:
        raise invalid("INVALID_PARAMETER_VALUE", "MaxResults is 100 to 10000.")
    first = int(params.get("NextToken") or params.get("StartingBlockIndex") or 0)
    wanted = [(index, block) for index, block in sorted(snapshot.blocks.items()) if index >= first]
    result = {
        "Blocks": [{"BlockIndex": index, "BlockToken": block.block_token} for index, block in wanted[:most]],
        "ExpiryTime": utcnow() + timedelta(days=7),
        "VolumeSize": snapshot.volume_size,
        "BlockSize": snapshot.block_size,
    }
    if len(wanted) > most:
        result["NextToken"] = str(wanted[most][0])
    return ActionResult(result)


def contents():
    """Every snapshot written here that still exists, for /kiln/snapshots."""
    return {
        id: {"status": snapshot.status, "blocks": len(snapshot.blocks), "bytes": len(snapshot.blocks) * BLOCK}
        for regions in ebs_backends.values()
        for backend in regions.values()
        for id, snapshot in backend.snapshots.items()
        if id in backend.ec2_backend.snapshots
    }
