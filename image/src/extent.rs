//! A sparse file, read as data and holes: what is nothing costs nothing to look at.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use sha2::{Digest, Sha256};

/// Bytes of an EBS block.
const BLOCK_BYTES: usize = 512 * 1024;
const BLOCK: u64 = BLOCK_BYTES as u64;

static ZEROS: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// What reading a disk through showed.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) blocks_total: u64,
    pub(crate) blocks_nonzero: u64,
    pub(crate) sha256: String,
}

/// Hashes `file` of `size` bytes (a multiple of [`BLOCK`]) and counts blocks with anything in them; `tick`
/// hears how far it is.
pub(crate) fn read(file: &mut File, size: u64, tick: &mut dyn FnMut(u64)) -> io::Result<Reading> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; ZEROS.len()];
    let mut blocks_nonzero = 0;
    let mut data_from = next_data(file, 0, size)?;
    for start in (0..size).step_by(ZEROS.len()) {
        if data_from < start {
            data_from = next_data(file, start, size)?;
        }
        if data_from >= start + BLOCK {
            hash.update(ZEROS);
        } else {
            file.seek(SeekFrom::Start(start))?;
            file.read_exact(&mut buffer)?;
            hash.update(&buffer);
            blocks_nonzero += u64::from(buffer != ZEROS);
        }
        tick(start + BLOCK);
    }
    let sha256 = crate::hash::hex(&hash.finalize());
    Ok(Reading { blocks_total: size / BLOCK, blocks_nonzero, sha256 })
}

/// Counts the blocks in which two files of `size` bytes (a multiple of [`BLOCK`]) differ.
pub(crate) fn changed(old: &mut File, new: &mut File, size: u64) -> io::Result<u64> {
    let (mut was, mut is) = (vec![0; ZEROS.len()], vec![0; ZEROS.len()]);
    let mut changed = 0;
    let mut data_from = [0; 2];
    for start in (0..size).step_by(ZEROS.len()) {
        for (from, file) in data_from.iter_mut().zip([&*old, &*new]) {
            if *from < start {
                *from = next_data(file, start, size)?;
            }
        }
        if data_from.iter().all(|from| *from >= start + BLOCK) {
            continue;
        }
        old.read_exact_at(&mut was, start)?;
        new.read_exact_at(&mut is, start)?;
        changed += u64::from(was != is);
    }
    Ok(changed)
}

/// Where the first byte other than zero is within `range`.
pub(crate) fn first_data(file: &File, range: Range<u64>) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; ZEROS.len()];
    let mut at = next_data(file, range.start, range.end)?;
    while at < range.end {
        let piece = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..piece], at)?;
        if let Some(first) = buffer[..piece].iter().position(|byte| *byte != 0) {
            return Ok(Some(at + first as u64));
        }
        at = next_data(file, at + piece as u64, range.end)?;
    }
    Ok(None)
}

/// Where data begins at or after `from`; `size` when there is none.
fn next_data(file: &File, from: u64, size: u64) -> io::Result<u64> {
    let offset = i64::try_from(from).map_err(io::Error::other)?;
    match lseek(file, offset, Whence::SeekData) {
        Ok(at) => u64::try_from(at).map_err(io::Error::other),
        Err(Errno::ENXIO) => Ok(size),
        // A file system that knows no holes: everything is data.
        Err(Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(from),
        Err(error) => Err(error.into()),
    }
}

/// Writes `bytes` at `offset` of a file that is all zeros there, leaving pages of zeros as holes.
pub(crate) fn write_sparse(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    const PAGE: usize = 4096;
    for (page, at) in bytes.chunks(PAGE).zip((offset..).step_by(PAGE)) {
        if *page != ZEROS[..page.len()] {
            file.write_all_at(page, at)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_hashed_as_zeros_and_only_what_is_there_counts() {
        let mut file = tempfile::tempfile().expect("a scratch file");
        let size = 8 * BLOCK;
        file.set_len(size).expect("a sparse file");
        let mut plain = vec![0; usize::try_from(size).expect("small")];
        for (at, text) in [(5, "a"), (3 * BLOCK + 70_000, "b"), (8 * BLOCK - 1, "c")] {
            write_sparse(&file, text.as_bytes(), at).expect("a write");
            plain[usize::try_from(at).expect("small")] = text.as_bytes()[0];
        }
        // Allocated, yet nothing.
        file.write_all_at(&ZEROS[..4096], 5 * BLOCK).expect("a write");
        let mut last = 0;
        let reading = read(&mut file, size, &mut |at| last = at).expect("a readable file");
        assert_eq!((reading.blocks_total, reading.blocks_nonzero, last), (8, 3, size));
        assert_eq!(reading.sha256, crate::hash::hex(&Sha256::digest(&plain)));
        let found = |range| first_data(&file, range).expect("a readable file");
        assert_eq!(found(6..size), Some(3 * BLOCK + 70_000));
        assert_eq!(found(6..3 * BLOCK + 70_000), None);
        assert_eq!(found(4 * BLOCK..size), Some(size - 1));
    }

    #[test]
    fn blocks_that_differ_are_counted_whichever_side_has_the_hole() {
        let size = 8 * BLOCK;
        let [mut old, mut new] = [(); 2].map(|()| tempfile::tempfile().expect("a scratch file"));
        for file in [&old, &new] {
            file.set_len(size).expect("a sparse file");
            write_sparse(file, b"same", 10).expect("a write");
        }
        write_sparse(&old, b"gone", 2 * BLOCK).expect("a write");
        write_sparse(&new, b"came", 5 * BLOCK + 1).expect("a write");
        new.write_all_at(&ZEROS[..4096], 7 * BLOCK).expect("a write");
        assert_eq!(changed(&mut old, &mut new, size).expect("readable files"), 2);
    }
}
