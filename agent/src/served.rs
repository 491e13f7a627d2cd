//! Whether the instance was in service before this boot: a mark on the disk, keyed by the instance's id.
//!
//! ```text
//!  bound for service ─▶ marked ─▶ back in the pool ─▶ unmarked            a boot finds the mark ─▶ Event::Served
//! ```
//!
//! Into the pool the launch hook waits in `Warmed:Pending:Wait`, and on the way back to it the terminate hook does, both on
//! the way to one target state. The life knows which, and lies on a tmpfs: a machine that reboots on its way back knows by
//! this mark alone. One that is out of date costs a drain with nothing in it: the states tell what is owed.

use crate::board::Board;
use crate::durable;
use crate::group::Group;
use crate::lifecycle::Event;
use crate::pauses::Pauses;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Where the mark lies under a root.
pub const PATH: &str = "var/lib/kiln/agent/served.json";
/// First and longest pause until the instance's id is known.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    instance_id: String,
}

/// The mark, and what it ought to be.
#[derive(Debug)]
pub struct Served {
    path: PathBuf,
    board: Board,
    kept: Mutex<Kept>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    wanted: bool,
    instance_id: Option<String>,
}

impl Served {
    /// The mark under `root`, whosever it is.
    pub fn new(root: &Path, board: Board) -> Self {
        Self { path: root.join(PATH), board, kept: Mutex::default(), wanted: Notify::new() }
    }

    /// What the life says, before it is recorded: a life that is back in the pool never finds its mark again.
    pub fn set(&self, served: bool) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut kept.wanted, served) == served {
            return;
        }
        self.wanted.notify_one();
        match (served, &kept.instance_id) {
            (true, Some(id)) => self.note(write(&self.path, id)),
            // Written when it is known whose it is.
            (true, None) => {}
            (false, _) => self.note(durable::remove(&self.path)),
        }
    }

    /// Finds out whose the mark is, and tells `events` of one that was left by this instance before its boot. Another's,
    /// which came along in an image of its disk, is removed. Without a mark, and nothing to mark, nobody is asked.
    pub async fn claim(&self, group: &Group, events: &mpsc::Sender<Event>) {
        if !self.path.exists() {
            self.wanted.notified().await;
        }
        let mut pauses = Pauses::new(PAUSES.0, PAUSES.1);
        let id = loop {
            match group.instance_id().await {
                Ok(id) => break id,
                Err(error) => tracing::debug!(reason = %error, "instance id not read, asking again"),
            }
            tokio::time::sleep(pauses.next_pause()).await;
        };
        if self.settle(id) {
            // The loop listens for as long as the process lives.
            let _ = events.send(Event::Served).await;
        }
    }

    /// Whether the mark is of this instance.
    fn settle(&self, id: &str) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.instance_id = Some(id.to_owned());
        let ours = read(&self.path).is_some_and(|mark| mark.instance_id == id);
        match (ours, kept.wanted) {
            (true, _) => {}
            (false, true) => self.note(write(&self.path, id)),
            (false, false) => self.note(durable::remove(&self.path)),
        }
        ours
    }

    /// Only a reboot on the way back to a warm pool would ask for a mark that is not there.
    fn note(&self, written: io::Result<()>) {
        let error = written.err().map(|error| format!("failed to change {PATH}: {error}"));
        if self.board.error("served", error.as_deref()) && error.is_some() {
            tracing::warn!(reason = error, "mark of service not changed");
        }
    }
}

/// The mark, whosever it is; none when it makes no sense.
fn read(path: &Path) -> Option<Document> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, id: &str) -> io::Result<()> {
    let document = Document { instance_id: id.to_owned() };
    durable::write(path, &serde_json::to_vec(&document)?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Fake, metadata};

    #[tokio::test]
    async fn a_boot_finds_the_mark_of_its_own_instance_and_of_no_other() {
        let root = tempfile::tempdir().expect("a folder for the mark");
        let path = root.path().join(PATH);
        assert_eq!(boot(root.path(), "i-0abc", &[true]).await, 0, "the first boot finds none");
        assert_eq!(boot(root.path(), "i-0abc", &[]).await, 1);
        assert!(path.exists(), "and it is there until the instance is back in the pool");
        // An image of the disk.
        assert_eq!(boot(root.path(), "i-0def", &[]).await, 0);
        assert!(!path.exists());
        assert_eq!(boot(root.path(), "i-0def", &[true]).await, 0);
        assert_eq!(boot(root.path(), "i-0def", &[true, false]).await, 1);
        assert!(!path.exists(), "it is back in the pool");
    }

    #[tokio::test]
    async fn a_mark_without_sense_is_none() {
        let root = tempfile::tempdir().expect("a folder for the mark");
        let path = root.path().join(PATH);
        for bytes in ["", "{\"instance_id\":", "[]", "{\"instance_id\":7}", "\0\u{fffd}"] {
            durable::write(&path, bytes.as_bytes(), 0o600).expect("the folder is ours");
            assert_eq!(boot(root.path(), "i-0abc", &[]).await, 0, "{bytes}");
            assert!(!path.exists(), "{bytes}");
        }
    }

    #[tokio::test]
    async fn an_instance_that_is_in_no_group_is_not_asked_who_it_is() {
        let root = tempfile::tempdir().expect("a folder for the mark");
        let fake = Fake::start(|asked, _| metadata(asked, &[("meta-data/instance-id", "i-0abc")])).await;
        let board = fake::board();
        let (group, mark) = (fake::group(&fake, &board), Served::new(root.path(), board));
        let (events, _) = mpsc::channel(1);
        let mut claim = std::pin::pin!(mark.claim(&group, &events));
        assert!(futures_util::poll!(&mut claim).is_pending());
        assert!(fake.asked().is_empty());
        mark.set(true);
        claim.await;
        assert!(root.path().join(PATH).exists(), "written once it is known whose it is");
    }

    /// A process whose life says `served` in turn; how many marks it was told of.
    async fn boot(root: &Path, id: &'static str, served: &[bool]) -> usize {
        let fake = Fake::start(move |asked, _| metadata(asked, &[("meta-data/instance-id", id)])).await;
        let board = fake::board();
        let (group, mark) = (fake::group(&fake, &board), Served::new(root, board));
        let (events, mut heard) = mpsc::channel(1);
        if let Some(first) = served.first() {
            mark.set(*first);
        }
        if mark.path.exists() || !served.is_empty() {
            mark.claim(&group, &events).await;
        }
        for served in served {
            mark.set(*served);
        }
        drop(events);
        usize::from(heard.recv().await.is_some())
    }
}
