//! The root file system, written from an archive into its place on the disk by mke2fs: no mount, no root.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use crate::error::{At, Error, Result};
use crate::gpt::{ROOT_START, SECTOR};
use crate::progress::Progress;
use crate::tools::Tools;
use crate::{extent, free, host, ids};

/// Bytes of the disk before the root.
const OFFSET: u64 = ROOT_START * SECTOR;
/// Bytes of one of its blocks.
const BLOCK: u64 = 4096;
/// Up to which size its group descriptors have room to grow (beyond it the kernel puts them elsewhere). With mke2fs's own
/// choice, a thousand times the first size, what each change touches would lie in two EBS blocks more.
const GROWS_TO: u64 = 512 << 30;

/// Makes the file system of `bytes` bytes on `disk` from the archive that `content` is. The features are pinned: newer defaults
/// (a checksum seed of its own, an orphan file) are unknown to older GRUBs.
pub(crate) fn write(
    tools: &Tools,
    content: Stdio,
    disk: &Path,
    bytes: u64,
    epoch: u64,
    progress: &dyn Progress,
) -> Result<()> {
    let mut command = tools.command("usr/sbin/mke2fs", epoch)?;
    command.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-b",
        "4096",
        "-m",
        "0",
        "-O",
        "^metadata_csum_seed,^orphan_file",
    ]);
    command.args(["-U", ids::ROOT_UUID, "-L", ids::ROOT_LABEL, "-E"]).arg(format!(
        "offset={OFFSET},nodiscard,lazy_itable_init=0,root_owner=0:0,resize={},hash_seed={}",
        GROWS_TO / BLOCK,
        ids::ROOT_HASH_SEED
    ));
    command.args(["-d", "-"]).arg(disk).arg(format!("{}k", bytes / 1024));
    host::run_on(content, &mut command, "mke2fs", |line| progress.line(line)).map_err(|error| match error {
        Error::Tool { tail, .. } if tail.contains("Could not allocate") => Error::Invalid(format!(
            "cannot write the root into {} MiB: it does not fit; ask for a larger image",
            bytes >> 20
        )),
        other => other,
    })
}

/// Checks the file system without changing it, and that what it does not use is zeros: nothing that was ever in a
/// file ships in a free block.
pub(crate) fn check(tools: &Tools, disk: &Path, progress: &dyn Progress) -> Result<()> {
    let mut place = disk.as_os_str().to_owned();
    place.push(format!("?offset={OFFSET}"));
    let mut command = tools.command("usr/sbin/e2fsck", ids::SOURCE_DATE_EPOCH)?;
    command.arg("-fn").arg(place);
    host::run(&mut command, "e2fsck", |line| progress.line(line))?;
    let file = File::open(disk).at("open", disk)?;
    for free in free::ranges(&file, OFFSET).at("read the bitmaps of", disk)? {
        if let Some(at) = extent::first_data(&file, free).at("read", disk)? {
            let block = (at - OFFSET) / BLOCK;
            return Err(Error::Invalid(format!(
                "the disk's free block {block} holds data, which would ship"
            )));
        }
    }
    Ok(())
}
