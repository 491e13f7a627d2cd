//! The targets that this agent took out of their groups itself: on disk before each call, so that exactly those can be
//! put back, even by the next agent.

use crate::clock;
use crate::durable;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Where the list lies under a root; on a tmpfs, as the life itself: after a reboot the group decides anew.
pub const PATH: &str = "run/kiln/agent/left.json";

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

/// The list, in memory and on disk.
#[derive(Debug)]
pub(super) struct Left {
    path: PathBuf,
    boot_id: String,
    targets: Mutex<Vec<Target>>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    boot_id: String,
    targets: Vec<Target>,
}

impl Left {
    /// The list under `root`; empty when it is of another boot, or makes no sense.
    pub(super) fn new(root: &Path) -> Self {
        let (path, boot_id) = (root.join(PATH), clock::boot_id());
        let targets = match read(&path) {
            Ok(Some(found)) if found.boot_id == boot_id => found.targets,
            Ok(_) => Vec::new(),
            Err(error) => {
                let path = path.display();
                tracing::warn!(%path, reason = %error, "list of deregistered targets not usable, it begins anew");
                Vec::new()
            }
        };
        Self { path, boot_id, targets: Mutex::new(targets) }
    }

    /// What is to be put back, in order.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.lock().clone()
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
        let before = kept.clone();
        how(&mut kept);
        kept.sort();
        kept.dedup();
        if *kept == before {
            return Ok(());
        }
        if kept.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let document = Document { boot_id: self.boot_id.clone(), targets: kept.clone() };
        durable::write(&self.path, &serde_json::to_vec(&document)?, 0o600)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Target>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> io::Result<Option<Document>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_agent_finds_the_list_and_an_empty_one_leaves_no_file() {
        let root = tempfile::tempdir().expect("a folder for the list");
        let left = Left::new(root.path());
        assert_eq!(left.targets(), []);
        left.add(&[target("web", 81), target("web", 80)]).expect("the folder is ours");
        left.add(&[target("api", 80), target("web", 80)]).expect("the folder is ours");
        let all = [target("api", 80), target("web", 80), target("web", 81)];
        assert_eq!(left.targets(), all);
        assert_eq!(Left::new(root.path()).targets(), all);

        left.retain(|group| group == "api").expect("the folder is ours");
        assert_eq!(Left::new(root.path()).targets(), all[..1]);
        left.retain(|_| false).expect("the folder is ours");
        assert!(!root.path().join(PATH).exists());
    }

    #[test]
    fn a_list_of_another_boot_or_of_no_sense_is_not_put_back() {
        let root = tempfile::tempdir().expect("a folder for the list");
        let other_boot = Left { boot_id: "another".to_owned(), ..Left::new(root.path()) };
        other_boot.add(&[target("web", 80)]).expect("the folder is ours");
        assert_eq!(Left::new(root.path()).targets(), []);
        for bytes in ["", "{\"boot_id\":", "[]", "{\"boot_id\":7,\"targets\":[]}", "\0\u{fffd}"] {
            std::fs::write(root.path().join(PATH), bytes).expect("the folder is ours");
            assert_eq!(Left::new(root.path()).targets(), [], "{bytes}");
        }
    }

    fn target(group: &str, port: i32) -> Target {
        Target { group: group.to_owned(), id: "i-0abc".to_owned(), port: Some(port), zone: None }
    }
}
