//! Which blocks of an ext4 file system are in no file, from its own bitmaps: what was ever in one of them would ship, too.
//!
//! Read from the on-disk format (<https://docs.kernel.org/filesystems/ext4/>, little-endian throughout).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Where the superblock is, in bytes.
const SUPERBLOCK: u64 = 1024;
/// Of a group's flags: its bitmap was never written, since nothing is in it.
const BLOCK_UNINIT: u16 = 2;

/// What the superblock says.
#[derive(Debug, Clone, Copy)]
struct Shape {
    block: u64,
    blocks: u64,
    per_group: u64,
    /// Bytes of a group's descriptor.
    descriptor: u64,
    /// Blocks that descriptors have to grow into.
    reserved: u64,
}

/// Byte ranges of `file` that the file system which begins at `offset` does not use.
pub(crate) fn ranges(file: &File, offset: u64) -> io::Result<Vec<Range<u64>>> {
    let shape = shape(file, offset)?;
    let mut free: Vec<Range<u64>> = Vec::new();
    for group in 0..shape.blocks.div_ceil(shape.per_group) {
        let first = group * shape.per_group;
        let count = shape.per_group.min(shape.blocks - first);
        let used = used(file, offset, &shape, group, count)?;
        for block in
            (0..count).filter(|block| !used(*block)).map(|block| offset + (first + block) * shape.block)
        {
            match free.last_mut() {
                Some(last) if last.end == block => last.end += shape.block,
                _ => free.push(block..block + shape.block),
            }
        }
    }
    Ok(free)
}

fn shape(file: &File, offset: u64) -> io::Result<Shape> {
    const IS_64_BIT: u32 = 0x80;
    let mut bytes = [0; 1024];
    file.read_exact_at(&mut bytes, offset + SUPERBLOCK)?;
    let wide = u32_at(&bytes, 0x60) & IS_64_BIT != 0;
    let high = if wide { u64::from(u32_at(&bytes, 0x150)) << 32 } else { 0 };
    let shape = Shape {
        block: 1024 << u32_at(&bytes, 0x18).min(6),
        blocks: u64::from(u32_at(&bytes, 0x4)) | high,
        per_group: u32_at(&bytes, 0x20).into(),
        descriptor: if wide { u16_at(&bytes, 0xFE).into() } else { 32 },
        reserved: u16_at(&bytes, 0xCE).into(),
    };
    let ext = u16_at(&bytes, 0x38) == 0xEF53;
    // With smaller blocks the first group begins at block 1.
    if !ext || shape.block < 4096 || shape.per_group == 0 || shape.descriptor < 32 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "no ext4 with blocks of 4096 bytes"));
    }
    Ok(shape)
}

/// Tells of a block of `group` whether it is in use.
fn used(file: &File, offset: u64, shape: &Shape, group: u64, count: u64) -> io::Result<impl Fn(u64) -> bool> {
    let mut descriptor = [0; 64];
    let length = usize::try_from(shape.descriptor.min(64)).map_err(io::Error::other)?;
    file.read_exact_at(&mut descriptor[..length], offset + shape.block + group * shape.descriptor)?;
    let mut bitmap = vec![0; usize::try_from(count.div_ceil(8)).map_err(io::Error::other)?];
    let mut own = 0;
    if u16_at(&descriptor, 0x12) & BLOCK_UNINIT == 0 {
        let place = u64::from(u32_at(&descriptor, 0)) | u64::from(u32_at(&descriptor, 0x20)) << 32;
        file.read_exact_at(&mut bitmap, offset + place * shape.block)?;
    } else if has_copy(group) {
        let groups = shape.blocks.div_ceil(shape.per_group);
        own = 1 + (groups * shape.descriptor).div_ceil(shape.block) + shape.reserved;
    }
    Ok(move |block: u64| {
        let in_map = usize::try_from(block / 8).ok().and_then(|at| bitmap.get(at));
        block < own || in_map.is_none_or(|byte| byte >> (block % 8) & 1 == 1)
    })
}

/// Whether a group has a copy of superblock and descriptors (`sparse_super`): 0, 1, and the powers of 3, 5 and 7.
fn has_copy(group: u64) -> bool {
    group < 2
        || [3, 5, 7].into_iter().any(|base: u64| {
            let mut power = base;
            while power < group {
                power *= base;
            }
            power == group
        })
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_where_sparse_super_puts_them() {
        let groups: Vec<u64> = (0..60).filter(|group| has_copy(*group)).collect();
        assert_eq!(groups, [0, 1, 3, 5, 7, 9, 25, 27, 49]);
    }
}
