//! The disk image as EBS sees it: blocks of 512 KiB, some of them nothing but zeros.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::blocks::BlockDigest;
use crate::error::Error;

/// The one block size that EBS direct takes.
pub const BLOCK_SIZE: usize = 512 * 1024;
const GIB: u64 = 1024 * 1024 * 1024;
const BLOCKS_PER_GIB: u32 = 2048;
static ZEROS: [u8; BLOCK_SIZE] = [0; BLOCK_SIZE];

/// A raw disk, open for reading from many workers at once.
#[derive(Debug, Clone)]
pub struct Disk {
    file: Arc<File>,
    path: PathBuf,
    bytes: u64,
    blocks: u32,
}

impl Disk {
    /// Opens a raw disk image.
    ///
    /// # Errors
    /// [`Error::Disk`] if it cannot be read, is empty, or is larger than 64 TiB, EBS's largest volume.
    #[expect(clippy::missing_panics_doc, reason = "the size is bounded before it is counted in blocks")]
    pub fn open(path: &Path) -> Result<Self, Error> {
        let fail = |reason| Error::Disk { path: path.to_owned(), reason };
        let file = File::open(path).map_err(fail)?;
        let bytes = file.metadata().map_err(fail)?.len();
        if bytes == 0 || bytes > 65_536 * GIB {
            let why = format!("{bytes} bytes: EBS takes volumes from 1 byte to 64 TiB");
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        Ok(Self {
            file: Arc::new(file),
            path: path.to_owned(),
            bytes,
            blocks: u32::try_from(bytes.div_ceil(BLOCK_SIZE as u64)).expect("64 TiB are 2^27 blocks"),
        })
    }

    /// The volume that holds it, in whole GiB, as `StartSnapshot` wants it.
    pub fn volume_gib(&self) -> u32 {
        self.blocks.div_ceil(BLOCKS_PER_GIB)
    }

    /// Blocks of the disk, the last one perhaps partial.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// One block, padded with zeros; blocks beyond the disk's end are all zeros. Blocks the thread.
    pub(crate) fn read(&self, index: u32) -> Result<Bytes, Error> {
        let mut block = vec![0; BLOCK_SIZE];
        self.read_into(index, &mut block)?;
        Ok(block.into())
    }

    fn read_into(&self, index: u32, block: &mut [u8]) -> Result<(), Error> {
        let offset = u64::from(index) * BLOCK_SIZE as u64;
        let there = self.bytes.saturating_sub(offset).min(BLOCK_SIZE as u64);
        let (data, padding) = block.split_at_mut(usize::try_from(there).expect("at most one block"));
        padding.fill(0);
        self.file
            .read_exact_at(data, offset)
            .map_err(|reason| Error::Disk { path: self.path.clone(), reason })
    }

    /// The blocks that hold anything but zeros, with their SHA-256. Blocks the thread for one read of the disk.
    pub(crate) fn data_blocks(&self) -> Result<BTreeMap<u32, BlockDigest>, Error> {
        let mut block = vec![0; BLOCK_SIZE];
        let mut found = BTreeMap::new();
        for index in 0..self.blocks() {
            self.read_into(index, &mut block)?;
            if block != ZEROS {
                found.insert(index, Sha256::digest(&block).into());
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_of(bytes: u64, marks: &[u64]) -> (tempfile::TempDir, Disk) {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = scratch.path().join("disk.raw");
        let file = File::create(&path).expect("a disk");
        file.set_len(bytes).expect("a sparse disk");
        for mark in marks {
            file.write_all_at(b"x", *mark).expect("a mark");
        }
        let disk = Disk::open(&path).expect("it opens");
        (scratch, disk)
    }

    #[test]
    fn sizes_round_up_to_blocks_and_gibibytes() {
        let (_scratch, disk) = disk_of(GIB + 1, &[]);
        assert_eq!((disk.volume_gib(), disk.blocks()), (2, 2049));
    }

    #[test]
    fn only_blocks_with_data_are_found() {
        let block = BLOCK_SIZE as u64;
        let (_scratch, disk) = disk_of(8 * block + 100, &[0, 3 * block + 17, 8 * block + 99]);
        let found = disk.data_blocks().expect("it reads");
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [0, 3, 8]);
    }

    #[test]
    fn the_last_block_is_padded_and_those_beyond_are_zero() {
        let (_scratch, disk) = disk_of(10, &[9]);
        let last = disk.read(0).expect("it reads");
        assert_eq!((last.len(), last[9], last[10]), (BLOCK_SIZE, b'x', 0));
        assert_eq!(disk.read(7).expect("it reads"), ZEROS[..]);
    }

    #[test]
    fn an_empty_disk_is_refused() {
        let scratch = tempfile::tempdir().expect("a scratch folder");
        let path = scratch.path().join("disk.raw");
        File::create(&path).expect("a disk");
        assert!(matches!(Disk::open(&path), Err(Error::Disk { .. })));
    }
}
