//! `[record]`: where an instance's whole life goes at its end.

use super::fragment;
use serde::Deserialize;

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it goes.
    pub to: RecordTo,
    /// The log group, which has to be there already.
    pub log_group: String,
    /// The bucket, of the instance's own region.
    pub bucket: String,
    /// What the object's key begins with.
    pub prefix: String,
}

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecordTo {
    /// Nowhere: the journal has it until the instance is gone.
    #[default]
    None,
    /// A stream of `CloudWatch` Logs.
    Logs,
    /// An object in S3.
    S3,
}

impl Record {
    pub(super) fn new(given: fragment::Record) -> Self {
        Self {
            to: given.to.unwrap_or_default(),
            log_group: given.log_group.unwrap_or_else(|| "/kiln/record".to_owned()),
            bucket: given.bucket.unwrap_or_default(),
            prefix: given.prefix.unwrap_or_else(|| "kiln/".to_owned()),
        }
    }

    /// The first broken rule between keys.
    pub(super) fn rules(&self) -> Option<String> {
        let of =
            |text: &str, others: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c));
        let pairs = [
            (
                self.to == RecordTo::Logs && self.log_group.is_empty(),
                "record.to = \"logs\" needs record.log_group",
            ),
            (self.to == RecordTo::S3 && self.bucket.is_empty(), "record.to = \"s3\" needs record.bucket"),
            (
                !of(&self.log_group, "_-/.#") || self.log_group.len() > 512,
                "record.log_group must be of letters, digits and _-/.#, at most 512",
            ),
            (
                !self.bucket.is_empty()
                    && (!of(&self.bucket, ".-") || !(3..=63).contains(&self.bucket.len())),
                "record.bucket must be a bucket's name: 3 to 63 letters, digits, dots and hyphens",
            ),
            (
                !of(&self.prefix, "_-/.") || self.prefix.starts_with('/') || self.prefix.len() > 512,
                "record.prefix must be of letters, digits and _-/. and not begin with a slash, at most 512",
            ),
        ];
        pairs.iter().find(|(broken, _)| *broken).map(|(_, rule)| (*rule).to_owned())
    }
}
