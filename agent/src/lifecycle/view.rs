//! What others may know of a life.

use super::{Ended, Failure, Hook, HookStep, Lifecycle, Notice, Phase, Place};
use crate::clock::Moment;

impl Lifecycle {
    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the phase was entered.
    pub fn since(&self) -> Moment {
        self.since
    }

    /// When the phase gives up, or ends at the latest: a boot's, a launch's, a drain's deadline.
    pub fn until(&self) -> Option<Moment> {
        match self.phase {
            Phase::Bootstrapping | Phase::Warming => self.launch_limit(),
            Phase::Draining => self.deadline,
            Phase::Drained => self.leave_by,
            Phase::Serving | Phase::Warmed | Phase::Standby => None,
        }
    }

    /// Whether new requests are welcome: what `/readyz` answers.
    pub fn ready(&self) -> bool {
        self.phase == Phase::Serving && self.healthy
    }

    /// Whether the checks pass, by their thresholds.
    pub fn healthy(&self) -> bool {
        self.healthy
    }

    /// What kept the instance from serving.
    pub fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// How far a hook has come.
    pub fn hook(&self, hook: Hook) -> HookStep {
        match hook {
            Hook::Launch => self.launch,
            Hook::Terminate => self.terminate,
        }
    }

    /// Where the instance was bound when the launch hook was answered.
    pub fn launch_for(&self) -> Place {
        self.launch_for
    }

    /// Whether the group has wanted it in service since it was last in the pool.
    pub fn served(&self) -> bool {
        self.served
    }

    /// Whose action of the terminate hook is watched for, or answered.
    pub fn terminate_for(&self) -> Notice {
        self.terminate_for
    }

    /// The notices heard, first to last.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// When the drain ends at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        self.deadline
    }

    /// How the drain ended, once it has.
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }

    /// Whether targets that a drain may have deregistered are yet to be registered again.
    pub fn rejoining(&self) -> bool {
        self.left && !self.phase.is_leaving()
    }
}
