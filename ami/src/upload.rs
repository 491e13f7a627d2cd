//! Writes a disk into a new EBS snapshot through the EBS direct APIs.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use aws_sdk_ebs::error::SdkError;
use aws_sdk_ebs::operation::complete_snapshot::CompleteSnapshotError;
use aws_sdk_ebs::operation::put_snapshot_block::PutSnapshotBlockError;
use aws_sdk_ebs::operation::start_snapshot::StartSnapshotOutput;
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{
    ChecksumAggregationMethod, ChecksumAlgorithm, ResourceNotFoundExceptionReason, SseType, Tag,
    ValidationExceptionReason,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::call::{CallError, Kind, call};
use crate::disk::{BLOCK_SIZE, Disk};
use crate::error::Error;
use crate::journal::SnapshotAsk;
use crate::progress::{Progress, Watch};
use crate::spec::PublishSpec;

/// Minutes without a write after which EBS gives a snapshot up. Its default of 60 is more than a stalled client
/// needs, and less would cut off one that sleeps through a change of networks.
const IDLE_MINUTES: i32 = 60;
/// Between two tries of a block whose snapshot is not known yet.
const VISIBLE_POLL: Duration = Duration::from_millis(500);

/// Uploads disks as snapshots.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotUpload {
    client: aws_sdk_ebs::Client,
    workers: NonZeroUsize,
    visible: Duration,
}

/// A snapshot that is open for writing.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    /// Its id.
    pub(crate) snapshot_id: String,
    /// True if a block that is never sent reads back as zeros.
    pub(crate) zeros_may_be_skipped: bool,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Distinct blocks.
    pub blocks: u32,
    /// Their bytes.
    pub bytes: u64,
    /// Base64 of the SHA-256 over the blocks' SHA-256 in order: what EBS calls a linear checksum.
    pub checksum: String,
}

impl SnapshotUpload {
    /// Uploads with `spec`'s workers and bounds.
    pub(crate) fn new(client: aws_sdk_ebs::Client, spec: &PublishSpec) -> Self {
        Self { client, workers: spec.workers, visible: spec.waits.visible }
    }

    /// Sends `blocks` of `disk`, the first alone and the rest side by side.
    pub(crate) async fn send(
        &self,
        snapshot_id: &str,
        disk: &Disk,
        blocks: &[u32],
        watch: Watch<'_>,
    ) -> Result<Sent, Error> {
        let deadline = Instant::now() + self.visible;
        let of = u32::try_from(blocks.len()).expect("a disk has fewer than 2^32 blocks");
        let mut digests = BTreeMap::new();
        let mut arrived = |(index, digest): (u32, [u8; 32])| {
            digests.insert(index, digest);
            let blocks = u32::try_from(digests.len()).expect("no more than were asked for");
            watch(Progress::Sent { blocks, of, bytes: u64::from(blocks) * BLOCK_SIZE as u64 });
        };
        // The first finds out when the snapshot can be written to; a hundred workers asking would be throttled.
        let (first, rest) = blocks.split_at(blocks.len().min(1));
        for index in first {
            arrived(self.put(snapshot_id, disk, *index, deadline).await?);
        }
        let mut sending = stream::iter(rest)
            .map(|index| self.put(snapshot_id, disk, *index, deadline))
            .buffer_unordered(self.workers.get());
        while let Some(sent) = sending.try_next().await? {
            arrived(sent);
        }
        Ok(Sent { blocks: of, bytes: u64::from(of) * BLOCK_SIZE as u64, checksum: linear_checksum(&digests) })
    }

    async fn put(
        &self,
        snapshot_id: &str,
        disk: &Disk,
        index: u32,
        deadline: Instant,
    ) -> Result<(u32, [u8; 32]), Error> {
        let reader = disk.clone();
        let read = move || -> Result<(Bytes, [u8; 32]), Error> {
            let block = reader.read(index)?;
            let digest = Sha256::digest(&block).into();
            Ok((block, digest))
        };
        let (block, digest) =
            tokio::task::spawn_blocking(read).await.expect("reading a block does not panic")?;
        loop {
            let sent = self
                .client
                .put_snapshot_block()
                .snapshot_id(snapshot_id)
                .block_index(i32::try_from(index).expect("64 TiB are 2^27 blocks"))
                .data_length(i32::try_from(BLOCK_SIZE).expect("512 KiB fit"))
                .checksum(STANDARD.encode(digest))
                .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                .block_data(ByteStream::from(block.clone()))
                .send()
                .await;
            match sent {
                Ok(_) => return Ok((index, digest)),
                Err(error) if not_known_yet(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(VISIBLE_POLL).await;
                }
                Err(error) => {
                    let block = format!("{snapshot_id}, block {index}");
                    return Err(call("ebs:PutSnapshotBlock", &block, &error).into());
                }
            }
        }
    }

    /// Seals the snapshot: EBS compares the count and the checksum with what arrived. A snapshot that is not pending
    /// any more was sealed by a call whose reply was lost: what was asked for before the reply is never another
    /// thing, since the count and the checksum are in the journal.
    pub(crate) async fn complete(&self, snapshot_id: &str, sent: &Sent) -> Result<(), Error> {
        let asked = self
            .client
            .complete_snapshot()
            .snapshot_id(snapshot_id)
            .changed_blocks_count(i32::try_from(sent.blocks).expect("64 TiB are 2^27 blocks"))
            .checksum(&sent.checksum)
            .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
            .checksum_aggregation_method(ChecksumAggregationMethod::ChecksumAggregationLinear)
            .send()
            .await;
        match asked {
            Ok(_) => Ok(()),
            Err(error) if not_pending(&error) => Ok(()),
            Err(error) => Err(call("ebs:CompleteSnapshot", snapshot_id, &error).into()),
        }
    }
}

/// Whether the snapshot was sealed before. One that ended in error answers the same: the wait for it tells them apart.
fn not_pending<R>(error: &SdkError<CompleteSnapshotError, R>) -> bool {
    match error.as_service_error() {
        Some(CompleteSnapshotError::ValidationException(invalid)) => {
            matches!(invalid.reason(), Some(ValidationExceptionReason::InvalidSnapshotId))
        }
        _ => false,
    }
}

/// Opens a snapshot. With the same token and arguments it is opened once, however often it is asked for: so a
/// lost reply makes no second one, and what a killed process asked for is found again.
pub(crate) async fn open(
    client: &aws_sdk_ebs::Client,
    ask: &SnapshotAsk,
    token: &str,
) -> Result<Started, Error> {
    let name = ask.tags.get("Name").map_or("", String::as_str);
    let tags = ask.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
    let started = client
        .start_snapshot()
        .volume_size(ask.volume_gib.into())
        .description(&ask.description)
        .set_tags(Some(tags.collect()))
        .timeout(IDLE_MINUTES)
        .client_token(token)
        .send()
        .await
        .map_err(|error| call("ebs:StartSnapshot", name, &error))?;
    let Some(id) = started.snapshot_id() else {
        return Err(odd_answer("ebs:StartSnapshot", name, "it names no snapshot"));
    };
    if started.block_size().is_some_and(|size| usize::try_from(size) != Ok(BLOCK_SIZE)) {
        let why = format!("block size {:?}, not {BLOCK_SIZE}", started.block_size());
        return Err(odd_answer("ebs:StartSnapshot", id, &why));
    }
    Ok(Started { snapshot_id: id.to_owned(), zeros_may_be_skipped: zeros_may_be_skipped(&started) })
}

/// Two cases in which a block that is never sent is not zero. An encrypted snapshot decrypts it to noise; and an
/// account that encrypts by default encrypts a snapshot that never asked for it, so AWS's answer counts, not the
/// request. Over a parent, the block keeps the parent's bytes: a deleted secret would stay in the image.
fn zeros_may_be_skipped(started: &StartSnapshotOutput) -> bool {
    let encrypted =
        started.kms_key_arn().is_some() || !matches!(started.sse_type(), None | Some(SseType::None));
    !encrypted && started.parent_snapshot_id().is_none()
}

/// For up to two minutes after `StartSnapshot`, parts of EBS may not know the snapshot.
fn not_known_yet<R>(error: &SdkError<PutSnapshotBlockError, R>) -> bool {
    match error.as_service_error() {
        Some(PutSnapshotBlockError::ResourceNotFoundException(found)) => {
            matches!(found.reason(), None | Some(ResourceNotFoundExceptionReason::SnapshotNotFound))
        }
        _ => false,
    }
}

fn linear_checksum(digests: &BTreeMap<u32, [u8; 32]>) -> String {
    let mut all = Sha256::new();
    for digest in digests.values() {
        all.update(digest);
    }
    STANDARD.encode(all.finalize())
}

fn odd_answer(action: &'static str, resource: &str, why: &str) -> Error {
    let message = format!("unexpected answer: {why}");
    CallError { kind: Kind::Failed, action, resource: resource.to_owned(), code: None, message }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_skipped_only_where_they_read_back_as_zeros() {
        let answer = StartSnapshotOutput::builder;
        let table = [
            ("plain", answer().build(), true),
            ("plain, named", answer().sse_type(SseType::None).build(), true),
            ("encrypted with a key", answer().kms_key_arn("arn:aws:kms:…").build(), false),
            ("encrypted by default", answer().sse_type(SseType::SseKms).build(), false),
            ("over a parent", answer().parent_snapshot_id("snap-1").build(), false),
        ];
        for (case, started, expected) in table {
            assert_eq!(zeros_may_be_skipped(&started), expected, "{case}");
        }
    }

    #[test]
    fn the_linear_checksum_is_over_raw_digests_in_index_order() {
        let (a, b) = ([1; 32], [2; 32]);
        let whole: Vec<u8> = [a, b].concat();
        let expected = STANDARD.encode(Sha256::digest(&whole));
        assert_eq!(linear_checksum(&BTreeMap::from([(9, b), (3, a)])), expected);
    }
}
