//! The base root: a Debian that boots, cached by what it is made of.
//!
//! ```text
//!  cache/base/<key>/base.tar    what the ordered tar starts from
//!                   tree/       the same, unpacked: lower directory of an overlay, never written to
//!                   meta.json   hash, sizes, packages with versions
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::deb::Deb;
use crate::error::{At, Error, Result};
use crate::hash::Hashing;
use crate::progress::{Progress, Unit};
use crate::suite::Suite;
use crate::tools::remove;
use crate::{deb, debian, host, lock, recipe, repository, space};

pub use crate::recipe::{BaseSpec, Origin};

/// Another bake's base takes one to three minutes; past this its mirror is stuck.
const WAIT: Duration = Duration::from_mins(20);
/// While it is built: mmdebstrap's root, the tar and the unpacked tree (about 370 MB each), and packages.
const ROOM: u64 = 2 << 30;

/// What no instance reads: manuals, translations, and the names of hardware that virtual machines do not have.
const EXCLUDED: [&str; 6] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/info/*",
    "/lib/udev/hwdb.d/*",
    "/usr/lib/udev/hwdb.d/*",
];
/// Makes the links of a merged /usr before anything is unpacked, as debootstrap does.
const MERGE: &str = r#"umask 022; for dir in bin sbin lib lib64; do mkdir -p "$1/usr/$dir" && ln -s "usr/$dir" "$1/$dir" || exit 1; done"#;
/// Makes each kernel's initrd once everything that has a say in it is configured, and the link to that of the kernel that boots.
const INITRDS: &str = r#"for kernel in "$1"/lib/modules/*; do chroot "$1" update-initramfs -c -k "${kernel##*/}" || exit 1; done; kernel=$(readlink "$1/vmlinuz") && ln -sfn "boot/initrd.img-${kernel#boot/vmlinuz-}" "$1/initrd.img""#;

/// A complete base root in the cache.
#[derive(Debug, Clone)]
pub struct Base {
    dir: PathBuf,
    meta: Meta,
}

/// What is known of a base, as in `meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Name of the cache entry.
    pub key: String,
    /// SHA-256 of the root that it was made of, where that is none of Kiln's own.
    #[serde(default)]
    pub exported: Option<String>,
    /// Time stamp limit of its files (seconds since 1970).
    pub epoch: u64,
    /// SHA-256 of `base.tar`, in hex: the base by content.
    pub tar_sha256: String,
    /// Bytes of `base.tar`.
    pub tar_size: u64,
    /// Installed packages with their versions.
    pub packages: BTreeMap<String, String>,
}

impl Base {
    /// The base for `spec` in `cache`, if it is there. No network, no root.
    pub fn cached(cache: &Path, spec: &BaseSpec) -> Option<Self> {
        let dir = cache.join("base").join(spec.key());
        let meta = serde_json::from_slice(&fs::read(dir.join("meta.json")).ok()?).ok()?;
        Some(Self { dir, meta })
    }

    /// The base for `spec` in `cache`, built if it is not there. Needs root to build.
    ///
    /// # Errors
    /// Those of [`deb::fetch`] when packages cannot be had; [`Error::MissingTool`], [`Error::NotRoot`],
    /// [`Error::NoSpace`] and [`Error::Locked`] before anything is done.
    pub fn ensure(cache: &Path, spec: &BaseSpec, progress: &dyn Progress) -> Result<Self> {
        if let Some(base) = Self::cached(cache, spec) {
            return Ok(base);
        }
        host::need_root("build a base root")?;
        host::need("tar")?;
        let home = cache.join("base");
        fs::create_dir_all(&home).at("create", &home)?;
        let _lock = lock::acquire(&home.join(format!("{}.lock", spec.key())), WAIT, progress)?;
        if let Some(base) = Self::cached(cache, spec) {
            return Ok(base);
        }
        let part = home.join(format!("{}.partial", spec.key()));
        // Whatever a killed run left: the lock says that nobody works in there.
        remove(&part)?;
        space::require(&home, "a base root", ROOM)?;
        let built = build(cache, &part, spec, progress).and_then(|()| {
            let dir = home.join(spec.key());
            fs::rename(&part, &dir).at("rename to", &dir)
        });
        remove(&part)?;
        built?;
        Self::cached(cache, spec).ok_or_else(|| {
            Error::Invalid(format!("the base in '{}' has no readable meta.json", home.display()))
        })
    }

    /// Name of the cache entry.
    pub fn key(&self) -> &str {
        &self.meta.key
    }

    /// The cache's entry.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Hash, sizes and packages.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// `base.tar`.
    pub fn tar(&self) -> PathBuf {
        self.dir.join("base.tar")
    }

    /// The unpacked root; a lower directory, never to be written to.
    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }
}

fn build(cache: &Path, part: &Path, spec: &BaseSpec, progress: &dyn Progress) -> Result<()> {
    let (files, scratch, script) = (part.join("files"), part.join("tmp"), part.join("finish"));
    let (tar, tree, packages) = (part.join("base.tar"), part.join("tree"), part.join("debs"));
    for dir in [&files, &scratch, &tree] {
        fs::create_dir_all(dir).at("create", dir)?;
    }
    match &spec.origin {
        Origin::Debian { suite, debs } => {
            deb::fetch(cache, debs, &spec.mirror, spec.since.as_deref(), progress)?;
            let source = repository::write(&packages, cache, suite.codename, debs)?;
            recipe::write(suite, &files, &script)?;
            bootstrap(spec.epoch, suite, debs, &source, [&files, &scratch, &script, &tar], progress)?;
            progress.message("unpacking the base");
            let mut unpack = host::bound("tar")?;
            unpack.args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner"]);
            unpack.args(["--xattrs", "--xattrs-include=*", "--file"]).arg(&tar).arg("--directory").arg(&tree);
            host::run(&mut unpack, "tar", |line| progress.line(line))?;
            fs::remove_file(&script).at("remove", &script)?;
        }
        Origin::Exported(root) => root.build([cache, &tree, &tar], spec.epoch, progress)?,
    }
    progress.message("hashing the base");
    let (tar_sha256, tar_size) = measure(&tar, progress)?;

    remove(&packages)?;
    let packages = installed(&tree.join("var/lib/dpkg/status"))?;
    let exported = match &spec.origin {
        Origin::Debian { debs, .. } => is_locked(&packages, debs).map(|()| None)?,
        Origin::Exported(root) => Some(root.sha256.clone()),
    };
    let meta = Meta { key: spec.key(), exported, epoch: spec.epoch, tar_sha256, tar_size, packages };
    let path = part.join("meta.json");
    let text = serde_json::to_vec_pretty(&meta).map_err(io::Error::from).at("write", &path)?;
    fs::write(&path, text).at("write", &path)?;
    remove(&files)?;
    remove(&scratch)
}

/// What mmdebstrap installed is what was locked, no more and no less.
fn is_locked(installed: &BTreeMap<String, String>, debs: &[Deb]) -> Result<()> {
    let locked: BTreeMap<_, _> = debs.iter().map(|deb| (deb.name.clone(), deb.version.clone())).collect();
    let odd = installed.iter().find(|(name, version)| locked.get(*name) != Some(version));
    match odd.or_else(|| locked.iter().find(|(name, _)| !installed.contains_key(*name))) {
        None => Ok(()),
        Some((name, _)) => {
            let told = |of: &BTreeMap<_, String>| of.get(name).map_or("none", String::as_str).to_owned();
            let (has, wants) = (told(installed), told(&locked));
            let text = format!("the base has '{name}' {has} where {wants} is locked");
            Err(Error::Invalid(text))
        }
    }
}

fn bootstrap(
    epoch: u64,
    suite: &Suite,
    debs: &[Deb],
    source: &str,
    [files, scratch, script, tar]: [&Path; 4],
    progress: &dyn Progress,
) -> Result<()> {
    let mut command = debian::mmdebstrap("apt", debs, epoch, scratch)?;
    for path in EXCLUDED {
        command.arg(format!("--dpkgopt=path-exclude={path}"));
    }
    // Licences travel with the software.
    command.arg("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    command.arg("--aptopt=APT::Install-Recommends \"false\"");
    command.arg(format!("--setup-hook={MERGE}"));
    // The kernel's package would make one that a trigger makes anew a moment later: a tenth of the whole time.
    command.env("INITRD", "No").arg(format!("--customize-hook={INITRDS}"));
    command.arg(format!("--customize-hook=sync-in {} /", quoted(files)));
    command.arg(format!("--customize-hook={} \"$1\"", quoted(script)));
    // The script does both. The former would write "uninitialized" to machine-id, which is a first boot; what
    // the latter leaves depends on whether apt's own user can reach the cache directory.
    command.args(["--skip=cleanup/reproducible", "--skip=cleanup/apt"]);
    command.args(["--format=tar", suite.codename]).arg(tar).arg(source);
    debian::run(&mut command, progress)
}

/// For the shell that runs the hooks.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

fn measure(tar: &Path, progress: &dyn Progress) -> Result<(String, u64)> {
    let file = File::open(tar).at("open", tar)?;
    let total = file.metadata().at("look at", tar)?.len();
    let mut sink = Hashing::new(io::sink());
    io::copy(&mut BufReader::with_capacity(1 << 20, file), &mut sink).at("read", tar)?;
    progress.position(total, Some(total), Unit::Bytes);
    let (_, sha256, bytes) = sink.finish();
    Ok((sha256, bytes))
}

/// The installed packages of a dpkg status file.
fn installed(status: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(status).at("read", status)?;
    Ok(text
        .split("\n\n")
        .filter_map(|stanza| {
            let field = |name: &str| stanza.lines().find_map(|line| line.strip_prefix(name));
            Some((field("Package: ")?.to_owned(), field("Version: ")?.to_owned()))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_read_with_their_versions() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let status = dir.path().join("status");
        fs::write(
            &status,
            "Package: a\nStatus: install ok installed\nVersion: 1:2-3\n\nPackage: b\nVersion: 4\n",
        )
        .expect("a status file");
        let packages = installed(&status).expect("a readable status file");
        assert_eq!(packages, BTreeMap::from([("a".into(), "1:2-3".into()), ("b".into(), "4".into())]));
    }
}
