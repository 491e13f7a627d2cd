//! What a publication may create: who asks for it, with which arguments, and where it is found again.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};

use serde::{Deserialize, Serialize};

/// Who publishes what: the first line, and in the tags of everything that is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Names this publication among all.
    pub publication: String,
    /// The image's name in the manifest.
    pub name: String,
    /// Of the image.
    pub digest: String,
    /// Where the image is registered.
    pub region: String,
    /// Who began it, as in `deploy@ci-3`.
    pub owner: String,
    /// RFC 3339: from here on, what is not finished belongs to nobody.
    pub expires: String,
    /// The AMI that a builder instance starts from; none where a disk is uploaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
}

/// The arguments of `StartSnapshot`: a call that is made again has to be the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAsk {
    /// The volume's size.
    pub volume_gib: u32,
    /// The snapshot's description.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The snapshot whose blocks it shares.
    pub parent: Option<String>,
    /// The key that encrypts it; an empty one stands for the account's default.
    pub kms_key: Option<String>,
}

/// The arguments of `CopyImage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyAsk {
    /// Where the copy is made.
    pub region: String,
    /// What is copied, and from where.
    pub source_image: String,
    /// The region of what is copied.
    pub source_region: String,
    /// The name of both.
    pub name: String,
    /// Tags of the copy and of its snapshot.
    pub tags: BTreeMap<String, String>,
    /// The key that encrypts it there; a copy of what is encrypted stays so without one.
    pub kms_key: Option<String>,
}

/// The arguments of `CreateSecurityGroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAsk {
    /// The VPC of the builder's subnet.
    pub vpc: String,
    /// Unique in the VPC.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A resource, with what it takes to find it or to ask for it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The security group of a builder instance.
    Group(GroupAsk),
    /// What a builder instance fetches, and what it reports.
    Bundle {
        /// The S3 bucket.
        bucket: String,
        /// What their keys begin with.
        folder: String,
    },
    /// The builder instance.
    Instance,
    /// The snapshot that is uploaded.
    Snapshot(SnapshotAsk),
    /// The image over it.
    Image {
        /// Unique in the account and region.
        name: String,
    },
    /// The image's copy in another region.
    Copy(CopyAsk),
    /// Accounts that may launch an image from here on.
    Share {
        /// Of the image.
        region: String,
        /// The image.
        image_id: String,
        /// Those that could not before.
        accounts: Vec<String>,
    },
    /// An SSM parameter that names the image.
    Parameter {
        /// Of the parameter.
        region: String,
        /// Its name.
        name: String,
        /// The image that it is to name.
        image_id: String,
        /// What it named before, if it was there.
        before: Option<String>,
    },
}

impl What {
    /// Names the one place that it takes in a publication.
    pub fn slot(&self) -> String {
        match self {
            Self::Group(_) => "security group".to_owned(),
            Self::Bundle { .. } => "bundle".to_owned(),
            Self::Instance => "instance".to_owned(),
            Self::Snapshot(_) => "snapshot".to_owned(),
            Self::Image { .. } => "image".to_owned(),
            Self::Copy(ask) => format!("copy in {}", ask.region),
            Self::Share { region, .. } => format!("shares in {region}"),
            Self::Parameter { region, name, .. } => format!("parameter {name} in {region}"),
        }
    }
}

/// Something that may exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// What it is.
    pub what: What,
    /// The client token of the call that creates it.
    pub token: String,
    /// Its id, once that is known.
    pub id: Option<String>,
    /// Of a snapshot: it is encrypted.
    pub encrypted: bool,
}

/// 128 random bits in hexadecimal: each hasher of the standard library is seeded by the kernel.
pub fn fresh_id() -> String {
    let word = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", word(), word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_do_not_repeat() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| fresh_id()).collect();
        assert_eq!(ids.len(), 1000);
    }
}
