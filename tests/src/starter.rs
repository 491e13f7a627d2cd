//! The starter app as `kiln init` writes it, and its image, baked once for all stories.

use crate::programs::{kiln_command, run, target};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A starter app and its baked image.
#[derive(Debug)]
pub struct Baked {
    /// The app's folder (holds `kiln.toml`).
    pub app: PathBuf,
    /// `.kiln/images/<digest>` in it.
    pub image: PathBuf,
    /// The receipt that `kiln bake --json` printed.
    pub receipt: Value,
}

impl Baked {
    /// The bootable disk.
    pub fn disk(&self) -> PathBuf {
        self.image.join("disk.raw")
    }
}

/// Bakes the starter, or finds the image of an earlier call: a digest already built is not built again.
///
/// The folder is shared by the stories, which run one after another; none of them may change it.
pub fn baked() -> Baked {
    let app = target().join("stories/starter");
    if !app.join("kiln.toml").exists() {
        init(&app);
    }
    bake(&app)
}

/// Bakes the app in `app` and reads the receipt.
pub fn bake(app: &Path) -> Baked {
    let ended = run(kiln_command(["--json", "bake"]).current_dir(app)).expect_code(0);
    let receipt: Value = serde_json::from_str(&ended.stdout).expect("stdout carries the receipt alone");
    let digest = receipt["digest"].as_str().expect("the receipt names the digest").to_owned();
    Baked { app: app.to_path_buf(), image: app.join(".kiln/images").join(digest), receipt }
}

/// Writes a fresh starter into `folder`.
pub fn init(folder: &Path) {
    std::fs::create_dir_all(folder.parent().expect("a starter lies in a folder")).expect("make the parent");
    run(kiln_command(["init"]).arg(folder)).expect_code(0);
}

/// A fresh starter in a temporary folder of its own, for stories that change it.
pub fn fresh() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("kiln-story-").tempdir().expect("make a temporary folder");
    init(&folder.path().join("app"));
    folder
}
