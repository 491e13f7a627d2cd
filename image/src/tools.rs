//! The programs that write the disk, from one Debian release whatever the host has: Debian 12's own e2fsprogs
//! stamp wall-clock times into a file system.
//!
//! They are unpacked, not installed, and run through their own dynamic linker: no chroot, no root.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::deb::{self, Deb};
use crate::debian::{self, Mirror};
use crate::error::{At, Error, Result};
use crate::progress::Progress;
use crate::resolve::{self, Wanted};
use crate::{hash, host, lock, repository, space};

const SUITE: &str = "trixie";
const PACKAGES: [&str; 5] =
    ["e2fsprogs", "grub-common", "grub-efi-amd64-bin", "grub-pc-bin", "libarchive13t64"];
/// Raised when the tree has to be made anew though the packages are the same.
const RECIPE: &str = "2";
/// Unpacked and while downloading, generously (the tree is 62 MB).
const ROOM: u64 = 300 << 20;
/// Another bake downloads them in seconds to minutes; past this its mirror is stuck.
const WAIT: Duration = Duration::from_mins(15);

/// The unpacked tools.
#[derive(Debug, Clone)]
pub struct Tools {
    root: PathBuf,
}

impl Tools {
    /// The packages that they come from, as the mirrors have them now; `scratch` is a folder of this call's own.
    ///
    /// # Errors
    /// Those of [`resolve::resolve`].
    pub fn resolve(mirror: &Mirror, scratch: &Path, progress: &dyn Progress) -> Result<Vec<Deb>> {
        let packages = PACKAGES.map(str::to_owned);
        let wanted = Wanted { suite: SUITE, packages: &packages, whole: false };
        resolve::resolve(&wanted, mirror, scratch, progress)
    }

    /// The tools of `debs` in `cache`, if they are there.
    pub fn cached(cache: &Path, debs: &[Deb]) -> Option<Self> {
        let root = Self::home(cache).join(key(debs));
        root.join("usr/sbin/mke2fs").is_file().then_some(Self { root })
    }

    /// The tools of `debs` in `cache`, fetched if they are not there; `since` as in [`deb::fetch`]. Needs root only
    /// to unpack.
    ///
    /// # Errors
    /// [`Error::MissingTool`] without mmdebstrap; those of [`deb::fetch`] when packages cannot be had.
    pub fn ensure(
        cache: &Path,
        debs: &[Deb],
        mirror: &Mirror,
        since: Option<&str>,
        progress: &dyn Progress,
    ) -> Result<Self> {
        if let Some(tools) = Self::cached(cache, debs) {
            return Ok(tools);
        }
        host::need_root("unpack the disk tools")?;
        let dir = Self::home(cache);
        fs::create_dir_all(&dir).at("create", &dir)?;
        let _lock = lock::acquire(&dir.join("lock"), WAIT, progress)?;
        if let Some(tools) = Self::cached(cache, debs) {
            return Ok(tools);
        }
        space::require(&dir, "the disk tools", ROOM)?;
        progress.message("fetching the disk tools");
        // Whatever a killed run left goes away with the next one's directory.
        let part = dir.join("partial");
        remove(&part)?;
        let scratch = part.join("tmp");
        fs::create_dir_all(&scratch).at("create", &scratch)?;
        let fetched = deb::fetch(cache, debs, mirror, since, progress);
        let result = fetched.and_then(|()| unpack(&part, &scratch, cache, debs, progress)).and_then(|tree| {
            let root = dir.join(key(debs));
            fs::rename(&tree, &root).at("rename to", &root)
        });
        remove(&part)?;
        result?;
        Self::cached(cache, debs).ok_or_else(|| Error::Invalid(format!("{SUITE}'s e2fsprogs has no mke2fs")))
    }

    fn home(cache: &Path) -> PathBuf {
        cache.join("tools")
    }

    /// The cache's entry.
    pub fn dir(&self) -> &Path {
        &self.root
    }

    /// A file of the tree.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// One of the tree's programs, killed when this process dies, with nothing of the host's environment.
    pub(crate) fn command(&self, program: &str, epoch: u64) -> Result<Command> {
        let mut command = host::bound(self.file("usr/lib64/ld-linux-x86-64.so.2"))?;
        command.env_clear();
        for (name, value) in [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")]
        {
            command.env(name, value);
        }
        command.env("LOCPATH", self.file("usr/lib/locale"));
        command.env("MKE2FS_CONFIG", self.file("etc/mke2fs.conf"));
        command.env("SOURCE_DATE_EPOCH", epoch.to_string());
        command.arg("--library-path").arg(self.file("usr/lib/x86_64-linux-gnu")).arg(self.file(program));
        Ok(command)
    }

    /// The versions of the programs as they print them, for a receipt.
    pub fn versions(&self) -> Result<BTreeMap<String, String>> {
        let mut versions = BTreeMap::new();
        for (name, program) in [("mke2fs", "usr/sbin/mke2fs"), ("grub-mkimage", "usr/bin/grub-mkimage")] {
            let mut first = None;
            let mut command = self.command(program, 0)?;
            host::run(command.arg("-V"), name, |line| {
                first.get_or_insert_with(|| line.to_owned());
            })?;
            versions.insert(name.to_owned(), first.unwrap_or_default());
        }
        Ok(versions)
    }
}

fn unpack(
    part: &Path,
    scratch: &Path,
    cache: &Path,
    debs: &[Deb],
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let tree = part.join("tree");
    let source = repository::write(&part.join("debs"), cache, SUITE, debs)?;
    let mut command = debian::mmdebstrap("extract", debs, crate::ids::SOURCE_DATE_EPOCH, scratch)?;
    command.args(["--format=directory", SUITE]).arg(&tree).arg(source);
    debian::run(&mut command, progress)?;
    Ok(tree)
}

fn key(debs: &[Deb]) -> String {
    let of = |deb: &Deb| [deb.name.clone(), deb.version.clone(), deb.sha256.clone()];
    let debs: Vec<String> = debs.iter().flat_map(of).collect();
    let parts = [RECIPE, SUITE].into_iter().chain(debs.iter().map(String::as_str)).map(str::as_bytes);
    hash::of_parts(parts)[..16].to_owned()
}

/// Removes a directory of this crate's own making, if it is there.
pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at("remove", dir),
        _ => Ok(()),
    }
}
