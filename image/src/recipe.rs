//! What a base root consists of: packages of a suite, the files of `templates/base`, and a finishing script.
//! All of it is in the key.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use include_dir::{Dir, File, include_dir};
use walkdir::WalkDir;

use crate::debian::Mirror;
use crate::error::{At, Result};
use crate::{hash, ids};

/// Raised when a base has to be made anew though everything else in the key is the same.
const VERSION: &str = "1";

/// The files that every base gets; the path is the destination.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates/base");

/// Run at the end, with the root's path.
const FINISH: &str = include_str!("base_finish.sh");

/// A machine that boots on EC2 and in a container, and what Flask and React apps need at run time.
const PACKAGES: [&str; 17] = [
    // The system.
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "dbus",
    "udev",
    "kmod",
    "sudo",
    "zstd",
    // The machine: kernel, disk, network, clock, EC2's device names.
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "e2fsprogs",
    "iproute2",
    "chrony",
    "amazon-ec2-utils",
    "openssh-server",
    // The run time, with RUNTIME.
    "curl",
    "tzdata",
];

/// Of the base's packages, those that an app layer cannot do without: a foreign root has to get them.
pub const RUNTIME: [&str; 5] =
    ["ca-certificates", "libnginx-mod-http-brotli-static", "nginx-light", "procps", "python3"];

/// What the base root is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSpec {
    /// Debian's code name of the release, e.g. `bookworm`.
    pub suite: String,
    /// Every package asked for, sorted; what they depend on comes along, what they recommend does not.
    pub packages: Vec<String>,
    /// Where to fetch from; not part of the key.
    pub mirror: Mirror,
    /// Latest time stamp of any file (seconds since 1970).
    pub epoch: u64,
}

impl BaseSpec {
    /// Debian 12 with `extra` packages.
    pub fn debian_12(extra: impl IntoIterator<Item = String>) -> Self {
        let own = PACKAGES.iter().chain(&RUNTIME).map(|name| (*name).to_owned());
        let mut packages: Vec<String> = own.chain(extra).collect();
        packages.sort_unstable();
        packages.dedup();
        Self {
            suite: "bookworm".to_owned(),
            packages,
            mirror: Mirror::default(),
            epoch: ids::SOURCE_DATE_EPOCH,
        }
    }

    /// Name of the cache entry: a hash of everything but the mirror.
    pub fn key(&self) -> String {
        let epoch = self.epoch.to_string();
        let mut parts = vec![VERSION.as_bytes(), self.suite.as_bytes(), epoch.as_bytes(), FINISH.as_bytes()];
        parts.extend(self.packages.iter().map(String::as_bytes));
        let files = files();
        for file in &files {
            parts.push(file.path().as_os_str().as_encoded_bytes());
            parts.push(file.contents());
        }
        hash::of_parts(parts)[..32].to_owned()
    }

    /// The image's own `sources.list`: Debian's addresses, whichever mirror the build used.
    pub(crate) fn sources(&self) -> String {
        Mirror::default().sources(&self.suite).join("\n") + "\n"
    }
}

/// Writes the base's files below `dir`, and the finishing script to `script`. Modes are set one by one: the
/// root takes them over, and the caller's umask is not part of the recipe.
pub(crate) fn write(spec: &BaseSpec, dir: &Path, script: &Path) -> Result<()> {
    for file in files() {
        put(&dir.join(file.path()), file.contents(), mode(file.path()))?;
    }
    put(&dir.join("etc/apt/sources.list"), spec.sources().as_bytes(), 0o644)?;
    for entry in WalkDir::new(dir) {
        let entry = entry.at("read", dir)?;
        if entry.file_type().is_dir() {
            set_mode(entry.path(), 0o755)?;
        }
    }
    put(script, FINISH.as_bytes(), 0o755)
}

fn put(path: &Path, contents: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    fs::write(path, contents).at("write", path)?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode)).at("set the mode of", path)
}

fn mode(path: &Path) -> u32 {
    if path.starts_with("usr/lib/kiln") || path.starts_with("usr/bin") { 0o755 } else { 0o644 }
}

/// All files of the base, in the order of their paths.
fn files() -> Vec<&'static File<'static>> {
    fn walk(dir: &'static Dir<'static>, into: &mut Vec<&'static File<'static>>) {
        into.extend(dir.files());
        dir.dirs().for_each(|dir| walk(dir, into));
    }
    let mut files = Vec::new();
    walk(&FILES, &mut files);
    files.sort_unstable_by_key(|file| file.path());
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        FILES.get_file(path).and_then(File::contents_utf8).expect("a file of the base")
    }

    #[test]
    fn fstab_and_kernel_name_the_partition_that_the_disk_has() {
        assert!(text("etc/fstab").contains(&format!("PARTUUID={} / ext4", ids::ROOT_GUID)));
        assert!(text("boot/grub/grub.cfg").contains(&format!("root_guid={}", ids::ROOT_GUID)));
    }

    #[test]
    fn the_key_follows_what_is_built_and_not_where_from() {
        let spec = BaseSpec::debian_12([]);
        let mut elsewhere = spec.clone();
        elsewhere.mirror.debian = "http://mirror.example/debian".to_owned();
        assert_eq!(spec.key(), elsewhere.key());
        assert_ne!(spec.key(), BaseSpec::debian_12(["jq".to_owned()]).key());
        assert_eq!(spec.key(), BaseSpec::debian_12(["curl".to_owned()]).key());
    }
}
