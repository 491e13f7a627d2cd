//! The partition table, byte by byte: the ids are fixed, so there is less to say than a library would ask.
//!
//! ```text
//!  LBA 0          protective MBR, with GRUB's first stage in it
//!  1, 2-33        header and entries; the same mirrored at the end
//!  2048           BIOS boot: GRUB's core image          (3 MiB)
//!  8192           EFI system partition                  (124 MiB)
//!  262144         root, last so that it can grow        (to 1 MiB before the end)
//! ```
//! The layout of Debian's own EC2 images. Source: UEFI specification 2.10, section 5.

use crate::ids;

/// Bytes of a sector.
pub(crate) const SECTOR: u64 = 512;
/// First sector of GRUB's core image.
pub(crate) const BIOS_START: u64 = 2048;
/// Sectors of the BIOS boot partition.
pub(crate) const BIOS_SECTORS: u64 = 6144;
/// First sector of the EFI system partition.
pub(crate) const ESP_START: u64 = 8192;
/// Sectors of the EFI system partition.
pub(crate) const ESP_SECTORS: u64 = 253_952;
/// First sector of the root.
pub(crate) const ROOT_START: u64 = 262_144;
/// Left free behind the root: the table's mirror, and alignment.
const TAIL_SECTORS: u64 = 2048;

const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const TABLE_SECTORS: u64 = (ENTRIES * ENTRY_BYTES) as u64 / SECTOR;

/// Partition types: BIOS boot, EFI system, root of an x86-64 system (Discoverable Partitions Specification,
/// which systemd-repart goes by).
const TYPES: [&str; 3] = [
    "21686148-6449-6e6f-744e-656564454649",
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709",
];

/// Bytes for the two ends of a disk.
#[derive(Debug)]
pub(crate) struct Table {
    /// Sectors 0 to 33.
    pub(crate) head: Vec<u8>,
    /// The last 33 sectors.
    pub(crate) tail: Vec<u8>,
}

/// Sectors of the root on a disk of `size` bytes.
pub(crate) fn root_sectors(size: u64) -> u64 {
    size / SECTOR - ROOT_START - TAIL_SECTORS
}

/// The table for a disk of `size` bytes.
pub(crate) fn table(size: u64) -> Table {
    let sectors = size / SECTOR;
    let entries = entries(size);
    let last = sectors - 1;
    let first_header = header(1, last, 2, sectors, &entries);
    let last_header = header(last, 1, last - TABLE_SECTORS, sectors, &entries);
    let head = [protective_mbr(sectors), first_header, entries.clone()].concat();
    let tail = [entries, last_header].concat();
    Table { head, tail }
}

fn entries(size: u64) -> Vec<u8> {
    let partitions = [
        (ids::BIOS_GUID, BIOS_START, BIOS_SECTORS, "bios"),
        (ids::ESP_GUID, ESP_START, ESP_SECTORS, "esp"),
        (ids::ROOT_GUID, ROOT_START, root_sectors(size), "root"),
    ];
    let mut bytes = Vec::with_capacity(ENTRIES * ENTRY_BYTES);
    for (kind, (id, start, sectors, name)) in TYPES.iter().zip(partitions) {
        let begun = bytes.len();
        bytes.extend(guid(kind));
        bytes.extend(guid(id));
        bytes.extend(start.to_le_bytes());
        bytes.extend((start + sectors - 1).to_le_bytes());
        bytes.extend(0u64.to_le_bytes());
        bytes.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
        bytes.resize(begun + ENTRY_BYTES, 0);
    }
    bytes.resize(ENTRIES * ENTRY_BYTES, 0);
    bytes
}

fn header(own: u64, other: u64, table: u64, sectors: u64, entries: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    bytes.extend(b"EFI PART");
    bytes.extend(0x0001_0000u32.to_le_bytes());
    bytes.extend(92u32.to_le_bytes());
    bytes.extend(0u32.to_le_bytes()); // its own checksum, below
    bytes.extend(0u32.to_le_bytes());
    for number in [own, other, 2 + TABLE_SECTORS, sectors - TABLE_SECTORS - 2] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(guid(ids::DISK_GUID));
    bytes.extend(table.to_le_bytes());
    bytes.extend(u32::try_from(ENTRIES).unwrap_or_default().to_le_bytes());
    bytes.extend(u32::try_from(ENTRY_BYTES).unwrap_or_default().to_le_bytes());
    bytes.extend(crc32fast::hash(entries).to_le_bytes());
    let checksum = crc32fast::hash(&bytes);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes.resize(512, 0);
    bytes
}

/// One partition over the whole disk, so that a program that knows no GPT sees no free space.
fn protective_mbr(sectors: u64) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[446..454].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    bytes[454..458].copy_from_slice(&1u32.to_le_bytes());
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    bytes[458..462].copy_from_slice(&size.to_le_bytes());
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// The 16 bytes of a GUID on disk: its first three fields are little-endian.
fn guid(text: &str) -> [u8; 16] {
    let digits = text.replace('-', "");
    let number = u128::from_str_radix(&digits, 16).expect("a GUID written in this crate");
    let mut bytes = number.to_be_bytes();
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_stored_mixed_endian() {
        // The example of the UEFI specification's EFI system partition type.
        assert_eq!(
            guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]
        );
    }

    #[test]
    fn both_ends_of_a_disk_tell_of_each_other() {
        let size = 2 << 30;
        let table = table(size);
        assert_eq!(table.head.len(), 34 * 512);
        assert_eq!(table.tail.len(), 33 * 512);
        let number =
            |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let (first, last) = (&table.head[512..1024], &table.tail[32 * 512..]);
        assert_eq!(number(first, 32), size / 512 - 1);
        assert_eq!(number(last, 24), size / 512 - 1);
        assert_eq!(number(last, 32), 1);
        assert_eq!(number(last, 72), size / 512 - 33);
    }
}
