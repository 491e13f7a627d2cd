//! What is known, in memory: written by the steps, read by `/readyz`, `/status` and `/metrics`.

mod rows;

pub use rows::{CallEnd, CallRow, CheckRow, Cpu, Entry, ImdsRow, MetricsRow, Space, TargetRow};

use crate::bootstrap::Report;
use crate::lifecycle::{Ended, Failure, Hook, HookStep, Lifecycle, Notice, Phase, Place, Refusal};
use crate::record::{Line, Story};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Entries kept of the timeline: a whole life has about twenty.
const TIMELINE: usize = 64;

/// The document behind `/status` and `kiln-agent status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The instance, once the metadata service has answered.
    pub instance_id: Option<String>,
    /// The Auto Scaling group, once it was asked for.
    pub group: Option<String>,
    /// The phase.
    pub phase: Phase,
    /// Seconds spent in it.
    pub phase_seconds: u64,
    /// What `/readyz` answers.
    pub ready: bool,
    /// Why it answers so, in a few words.
    pub reason: String,
    /// What kept the instance from serving.
    pub failure: Option<Failure>,
    /// The failure in words.
    pub failure_detail: Option<String>,
    /// The bootstrap's own word of how far it has come, as last read.
    pub bootstrap: Option<Report>,
    /// Seconds until the phase gives up, or ends at the latest.
    pub deadline_seconds: Option<u64>,
    /// What a drain waits for: `targets`, `scripts`, `connections`, `quiet`.
    pub waiting_for: Option<String>,
    /// Seconds since a launch or a drain last advanced.
    pub advanced_seconds: Option<u64>,
    /// When a launch or a drain last advanced; for the heartbeats, which stop when it does not.
    #[serde(skip)]
    pub advanced: Option<tokio::time::Instant>,
    /// How the drain ended, once it has.
    pub drain_ended: Option<Ended>,
    /// Whether targets that a drain deregistered are yet to be registered again.
    pub rejoining: bool,
    /// Drains begun: one that was taken back between two looks has been one all the same.
    #[serde(skip)]
    pub drains: u32,
    /// Why `kiln-agent ready` would not bring a leaving instance back.
    #[serde(skip)]
    pub refusal: Option<Refusal>,
    /// Which action of the launch hook its answer is for.
    #[serde(skip)]
    pub launch_for: Option<Place>,
    /// Whose action of the terminate hook its answer is for.
    #[serde(skip)]
    pub terminate_for: Option<Notice>,
    /// Since when Auto Scaling has been asked and has not answered.
    #[serde(skip)]
    pub silent_since: Option<tokio::time::Instant>,
    /// The hooks, `launch` and `terminate`.
    pub hooks: BTreeMap<String, HookStep>,
    /// The notices heard.
    pub notices: Vec<Notice>,
    /// The target lifecycle state last read.
    pub target_state: Option<String>,
    /// The instance's rows in its target groups, as last read by a drain.
    pub targets: Vec<TargetRow>,
    /// Connections with work in flight, as last counted by a drain.
    pub connections: Option<usize>,
    /// The health checks.
    pub checks: Vec<CheckRow>,
    /// The metrics' backlog.
    pub metrics: MetricsRow,
    /// The calls of AWS by operation, since the agent's start.
    #[serde(default)]
    pub calls: BTreeMap<String, CallRow>,
    /// The requests to the metadata service.
    #[serde(default)]
    pub imds: ImdsRow,
    /// The last error of each part that has one at present.
    pub errors: BTreeMap<String, String>,
    /// What happened, oldest first.
    pub timeline: VecDeque<Entry>,
}

/// The shared board.
#[derive(Debug, Clone)]
pub struct Board {
    status: Arc<Mutex<Status>>,
    /// Told all that the timeline is told, and more; none unless the record is wanted.
    story: Arc<OnceLock<Story>>,
}

impl Board {
    /// A board that knows nothing yet.
    pub fn new(life: &Lifecycle) -> Self {
        let status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: None,
            group: None,
            phase: life.phase(),
            phase_seconds: 0,
            ready: false,
            reason: String::new(),
            failure: None,
            failure_detail: None,
            bootstrap: None,
            deadline_seconds: None,
            waiting_for: None,
            advanced_seconds: None,
            advanced: None,
            drain_ended: None,
            rejoining: false,
            drains: 0,
            refusal: None,
            launch_for: None,
            terminate_for: None,
            silent_since: None,
            hooks: BTreeMap::new(),
            notices: Vec::new(),
            target_state: None,
            targets: Vec::new(),
            connections: None,
            checks: Vec::new(),
            metrics: MetricsRow::default(),
            calls: BTreeMap::new(),
            imds: ImdsRow::default(),
            errors: BTreeMap::new(),
            timeline: VecDeque::new(),
        };
        let board = Self { status: Arc::new(Mutex::new(status)), story: Arc::default() };
        board.record(life, life.since());
        board
    }

    /// The status, to read or to write; held for a moment only, never across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, Status> {
        // Plain data: a writer that panicked left nothing half done.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy.
    pub fn snapshot(&self) -> Status {
        self.lock().clone()
    }

    /// Takes over what the lifecycle says.
    pub fn record(&self, life: &Lifecycle, now: crate::clock::Moment) {
        let mut status = self.lock();
        let before = std::mem::replace(&mut status.phase, life.phase());
        status.drains += u32::from(!before.is_leaving() && life.phase().is_leaving());
        status.phase_seconds = now.since(life.since()).as_secs();
        status.ready = life.ready();
        status.failure = life.failure();
        status.deadline_seconds = life.until().map(|until| until.since(now).as_secs());
        if !life.phase().is_leaving() {
            status.connections = None;
            status.targets.clear();
        }
        if life.phase() != Phase::Draining {
            status.waiting_for = None;
        }
        if !matches!(life.phase(), Phase::Bootstrapping | Phase::Warming | Phase::Draining) {
            status.advanced = None;
        } else if before != life.phase() {
            status.advanced = Some(tokio::time::Instant::now());
        }
        (status.drain_ended, status.rejoining) = (life.ended(), life.rejoining());
        (status.launch_for, status.terminate_for) = (Some(life.launch_for()), Some(life.terminate_for()));
        status.refusal = life.refusal();
        status.advanced_seconds = status.advanced.map(|at| at.elapsed().as_secs());
        status.notices = life.notices().to_vec();
        for hook in [Hook::Launch, Hook::Terminate] {
            status.hooks.insert(hook.name().to_owned(), life.hook(hook));
        }
        status.reason = status.why();
    }

    /// Has all that happens from here on told to `story`.
    pub fn tell_to(&self, story: Story) {
        // A second one would be of the same file.
        let _ = self.story.set(story);
    }

    /// The story's lines after number `after`.
    pub fn story_since(&self, after: u64) -> Vec<Line> {
        let lines = self.story.get().map(|story| story.since(after));
        lines.and_then(Result::ok).unwrap_or_default()
    }

    fn tell(&self, what: &str) {
        if let Some(Err(error)) = self.story.get().map(|story| story.tell(what)) {
            tracing::debug!(reason = %error, "story not told");
        }
    }

    /// Notes that something happened.
    pub fn note(&self, what: impl Into<String>) {
        let what = what.into();
        self.tell(&what);
        let mut status = self.lock();
        if status.timeline.len() == TIMELINE {
            status.timeline.pop_front();
        }
        status.timeline.push_back(Entry { at: crate::clock::wall_time(), what });
    }

    /// Auto Scaling was asked, and has answered or not.
    pub fn heard(&self, answered: bool) {
        let mut status = self.lock();
        if answered {
            status.silent_since = None;
        } else {
            status.silent_since.get_or_insert_with(tokio::time::Instant::now);
        }
    }

    /// Counts a call of AWS; tells it, and says so, when it is `notable` or ended otherwise than the one before.
    pub fn called(&self, call: &str, ended: CallEnd, notable: bool, told: impl FnOnce() -> String) -> bool {
        let changed = {
            let mut status = self.lock();
            // Operations have few names: looked up first, since the name is kept only once.
            match status.calls.get_mut(call) {
                Some(row) => row.count(ended),
                None => status.calls.entry(call.to_owned()).or_default().count(ended),
            }
        };
        if changed || notable {
            self.note(told());
        }
        changed || notable
    }

    /// Sets or clears the error of one part; says whether it is another than before, so that it is logged once.
    pub fn error(&self, part: &str, error: Option<&str>) -> bool {
        let changed = {
            let mut status = self.lock();
            match error {
                None => status.errors.remove(part).is_some(),
                Some(text) => status.errors.insert(part.to_owned(), text.to_owned()).as_deref() != Some(text),
            }
        };
        if changed {
            self.tell(&format!("{part}: {}", error.unwrap_or("well again")));
        }
        changed
    }
}

impl Status {
    /// Why the instance is ready or not, in words for a person.
    fn why(&self) -> String {
        let detail = self.failure_detail.as_deref();
        match (self.failure, self.phase) {
            (Some(Failure::Bootstrap), _) if !self.phase.is_leaving() => {
                format!("bootstrap failed: {}", detail.unwrap_or("it did not end in time"))
            }
            (Some(Failure::Readiness), _) if !self.phase.is_leaving() => {
                format!("launch failed: not ready in time: {}", self.failing_checks())
            }
            (_, Phase::Bootstrapping) => "user data has not run to its end".to_owned(),
            (_, Phase::Warming) => format!("waiting for checks: {}", self.failing_checks()),
            (_, Phase::Serving) if self.ready => "serving".to_owned(),
            (_, Phase::Serving) => format!("checks fail: {}", self.failing_checks()),
            (_, Phase::Warmed) => "in the warm pool".to_owned(),
            (_, Phase::Standby) => {
                format!(
                    "out of service: the group wants it in {}",
                    self.target_state.as_deref().unwrap_or("Standby")
                )
            }
            (_, Phase::Draining) => format!("draining: {}", self.heard()),
            (_, Phase::Drained) => format!("drained: {}", self.heard()),
        }
    }

    fn heard(&self) -> String {
        let names: Vec<_> = self.notices.iter().map(|notice| notice.name()).collect();
        format!("notice from {}", names.join(", "))
    }

    fn failing_checks(&self) -> String {
        let failing = self.checks.iter().filter(|check| check.healthy != Some(true));
        let said: Vec<_> = failing
            .map(|check| match &check.error {
                Some(error) => format!("{}: {error}", check.name),
                None => format!("{}: no answer yet", check.name),
            })
            .collect();
        if said.is_empty() { "none".to_owned() } else { said.join("; ") }
    }
}
