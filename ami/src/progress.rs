//! What a publication is doing, for a bar or a log line.

use std::fmt;

/// Receives progress; called often, from one task, and must not block.
pub type Watch<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// One step of progress.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The disk was scanned: this much of it will be sent.
    Scanned {
        /// Blocks of 512 KiB that hold data.
        blocks: u32,
        /// Blocks of the whole disk.
        of: u32,
        /// The size of the volume to come, in GiB.
        volume_gib: u32,
    },
    /// EBS opened a snapshot for writing.
    Started {
        /// Its id.
        snapshot_id: String,
    },
    /// Blocks have arrived.
    Sent {
        /// Blocks that EBS acknowledged.
        blocks: u32,
        /// Blocks to send in all.
        of: u32,
        /// Bytes that EBS acknowledged.
        bytes: u64,
    },
    /// AWS is at work on something and has not finished.
    Waiting {
        /// `snapshot` or `image`.
        what: &'static str,
        /// Its id.
        id: String,
        /// AWS's state for it.
        state: String,
        /// AWS's own percentage, such as `99%`, where it gives one.
        percent: Option<String>,
    },
    /// The image has an id; it may not be available yet.
    Registered {
        /// The AMI's id.
        image_id: String,
    },
    /// An image of the same digest was there already; nothing is sent.
    Adopted {
        /// The AMI's id.
        image_id: String,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scanned { blocks, of, volume_gib } => {
                write!(f, "{blocks} of {of} blocks hold data, volume of {volume_gib} GiB")
            }
            Self::Started { snapshot_id } => write!(f, "snapshot {snapshot_id} started"),
            Self::Sent { blocks, of, bytes } => {
                write!(f, "sent {blocks} of {of} blocks, {} MiB", bytes / (1024 * 1024))
            }
            Self::Waiting { what, id, state, percent } => {
                write!(f, "{what} {id} is {state}")?;
                percent.as_ref().map_or(Ok(()), |percent| write!(f, ", {percent}"))
            }
            Self::Registered { image_id } => write!(f, "image {image_id} registered"),
            Self::Adopted { image_id } => write!(f, "image {image_id} has this digest already"),
        }
    }
}
