//! The bootable disk: a file system, a partition table and boot code, as bytes in a sparse file.
//!
//! No root, no loop device, no mount. BIOS and UEFI firmware both start it.

use std::fs;
use std::io::PipeReader;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use serde::{Deserialize, Serialize};

use crate::error::{At, Error, Result};
use crate::grub::Boot;
use crate::pending::Pending;
use crate::progress::{Progress, Unit};
use crate::tools::Tools;
use crate::{esp, ext4, extent, gpt, ids, space};

const GIB: u64 = 1 << 30;
/// File system structures, boot code and a margin, beyond the files' own bytes.
const OVERHEAD: u64 = 128 << 20;

/// What disk to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpec<'a> {
    /// Bytes: a whole number of GiB from 1, since that is what EBS rounds to and the table's mirror has to
    /// be at the volume's end.
    pub size: u64,
    /// Time stamp of the file system itself (seconds since 1970).
    pub epoch: u64,
    /// A disk to compare with.
    pub before: Option<&'a Path>,
}

impl DiskSpec<'_> {
    /// A disk of so many GiB.
    pub fn gib(count: u64) -> Self {
        Self { size: count * GIB, epoch: ids::SOURCE_DATE_EPOCH, before: None }
    }
}

/// The root's archive.
#[derive(Debug)]
pub enum Content<'a> {
    /// A file.
    Archive(&'a Path),
    /// What `tree::write_root_tar` writes meanwhile.
    Stream {
        /// The pipe's end.
        from: PipeReader,
        /// Bytes that will come, at most.
        bytes: u64,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Bytes of the disk.
    pub size: u64,
    /// Bytes that it takes on this host.
    pub allocated: u64,
    /// Blocks of 512 KiB, EBS's unit.
    pub blocks_total: u64,
    /// Blocks with anything in them: what an upload sends.
    pub blocks_nonzero: u64,
    /// SHA-256 of all bytes, in hex.
    pub sha256: String,
    /// Blocks that differ from [`DiskSpec::before`]; `None` without one of this size that can be read.
    #[serde(skip)]
    pub blocks_changed: Option<u64>,
}

/// Writes the disk for an archive to `out`, which appears complete and checked or not at all. The same
/// archive and spec give the same bytes.
///
/// # Errors
/// [`Error::NoSpace`] before anything is written; [`Error::Invalid`] for a size that is no whole number of
/// GiB or too small for the root.
pub fn write(
    tools: &Tools,
    content: Content<'_>,
    out: &Path,
    spec: &DiskSpec<'_>,
    progress: &dyn Progress,
) -> Result<DiskReport> {
    if spec.size == 0 || !spec.size.is_multiple_of(GIB) {
        return Err(Error::Invalid(format!(
            "cannot write a disk of {} bytes: its size is a whole number of GiB; use {}",
            spec.size,
            spec.size.next_multiple_of(GIB).max(GIB)
        )));
    }
    let home = out.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (bytes, content) = content.open()?;
    space::require(home, "disk.raw", bytes + OVERHEAD)?;

    let pending = Pending::create(out)?;
    let mut file = pending.file()?;
    file.set_len(spec.size).at("size", pending.path())?;

    progress.message("writing the root file system");
    let path = pending.path();
    let root_bytes = gpt::root_sectors(spec.size) * gpt::SECTOR;
    // Each writes where the other does not; the second core is there anyway.
    let (boot, root) = thread::scope(|scope| {
        let boot = scope.spawn(|| boot_code(tools, &file, path, spec, progress));
        let root = ext4::write(tools, content, path, root_bytes, spec.epoch, progress);
        (boot.join(), root)
    });
    root?;
    boot.map_err(|_| lost("the boot code"))??;
    // Nothing is written any more.
    let (checked, reading) = thread::scope(|scope| {
        let check = scope.spawn(|| {
            ext4::check(tools, path, progress)?;
            // A disk that cannot be read is none to compare with.
            Ok(spec.before.and_then(|before| blocks_changed(before, path).ok()?))
        });
        let reading = read_through(&mut file, path, spec.size, progress);
        (check.join(), reading)
    });
    let blocks_changed = checked.map_err(|_| lost("the check of the file system"))??;
    let extent::Reading { blocks_total, blocks_nonzero, sha256 } = reading?;
    let allocated = file.metadata().at("look at", path)?.blocks() * 512;
    pending.finish()?;
    Ok(DiskReport { size: spec.size, allocated, blocks_total, blocks_nonzero, sha256, blocks_changed })
}

impl Content<'_> {
    /// Its bytes, at most, and where they can be read.
    fn open(self) -> Result<(u64, Stdio)> {
        match self {
            Self::Archive(path) => {
                let file = fs::File::open(path).at("open", path)?;
                Ok((file.metadata().at("look at", path)?.len(), file.into()))
            }
            Self::Stream { from, bytes } => Ok((bytes, from.into())),
        }
    }
}

fn lost(what: &str) -> Error {
    Error::Invalid(format!("{what} ended without a word"))
}

/// Checks that the file system of a disk is whole, and that its free blocks are zeros.
///
/// # Errors
/// [`Error::Tool`] when it is damaged, [`Error::Invalid`] when a free block holds something.
pub fn check(tools: &Tools, disk: &Path, progress: &dyn Progress) -> Result<()> {
    ext4::check(tools, disk, progress)
}

/// Writes everything of the disk at `path` but its root: table, GRUB for BIOS, and the partition for UEFI.
fn boot_code(
    tools: &Tools,
    file: &fs::File,
    path: &Path,
    spec: &DiskSpec<'_>,
    progress: &dyn Progress,
) -> Result<()> {
    let scratch =
        tempfile::Builder::new().prefix("kiln-grub.").tempdir().at("create a directory for", path)?;
    let boot = Boot::build(tools, scratch.path(), spec.epoch, progress)?;
    let mut table = gpt::table(spec.size);
    boot.merge(&mut table.head[..512]);
    let efi = esp::build(&boot.efi).at("write the EFI system partition of", path)?;
    extent::write_sparse(file, &efi, gpt::ESP_START * gpt::SECTOR).at("write", path)?;
    for (bytes, offset) in [
        (&table.head, 0),
        (&boot.core, gpt::BIOS_START * gpt::SECTOR),
        (&table.tail, spec.size - table.tail.len() as u64),
    ] {
        file.write_all_at(bytes, offset).at("write", path)?;
    }
    Ok(())
}

fn read_through(
    file: &mut fs::File,
    path: &Path,
    size: u64,
    progress: &dyn Progress,
) -> Result<extent::Reading> {
    progress.message("hashing the disk");
    let tick = &mut |at| progress.position(at, Some(size), Unit::Bytes);
    extent::read(file, size, tick).at("read", path)
}

/// Counts the blocks of 512 KiB in which two disks differ: what an upload over the old one's snapshot sends.
/// `None` when their sizes do.
///
/// # Errors
/// One of them cannot be read.
pub fn blocks_changed(old: &Path, new: &Path) -> Result<Option<u64>> {
    let open = |path: &Path| -> Result<(fs::File, u64)> {
        let file = fs::File::open(path).at("open", path)?;
        let size = file.metadata().at("look at", path)?.len();
        Ok((file, size))
    };
    let ((mut was, old_size), (mut is, new_size)) = (open(old)?, open(new)?);
    if old_size != new_size {
        return Ok(None);
    }
    extent::changed(&mut was, &mut is, new_size).at("compare with", old).map(Some)
}
