//! A root that somebody else made, as a base: an archive or a folder, taken over as it is, completed for a disk of ours.
//!
//! ```text
//! root.tar[.gz|.xz|.zst], or a folder ─ hashed ─▶ unpacked ─▶ what is it, is all there? ─▶ files of the base, finish ─▶ base.tar
//! ```
//!
//! Nothing is fetched or installed: what the disk needs is in there, or is named with the command that brings it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use walkdir::WalkDir;

use crate::error::{At, Error, Result};
use crate::hash;
use crate::os::Os;
use crate::progress::Progress;
use crate::recipe::{self, Kernel};
use crate::seen::Seen;
use crate::suite::{self, Suite};
use crate::{host, tools};

/// Archives by the end of their names, with what unpacks each: program and Debian package.
const ARCHIVES: [(&str, Option<(&str, &str)>); 7] = [
    (".tar", None),
    (".tar.gz", Some(("gzip", "gzip"))),
    (".tgz", Some(("gzip", "gzip"))),
    (".tar.xz", Some(("xz", "xz-utils"))),
    (".txz", Some(("xz", "xz-utils"))),
    (".tar.zst", Some(("zstd", "zstd"))),
    (".tzst", Some(("zstd", "zstd"))),
];

/// Folders of a running system: what is in them is no part of a root.
const EMPTIED: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];

/// What a kernel without an initrd opens before anybody mounts `dev`: name, mode, major and minor number.
const DEVICES: [(&str, u32, u64, u64); 2] = [("console", 0o600, 5, 1), ("null", 0o666, 1, 3)];

/// A root as it was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The archive or folder.
    pub path: PathBuf,
    /// Of the archive's bytes as `sha256sum` prints it, or of everything in the folder.
    pub sha256: String,
}

/// Whether a base's name means a file or folder rather than a release.
pub fn is_path(base: &str) -> bool {
    base.contains('/') || ARCHIVES.iter().any(|(end, _)| base.ends_with(end))
}

impl Exported {
    /// Hashes the root at `path`; `cache` remembers the hashes of its files for the next time.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is neither a folder nor an archive by its name; it cannot be read.
    pub fn of(path: &Path, cache: &Path) -> Result<Self> {
        Self::seen(path, cache, SystemTime::now()).map(|(root, _)| root)
    }

    /// The same at a given time; and how many files were read for it.
    fn seen(path: &Path, cache: &Path, now: SystemTime) -> Result<(Self, usize)> {
        let path = path.canonicalize().at("find the root", path)?;
        let mut seen = Seen::open(cache, &path, now);
        let sha256 = if path.is_dir() {
            of_folder(&path, &mut seen)?
        } else {
            unpacker(&path)?;
            seen.hash(b"", &path, &path.metadata().at("look at", &path)?)?
        };
        Ok((Self { path, sha256 }, seen.keep()))
    }

    /// Makes `tree`, complete for a disk, and `tar` of it. Root only.
    pub(crate) fn build(
        &self,
        [cache, tree, tar]: [&Path; 3],
        epoch: u64,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.message(&format!("unpacking {}", self.path.display()));
        self.unpack(tree, progress)?;
        if Self::of(&self.path, cache)? != *self {
            let shown = self.path.display();
            return Err(Error::Invalid(format!("'{shown}' changed while it was read: try again")));
        }
        let kernel = self.judge(tree)?;
        still(tree)?;
        progress.message("completing the base");
        recipe::lay(tree, kernel)?;
        let script = tree.with_extension("finish");
        recipe::write_finish(&script)?;
        let mut finish = host::confined("sh", None)?;
        finish.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("SYSTEMD_OFFLINE", "1");
        host::run(finish.arg(&script).arg(tree), "base_finish.sh", |line| progress.line(line))?;
        fs::remove_file(&script).at("remove", &script)?;
        pack(tree, tar, epoch, progress)
    }

    fn unpack(&self, tree: &Path, progress: &dyn Progress) -> Result<()> {
        if self.path.is_dir() {
            let mut copy = host::bound("cp")?;
            copy.args(["--archive", "--one-file-system", "--no-target-directory"]).arg(&self.path).arg(tree);
            return host::run(&mut copy, "cp", |line| progress.line(line));
        }
        let mut command = host::bound("tar")?;
        command.args(["--extract", "--preserve-permissions", "--same-owner", "--numeric-owner", "--xattrs"]);
        command.args(["--xattrs-include=security.capability", "--xattrs-include=user.*"]);
        if let Some((program, package)) = unpacker(&self.path)? {
            host::need_program(program, package)?;
            command.arg(format!("--use-compress-program={program}"));
        }
        command.arg("--file").arg(&self.path).arg("--directory").arg(tree);
        host::run(&mut command, "tar", |line| progress.line(line))
    }

    /// Refuses what cannot become a disk; says how its kernel starts.
    fn judge(&self, tree: &Path) -> Result<Kernel> {
        let os = Os::of_root(tree).map_err(|error| match error {
            Error::Invalid(text) => {
                Error::Invalid(text.replace(&tree.display().to_string(), &self.path.display().to_string()))
            }
            other => other,
        })?;
        let shown = self.path.display();
        let Some(suite) = os.suite.and_then(Suite::find) else {
            let known: Vec<_> = suite::SUITES.iter().map(|suite| suite.name).collect();
            return Err(Error::Invalid(format!(
                "'{shown}' is {}, and a disk can be made of {}: provision a builder instance of it with \
                 'kiln provision --root /'",
                os.name,
                known.join(" and ")
            )));
        };
        let mut missing = Os::missing(tree, os.runtime);
        missing.extend(Os::missing(tree, &suite.needs()));
        if missing.is_empty() {
            return Kernel::of(tree);
        }
        Err(Error::Invalid(format!(
            "'{shown}' ({}) has not all that a disk of Kiln's needs; run '{}' in it and export it again, or take \
             base = \"{}\", which has it",
            os.name,
            os.manager.advice(&missing),
            suite.name
        )))
    }
}

/// Takes what runs out of `tree`. A link out of it is left to who uses the root.
fn still(tree: &Path) -> Result<()> {
    let folders = EMPTIED.map(|name| (name, tree.join(name)));
    for (name, dir) in folders.iter().filter(|(_, dir)| !dir.is_symlink()) {
        tools::remove(dir)?;
        fs::create_dir(dir).at("create", dir)?;
        recipe::set_mode(dir, if *name == "tmp" { 0o1777 } else { 0o755 })?;
    }
    let dev = tree.join("dev");
    for (name, mode, major, minor) in DEVICES.into_iter().filter(|_| !dev.is_symlink()) {
        let path = dev.join(name);
        let number = makedev(major, minor);
        mknod(&path, SFlag::S_IFCHR, Mode::from_bits_truncate(mode), number).at("make", &path)?;
        recipe::set_mode(&path, mode)?;
    }
    Ok(())
}

/// What unpacks an archive; `None` where tar does it alone.
fn unpacker(path: &Path) -> Result<Option<(&'static str, &'static str)>> {
    let name = path.to_string_lossy();
    let found = ARCHIVES.iter().find(|(end, _)| name.ends_with(end));
    found.map(|(_, unpacker)| *unpacker).ok_or_else(|| {
        let ends: Vec<_> = ARCHIVES.iter().map(|(end, _)| *end).collect();
        Error::Invalid(format!("'{name}' is no root: name a folder or an archive ({})", ends.join(", ")))
    })
}

/// Everything in the folder that is on its own file system: names, kinds, owners, modes, times and bytes.
fn of_folder(dir: &Path, seen: &mut Seen) -> Result<String> {
    let mut parts = Vec::new();
    let entries = WalkDir::new(dir).min_depth(1).same_file_system(true).sort_by_file_name();
    let running = |path: &Path| EMPTIED.iter().any(|name| path.parent() == Some(&dir.join(name)));
    for entry in entries.into_iter().filter_entry(|entry| !running(entry.path())) {
        let entry = entry.at("read", dir)?;
        let (path, meta) = (entry.path(), entry.metadata().at("look at", entry.path())?);
        let kind = meta.file_type();
        let name = path.strip_prefix(dir).unwrap_or(path).as_os_str().as_bytes().to_owned();
        let content = if kind.is_file() {
            seen.hash(&name, path, &meta)?.into_bytes()
        } else if kind.is_symlink() {
            fs::read_link(path).at("read", path)?.as_os_str().as_bytes().to_owned()
        } else {
            meta.rdev().to_string().into_bytes()
        };
        let facts = format!("{:o} {} {} {}", meta.mode(), meta.uid(), meta.gid(), meta.mtime());
        let capability = xattr::get(path, "security.capability").at("read the attributes of", path)?;
        let all = [&name[..], facts.as_bytes(), &content, capability.as_deref().unwrap_or_default()];
        parts.push(hash::of_parts(all));
    }
    Ok(hash::of_parts(parts.iter().map(String::as_bytes)))
}

/// The tree as an archive, as mmdebstrap packs its own: sorted by name, whole seconds, no time after `epoch`.
fn pack(tree: &Path, tar: &Path, epoch: u64, progress: &dyn Progress) -> Result<()> {
    let mut command = host::bound("tar")?;
    command.env("LC_ALL", "C.UTF-8").args(["--create", "--sort=name", "--numeric-owner", "--clamp-mtime"]);
    command.arg(format!("--mtime=@{epoch}")).args(["--format=posix", "--xattrs"]);
    command.arg("--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime,delete=mtime");
    command.args(["--xattrs-include=security.capability", "--xattrs-include=user.*"]);
    command.arg("--file").arg(tar).arg("--directory").arg(tree).arg(".");
    host::run(&mut command, "tar", |line| progress.line(line))
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_look_reads_nothing_and_sees_every_change_of_a_byte() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let (root, cache) = (dir.path().join("root"), dir.path().join("cache"));
        fs::create_dir_all(&root).expect("a folder");
        for name in ["nginx", "python3", "with space"] {
            fs::write(root.join(name), name).expect("a file");
        }
        let look = |after: u64| {
            let now = SystemTime::now() + Duration::from_secs(after);
            let (exported, read) = Exported::seen(&root, &cache, now).expect("a root");
            (exported.sha256, read)
        };
        let (first, read) = look(0);
        assert_eq!(read, 3);
        assert_eq!(look(60), (first.clone(), 3), "what was changed just now may change again unseen");
        assert_eq!(look(60), (first.clone(), 0));

        // As many bytes, and the time of before.
        let nginx = root.join("nginx");
        let modified = fs::metadata(&nginx).and_then(|meta| meta.modified()).expect("a time");
        let file = File::options().write(true).open(&nginx).expect("the file");
        std::os::unix::fs::FileExt::write_all_at(&file, b"N", 0).expect("a byte");
        file.set_times(FileTimes::new().set_modified(modified)).expect("a time");
        let (second, read) = look(120);
        assert!(second != first && read == 1, "{read} files read");
        assert_eq!(look(120), (second.clone(), 0));

        // Another file in the place of one, with its times.
        fs::write(root.join("new"), "PYTHON3").expect("a file");
        fs::rename(root.join("new"), root.join("python3")).expect("its place");
        let (third, read) = look(180);
        assert!(third != second && read == 1, "{read} files read");

        // A memory that cannot be read is none.
        let kept = fs::read_dir(cache.join("seen")).expect("the memory").flatten().next().expect("one root");
        fs::write(kept.path(), "not\0what it was").expect("a file");
        assert_eq!(look(180), (third, 3));
    }

    #[test]
    fn an_archive_is_read_once() {
        let dir = tempfile::tempdir().expect("a scratch directory");
        let archive = dir.path().join("root.tar");
        fs::write(&archive, "bytes").expect("a file");
        let later = SystemTime::now() + Duration::from_mins(1);
        let look = || Exported::seen(&archive, dir.path(), later).expect("an archive");
        let (first, read) = look();
        assert_eq!((read, look()), (1, (first, 0)));
    }
}
