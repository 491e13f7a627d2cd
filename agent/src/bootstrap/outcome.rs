//! Word of a bootstrap, in `/run/kiln/bootstrap.json`: written by the one process, awaited by the other.

use crate::board::Board;
use crate::clock::{Clock, Moment};
use crate::durable;
use crate::lifecycle::{Event, Phase};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Where it lies under a root.
pub const PATH: &str = "run/kiln/bootstrap.json";
/// Time between two looks; a small file on a tmpfs, for the length of a boot.
const POLL: Duration = Duration::from_millis(250);
/// Time between two reports of a part that does nothing but print. The shortest heartbeat of a hook is 10 s (a third of
/// 30 s, Auto Scaling's least timeout).
const PRINTED: Duration = Duration::from_secs(3);

/// How far a bootstrap has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has begun; one that the machine's end has cut off stays so, and goes on at the next boot.
    Running,
    /// It has done what was to be done.
    Ok,
    /// It has failed.
    Failed,
}

/// How far a part has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its turn has not come.
    #[default]
    Waiting,
    /// It runs.
    Running,
    /// It has done its work in this bootstrap.
    Done,
    /// It had done its work before.
    Earlier,
    /// It has not done its work.
    Failed,
}

/// One part of the user data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartRow {
    /// Its name: `KILN_PART` in the journal.
    pub name: String,
    /// How far it has come.
    pub step: Step,
    /// Its exit code, when it ended by itself.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
    /// Bytes that it printed; the file `output/<name>.log` of the instance's folder keeps the first and the last 32 KiB.
    pub output_bytes: u64,
}

/// The document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// How it went.
    pub outcome: Outcome,
    /// Why it failed, or what it waits for.
    pub reason: Option<String>,
    /// The instance.
    pub instance_id: Option<String>,
    /// Whether anything was run, rather than found empty or done before.
    pub ran: bool,
    /// The exit code of the part that failed.
    pub exit_code: Option<i32>,
    /// Start, RFC 3339.
    pub started: String,
    /// Length in milliseconds.
    pub elapsed_ms: u64,
    /// Grows when a part begins, ends or prints: while it does, the bootstrap advances.
    #[serde(default)]
    pub progress: u64,
    /// When it grew last, on this boot's monotonic clock.
    #[serde(default)]
    pub advanced: Moment,
    /// The longest that the parts may take, in milliseconds, once they are known.
    pub bound_ms: Option<u64>,
    /// The parts, in their order.
    #[serde(default)]
    pub parts: Vec<PartRow>,
}

impl Report {
    fn begun(now: Moment) -> Self {
        Self {
            outcome: Outcome::Running,
            reason: None,
            instance_id: None,
            ran: false,
            exit_code: None,
            started: crate::clock::wall_time(),
            elapsed_ms: 0,
            progress: 0,
            advanced: now,
            bound_ms: None,
            parts: Vec::new(),
        }
    }

    /// Reads it; `None` while there is none that can be read.
    pub fn read(root: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(root.join(PATH)).ok()?).ok()
    }
}

/// Where the report is kept up to date.
#[derive(Debug)]
pub(super) struct Desk {
    path: PathBuf,
    clock: Clock,
    began: Instant,
    report: Mutex<Report>,
}

impl Desk {
    /// Begins a report under `root`.
    pub(super) fn new(root: &Path) -> std::io::Result<Self> {
        let clock = Clock::system();
        let report = Mutex::new(Report::begun(clock.now()));
        let desk = Self { path: root.join(PATH), clock, began: Instant::now(), report };
        desk.write(&desk.report())?;
        Ok(desk)
    }

    /// Changes the report: the bootstrap has advanced.
    pub(super) fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report());
        self.advance();
    }

    fn advance(&self) {
        if let Err(error) = self.leave() {
            // The work goes on; the last word is what counts, and its failure is the bootstrap's.
            tracing::warn!(path = %self.path.display(), reason = %error, "report not written");
        }
    }

    /// [`Desk::change`] for the last time; gives the report back.
    pub(super) fn end(&self, change: impl FnOnce(&mut Report)) -> std::io::Result<Report> {
        change(&mut self.report());
        self.leave()
    }

    fn leave(&self) -> std::io::Result<Report> {
        let mut report = self.report();
        report.progress += 1;
        report.advanced = self.clock.now();
        report.elapsed_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.write(&report)?;
        Ok(report.clone())
    }

    /// A part has printed something.
    pub(super) fn printed(&self) {
        let last = self.report().advanced;
        if self.clock.now().since(last) >= PRINTED {
            self.advance();
        }
    }

    fn write(&self, report: &Report) -> std::io::Result<()> {
        durable::write(&self.path, &serde_json::to_vec(report)?, 0o644)
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the end of the bootstrap and tells the lifecycle; a failed one may be run again by hand, so the watch
/// goes on for as long as the instance has not been bootstrapped, whatever the phase: a drain may be taken back. The
/// lifecycle bounds the wait.
///
/// `outdated` is asked when the settings may have changed: once the parts are known and once they have ended. It says
/// whether the agent that asks is about to be replaced by one that goes by them, which will tell its own lifecycle.
pub async fn watch(
    root: &Path,
    board: Board,
    events: mpsc::Sender<Event>,
    outdated: impl Fn(&Report) -> bool,
) {
    let (mut told, mut asked) = (None, None);
    while told != Some(Outcome::Ok) {
        if let Some(report) = Report::read(root)
            && board.lock().bootstrap.as_ref() != Some(&report)
        {
            let outcome = report.outcome;
            let settings = (outcome, report.bound_ms);
            if report.bound_ms.is_some() && asked.replace(settings) != Some(settings) && outdated(&report) {
                return;
            }
            {
                let mut status = board.lock();
                status.bootstrap = Some(report.clone());
                if status.phase == Phase::Bootstrapping {
                    // What keeps the launch hook alive: a part has ended, or has printed something.
                    status.advanced = Some(Instant::now());
                }
            }
            if told.replace(outcome) != Some(outcome) && outcome != Outcome::Running {
                board.lock().failure_detail = report.reason;
                let ok = outcome == Outcome::Ok;
                board.note(if ok { "bootstrap succeeded" } else { "bootstrap failed" });
                if events.send(Event::Bootstrapped { ok }).await.is_err() {
                    return;
                }
            }
        }
        tokio::time::sleep(POLL).await;
    }
}
