//! GRUB without grub-install: two images made of modules, and the first stage patched into the disk's head.

use std::fs;
use std::path::Path;

use crate::error::{At, Error, Result};
use crate::gpt::{BIOS_SECTORS, BIOS_START, SECTOR};
use crate::progress::Progress;
use crate::tools::Tools;
use crate::{host, ids};

/// What it takes to find the root and to run its `grub.cfg`.
const MODULES: [&str; 14] = [
    "part_gpt",
    "ext2",
    "fat",
    "search",
    "search_fs_uuid",
    "normal",
    "configfile",
    "linux",
    "echo",
    "test",
    "serial",
    "terminal",
    "gzio",
    "smbios",
];

/// Where GRUB's core finds the list of its own sectors: the last entry of its first sector.
const BLOCK_LIST: usize = 0x1f4;
/// Segment at which the list's sectors are loaded (`GRUB_BOOT_MACHINE_KERNEL_SEG` + one sector).
const LOAD_SEGMENT: u16 = 0x820;

/// Boot code for both firmwares.
#[derive(Debug)]
pub(crate) struct Boot {
    /// First stage, one sector, to be merged with the protective MBR.
    stage1: Vec<u8>,
    /// For the BIOS boot partition.
    pub(crate) core: Vec<u8>,
    /// For `EFI/BOOT/BOOTX64.EFI`.
    pub(crate) efi: Vec<u8>,
}

impl Boot {
    /// Builds both images in `scratch`.
    pub(crate) fn build(tools: &Tools, scratch: &Path, epoch: u64, progress: &dyn Progress) -> Result<Self> {
        let early = scratch.join("early.cfg");
        fs::write(&early, early_config()).at("write", &early)?;
        let image = |format: &str, extra: &[&str]| {
            let out = scratch.join(format);
            let mut command = tools.command("usr/bin/grub-mkimage", epoch)?;
            command.arg("-d").arg(tools.file(&format!("usr/lib/grub/{format}")));
            command.args(["-O", format, "-p", "/boot/grub", "-c"]).arg(&early).arg("-o").arg(&out);
            command.args(extra).args(MODULES);
            host::run(&mut command, "grub-mkimage", |line| progress.line(line))?;
            fs::read(&out).at("read", &out)
        };
        let stage1 = tools.file("usr/lib/grub/i386-pc/boot.img");
        let boot = Self {
            core: blocklisted(image("i386-pc", &["biosdisk"])?)?,
            efi: image("x86_64-efi", &[])?,
            stage1: fs::read(&stage1).at("read", &stage1)?,
        };
        if boot.stage1.len() != 512 {
            return Err(Error::Invalid(format!("GRUB's boot.img has {} bytes, not 512", boot.stage1.len())));
        }
        Ok(boot)
    }

    /// Puts the first stage into sector 0, around what belongs to BIOS parameters and to the partition table.
    pub(crate) fn merge(&self, sector: &mut [u8]) {
        sector[..0x03].copy_from_slice(&self.stage1[..0x03]);
        sector[0x5a..440].copy_from_slice(&self.stage1[0x5a..440]);
        sector[0x5c..0x64].copy_from_slice(&BIOS_START.to_le_bytes());
        // Boot from the drive that the BIOS names, whatever it is called.
        sector[0x64] = 0xff;
        // As grub-install does on hard disks: no jump around the drive check.
        sector[0x66..0x68].copy_from_slice(&[0x90, 0x90]);
    }
}

fn early_config() -> String {
    format!(
        "serial --unit=0 --speed=115200\n\
         terminal_input serial console\n\
         terminal_output serial console\n\
         search --no-floppy --fs-uuid --set=root {}\n\
         configfile ($root)/boot/grub/grub.cfg\n",
        ids::ROOT_UUID
    )
}

/// Tells the core where the rest of it lies.
fn blocklisted(mut core: Vec<u8>) -> Result<Vec<u8>> {
    let sectors = (core.len() as u64).div_ceil(SECTOR);
    let rest = u16::try_from(sectors - 1).ok().filter(|_| sectors <= BIOS_SECTORS);
    let Some(rest) = rest else {
        return Err(Error::Invalid(format!(
            "GRUB's core image has {sectors} sectors; {BIOS_SECTORS} have room"
        )));
    };
    let list =
        [&(BIOS_START + 1).to_le_bytes()[..], &rest.to_le_bytes(), &LOAD_SEGMENT.to_le_bytes()].concat();
    core[BLOCK_LIST..BLOCK_LIST + list.len()].copy_from_slice(&list);
    Ok(core)
}
