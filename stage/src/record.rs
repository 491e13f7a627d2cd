//! The request log: everything that the instance asked of IMDS and the AWS APIs, with the state it was in.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Seconds since the play began.
    pub at: f64,
    /// `imds`, `autoscaling`, `elasticloadbalancing` or `monitoring` (the names that AWS signs with).
    pub service: String,
    /// The API's action (`CompleteLifecycleAction`), or method and path for IMDS.
    pub action: String,
    /// The instance that asked, by its address; `None` for a stranger.
    pub instance: Option<String>,
    /// Its lifecycle state at that moment (`Terminating:Wait`).
    pub state: Option<String>,
    /// The parameters as sent: flat query keys, or the decoded CBOR document.
    pub parameters: Value,
    /// HTTP status of the reply.
    pub status: u16,
    /// The error's code and message, empty on success.
    pub error: String,
    /// What the stage looked at in the moment of the request, such as `healthz`.
    pub notes: BTreeMap<String, Value>,
}

impl Request {
    /// A parameter of a query API call; `None` when it was not sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).and_then(Value::as_str)
    }

    /// Whether the reply was a success.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The log of one play.
#[derive(Debug, Default)]
pub struct Record {
    requests: Mutex<Vec<Request>>,
}

impl Record {
    /// Adds a request.
    pub fn add(&self, request: Request) {
        self.writer().push(request);
    }

    /// The log, to write to: who reads it waits for an answer that is being worked out, and so never sees the effect of
    /// a request without the request.
    pub(crate) fn writer(&self) -> MutexGuard<'_, Vec<Request>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of all so far.
    pub fn all(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A duration as seconds with three decimals, as all times of the record are.
pub(crate) fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
