//! What a base root consists of: packages of a suite, the files of `templates/base`, and a finishing script.
//! All of it is in the key.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use include_dir::{Dir, File, include_dir};
use walkdir::WalkDir;

use crate::deb::Deb;
use crate::debian::Mirror;
use crate::error::{At, Result};
use crate::suite::Suite;
use crate::{hash, ids};

/// Raised when a base has to be made anew though everything else in the key is the same.
const VERSION: &str = "3";

/// The files that every base gets; the path is the destination.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../templates/base");

/// Run at the end, with the root's path.
const FINISH: &str = include_str!("base_finish.sh");

/// What the base root is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSpec {
    /// Debian's release.
    pub suite: &'static Suite,
    /// Every package, exactly.
    pub debs: Vec<Deb>,
    /// Where to fetch from; not part of the key.
    pub mirror: Mirror,
    /// When the mirrors had these packages (`20261122T124300Z`); not part of the key.
    pub since: Option<String>,
    /// Latest time stamp of any file (seconds since 1970).
    pub epoch: u64,
}

impl BaseSpec {
    /// `suite` with exactly `debs`, from Debian's own mirrors.
    pub fn new(suite: &'static Suite, debs: Vec<Deb>) -> Self {
        Self { suite, debs, mirror: Mirror::default(), since: None, epoch: ids::SOURCE_DATE_EPOCH }
    }

    /// Name of the cache entry: a hash of everything but where the packages come from.
    pub fn key(&self) -> String {
        let epoch = self.epoch.to_string();
        let mut parts =
            vec![VERSION.as_bytes(), self.suite.codename.as_bytes(), epoch.as_bytes(), FINISH.as_bytes()];
        for deb in &self.debs {
            parts.extend([&deb.name, &deb.version, &deb.sha256].map(String::as_bytes));
        }
        let files = files();
        for file in &files {
            parts.push(file.path().as_os_str().as_encoded_bytes());
            parts.push(file.contents());
        }
        hash::of_parts(parts)[..32].to_owned()
    }

    /// The image's own `sources.list`: Debian's addresses, whichever mirror the build used.
    pub(crate) fn sources(&self) -> String {
        Mirror::default().sources(self.suite.codename).join("\n") + "\n"
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
        let deb = |sha256: &str| Deb {
            name: "jq".into(),
            version: "1.6".into(),
            arch: "amd64".into(),
            sha256: sha256.into(),
            size: 1,
            file: "debian/pool/jq.deb".into(),
        };
        let suite = Suite::find("debian-12").expect("the default");
        let spec = BaseSpec::new(suite, vec![deb("aa")]);
        let mut elsewhere = spec.clone();
        elsewhere.mirror.debian = "http://mirror.example/debian".to_owned();
        elsewhere.since = Some("20261122T124300Z".to_owned());
        assert_eq!(spec.key(), elsewhere.key());
        assert_ne!(spec.key(), BaseSpec::new(suite, vec![deb("bb")]).key());
        assert_ne!(spec.key(), BaseSpec::new(suite, vec![]).key());
    }
}
