//! The bootable disk: a file system, a partition table and boot code, as bytes in a sparse file.
//!
//! No root, no loop device, no mount. BIOS and UEFI firmware both start it.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
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
pub struct DiskSpec {
    /// Bytes: a whole number of GiB from 1, since that is what EBS rounds to and the table's mirror has to
    /// be at the volume's end.
    pub size: u64,
    /// Time stamp of the file system itself (seconds since 1970).
    pub epoch: u64,
}

impl DiskSpec {
    /// A disk of so many GiB.
    pub fn gib(count: u64) -> Self {
        Self { size: count * GIB, epoch: ids::SOURCE_DATE_EPOCH }
    }
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
}

/// Writes the disk for `root_tar` to `out`, which appears complete and checked or not at all. The same
/// archive and spec give the same bytes.
///
/// # Errors
/// [`Error::NoSpace`] before anything is written; [`Error::Invalid`] for a size that is no whole number of
/// GiB or too small for the root.
pub fn write(
    tools: &Tools,
    root_tar: &Path,
    out: &Path,
    spec: &DiskSpec,
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
    let content = fs::metadata(root_tar).at("look at", root_tar)?.len();
    space::require(home, "disk.raw", content + OVERHEAD)?;

    let pending = Pending::create(out)?;
    let mut file = pending.file()?;
    file.set_len(spec.size).at("size", pending.path())?;

    progress.message("writing the root file system");
    let root_bytes = gpt::root_sectors(spec.size) * gpt::SECTOR;
    ext4::write(tools, root_tar, pending.path(), root_bytes, spec.epoch, progress)?;
    // The check only reads, and only where nothing is written any more: a second core does it meanwhile.
    let (checked, reading) = thread::scope(|scope| {
        let check = scope.spawn(|| ext4::check(tools, pending.path(), progress));
        let reading = boot_code(tools, &file, pending.path(), spec, progress)
            .and_then(|()| read_through(&mut file, pending.path(), spec.size, progress));
        (check.join(), reading)
    });
    checked.map_err(|_| Error::Invalid("the check of the file system ended without a word".to_owned()))??;
    let reading = reading?;
    let allocated = file.metadata().at("look at", pending.path())?.blocks() * 512;
    pending.finish()?;
    let extent::Reading { blocks_total, blocks_nonzero, sha256 } = reading;
    Ok(DiskReport { size: spec.size, allocated, blocks_total, blocks_nonzero, sha256 })
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
    spec: &DiskSpec,
    progress: &dyn Progress,
) -> Result<()> {
    progress.message("writing the boot code");
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
