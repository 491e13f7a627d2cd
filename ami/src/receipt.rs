//! What was published: the receipt that the next pipeline step reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::blocks::Blocks;

/// A published image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// The AMI's id.
    pub image_id: String,
    /// The AMI's name.
    pub image_name: String,
    /// The snapshot behind its root volume.
    pub snapshot_id: String,
    /// The region they are in.
    pub region: String,
    /// The digest that both are tagged with.
    pub digest: String,
    /// The AMI that its builder instance started from; none of one that was uploaded.
    #[serde(default)]
    pub base: Option<String>,
    /// True if the image was there already and nothing was sent.
    pub adopted: bool,
    /// The size of the root volume, in GiB.
    pub volume_gib: u32,
    /// Blocks of 512 KiB that were sent.
    pub blocks_sent: u32,
    /// Bytes that were sent, without the protocol's.
    pub bytes_sent: u64,
    /// The linear checksum that EBS verified: base64 of SHA-256 over the blocks' SHA-256 in order. None if adopted.
    pub checksum: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Tags on the image.
    pub tags: BTreeMap<String, String>,
    /// Copies: by region the image and its snapshot.
    #[serde(default)]
    pub copies: BTreeMap<String, (String, String)>,
    /// The SSM parameter that names it.
    #[serde(default)]
    pub parameter: Option<String>,
    /// What was done beside the image, in words; empty if all of it was there.
    #[serde(default)]
    pub changed: Vec<String>,
    /// What the snapshot holds, for the next one to be compared with; a file of its own. None if nothing was read.
    #[serde(skip)]
    pub blocks: Option<Blocks>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_survives_json() {
        let receipt = Published {
            image_id: "ami-1".into(),
            image_name: "shop-9f86".into(),
            snapshot_id: "snap-1".into(),
            region: "eu-west-1".into(),
            digest: "9f86".into(),
            base: Some("ami-0".into()),
            adopted: false,
            volume_gib: 2,
            blocks_sent: 3,
            bytes_sent: 1_572_864,
            checksum: Some("x=".into()),
            seconds: 1.5,
            tags: BTreeMap::from([("Name".into(), "shop".into())]),
            copies: BTreeMap::from([("eu-north-1".into(), ("ami-2".into(), "snap-2".into()))]),
            parameter: Some("/shop/ami".into()),
            changed: vec!["copied to eu-north-1".into()],
            blocks: None,
        };
        let json = serde_json::to_string(&receipt).expect("receipts serialise");
        assert_eq!(serde_json::from_str::<Published>(&json).expect("and parse"), receipt);
    }
}
