//! The EFI system partition: a FAT32 with one file, made in memory.
//!
//! `fatfs` without its clock feature stamps every entry 1980-01-01, so equal input gives equal bytes.

use std::io::{self, Cursor, Write};

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};

use crate::gpt::{ESP_SECTORS, SECTOR};
use crate::ids;

/// The partition's bytes, with `boot` at the path that firmware looks at without being told.
pub(crate) fn build(boot: &[u8]) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(ESP_SECTORS * SECTOR).map_err(io::Error::other)?;
    let mut disk = Cursor::new(vec![0; bytes]);
    // One sector a cluster: the smallest FAT32 that firmware accepts as one has 65,525 clusters.
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(ids::ESP_VOLUME_ID)
        .volume_label(*b"KILN ESP   ");
    fatfs::format_volume(&mut disk, options)?;
    let fs = FileSystem::new(&mut disk, FsOptions::new().update_accessed_date(false))?;
    {
        let dir = fs.root_dir().create_dir("EFI")?.create_dir("BOOT")?;
        let mut file = dir.create_file("BOOTX64.EFI")?;
        file.write_all(boot)?;
        file.flush()?;
    }
    fs.unmount()?;
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_boot_file_reads_back_and_is_the_same_each_time() {
        let content: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[1]).collect();
        let first = build(&content).expect("a file system");
        assert!(first == build(&content).expect("a file system"));
        let fs = FileSystem::new(Cursor::new(first), FsOptions::new()).expect("a readable file system");
        assert_eq!(fs.fat_type(), FatType::Fat32);
        let mut read = Vec::new();
        let mut file = fs.root_dir().open_file("EFI/BOOT/BOOTX64.EFI").expect("the boot file");
        file.read_to_end(&mut read).expect("its bytes");
        assert!(read == content);
    }
}
