//! The user-data contract between a launch template and an instance: what the bytes are, and whether they may go.
//!
//! ```text
//!  bytes ──▶ limit ──▶ kind ──▶ Empty | Script   (anything else: an error that names the kind and where it was seen)
//! ```
//!
//! Pure: nothing here reads a file or a socket, so the pipeline and the instance judge the same bytes alike.

mod kind;
mod script;

pub use kind::Kind;
pub use script::{Note, Script};

/// EC2's limit on user data, in bytes before base64 (EC2 user guide, "Run commands on your Linux instance at launch").
pub const LIMIT: usize = 16 * 1024;

/// What an instance does with its user data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserData {
    /// Nothing: no bytes, or white space only.
    Empty,
    /// A `#!` script, run once per instance as root.
    Script(Script),
}

/// Why user data is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes than EC2 takes.
    #[error(
        "user data is {size} bytes, EC2 takes at most {LIMIT} before base64: fetch the rest from S3 in the script"
    )]
    TooLarge {
        /// Size in bytes before base64.
        size: usize,
    },
    /// A form that EC2 tooling knows and this version does not run.
    #[error(
        "user data is {kind} (seen at byte {offset}), which is not supported yet: pass a script that begins with '#!'"
    )]
    Unsupported {
        /// The form recognised.
        kind: Kind,
        /// Byte offset of what gave it away.
        offset: usize,
    },
    /// Bytes of no known form.
    #[error(
        "user data is of no known kind (byte {offset} is {found}): begin it with '#!' and an interpreter"
    )]
    Unknown {
        /// Byte offset of the first byte that is not white space.
        offset: usize,
        /// That byte, printable.
        found: String,
    },
    /// A `#!` line that names no absolute interpreter; the kernel would refuse it.
    #[error(
        "user data's first line (byte {offset}) names no interpreter by absolute path: write '#!/bin/bash'"
    )]
    NoInterpreter {
        /// Byte offset of the `#!`.
        offset: usize,
    },
}

/// Says what the bytes are and what would be run.
///
/// Fails when they are more than [`LIMIT`], of a kind that is not run, or of no kind at all.
pub fn parse(raw: &[u8]) -> Result<UserData, Error> {
    if raw.len() > LIMIT {
        return Err(Error::TooLarge { size: raw.len() });
    }
    let Some((kind, offset)) = kind::detect(raw) else {
        return match kind::first_byte(raw) {
            None => Ok(UserData::Empty),
            Some((offset, byte)) => Err(Error::Unknown { offset, found: kind::printable(byte) }),
        };
    };
    match kind {
        Kind::Script => script::parse(raw, offset).map(UserData::Script),
        kind => Err(Error::Unsupported { kind, offset }),
    }
}

#[cfg(test)]
mod tests;
