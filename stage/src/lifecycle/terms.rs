//! The words of the lifecycle: states, transitions, results, hooks.

use std::time::Duration;

/// Where an instance is, in AWS's own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Launching, or on its way back from the warm pool or from standby.
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
    /// Launching into the warm pool, or leaving its target groups on the way back there.
    WarmedPending(Pool),
    /// Held by launch hooks; on the way back from service by terminate hooks.
    WarmedPendingWait(Pool),
    /// Hooks are done, EC2 is stopping or hibernating it.
    WarmedPendingProceed(Pool),
    /// In the pool.
    Warmed(Pool),
    /// Chosen to go out of the pool for good.
    WarmedTerminating,
    /// Held by terminate hooks.
    WarmedTerminatingWait,
    /// Terminate hooks are done, EC2 is powering it off.
    WarmedTerminatingProceed,
    /// Gone, and never was in service since.
    WarmedTerminated,
    /// An operator wants it out of service; the group takes it out of its target groups.
    EnteringStandby,
    /// Out of service, still in the group.
    Standby,
    /// An operator takes it out of the group; it leaves the group's target groups.
    Detaching,
    /// No member of the group any more.
    Detached,
    /// An instance refresh replaces its root volume; the group takes it out of its target groups.
    ReplacingRootVolume,
    /// Held by terminate hooks.
    ReplacingRootVolumeWait,
    /// EC2 replaces the volume and boots the instance from it.
    ReplacingRootVolumeProceed,
    /// The new root runs; launch hooks come next.
    RootVolumeReplaced,
}

/// How the warm pool keeps its instances: `PoolState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// Powered off.
    Stopped,
    /// Running.
    Running,
    /// Its memory is on disk.
    Hibernated,
}

impl Pool {
    /// The name of the state, in API replies and as a target lifecycle state.
    pub fn name(self) -> &'static str {
        match self {
            Pool::Stopped => "Warmed:Stopped",
            Pool::Running => "Warmed:Running",
            Pool::Hibernated => "Warmed:Hibernated",
        }
    }
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
            State::WarmedPending(_) => "Warmed:Pending",
            State::WarmedPendingWait(_) => "Warmed:Pending:Wait",
            State::WarmedPendingProceed(_) => "Warmed:Pending:Proceed",
            State::Warmed(pool) => pool.name(),
            State::WarmedTerminating => "Warmed:Terminating",
            State::WarmedTerminatingWait => "Warmed:Terminating:Wait",
            State::WarmedTerminatingProceed => "Warmed:Terminating:Proceed",
            State::WarmedTerminated => "Warmed:Terminated",
            State::EnteringStandby => "EnteringStandby",
            State::Standby => "Standby",
            State::Detaching => "Detaching",
            State::Detached => "Detached",
            State::ReplacingRootVolume => "ReplacingRootVolume",
            State::ReplacingRootVolumeWait => "ReplacingRootVolume:Wait",
            State::ReplacingRootVolumeProceed => "ReplacingRootVolume:Proceed",
            State::RootVolumeReplaced => "RootVolumeReplaced",
        }
    }

    /// IMDS's `autoscaling/target-lifecycle-state`; absent (404) just after launch. It names the next of the steady states
    /// that are documented, and none of them speaks of the root volume: the instance is bound for service.
    pub fn target(self) -> Option<&'static str> {
        match self {
            State::Pending => None,
            State::PendingWait
            | State::PendingProceed
            | State::InService
            | State::ReplacingRootVolume
            | State::ReplacingRootVolumeWait
            | State::ReplacingRootVolumeProceed
            | State::RootVolumeReplaced => Some("InService"),
            State::WarmedPending(pool)
            | State::WarmedPendingWait(pool)
            | State::WarmedPendingProceed(pool)
            | State::Warmed(pool) => Some(pool.name()),
            State::EnteringStandby | State::Standby => Some("Standby"),
            State::Detaching | State::Detached => Some("Detached"),
            State::WarmedTerminating
            | State::WarmedTerminatingWait
            | State::WarmedTerminatingProceed
            | State::WarmedTerminated => Some("Warmed:Terminated"),
            State::Terminating | State::TerminatingWait | State::TerminatingProceed | State::Terminated => {
                Some("Terminated")
            }
        }
    }

    /// Whether it is on its way out for good, or out.
    pub fn going(self) -> bool {
        matches!(self.target(), Some("Terminated" | "Warmed:Terminated"))
    }

    /// Whether it is gone.
    pub fn gone(self) -> bool {
        matches!(self, State::Terminated | State::WarmedTerminated)
    }

    /// Whether the warm pool has it, or is taking it in or out for good.
    pub fn pooled(self) -> bool {
        matches!(
            self,
            State::WarmedPending(_)
                | State::WarmedPendingWait(_)
                | State::WarmedPendingProceed(_)
                | State::Warmed(_)
                | State::WarmedTerminating
                | State::WarmedTerminatingWait
                | State::WarmedTerminatingProceed
                | State::WarmedTerminated
        )
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
    /// `NotificationTargetARN`: the queue or topic that is told when it holds an instance.
    pub notifies: Option<String>,
}

impl Hook {
    /// `GlobalTimeout`: the most that heartbeats can reach, min(48 h, 100 heartbeat timeouts).
    pub fn global(&self) -> Duration {
        (self.heartbeat * 100).min(Duration::from_hours(48))
    }
}
