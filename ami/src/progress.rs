//! What a publication is doing, for a bar or a log line.

use std::fmt;
use std::time::Duration;

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
        /// The snapshot whose blocks it shares.
        parent: Option<String>,
    },
    /// Blocks have arrived.
    Sent {
        /// Blocks that EBS acknowledged.
        blocks: u32,
        /// Blocks to send in all.
        of: u32,
        /// Bytes that EBS acknowledged.
        bytes: u64,
        /// Since the first block.
        elapsed: Duration,
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
    /// A step after the image.
    Done {
        /// In words.
        what: String,
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
            Self::Started { snapshot_id, parent: None } => write!(f, "snapshot {snapshot_id} started"),
            Self::Started { snapshot_id, parent: Some(parent) } => {
                write!(f, "snapshot {snapshot_id} started over {parent}")
            }
            Self::Sent { blocks, of, bytes, elapsed } => {
                let rate = rate(*bytes, *elapsed);
                write!(f, "sent {blocks} of {of} blocks, {rate:.1} MiB/s")?;
                let left = f64::from(of - blocks) / 2.0 / rate;
                if left.is_finite() { write!(f, ", {left:.0} s left") } else { Ok(()) }
            }
            Self::Waiting { what, id, state, percent } => {
                write!(f, "{what} {id} is {state}")?;
                percent.as_ref().map_or(Ok(()), |percent| write!(f, ", {percent}"))
            }
            Self::Registered { image_id } => write!(f, "image {image_id} registered"),
            Self::Done { what } => write!(f, "{what}"),
            Self::Adopted { image_id } => write!(f, "image {image_id} has this digest already"),
        }
    }
}

/// MiB a second.
#[expect(clippy::cast_precision_loss, reason = "for display")]
pub(crate) fn rate(bytes: u64, elapsed: Duration) -> f64 {
    bytes as f64 / f64::from(1 << 20) / elapsed.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_on_their_way_tell_speed_and_time_left() {
        let sent = |blocks, bytes| Progress::Sent { blocks, of: 30, bytes, elapsed: Duration::from_secs(2) };
        assert_eq!(sent(10, 5 << 20).to_string(), "sent 10 of 30 blocks, 2.5 MiB/s, 4 s left");
        assert_eq!(sent(0, 0).to_string(), "sent 0 of 30 blocks, 0.0 MiB/s");
    }
}
