//! The targets that this agent took out of their groups itself: on disk before each call, so that exactly those can be
//! put back, even by the next agent, and after a reboot.

use crate::board::TargetRow;
use crate::durable;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the list lies under a root; on the disk, unlike the life: nobody else registers again what a shutdown took out.
pub const PATH: &str = "var/lib/kiln/agent/left.json";

/// A target: what `DeregisterTargets` and `RegisterTargets` name it by, and in which group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Target {
    /// ARN of the target group.
    pub(super) group: String,
    /// An instance id or an address.
    pub(super) id: String,
    /// The port; `None` takes the group's.
    pub(super) port: Option<i32>,
    /// The zone, where the registration names one.
    pub(super) zone: Option<String>,
}

impl From<&TargetRow> for Target {
    fn from(row: &TargetRow) -> Self {
        Self { group: row.group.clone(), id: row.id.clone(), port: row.port, zone: row.zone.clone() }
    }
}

/// The list, in memory and on disk.
#[derive(Debug)]
pub(super) struct Left {
    path: PathBuf,
    kept: Mutex<Document>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Document {
    instance_id: String,
    targets: Vec<Target>,
}

impl Left {
    /// The list under `root`, whosever it is; empty when it makes no sense.
    pub(super) fn new(root: &Path) -> Self {
        let path = root.join(PATH);
        let kept = read(&path).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), reason = %error, "list of deregistered targets not usable, it begins anew");
            Document::default()
        });
        Self { path, kept: Mutex::new(kept) }
    }

    /// Whether nothing is to be put back, as far as is known before [`Left::claim`].
    pub(super) fn is_empty(&self) -> bool {
        self.lock().targets.is_empty()
    }

    /// Says whose list it is to be. Another instance's, which came along in an image of its disk, is removed.
    pub(super) fn claim(&self, instance_id: &str) -> io::Result<()> {
        let mut kept = self.lock();
        if kept.instance_id == instance_id {
            return Ok(());
        }
        *kept = Document { instance_id: instance_id.to_owned(), targets: Vec::new() };
        durable::remove(&self.path)
    }

    /// What is to be put back, in order.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.lock().targets.clone()
    }

    /// Adds targets that are about to be deregistered.
    pub(super) fn add(&self, targets: &[Target]) -> io::Result<()> {
        self.change(|kept| kept.extend_from_slice(targets))
    }

    /// Forgets the targets of all groups for which `keep` says no.
    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) -> io::Result<()> {
        self.change(|kept| kept.retain(|target| keep(&target.group)))
    }

    fn change(&self, how: impl FnOnce(&mut Vec<Target>)) -> io::Result<()> {
        let mut kept = self.lock();
        let before = kept.targets.clone();
        how(&mut kept.targets);
        kept.targets.sort();
        kept.targets.dedup();
        if kept.targets == before {
            return Ok(());
        }
        if kept.targets.is_empty() {
            return durable::remove(&self.path);
        }
        durable::write(&self.path, &serde_json::to_vec(&*kept)?, 0o600)
    }

    fn lock(&self) -> MutexGuard<'_, Document> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an agent on this disk deregistered targets that may have to be put back.
pub fn owed(root: &Path) -> bool {
    !Left::new(root).is_empty()
}

fn read(path: &Path) -> io::Result<Document> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Document::default()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_agent_finds_the_list_and_an_empty_one_leaves_no_file() {
        let root = tempfile::tempdir().expect("a folder for the list");
        let left = claimed(root.path());
        assert_eq!(left.targets(), []);
        left.add(&[target("web", 81), target("web", 80)]).expect("the folder is ours");
        left.add(&[target("api", 80), target("web", 80)]).expect("the folder is ours");
        let all = [target("api", 80), target("web", 80), target("web", 81)];
        assert_eq!(left.targets(), all);
        assert_eq!(claimed(root.path()).targets(), all);

        left.retain(|group| group == "api").expect("the folder is ours");
        assert_eq!(claimed(root.path()).targets(), all[..1]);
        left.retain(|_| false).expect("the folder is ours");
        assert!(!root.path().join(PATH).exists());
    }

    #[test]
    fn a_list_of_another_instance_or_of_no_sense_is_not_put_back() {
        let root = tempfile::tempdir().expect("a folder for the list");
        let other = Left::new(root.path());
        other.claim("i-0def").expect("the folder is ours");
        other.add(&[target("web", 80)]).expect("the folder is ours");
        let ours = claimed(root.path());
        assert_eq!(ours.targets(), []);
        assert!(ours.is_empty() && !root.path().join(PATH).exists(), "it came along in an image");
        for bytes in [
            "",
            "{\"instance_id\":",
            "[]",
            "{\"instance_id\":7,\"targets\":[]}",
            "{\"targets\":{}}",
            "\0\u{fffd}",
        ] {
            std::fs::write(root.path().join(PATH), bytes).expect("the folder is ours");
            assert!(Left::new(root.path()).is_empty(), "{bytes}");
            assert_eq!(claimed(root.path()).targets(), [], "{bytes}");
        }
    }

    /// As the agent on `i-0abc` has it, once the metadata service has said its id.
    fn claimed(root: &Path) -> Left {
        let left = Left::new(root);
        left.claim("i-0abc").expect("the folder is ours");
        left
    }

    fn target(group: &str, port: i32) -> Target {
        Target { group: group.to_owned(), id: "i-0abc".to_owned(), port: Some(port), zone: None }
    }
}
