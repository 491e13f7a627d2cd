//! The fixed identities of every disk, so that the same input gives the same bytes.
//!
//! One image boots many instances, and an instance has one root disk; ids that are unique per image would
//! only make equal disks differ.

/// Time stamp of everything that has none of its own (seconds; 2025-01-01T00:00:00Z).
pub const SOURCE_DATE_EPOCH: u64 = 1_735_689_600;
/// Disk GUID of the partition table.
pub const DISK_GUID: &str = "4b494c4e-0000-4000-8000-000000000000";
/// Partition GUID of the BIOS boot partition (GRUB's core image).
pub const BIOS_GUID: &str = "4b494c4e-0001-4000-8000-000000000001";
/// Partition GUID of the EFI system partition.
pub const ESP_GUID: &str = "4b494c4e-0002-4000-8000-000000000002";
/// Partition GUID of the root: `root=PARTUUID=…` on the kernel's command line and in fstab.
pub const ROOT_GUID: &str = "4b494c4e-0003-4000-8000-000000000003";
/// UUID of the root file system, by which GRUB finds it.
pub const ROOT_UUID: &str = "4b494c4e-f500-4000-8000-000000000003";
/// Seed of the root's directory hashes (otherwise random).
pub const ROOT_HASH_SEED: &str = "4b494c4e-5eed-4000-8000-000000000003";
/// Volume id of the EFI system partition.
pub const ESP_VOLUME_ID: u32 = 0x4b49_4c4e;
/// Label of the root file system.
pub const ROOT_LABEL: &str = "kiln-root";
