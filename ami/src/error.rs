//! Why a publication stopped, and what it left.

use std::path::PathBuf;
use std::time::Duration;

use crate::call::{CallError, Kind};
use crate::journal::Journal;
use crate::thing::Thing;

/// What ended a step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The disk cannot be read, or cannot be an EBS volume.
    #[error("failed to read disk '{}': {reason}", path.display())]
    Disk {
        /// The disk.
        path: PathBuf,
        /// What the kernel said.
        reason: std::io::Error,
    },
    /// The publication asks for what AWS does not take.
    #[error("refused to publish: {0}")]
    Spec(String),
    /// An AWS call failed, after the retries that make sense for it.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An image of that name exists and was made from something else.
    #[error(
        "refused to publish: image name '{name}' is taken by {image_id}, which {found}; wanted digest {wanted}; deregister that image or change the name"
    )]
    NameTaken {
        /// The AMI's name.
        name: String,
        /// The image that has it.
        image_id: String,
        /// What was found there: `has digest …`, `has no kiln:digest tag`, …
        found: String,
        /// The digest that is being published.
        wanted: String,
    },
    /// A snapshot or an image reached a state that it never leaves.
    #[error("{what} {id} ended as '{state}': {reason}")]
    Ended {
        /// `snapshot` or `image`.
        what: &'static str,
        /// Its id.
        id: String,
        /// AWS's state.
        state: String,
        /// AWS's own reason.
        reason: String,
    },
    /// What a builder instance is to fetch cannot be made.
    #[error("failed to pack the bundle: {0}")]
    Bundle(String),
    /// A builder instance did not become what it was to.
    #[error("instance {id} {what}{}", lines(tail))]
    Builder {
        /// Its id.
        id: String,
        /// How it ended.
        what: String,
        /// The last lines of what it ran.
        tail: Vec<String>,
    },
    /// A wait ran into its bound.
    #[error("gave up on {what} {id} after {} s: it is still '{state}'", waited.as_secs())]
    TimedOut {
        /// `snapshot` or `image`.
        what: &'static str,
        /// Its id.
        id: String,
        /// AWS's state, with its percentage where it gives one.
        state: String,
        /// The bound.
        waited: Duration,
    },
    /// The journal cannot be read or written; nothing is created without it.
    #[error("failed to keep the journal '{}': {reason}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What the kernel said.
        reason: std::io::Error,
    },
    /// The caller's interrupt ended it.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// True if the same publication may well succeed later: throttled, unreachable, or still on its way.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Call(call) => matches!(call.kind, Kind::Throttled | Kind::Unreachable),
            Self::TimedOut { .. } => true,
            _ => false,
        }
    }

    /// True if what was made is left for another try: that would go on where this one stopped, and taking it back
    /// would fail for the same reason.
    pub fn leaves_open(&self) -> bool {
        self.is_temporary() || matches!(self, Self::Call(call) if call.kind == Kind::Credentials)
    }
}

/// Each on a line of its own, below what comes before.
fn lines(tail: &[String]) -> String {
    if tail.is_empty() { String::new() } else { format!("\n  {}", tail.join("\n  ")) }
}

/// A publication that failed, and what became of the resources it had made.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub cause: Error,
    /// What had been made and is gone again.
    pub removed: Vec<String>,
    /// What is still there: the id, and the command that removes it.
    pub left: Vec<(String, String)>,
}

impl Failure {
    /// Everything stays as it is, for another try.
    pub(crate) fn open(cause: Error, journal: &Journal) -> Self {
        let remedy = "go on with 'kiln resume', or remove it with 'kiln abort'";
        let named = |thing: &Thing| {
            Some((format!("{} {}", thing.what.slot(), thing.id.as_ref()?), remedy.to_owned()))
        };
        Self { cause, removed: Vec::new(), left: journal.things().iter().filter_map(named).collect() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cause = self.cause.to_string();
        write!(f, "{cause}")?;
        // What quotes a builder's output ends with its lines.
        let then = if cause.contains('\n') { "\n" } else { "; " };
        if !self.removed.is_empty() {
            write!(f, "{then}removed {}", self.removed.join(", "))?;
        }
        for (id, remedy) in &self.left {
            write!(f, "{then}{id} is left in the account: {remedy}")?;
        }
        Ok(())
    }
}

// Its text holds the cause's: a source would print it twice.
impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(cause: Error) -> Self {
        Self { cause, removed: Vec::new(), left: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_is_gone_and_what_is_left() {
        let failure = Failure {
            cause: Error::Interrupted,
            removed: vec!["image ami-1".to_owned()],
            left: vec![("snapshot snap-1".to_owned(), "aws ec2 delete-snapshot".to_owned())],
        };
        assert_eq!(
            failure.to_string(),
            "interrupted; removed image ami-1; snapshot snap-1 is left in the account: aws ec2 delete-snapshot"
        );
    }
}
