//! Where a side of a comparison is read from.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kiln_image::{Progress, Unit};

use super::inventory::{Entry, Inventory, Kind, is_volatile};
use crate::interrupt::Interrupt;
use crate::receipt::short;
use crate::store::Store;

/// One of the two things compared.
#[derive(Debug, Clone)]
pub struct Side {
    /// What the report calls it.
    pub name: String,
    /// The disk made of it, where there is one.
    pub disk: Option<PathBuf>,
    root: Root,
}

#[derive(Debug, Clone)]
enum Root {
    Archive(PathBuf),
    Folder(PathBuf),
    Stream,
}

/// How the command line names an archive that comes on standard input.
pub(super) const STREAM: &str = "-";

impl Side {
    /// A folder with a root in it, an image's folder, a root archive (`-`: standard input), or the first digits of a digest.
    ///
    /// # Errors
    /// [`crate::failure::Failure::Usage`] when it is none of these.
    pub fn find(store: &Store, named: &str) -> anyhow::Result<Self> {
        if named == STREAM {
            return Ok(Self { name: "standard input".to_owned(), disk: None, root: Root::Stream });
        }
        let path = Path::new(named);
        if path.is_dir() && !path.join("root.tar").is_file() {
            if !path.join("etc").is_dir() {
                return Err(super::no_side(format!(
                    "'{named}' is neither a root (it has no etc/) nor an image's folder (it has no root.tar)"
                )));
            }
            return Ok(Self { name: named.to_owned(), disk: None, root: Root::Folder(path.to_owned()) });
        }
        let found = store.resolve(Some(named))?;
        let name = match &found.receipt {
            Some(receipt) => format!("{} {}", receipt.name, short(&receipt.digest)),
            None => named.to_owned(),
        };
        let disk = Some(found.dir.join("disk.raw")).filter(|disk| found.receipt.is_some() && disk.is_file());
        Ok(Self { name, disk, root: Root::Archive(found.root_tar) })
    }

    pub(super) fn read(&self, progress: &dyn Progress, interrupt: &Interrupt) -> anyhow::Result<Inventory> {
        match &self.root {
            Root::Archive(path) => {
                let file = File::open(path).with_context(|| format!("failed to open {}", path.display()))?;
                let total = file.metadata().context("failed to stat the archive")?.len();
                archive(file, Some(total), progress, interrupt)
            }
            Root::Stream => archive(std::io::stdin().lock(), None, progress, interrupt),
            Root::Folder(path) => folder(path, progress, interrupt),
        }
    }
}

/// An archive ends with two blocks of zeros, behind which nothing is read: one that comes to its end before was cut off.
struct Whole<R> {
    inner: R,
    cut: bool,
}

impl<R: Read> Read for Whole<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.cut |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

pub(super) fn archive(
    from: impl Read,
    total: Option<u64>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> anyhow::Result<Inventory> {
    let whole = Whole { inner: BufReader::with_capacity(1 << 20, from), cut: false };
    let mut archive = tar::Archive::new(whole);
    let mut inventory = Inventory::default();
    for entry in archive.entries().context("failed to read the archive")? {
        interrupt.check()?;
        let mut entry = entry.context("failed to read the archive")?;
        progress.position(entry.raw_file_position(), total, Unit::Bytes);
        let header = entry.header();
        let name = entry.path().context("failed to read a name in the archive")?;
        let name = name.to_string_lossy().trim_start_matches("./").trim_matches('/').to_owned();
        if name.is_empty() || is_volatile(&name) {
            continue;
        }
        let number = |field: std::io::Result<u64>| {
            field.ok().and_then(|id| u32::try_from(id).ok()).unwrap_or_default()
        };
        let link = entry.link_name().ok().flatten().map(|link| link.to_string_lossy().into_owned());
        let kind = match header.entry_type() {
            tar::EntryType::Directory => Kind::Folder,
            tar::EntryType::Symlink => Kind::Link,
            tar::EntryType::Link => {
                inventory.hard_link(&name, link.as_deref().unwrap_or_default());
                continue;
            }
            kind if kind.is_file() => Kind::File,
            _ => Kind::Device,
        };
        let bare = Entry {
            kind,
            mode: header.mode().unwrap_or_default() & 0o7777,
            uid: number(header.uid()),
            gid: number(header.gid()),
            size: if kind == Kind::File { entry.size() } else { 0 },
            content: None,
            link: link.filter(|_| kind == Kind::Link),
        };
        inventory.add(name, bare, &mut entry)?;
    }
    let mut whole = archive.into_inner();
    anyhow::ensure!(
        !whole.cut,
        "the archive has no end: it was cut off, or what writes it failed; get it again"
    );
    // tar fills its last record up, and would be told that nobody reads.
    std::io::copy(&mut whole.inner, &mut std::io::sink()).context("failed to read the archive")?;
    Ok(inventory)
}

fn folder(root: &Path, progress: &dyn Progress, interrupt: &Interrupt) -> anyhow::Result<Inventory> {
    let mut inventory = Inventory::default();
    // A live host has other file systems mounted; those are not the image.
    let walk = walkdir::WalkDir::new(root).min_depth(1).same_file_system(true).sort_by_file_name();
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    for (seen, entry) in
        walk.into_iter().filter_entry(|entry| !is_volatile(&relative(entry.path()))).enumerate()
    {
        interrupt.check()?;
        let entry = entry.context("failed to list the root")?;
        progress.position(seen as u64, None, Unit::Items);
        let path = entry.path();
        let found =
            fs::symlink_metadata(path).with_context(|| format!("failed to stat {}", path.display()))?;
        let kind = match found.file_type() {
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() => Kind::Link,
            kind if kind.is_file() => Kind::File,
            _ => Kind::Device,
        };
        let link = if kind == Kind::Link { fs::read_link(path).ok() } else { None };
        let bare = Entry {
            kind,
            mode: found.permissions().mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            size: if kind == Kind::File { found.len() } else { 0 },
            content: None,
            link: link.map(|link| link.to_string_lossy().into_owned()),
        };
        let mut content: Box<dyn Read> = if kind == Kind::File {
            Box::new(File::open(path).with_context(|| format!("failed to open {}", path.display()))?)
        } else {
            Box::new(std::io::empty())
        };
        inventory.add(relative(path), bare, &mut content)?;
    }
    Ok(inventory)
}
