//! What a bake leaves for the next step of a pipeline, and for whoever asks later what is in an image.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use kiln_image::DiskReport;
use serde::{Deserialize, Serialize};

use crate::carried::Asset;
use crate::inputs::Part;
use crate::report::StepRecord;

/// `receipt.json`. Build times are here and nowhere in the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Receipt {
    /// The image's name in the manifest.
    pub name: String,
    /// Of everything that determines the image.
    pub digest: String,
    /// `kiln 0.1.0`.
    pub created_by: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Where the image is.
    pub dir: PathBuf,
    /// The bootable disk.
    pub disk: DiskFile,
    /// The root as an archive.
    pub root: RootFile,
    /// The base root's content.
    pub base: BaseInput,
    /// Each service and its release.
    pub services: Vec<ServiceRelease>,
    /// Named hashes of every other input.
    pub inputs: Vec<Part>,
    /// Debian packages and Python wheels on the image.
    #[serde(default)]
    pub packages: usize,
    /// Items of hardening that are on.
    #[serde(default)]
    pub hardening: Vec<String>,
    /// Versions of the tools that made it.
    pub tools: BTreeMap<String, String>,
    /// Each step, whether it was built or cached, and its time.
    pub steps: Vec<StepRecord>,
    /// Wall time of the bake.
    pub seconds: f64,
}

/// `disk.raw`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskFile {
    /// Absolute.
    pub path: PathBuf,
    /// Its size, blocks and hash.
    #[serde(flatten)]
    pub report: DiskReport,
    /// What differs from the image that was the latest before, if there is one with a disk of that size.
    #[serde(default)]
    pub change: Option<Change>,
}

/// How little a new image changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The other image's digest.
    pub since: String,
    /// Blocks of 512 KiB that differ: what an upload over the other's snapshot sends.
    pub blocks_changed: u64,
}

/// `root.tar`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RootFile {
    /// Absolute.
    pub path: PathBuf,
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of the archive.
    pub size: u64,
    /// SHA-256 in hex.
    pub sha256: String,
}

/// The base that the image is made over.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BaseInput {
    /// As in the manifest.
    pub name: String,
    /// Of the cache entry.
    pub key: String,
    /// SHA-256 of the base's archive.
    pub sha256: String,
    /// SHA-256 of the root that it was made of, as it was exported; absent for Debian's packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<String>,
}

/// A service on the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceRelease {
    /// As in the manifest.
    pub name: String,
    /// Names the folder under `/srv/<name>/releases/`.
    pub release: String,
    /// Names the frontend's build.
    #[serde(default)]
    pub frontend: Option<String>,
    /// The hashed assets that it serves, those of earlier releases among them.
    #[serde(default)]
    pub assets: Vec<Asset>,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        let (disk, root) = (&self.disk.report, &self.root);
        writeln!(f, "image     {}", self.name)?;
        writeln!(f, "digest    {}", self.digest)?;
        for ServiceRelease { name, release, assets, .. } in &self.services {
            let carried = assets.iter().filter(|asset| asset.age > 0).count();
            let carried = match carried {
                0 => String::new(),
                some => format!(", {some} files of earlier frontends carried along"),
            };
            writeln!(f, "service   {name}, release {release}{carried}")?;
        }
        writeln!(f, "files     {}/", self.dir.display())?;
        writeln!(
            f,
            "  disk.raw            {} GiB, {} MiB on this host, {} of {} blocks hold data",
            disk.size >> 30,
            mib(disk.allocated),
            disk.blocks_nonzero,
            disk.blocks_total
        )?;
        if let Some(Change { since, blocks_changed }) = &self.disk.change {
            writeln!(f, "                      {blocks_changed} blocks changed since {}", short(since))?;
        }
        writeln!(f, "  root.tar            {} MiB, {} entries", mib(root.size), root.entries)?;
        writeln!(f, "  packages.spdx.json  {} packages", self.packages)?;
        write!(f, "baked     in {:.1} s{}", self.seconds, spent(&self.steps))
    }
}

/// As much of a digest as a person reads.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Where most of the time went.
fn spent(steps: &[StepRecord]) -> String {
    let mut slow: Vec<_> = steps.iter().filter(|step| step.seconds >= 0.1).collect();
    slow.sort_by(|left, right| right.seconds.total_cmp(&left.seconds));
    let told: Vec<_> = slow.iter().take(4).map(|step| format!("{} {:.1}", step.step, step.seconds)).collect();
    if told.is_empty() { String::new() } else { format!(": {}", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Outcome;

    #[test]
    fn the_slowest_steps_are_told_in_order_and_the_quick_ones_not() {
        let step = |name: &str, seconds| StepRecord {
            step: name.into(),
            outcome: Outcome::Built,
            seconds,
            detail: String::new(),
        };
        let steps = [step("tools", 0.01), step("provision", 1.62), step("disk.raw", 3.24)];
        assert_eq!(spent(&steps), ": disk.raw 3.2, provision 1.6");
        assert_eq!(spent(&steps[..1]), "");
    }
}
