//! The rows of the status: what happened, targets, checks, what is counted and what is measured.

use serde::{Deserialize, Serialize};

/// One line of the timeline.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// Wall time, RFC 3339.
    pub at: String,
    /// What happened.
    pub what: String,
}

/// One row of a target group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetRow {
    /// ARN of the group.
    pub group: String,
    /// The target: an instance id or an address.
    pub id: String,
    /// The port.
    pub port: Option<i32>,
    /// The zone, where the row has one.
    pub zone: Option<String>,
    /// ELB's state of it.
    pub state: String,
    /// ELB's reason for the state, such as `Target.NotInUse`; `None` where it gives none.
    pub reason: Option<String>,
}

/// One health check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckRow {
    /// Its name.
    pub name: String,
    /// By its thresholds; `None` until they were reached.
    pub healthy: Option<bool>,
    /// What the last failure said, while it fails.
    pub error: Option<String>,
    /// How long the last answer took, in milliseconds.
    pub elapsed_ms: u64,
}

/// How a call of AWS ended, its retries included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallEnd {
    /// 2xx.
    Ok,
    /// 4xx: denied, throttled, or wrong.
    Refused,
    /// 5xx.
    Failed,
    /// No answer, or no credentials to ask with.
    Silent,
}

impl CallEnd {
    /// All of them, in the order of their seriousness.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Failed, Self::Silent];

    /// The name in metrics and in the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Silent => "silent",
        }
    }
}

/// The calls of one operation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRow {
    /// 2xx.
    pub ok: u64,
    /// 4xx.
    pub refused: u64,
    /// 5xx.
    pub failed: u64,
    /// Without an answer.
    pub silent: u64,
    /// How the last one ended.
    pub last: Option<CallEnd>,
}

impl CallRow {
    /// Counts one; says whether it ended otherwise than the one before.
    pub fn count(&mut self, ended: CallEnd) -> bool {
        *self.of_mut(ended) += 1;
        self.last.replace(ended) != Some(ended)
    }

    /// How many ended so.
    pub fn of(mut self, ended: CallEnd) -> u64 {
        *self.of_mut(ended)
    }

    fn of_mut(&mut self, ended: CallEnd) -> &mut u64 {
        match ended {
            CallEnd::Ok => &mut self.ok,
            CallEnd::Refused => &mut self.refused,
            CallEnd::Failed => &mut self.failed,
            CallEnd::Silent => &mut self.silent,
        }
    }
}

/// The requests to the metadata service, since the agent's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImdsRow {
    /// Requests sent, those for tokens included.
    pub requests: u64,
    /// Those without an answer, or with another than 200, 404, and a 401 that led to a fresh token.
    pub errors: u64,
}

/// The metrics' state.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Shares of the last sample, in percent of all CPUs.
    pub cpu: Cpu,
    /// Memory in use.
    #[serde(default)]
    pub memory: Option<Space>,
    /// The root file system's use.
    #[serde(default)]
    pub disk: Option<Space>,
    /// Datums waiting.
    pub backlog: u64,
    /// What they take of the agent's memory.
    #[serde(default)]
    pub backlog_bytes: u64,
    /// Datums sent.
    pub sent: u64,
    /// Datums dropped: refused, or too old for the buffer.
    pub dropped: u64,
}

/// How the CPUs spent their time, in percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Everything but idle and iowait.
    pub utilization: f64,
    /// User code, niced included.
    pub user: f64,
    /// The kernel, interrupts included.
    pub system: f64,
    /// Idle while a disk was waited for.
    pub iowait: f64,
    /// Wanted, and given to another guest.
    pub steal: f64,
}

/// How much of something is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// In use.
    pub used_bytes: u64,
    /// All that there is to use.
    pub total_bytes: u64,
}

impl Space {
    /// The share in use, in percent; `None` when there is nothing to use.
    pub fn percent(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "a percentage of bytes needs no exact bytes")]
        let share = self.used_bytes as f64 * 100.0 / self.total_bytes as f64;
        (self.total_bytes > 0).then(|| share.clamp(0.0, 100.0))
    }
}
