//! Hooks, the answers to them, and how far an answer has come.

use serde::{Deserialize, Serialize};

/// A lifecycle hook's transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`.
    Launch,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`.
    Terminate,
}

impl Hook {
    /// The name in the journal and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Launch => "launch",
            Hook::Terminate => "terminate",
        }
    }

    /// Auto Scaling's name of the transition.
    pub fn transition(self) -> &'static str {
        match self {
            Hook::Launch => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Hook::Terminate => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// The answer to a hook, `LifecycleActionResult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Terminate and replace.
    Abandon,
}

impl Verdict {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Continue => "CONTINUE",
            Verdict::Abandon => "ABANDON",
        }
    }
}

/// How far a hook has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookStep {
    /// Nothing asked of it.
    Idle,
    /// Its wait state is being watched for.
    Watched,
    /// Its wait state was seen.
    Waiting,
    /// Its completion was asked for.
    Asked(Verdict),
    /// No more calls are needed.
    Settled(Settled),
}

impl HookStep {
    /// Whether an answer is still owed.
    pub fn is_open(self) -> bool {
        matches!(self, HookStep::Watched | HookStep::Waiting | HookStep::Asked(_))
    }
}

/// How a hook came to need no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settled {
    /// Auto Scaling took the answer.
    Completed,
    /// No group, no such hook, or the instance had moved on.
    NothingOwed,
    /// The bound ran out, or the call is refused for good.
    GaveUp,
    /// The instance is terminated on its way back to the pool, by the state of what waits: before its notice was heard.
    Superseded,
}
