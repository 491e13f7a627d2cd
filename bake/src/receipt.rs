//! What a bake leaves for the next step of a pipeline, and for whoever asks later what is in an image.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use kiln_image::DiskReport;
use serde::{Deserialize, Serialize};

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
}

/// A service on the image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceRelease {
    /// As in the manifest.
    pub name: String,
    /// Names the folder under `/srv/<name>/releases/`.
    pub release: String,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes / (1024 * 1024);
        let disk = &self.disk.report;
        writeln!(f, "image    {}", self.name)?;
        writeln!(f, "digest   {}", self.digest)?;
        writeln!(
            f,
            "disk     {}  {} GiB, {} MiB used, {} of {} blocks to upload",
            self.disk.path.display(),
            disk.size >> 30,
            mib(disk.allocated),
            disk.blocks_nonzero,
            disk.blocks_total
        )?;
        writeln!(
            f,
            "root     {}  {} MiB, {} files",
            self.root.path.display(),
            mib(self.root.size),
            self.root.entries
        )?;
        for service in &self.services {
            writeln!(f, "service  {}  release {}", service.name, service.release)?;
        }
        write!(f, "time     {:.1} s", self.seconds)
    }
}
