//! What is to be published, and within which bounds.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use crate::blocks::Blocks;
use crate::builder::Builder;
use crate::error::Error;
use crate::thing::{Head, fresh_id};
use crate::wait::Waits;

/// The tag that ties an image and its snapshot to the content they were made from.
pub const DIGEST_TAG: &str = "kiln:digest";
/// The tag that carries the manifest's image name.
pub const NAME_TAG: &str = "kiln:image";
/// The tag that says which publication created a resource.
pub const PUBLICATION_TAG: &str = "kiln:publication";
/// The tag that says who began that publication.
pub const OWNER_TAG: &str = "kiln:owner";
/// The tag that names the AMI that a builder instance started from.
pub const BASE_TAG: &str = "kiln:base";
/// The tag that says from when on nobody works on it any more, unless it is published: RFC 3339.
pub const EXPIRES_TAG: &str = "kiln:expires";
/// The tag that is `publishing` from the creation on, and `published` once all of the publication is done.
pub const STATE_TAG: &str = "kiln:state";
/// Of an image that is whole.
pub const PUBLISHED: &str = "published";
/// Of what a publication has created and not finished.
pub const PUBLISHING: &str = "publishing";

/// Tags that callers cannot set.
const RESERVED: [&str; 7] =
    [DIGEST_TAG, NAME_TAG, PUBLICATION_TAG, OWNER_TAG, EXPIRES_TAG, STATE_TAG, BASE_TAG];

/// How long a publication may take before `kiln gc --orphans` takes it for dead.
const EXPIRES_AFTER: Duration = Duration::from_hours(24);

const WORKERS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// Digits of the digest that an image's name carries: 128 bits, so that two contents never meet.
const DIGEST_IN_NAME: usize = 32;

/// How the image asks the firmware to boot it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BootMode {
    /// UEFI where the instance type has it, BIOS elsewhere: right for a disk that carries both loaders.
    #[default]
    UefiPreferred,
    /// UEFI only; also turns on the `NitroTPM` device, which needs it.
    Uefi,
    /// BIOS only.
    LegacyBios,
}

/// What is done once the image is available, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct After {
    /// Regions that get a copy.
    pub regions: Vec<String>,
    /// From now on, when EC2 stops offering the image to others; those who know its id go on launching it.
    pub deprecate_after: Option<Duration>,
    /// Accounts that may launch it and its copies.
    pub accounts: Vec<String>,
    /// The SSM parameter that names it, in each region its own image.
    pub parameter: Option<String>,
}

/// Where an image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The raw disk image that is uploaded.
    Disk(PathBuf),
    /// The instance that provisions itself.
    Instance(Box<Builder>),
}

/// One publication: a disk or a builder, what it is called, and how it is sent.
#[derive(Debug, Clone)]
pub struct PublishSpec {
    /// The disk, or the builder.
    pub source: Source,
    /// The image's name in the manifest: becomes the first part of the AMI's name.
    pub name: String,
    /// The digest of the image in hexadecimal, at least 32 digits; a prefix such as `sha256:` is allowed.
    pub digest: String,
    /// The AMI's and the snapshot's description, at most 255 characters.
    pub description: String,
    /// Tags for image and snapshot, beside those that Kiln sets (`Name`, `kiln:digest`, `kiln:image`).
    pub tags: BTreeMap<String, String>,
    /// How the image boots.
    pub boot_mode: BootMode,
    /// Blocks in flight at most; how many there are is found out. 64 cost some 40 MiB of memory.
    pub workers: NonZeroUsize,
    /// The snapshot over which only what differs is sent; without, or if it is gone, all of the disk's data is.
    pub parent: Option<Blocks>,
    /// The KMS key that encrypts the snapshot, an empty one for the account's default. A parent decides instead.
    pub kms_key: Option<String>,
    /// What is done with the image.
    pub after: After,
    /// Who publishes, as in `deploy@ci-3`.
    pub owner: String,
    /// When what is not finished belongs to nobody any more.
    pub expires_after: Duration,
    /// Bounds of the waits.
    pub waits: Waits,
}

impl PublishSpec {
    /// A publication of `disk` as `name` with everything else at its default.
    pub fn new(disk: impl Into<PathBuf>, name: impl Into<String>, digest: impl Into<String>) -> Self {
        let (name, digest) = (name.into(), digest.into());
        Self {
            source: Source::Disk(disk.into()),
            description: format!("{name}, made by kiln {}", env!("CARGO_PKG_VERSION")),
            name,
            digest,
            tags: BTreeMap::new(),
            boot_mode: BootMode::default(),
            workers: WORKERS,
            parent: None,
            kms_key: None,
            after: After::default(),
            owner: "unknown".to_owned(),
            expires_after: EXPIRES_AFTER,
            waits: Waits::default(),
        }
    }

    /// A publication of what `builder` becomes.
    pub fn on_instance(builder: Builder, name: impl Into<String>, digest: impl Into<String>) -> Self {
        Self { source: Source::Instance(Box::new(builder)), ..Self::new("", name, digest) }
    }

    /// The builder, where there is one.
    pub(crate) fn builder(&self) -> Option<&Builder> {
        match &self.source {
            Source::Disk(_) => None,
            Source::Instance(builder) => Some(builder),
        }
    }

    /// The AMI's name: unique per account and region, and the only thing that makes registering idempotent, so
    /// it carries the digest.
    pub fn image_name(&self) -> String {
        format!("{}-{}", self.name, self.short_digest())
    }

    /// The key of a copy in `region`: the same one, which has to be a multi-Region key.
    pub(crate) fn kms_key_in(&self, home: &str, region: &str) -> Option<String> {
        self.kms_key.as_ref().map(|key| key.replacen(&format!(":{home}:"), &format!(":{region}:"), 1))
    }

    /// The first 32 hexadecimal digits.
    fn short_digest(&self) -> &str {
        let digits = self.digest.rsplit(':').next().unwrap_or_default();
        digits.get(..DIGEST_IN_NAME).unwrap_or(digits)
    }

    /// All tags, as they are set on the snapshot and on the image when each is created.
    pub fn all_tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.tags.clone();
        tags.entry("Name".to_owned()).or_insert_with(|| self.image_name());
        tags.insert(DIGEST_TAG.to_owned(), self.digest.clone());
        tags.insert(NAME_TAG.to_owned(), self.name.clone());
        tags
    }

    /// The tags of what a publication creates, while it is not finished.
    pub(crate) fn tags_of(&self, head: &Head) -> BTreeMap<String, String> {
        let mut tags = self.all_tags();
        tags.insert(PUBLICATION_TAG.to_owned(), head.publication.clone());
        tags.insert(OWNER_TAG.to_owned(), head.owner.clone());
        tags.insert(EXPIRES_TAG.to_owned(), head.expires.clone());
        tags.insert(STATE_TAG.to_owned(), PUBLISHING.to_owned());
        tags.extend(head.base.iter().map(|base| (BASE_TAG.to_owned(), base.clone())));
        tags
    }

    /// The first line of a new publication's journal.
    pub fn head(&self, region: &str, now: jiff::Timestamp) -> Head {
        let span = jiff::SignedDuration::try_from(self.expires_after).unwrap_or(jiff::SignedDuration::MAX);
        let expires = now.saturating_add(span).unwrap_or(jiff::Timestamp::MAX);
        Head {
            publication: format!("p-{}", &fresh_id()[..16]),
            name: self.name.clone(),
            digest: self.digest.clone(),
            region: region.to_owned(),
            // The characters that a tag's value takes everywhere.
            owner: self
                .owner
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || "+-=._:/@".contains(*c))
                .take(64)
                .collect(),
            expires: expires.round(jiff::Unit::Second).unwrap_or(expires).to_string(),
            base: self.builder().map(|builder| builder.base.image_id.clone()),
        }
    }

    /// Refuses what AWS would refuse, before anything is sent.
    ///
    /// # Errors
    /// [`Error::Spec`], which names the field and the limit.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Spec(why));
        if self.short_digest().len() < DIGEST_IN_NAME
            || !self.short_digest().bytes().all(|b| b.is_ascii_hexdigit())
        {
            return refuse(format!("digest '{}' is not at least 32 hexadecimal digits", self.digest));
        }
        let name = self.image_name();
        if !(3..=128).contains(&name.len()) {
            return refuse(format!("image name '{name}' is not 3 to 128 characters long"));
        }
        // The characters that RegisterImage takes in a name.
        if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && !"()[] ./-'@_".contains(*c)) {
            return refuse(format!("image name '{name}' holds {bad:?}, which an AMI's name cannot"));
        }
        if self.description.chars().count() > 255 {
            return refuse("description is longer than 255 characters".to_owned());
        }
        // 50 tags a resource; StartSnapshot takes keys of at most 127 characters.
        if self.all_tags().len() + 5 > 50 {
            return refuse("more than 50 tags, Kiln's own eight among them".to_owned());
        }
        let own_key = self.kms_key.as_deref().unwrap_or_default();
        if !self.after.regions.is_empty() && !own_key.is_empty() && !own_key.contains(":key/mrk-") {
            return refuse(format!(
                "key '{own_key}' is of one region: copies need a multi-Region key, 'arn:aws:kms:…:key/mrk-…'"
            ));
        }
        // An instance's volume is encrypted always, and what the account's default key encrypts opens to nobody else.
        if self.builder().is_some() && !self.after.accounts.is_empty() && own_key.is_empty() {
            return refuse(
                "a builder's image is encrypted, and shared only with a key of your own: set kms_key"
                    .to_owned(),
            );
        }
        for (key, value) in &self.tags {
            if key.starts_with("aws:") || RESERVED.contains(&key.as_str()) {
                return refuse(format!("tag '{key}' is reserved: choose another key"));
            }
            if key.is_empty() || key.chars().count() > 127 || value.chars().count() > 255 {
                return refuse(format!(
                    "tag '{key}' is too long: at most 127 characters for a key, 255 for a value"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

    #[test]
    fn the_name_carries_the_digest() {
        let name = "shop-9f86d081884c7d659a2feaa0c55ad015";
        assert_eq!(PublishSpec::new("d", "shop", DIGEST).image_name(), name);
        assert_eq!(PublishSpec::new("d", "shop", format!("sha256:{DIGEST}")).image_name(), name);
    }

    #[test]
    fn what_aws_would_refuse_is_refused_before_anything_is_sent() {
        let tagged = |key: &str, value: &str| {
            let mut spec = PublishSpec::new("d", "shop", DIGEST);
            spec.tags.insert(key.to_owned(), value.to_owned());
            spec
        };
        let long = "x".repeat(256);
        let table: [(PublishSpec, Option<&str>); 8] = [
            (PublishSpec::new("d", "shop", DIGEST), None),
            (PublishSpec::new("d", "shop", "abc"), Some("32 hexadecimal")),
            (PublishSpec::new("d", "shöp", DIGEST), Some("which an AMI's name cannot")),
            (PublishSpec::new("d", &long[..120], DIGEST), Some("3 to 128")),
            (tagged("team", "web"), None),
            (tagged("aws:team", "web"), Some("reserved")),
            (tagged(DIGEST_TAG, "mine"), Some("reserved")),
            (tagged("team", &long), Some("too long")),
        ];
        for (spec, expected) in table {
            let found = spec.check().err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(found, None),
                Some(part) => {
                    assert!(found.as_deref().is_some_and(|text| text.contains(part)), "{part}: {found:?}");
                }
            }
        }
    }

    #[test]
    fn own_tags_are_added_to_the_callers() {
        let mut spec = PublishSpec::new("d", "shop", DIGEST);
        spec.tags.insert("Name".to_owned(), "mine".to_owned());
        let tags = spec.all_tags();
        assert_eq!(tags["Name"], "mine");
        assert_eq!(tags[DIGEST_TAG], DIGEST);
        assert_eq!(tags[NAME_TAG], "shop");
    }
}
