//! What a snapshot's blocks hold, by hash: what a new disk has to send over it, and what the next one compares with.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::call::call;
use crate::clients::Clients;
use crate::disk::BLOCK_SIZE;
use crate::error::Error;

const BLOCKS_PER_GIB: u32 = 2048;
/// Blocks that are read at once. EBS throttles reads at 1000 a second and snapshot.
const READERS: usize = 16;

/// SHA-256 of a block.
pub(crate) type BlockDigest = [u8; 32];

/// The blocks of a completed snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocks {
    /// Of which snapshot they are.
    pub snapshot_id: String,
    /// The volume's size.
    pub volume_gib: u32,
    /// True if a block that is not listed reads as noise, not as zeros: of a snapshot that somebody else encrypted.
    pub noise: bool,
    /// Base64 of each block's SHA-256.
    digests: BTreeMap<u32, String>,
}

impl Blocks {
    pub(crate) fn new(snapshot_id: &str, volume_gib: u32, digests: &BTreeMap<u32, BlockDigest>) -> Self {
        let blocks = digests.iter().map(|(index, digest)| (*index, STANDARD.encode(digest)));
        Self { snapshot_id: snapshot_id.to_owned(), volume_gib, noise: false, digests: blocks.collect() }
    }

    /// Reads every block of a snapshot, for one whose hashes nobody kept. Its bytes go over the wire once.
    ///
    /// # Errors
    /// The snapshot is not completed, not ours, or cannot be read.
    pub async fn read(clients: &Clients, snapshot_id: &str) -> Result<Self, Error> {
        let asked = clients.ec2.describe_snapshots().snapshot_ids(snapshot_id).send().await;
        let asked = asked.map_err(|error| call("ec2:DescribeSnapshots", snapshot_id, &error))?;
        let snapshot = asked.snapshots().first();
        let noise = snapshot.and_then(aws_sdk_ec2::types::Snapshot::encrypted).unwrap_or_default();
        let mut pages = clients.ebs.list_snapshot_blocks().snapshot_id(snapshot_id).into_paginator().send();
        let (mut listed, mut volume_gib) = (Vec::new(), 0);
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call("ebs:ListSnapshotBlocks", snapshot_id, &error))?;
            volume_gib = page.volume_size().and_then(|gib| u32::try_from(gib).ok()).unwrap_or_default();
            let blocks = page.blocks.unwrap_or_default();
            listed.extend(blocks.into_iter().filter_map(|block| block.block_index.zip(block.block_token)));
        }
        let read = async |(index, token): (i32, String)| -> Result<(u32, String), Error> {
            let asked = clients.ebs.get_snapshot_block().snapshot_id(snapshot_id).block_index(index);
            let asked = asked.block_token(token).send().await;
            let answer = asked.map_err(|error| call("ebs:GetSnapshotBlock", snapshot_id, &error))?;
            let told = answer.checksum().unwrap_or_default().to_owned();
            let data =
                answer.block_data.collect().await.map(aws_sdk_ebs::primitives::AggregatedBytes::into_bytes);
            let digest = STANDARD.encode(Sha256::digest(data.unwrap_or_default()));
            if digest != told {
                let why = format!("block {index} of {snapshot_id} does not match its checksum");
                return Err(Error::Spec(why));
            }
            Ok((u32::try_from(index).unwrap_or_default(), digest))
        };
        let digests = stream::iter(listed).map(read).buffer_unordered(READERS).try_collect().await?;
        Ok(Self { snapshot_id: snapshot_id.to_owned(), volume_gib, noise, digests })
    }
}

/// The blocks to send, in order, for a disk whose blocks with data are `own`.
///
/// Without a parent an encrypted snapshot takes all of them: what is not sent decrypts to noise. Over a parent a block
/// that is not sent keeps the parent's bytes: one that became zero has to be sent, or a deleted secret stays.
pub(crate) fn to_send(
    own: &BTreeMap<u32, BlockDigest>,
    parent: Option<&Blocks>,
    volume_gib: u32,
    encrypted: bool,
) -> Vec<u32> {
    let all = 0..volume_gib * BLOCKS_PER_GIB;
    let Some(parent) = parent else {
        return if encrypted { all.collect() } else { own.keys().copied().collect() };
    };
    let zero = STANDARD.encode(zero_digest());
    let beyond = parent.volume_gib * BLOCKS_PER_GIB;
    let differs = |index: &u32| match (own.get(index), parent.digests.get(index)) {
        (Some(own), Some(parents)) => STANDARD.encode(own) != *parents,
        (Some(_), None) => true,
        (None, Some(parents)) => *parents != zero,
        (None, None) if *index >= beyond => encrypted,
        (None, None) => parent.noise,
    };
    let changed: Vec<u32> = all.filter(differs).collect();
    // A snapshot of no block at all is nothing that EBS promises to take.
    if changed.is_empty() { own.keys().take(1).copied().collect() } else { changed }
}

/// Of a block of zeros.
pub(crate) fn zero_digest() -> BlockDigest {
    Sha256::digest(vec![0; BLOCK_SIZE]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(blocks: &[(u32, u8)]) -> BTreeMap<u32, BlockDigest> {
        blocks.iter().map(|(index, byte)| (*index, [*byte; 32])).collect()
    }

    #[test]
    fn without_a_parent_data_is_sent_and_all_if_it_is_encrypted() {
        let own = digests(&[(1, 1), (7, 2)]);
        assert_eq!(to_send(&own, None, 1, false), [1, 7]);
        assert_eq!(to_send(&own, None, 1, true).len(), 2048);
    }

    #[test]
    fn over_a_parent_what_differs_is_sent_and_what_became_zero() {
        let own = digests(&[(1, 1), (2, 9), (8, 4)]);
        let mut parents = digests(&[(1, 1), (2, 2), (5, 3)]);
        parents.insert(6, zero_digest());
        let parent = Blocks::new("snap-1", 1, &parents);
        assert_eq!(to_send(&own, Some(&parent), 1, false), [2, 5, 8]);
        assert_eq!(to_send(&own, Some(&parent), 2, false), [2, 5, 8], "what is new reads as zeros");
    }

    #[test]
    fn over_an_encrypted_parent_what_it_never_had_is_noise() {
        let all: Vec<(u32, u8)> = (0..2048).map(|index| (index, 1)).collect();
        let parent = Blocks::new("snap-1", 1, &digests(&all));
        assert_eq!(
            to_send(&digests(&all), Some(&parent), 2, true).len(),
            2048,
            "the part that it is larger by"
        );
        let gaps = Blocks { noise: true, ..Blocks::new("snap-1", 1, &digests(&all[..2000])) };
        assert_eq!(to_send(&digests(&all[..2000]), Some(&gaps), 1, true).len(), 48);
    }

    #[test]
    fn of_no_change_one_block_is_sent() {
        let own = digests(&[(3, 1), (4, 1)]);
        assert_eq!(to_send(&own, Some(&Blocks::new("snap-1", 1, &own)), 1, false), [3]);
    }
}
