//! What a play leaves behind: its timeline, promises, requests and figures, for people and for `rehearsal.json`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::load::LoadSummary;
use crate::record::Request;

/// Called with each event as it happens, from any thread; it must not block for long.
pub type Observer = Arc<dyn Fn(&Event) + Send + Sync>;

/// Whose doing an event of the timeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The stand-in for AWS: states, targets, the balancer, the play itself.
    Stage,
    /// The instance: its agent's calls, its boot, its power.
    Agent,
    /// The users: the load generator.
    Load,
}

impl Who {
    /// The name in logs and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Who::Stage => "stage",
            Who::Agent => "agent",
            Who::Load => "load",
        }
    }
}

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Seconds since the play began.
    pub at: f64,
    /// Whose doing it is.
    pub who: Who,
    /// One line, no full stop.
    pub text: String,
}

/// One promise of the scenario and whether it was kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    /// What is promised, as a sentence.
    pub promise: String,
    /// Whether it was kept; one that the life did not come to was not.
    pub kept: bool,
    /// Whether the life came that far: one that it did not reach is no cause of a broken verdict, but its consequence.
    pub reached: bool,
    /// What was seen: numbers and times, or what went wrong.
    pub evidence: String,
}

/// The end of a play.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise was kept.
    Kept,
    /// At least one promise was broken.
    Broken,
}

/// What was asked of the instance at a moment of its life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Seconds since the play began.
    pub at: f64,
    /// The moment: `serving`, `draining`, `drained` or `failed`.
    pub moment: String,
    /// HTTP status of `GET /healthz` through the instance's nginx; `None` when nothing answered.
    pub healthz: Option<u16>,
    /// HTTP status of the agent's own `GET /readyz`, asked inside the instance; `None` when nothing answered.
    pub readyz: Option<u16>,
    /// `kiln-agent status --json`, parsed; its text where it is no JSON, or null where it could not be run.
    pub status: Value,
}

/// A whole play: what `rehearsal.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// The scenario: `life`.
    pub scenario: String,
    /// What was rehearsed, in the caller's words (image name and digest).
    pub subject: String,
    /// Start of the play, RFC 3339, UTC.
    pub started_at: String,
    /// Length of the play in seconds.
    pub seconds: f64,
    /// Whether every promise was kept.
    pub verdict: Verdict,
    /// The promises in the order of the life.
    pub promises: Vec<Promise>,
    /// Named figures: `boot_to_ready_s`, `notice_to_drained_s`, `poweroff_s` … in the unit their name ends with.
    pub figures: BTreeMap<String, f64>,
    /// What users saw.
    pub load: LoadSummary,
    /// The instance's own words at moments of its life.
    pub snapshots: Vec<Snapshot>,
    /// What happened, in order.
    pub timeline: Vec<Event>,
    /// Every request that the instance sent to IMDS and to the AWS APIs, in order.
    pub requests: Vec<Request>,
    /// The last lines of the instance's journal (of its console where it has no journal); only of a broken play.
    pub journal_tail: Vec<String>,
}

impl Rehearsal {
    /// The promises that were broken, without those that the life did not come to.
    pub fn broken(&self) -> impl Iterator<Item = &Promise> {
        self.promises.iter().filter(|promise| !promise.kept && promise.reached)
    }

    /// Requests of one action, such as `CompleteLifecycleAction`.
    pub fn requests_of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a Request> {
        self.requests.iter().filter(move |request| request.action == action)
    }
}
