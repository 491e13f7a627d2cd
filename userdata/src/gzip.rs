//! Gzip within a bound, both ways.

use crate::error::Reason;
use crate::limits::Budget;
use flate2::read::MultiGzDecoder;
use flate2::{Compression, GzBuilder};
use std::io::{Read, Write};

/// Unpacks a whole stream; what is made counts against the budget, and is never more than that in memory.
pub(crate) fn unpack(raw: &[u8], budget: &mut Budget) -> Result<Vec<u8>, Reason> {
    let mut unpacked = Vec::new();
    // One byte more than is left tells "as many" from "too many".
    let bound = u64::try_from(budget.bytes).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(raw).take(bound).read_to_end(&mut unpacked).map_err(|error| {
        Reason::Gzip(match error.kind() {
            std::io::ErrorKind::UnexpectedEof => "it ends early, or bytes that are not gzip follow it",
            _ => "it is damaged, or bytes that are not gzip follow it",
        })
    })?;
    if !budget.take(unpacked.len()) {
        return Err(Reason::TooMuchUnpacked);
    }
    Ok(unpacked)
}

/// Packs; the same bytes give the same stream, with no time in it.
pub(crate) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    // A Vec takes every byte.
    let written = packer.write_all(bytes).and_then(|()| packer.finish());
    written.unwrap_or_default()
}
