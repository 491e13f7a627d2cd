//! An app with a small finished image, for stories of what becomes of it in AWS: nothing is baked.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::emulator::Emulator;
use crate::programs::kiln_command;
use crate::starter;

/// The image's digest.
pub const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
/// 512 KiB.
pub const BLOCK: u64 = 524_288;

/// The folder of an app whose image is there.
#[derive(Debug)]
pub struct Publication {
    folder: tempfile::TempDir,
}

impl Publication {
    /// The starter, and a disk of a few blocks as its image.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        starter::init(&folder.path().join("shop"));
        let publication = Self { folder };
        publication.image(DIGEST, &[(0, 1), (3, 2), (40, 3), (80, 4)]);
        publication
    }

    /// Adds `[publish]` to the manifest.
    pub fn publishes(&self, keys: &str) {
        let path = self.app().join("kiln.toml");
        let text = std::fs::read_to_string(&path).expect("the manifest");
        std::fs::write(&path, format!("{text}\n[publish]\n{keys}")).expect("the manifest can be written");
    }

    /// Adds `[builder]` to the manifest: what [`Emulator::furnish`] puts into the account.
    pub fn bakes_on_instance(&self) {
        let path = self.app().join("kiln.toml");
        let text = std::fs::read_to_string(&path).expect("the manifest");
        let base = "base = { name = \"debian-12-amd64-*\", owner = \"136693071363\" }";
        let rest = "subnet = \"subnet-0123456789abcdef0\"\nbucket = \"shop-bakes\"\n";
        std::fs::write(&path, format!("{text}\n[builder]\n{base}\n{rest}"))
            .expect("the manifest can be written");
    }

    /// The app's folder.
    pub fn app(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    /// Where the image of `digest` is.
    pub fn image_dir(&self, digest: &str) -> PathBuf {
        self.app().join(".kiln/images").join(digest)
    }

    /// Writes an image whose disk has these blocks, each of one byte.
    pub fn image(&self, digest: &str, blocks: &[(u64, u8)]) {
        let dir = self.image_dir(digest);
        std::fs::create_dir_all(&dir).expect("the image's folder");
        let disk = File::create(dir.join("disk.raw")).expect("a disk");
        disk.set_len(100 * BLOCK).expect("a sparse disk");
        for (index, byte) in blocks {
            let block = vec![*byte; usize::try_from(BLOCK).expect("small")];
            disk.write_all_at(&block, index * BLOCK).expect("the disk can be written");
        }
        std::fs::write(dir.join("root.tar"), "").expect("a root");
        let receipt = json!({
            "name": "shop", "digest": digest, "created_by": "kiln", "created_at": "2026-01-01T00:00:00Z",
            "dir": dir, "disk": {
                "path": dir.join("disk.raw"), "size": 100 * BLOCK, "allocated": 0, "sha256": "",
                "blocks_total": 100, "blocks_nonzero": blocks.len(),
            },
            "root": {"path": dir.join("root.tar"), "entries": 0, "size": 0, "sha256": ""},
            "base": {"name": "debian-12", "key": "", "sha256": ""}, "services": [], "inputs": [], "tools": {},
            "steps": [], "seconds": 0.0,
        });
        std::fs::write(dir.join("receipt.json"), receipt.to_string()).expect("a receipt");
    }

    /// `kiln` in the app's folder, with `aws` as all of AWS and short waits.
    pub fn kiln(&self, aws: &Emulator, arguments: &[&str]) -> Command {
        let mut command = kiln_command(["--json"]);
        command.args(arguments).current_dir(self.app()).env("KILN_AWS_POLL_MS", "10");
        command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_REGION", "us-east-1");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command
    }

    /// Kills a command while a call is held, as `faults` say; that call's operation.
    pub fn killed(&self, aws: &Emulator, arguments: &[&str], faults: &Value) -> String {
        aws.fail(faults);
        let mut command = self.kiln(aws, arguments);
        let mut process = command.stderr(Stdio::null()).spawn().expect("kiln starts");
        let held = aws.held();
        process.kill().expect("it lives until it is killed");
        process.wait().expect("it is gone");
        aws.release();
        held["operation"].as_str().expect("a call was held").to_owned()
    }

    /// Journals that are open.
    pub fn journals(&self) -> usize {
        let entries =
            std::fs::read_dir(self.app().join(".kiln/publications")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "jsonl")).count()
    }

    /// Forgets what publishing left in the folder.
    pub fn forget(&self) {
        let _ = std::fs::remove_dir_all(self.app().join(".kiln/publications"));
        let _ = std::fs::remove_file(self.image_dir(DIGEST).join("published.json"));
    }

    /// Another machine's clone: the app without journals, and without images unless they are baked again.
    #[must_use]
    pub fn elsewhere(&self, with_image: bool) -> Self {
        let other = Self { folder: tempfile::tempdir().expect("a folder") };
        copy(&self.app(), &other.app());
        other.forget();
        if !with_image {
            let _ = std::fs::remove_dir_all(other.app().join(".kiln/images"));
        }
        other
    }
}

impl Default for Publication {
    fn default() -> Self {
        Self::new()
    }
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp runs");
    assert!(status.success(), "the app is copied");
}
