//! What the agent asks of others, counted: calls of AWS and requests to the metadata service.

use serde::{Deserialize, Serialize};

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
