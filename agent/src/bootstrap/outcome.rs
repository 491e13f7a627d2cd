//! Word of a bootstrap, in `/run/kiln/bootstrap.json`: written by the one process, awaited by the other.

use crate::board::Board;
use crate::durable;
use crate::lifecycle::{Event, Phase};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// Where it lies under a root.
pub const PATH: &str = "run/kiln/bootstrap.json";
/// Time between two looks; a small file on a tmpfs, for the length of a boot.
const POLL: Duration = Duration::from_millis(250);

/// How far a bootstrap has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has begun.
    Running,
    /// It has done what was to be done.
    Ok,
    /// It has failed.
    Failed,
}

/// The document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// How it went.
    pub outcome: Outcome,
    /// Why it failed.
    pub reason: Option<String>,
    /// The instance.
    pub instance_id: Option<String>,
    /// Whether a script was run, rather than found empty or run before.
    pub ran: bool,
    /// The script's exit code, when it was not 0.
    pub exit_code: Option<i32>,
    /// Start, RFC 3339.
    pub started: String,
    /// Length in milliseconds.
    pub elapsed_ms: u64,
}

impl Report {
    pub(super) fn begun() -> Self {
        Self {
            outcome: Outcome::Running,
            reason: None,
            instance_id: None,
            ran: false,
            exit_code: None,
            started: crate::clock::wall_time(),
            elapsed_ms: 0,
        }
    }

    pub(super) fn write(&self, root: &Path) -> std::io::Result<()> {
        durable::write(&root.join(PATH), &serde_json::to_vec(self)?, 0o644)
    }

    /// Reads it; `None` while there is none that can be read.
    pub fn read(root: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(root.join(PATH)).ok()?).ok()
    }
}

/// Waits for the end of the bootstrap and tells the lifecycle; a failed one may be run again by hand, so the watch
/// goes on for as long as the instance has not been bootstrapped. The lifecycle bounds the wait.
pub async fn watch(root: &Path, board: Board, events: mpsc::Sender<Event>) {
    let mut told = None;
    while board.lock().phase == Phase::Bootstrapping {
        if let Some(report) = Report::read(root)
            && told != Some(report.outcome)
        {
            told = Some(report.outcome);
            if report.outcome != Outcome::Running {
                board.lock().failure_detail = report.reason;
                let ok = report.outcome == Outcome::Ok;
                board.note(if ok { "bootstrap succeeded" } else { "bootstrap failed" });
                if events.send(Event::Bootstrapped { ok }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
