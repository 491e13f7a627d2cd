//! What others may know of a life.

use super::{Failure, Hook, HookStep, Lifecycle, Notice, Phase};
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
            Phase::Bootstrapping => Some(self.started + self.policy.bootstrap_deadline),
            Phase::Warming => Some(self.since + self.policy.ready_deadline),
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

    /// The notices heard, first to last.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// When the drain ends at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        self.deadline
    }
}
