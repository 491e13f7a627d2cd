//! The images of one app, under `.kiln/images/<digest>/`: an image is there whole or not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use kiln_image::lock;

use crate::failure::Failure;
use crate::receipt::Receipt;

/// Enough digits to tell an app's images apart, and short enough to type.
const PREFIX_MIN: usize = 4;

/// Begins the name of an image's folder while it is built.
const BUILDING: &str = ".building-";

/// Begins the name of a bake's log while it bakes.
const LOG: &str = "log.";

/// The folder `.kiln` of an app.
#[derive(Debug, Clone)]
pub struct Store {
    home: PathBuf,
}

/// A finished image, or a bare root archive somebody named.
#[derive(Debug, Clone)]
pub struct Found {
    /// Holds `root.tar`; results are written beside it.
    pub dir: PathBuf,
    /// The archive.
    pub root_tar: PathBuf,
    /// `None` for a bare archive.
    pub receipt: Option<Receipt>,
}

impl Store {
    /// The store of the app in `dir`.
    pub fn of(dir: &Path) -> Self {
        // Receipts name absolute paths: the next step of a pipeline may run in another folder.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Self { home: dir.join(".kiln") }
    }

    /// Where an image is, or will be.
    pub fn image_dir(&self, digest: &str) -> PathBuf {
        self.home.join("images").join(digest)
    }

    /// Where an image is built: beside its final name, so that the last step is one rename.
    pub fn building_dir(&self, digest: &str) -> PathBuf {
        self.home.join("images").join(format!("{BUILDING}{digest}"))
    }

    /// Where this process logs its bake, and where the log of one that failed is kept.
    pub fn logs(&self) -> (PathBuf, PathBuf) {
        (self.home.join(format!("{LOG}{}", std::process::id())), self.home.join("failed.log"))
    }

    /// Removes what killed bakes left: folders whose lock nobody holds, but not that of `digest`, and logs.
    pub fn remove_dead(&self, digest: &str) {
        for entry in fs::read_dir(&self.home).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let process = name.strip_prefix(LOG).map(|id| Path::new("/proc").join(id));
            if process.is_some_and(|process| !process.exists()) {
                // Nobody but them knows how far it came.
                let _ = fs::rename(entry.path(), self.home.join("failed.log"));
            }
        }
        for entry in fs::read_dir(self.home.join("images")).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(other) = name.strip_prefix(BUILDING).filter(|other| *other != digest) else {
                continue;
            };
            let lock = lock::acquire(&self.lock_path(other), Duration::ZERO, &kiln_image::Silent);
            if lock.is_ok() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// One bake per digest at a time.
    pub fn lock_path(&self, digest: &str) -> PathBuf {
        self.home.join("locks").join(format!("{digest}.lock"))
    }

    /// Journals of publications that have not finished.
    pub fn publications(&self) -> PathBuf {
        self.home.join("publications")
    }

    /// Scratch folders of rehearsals.
    pub fn rehearsals(&self) -> PathBuf {
        self.home.join("rehearsals")
    }

    /// Makes the folders; `.kiln` keeps itself out of version control.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create(&self) -> anyhow::Result<()> {
        for name in ["images", "locks", "rehearsals"] {
            let dir = self.home.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        }
        let ignore = self.home.join(".gitignore");
        if !ignore.exists() {
            fs::write(&ignore, "*\n").with_context(|| format!("failed to write {}", ignore.display()))?;
        }
        Ok(())
    }

    /// The receipt of a finished image.
    pub fn receipt(&self, digest: &str) -> Option<Receipt> {
        read_receipt(&self.image_dir(digest)).ok()
    }

    /// Every finished image, the one that was asked for last at the end.
    pub fn all(&self) -> Vec<Receipt> {
        let entries = fs::read_dir(self.home.join("images")).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
            .filter_map(|entry| {
                let used =
                    fs::metadata(entry.path().join("receipt.json")).and_then(|file| file.modified()).ok()?;
                Some((used, read_receipt(&entry.path()).ok()?))
            })
            .collect();
        found.sort_by_key(|(used, _)| *used);
        found.into_iter().map(|(_, receipt)| receipt).collect()
    }

    /// The image that was the latest before the one of `digest`.
    pub fn before(&self, digest: &str) -> Option<Receipt> {
        self.all().into_iter().rev().find(|receipt| receipt.digest != digest)
    }

    /// Marks an image as the latest: baking what is there already makes it the one to rehearse.
    pub fn touch(&self, digest: &str) {
        let receipt = self.image_dir(digest).join("receipt.json");
        let now = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
        // A store that cannot be written still has its images in the order of their making.
        let _ = fs::File::options().append(true).open(receipt).and_then(|file| file.set_times(now));
    }

    /// What `[IMAGE]` means: nothing (the latest), a path to an image's folder or its `root.tar`, or a digest's first digits.
    ///
    /// # Errors
    /// [`Failure::Usage`] when nothing, or more than one image, is meant.
    pub fn resolve(&self, image: Option<&str>) -> anyhow::Result<Found> {
        let Some(image) = image else {
            let latest = self.all().pop().ok_or_else(|| {
                Failure::Usage("there is no image here yet: make one with 'kiln bake', or name one".into())
            })?;
            return self.found(&latest.digest);
        };
        let path = Path::new(image);
        if path.is_dir() && path.join("root.tar").is_file() {
            return Ok(Found {
                receipt: read_receipt(path).ok(),
                root_tar: path.join("root.tar"),
                dir: path.to_owned(),
            });
        }
        if path.is_file() {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            return Ok(Found {
                receipt: read_receipt(dir).ok(),
                root_tar: path.to_owned(),
                dir: dir.to_owned(),
            });
        }
        let digits = image.len() >= PREFIX_MIN && image.chars().all(|char| char.is_ascii_hexdigit());
        let matching: Vec<_> =
            self.all().into_iter().filter(|receipt| digits && receipt.digest.starts_with(image)).collect();
        match matching.as_slice() {
            [one] => self.found(&one.digest),
            [] => Err(Failure::Usage(format!(
                "there is no image '{image}': give the first digits of a digest, or the path to an image's folder or root.tar"
            ))
            .into()),
            _ => Err(Failure::Usage(format!("'{image}' is the beginning of {} digests: give more digits", matching.len()))
                .into()),
        }
    }

    fn found(&self, digest: &str) -> anyhow::Result<Found> {
        let dir = self.image_dir(digest);
        Ok(Found { receipt: Some(read_receipt(&dir)?), root_tar: dir.join("root.tar"), dir })
    }
}

fn read_receipt(dir: &Path) -> anyhow::Result<Receipt> {
    let path = dir.join("receipt.json");
    let text = fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a receipt of this version", path.display()))
}
