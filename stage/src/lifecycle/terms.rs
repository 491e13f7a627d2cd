//! The words of the lifecycle: states, transitions, results, hooks.

use std::time::Duration;

/// Where an instance is, in AWS's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Launching.
    Pending,
    /// Held by launch hooks.
    PendingWait,
    /// Launch hooks are done, registration with the target groups is under way.
    PendingProceed,
    /// Counted as capacity.
    InService,
    /// Chosen to go; the group takes it out of its target groups.
    Terminating,
    /// Held by terminate hooks.
    TerminatingWait,
    /// Terminate hooks are done, EC2 is powering it off.
    TerminatingProceed,
    /// Gone.
    Terminated,
}

impl State {
    /// The name in API replies.
    pub fn name(self) -> &'static str {
        match self {
            State::Pending => "Pending",
            State::PendingWait => "Pending:Wait",
            State::PendingProceed => "Pending:Proceed",
            State::InService => "InService",
            State::Terminating => "Terminating",
            State::TerminatingWait => "Terminating:Wait",
            State::TerminatingProceed => "Terminating:Proceed",
            State::Terminated => "Terminated",
        }
    }

    /// IMDS's `autoscaling/target-lifecycle-state`; absent (404) just after launch.
    pub fn target(self) -> Option<&'static str> {
        match self {
            State::Pending => None,
            State::PendingWait | State::PendingProceed | State::InService => Some("InService"),
            _ => Some("Terminated"),
        }
    }

    /// Whether it is on its way out, or out.
    pub(super) fn going(self) -> bool {
        self.target() == Some("Terminated")
    }
}

/// Which way a hook holds instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`
    Launching,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`
    Terminating,
}

impl Transition {
    /// The name in API replies.
    pub fn name(self) -> &'static str {
        match self {
            Transition::Launching => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Transition::Terminating => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// How an action was completed, or is by default when nobody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionResult {
    /// Go on.
    Continue,
    /// Launching: terminate it. Terminating: go on, without the other hooks.
    Abandon,
}

impl ActionResult {
    /// The name in API calls.
    pub fn name(self) -> &'static str {
        match self {
            ActionResult::Continue => "CONTINUE",
            ActionResult::Abandon => "ABANDON",
        }
    }
}

/// A lifecycle hook of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// Its name, unique in the group.
    pub name: String,
    /// Which way it holds instances.
    pub transition: Transition,
    /// `HeartbeatTimeout`: how long it holds without a heartbeat.
    pub heartbeat: Duration,
    /// What happens when that runs out.
    pub default_result: ActionResult,
}

impl Hook {
    /// `GlobalTimeout`: the most that heartbeats can reach, min(48 h, 100 heartbeat timeouts).
    pub fn global(&self) -> Duration {
        (self.heartbeat * 100).min(Duration::from_hours(48))
    }
}
