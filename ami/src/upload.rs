//! Sends blocks into an open snapshot, as many at once as EBS takes, each with its checksum.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aws_sdk_ebs::config::retry::RetryConfig;
use aws_sdk_ebs::error::SdkError;
use aws_sdk_ebs::operation::put_snapshot_block::PutSnapshotBlockError;
use aws_sdk_ebs::primitives::ByteStream;
use aws_sdk_ebs::types::{ChecksumAlgorithm, ResourceNotFoundExceptionReason, ValidationExceptionReason};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::blocks::BlockDigest;
use crate::call::{Kind, call};
use crate::clients::{ATTEMPTS, Clients};
use crate::disk::{BLOCK_SIZE, Disk};
use crate::error::Error;
use crate::pace::Pace;
use crate::progress::{Progress, Watch};
use crate::spec::PublishSpec;

/// Between two tries of a block whose snapshot is not known yet.
const VISIBLE_POLL: Duration = Duration::from_millis(500);
/// Between two tries of a block at first; doubled each time, eight seconds at most.
const BACKOFF: Duration = Duration::from_millis(200);

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

/// Sends a disk's blocks. The one retry layer for them is here: it has to know of throttling to give way to it.
#[derive(Debug)]
pub(crate) struct Upload<'a> {
    clients: &'a Clients,
    snapshot_id: &'a str,
    disk: &'a Disk,
    most: NonZeroUsize,
    pace: Mutex<Pace>,
    visible_by: Instant,
}

impl<'a> Upload<'a> {
    /// An upload with `spec`'s bounds.
    pub(crate) fn new(
        clients: &'a Clients,
        snapshot_id: &'a str,
        disk: &'a Disk,
        spec: &PublishSpec,
    ) -> Self {
        let pace = Mutex::new(Pace::new(spec.workers));
        let visible_by = Instant::now() + spec.waits.visible;
        Self { clients, snapshot_id, disk, most: spec.workers, pace, visible_by }
    }

    /// Sends `blocks`, the first alone and the rest side by side.
    pub(crate) async fn send(&self, blocks: &[u32], watch: Watch<'_>) -> Result<Sent, Error> {
        let began = Instant::now();
        let of = u32::try_from(blocks.len()).expect("a disk has fewer than 2^32 blocks");
        let mut digests = BTreeMap::new();
        let mut waiting = blocks.iter();
        let mut sending = FuturesUnordered::new();
        // The first finds out when the snapshot can be written to; a crowd that asks would be throttled.
        sending.extend(waiting.next().map(|index| self.put(*index)));
        while let Some(sent) = sending.next().await {
            let (index, digest) = sent?;
            digests.insert(index, digest);
            let blocks = u32::try_from(digests.len()).expect("no more than were asked for");
            let bytes = u64::from(blocks) * BLOCK_SIZE as u64;
            watch(Progress::Sent { blocks, of, bytes, elapsed: began.elapsed() });
            let room = self.paced(|pace| pace.limit()).min(self.most.get()).saturating_sub(sending.len());
            sending.extend(waiting.by_ref().take(room).map(|index| self.put(*index)));
        }
        Ok(Sent { blocks: of, bytes: u64::from(of) * BLOCK_SIZE as u64, checksum: linear_checksum(&digests) })
    }

    async fn put(&self, index: u32) -> Result<(u32, BlockDigest), Error> {
        let reader = self.disk.clone();
        let read = tokio::task::spawn_blocking(move || {
            let block = reader.read(index)?;
            let digest = BlockDigest::from(Sha256::digest(&block));
            Ok::<_, Error>((block, digest))
        });
        let (block, digest) = read.await.expect("reading a block does not panic")?;
        let once = aws_sdk_ebs::config::Builder::new().retry_config(RetryConfig::disabled());
        let mut tries = 0;
        loop {
            let sent = self
                .clients
                .ebs
                .put_snapshot_block()
                .snapshot_id(self.snapshot_id)
                .block_index(i32::try_from(index).expect("64 TiB are 2^27 blocks"))
                .data_length(i32::try_from(BLOCK_SIZE).expect("512 KiB fit"))
                .checksum(STANDARD.encode(digest))
                .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
                .block_data(ByteStream::from(block.clone()))
                .customize()
                .config_override(once.clone())
                .send()
                .await;
            let Err(error) = sent else {
                self.paced(Pace::arrived);
                return Ok((index, digest));
            };
            let now = Instant::now();
            if not_known_yet(&error) && now < self.visible_by {
                tokio::time::sleep(VISIBLE_POLL).await;
                continue;
            }
            let failed =
                call("ebs:PutSnapshotBlock", &format!("{}, block {index}", self.snapshot_id), &error);
            tries += 1;
            let passes = match failed.kind {
                Kind::Throttled | Kind::Unreachable | Kind::Failed => true,
                Kind::Credentials => failed.expired() && self.clients.renewal().renew(),
                _ => damaged(&error),
            };
            if !passes || tries >= ATTEMPTS {
                return Err(failed.into());
            }
            if matches!(failed.kind, Kind::Throttled | Kind::Unreachable) {
                self.paced(|pace| pace.too_much(now));
            }
            // Blocks that failed together come again one after the other.
            let jitter = 500 + (index.wrapping_mul(2_654_435_761) >> 16) % 1000;
            tokio::time::sleep((BACKOFF * 2_u32.pow(tries - 1).min(40)) * jitter / 1000).await;
        }
    }

    fn paced<T>(&self, ask: impl FnOnce(&mut Pace) -> T) -> T {
        ask(&mut self.pace.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A block's body is not signed, only its checksum is: one that a bad link damaged is refused as invalid, although
/// the same request sent again is fine. So is one that came too slowly. No other validation error is worth a retry.
fn damaged<R>(error: &SdkError<PutSnapshotBlockError, R>) -> bool {
    let Some(PutSnapshotBlockError::ValidationException(invalid)) = error.as_service_error() else {
        return false;
    };
    matches!(
        invalid.reason(),
        Some(ValidationExceptionReason::InvalidBlock | ValidationExceptionReason::WriteRequestTimeout)
    )
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

fn linear_checksum(digests: &BTreeMap<u32, BlockDigest>) -> String {
    let mut all = Sha256::new();
    for digest in digests.values() {
        all.update(digest);
    }
    STANDARD.encode(all.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linear_checksum_is_over_raw_digests_in_index_order() {
        let (a, b) = ([1; 32], [2; 32]);
        let whole: Vec<u8> = [a, b].concat();
        let expected = STANDARD.encode(Sha256::digest(&whole));
        assert_eq!(linear_checksum(&BTreeMap::from([(9, b), (3, a)])), expected);
    }
}
