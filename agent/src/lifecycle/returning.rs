//! The way back: an operator's drain is taken back, a machine wakes up, and what was deregistered is registered again.

use super::{Effect, HookStep, Lifecycle, Notice, Phase, Place, Refusal, Settled};
use crate::clock::Moment;

impl Lifecycle {
    /// Why [`super::Event::Ready`] would not bring a leaving instance back.
    pub fn refusal(&self) -> Option<Refusal> {
        let other = self.notices.iter().find(|notice| **notice != Notice::Operator);
        match (other, self.bound()) {
            (Some(other), _) => Some(Refusal::Noticed(*other)),
            (None, Place::Service) => self.abandoned.then_some(Refusal::Abandoned),
            (None, place) => Some(Refusal::Elsewhere(place)),
        }
    }

    pub(super) fn take_back(&mut self, now: Moment) -> Vec<Effect> {
        if !self.phase.is_leaving() || self.refusal().is_some() {
            return Vec::new();
        }
        self.come_back(now)
    }

    /// The machine slept. What EC2 had announced has happened, and what still holds is said again; spans of time that
    /// nothing could use up begin anew.
    pub(super) fn woke(&mut self, now: Moment) -> Vec<Effect> {
        if self.phase.is_leaving() {
            self.notices.retain(|notice| !matches!(notice, Notice::Spot | Notice::Rebalance));
            if self.notices.is_empty() {
                return self.come_back(now);
            }
            self.return_if_due(now);
            return Vec::new();
        }
        if matches!(self.phase, Phase::Bootstrapping | Phase::Warming) {
            (self.started, self.since, self.launch_by) = (now, now, None);
        }
        Vec::new()
    }

    /// From a drain that nobody wants any more: the launch goes on where it was, or the checks are asked again.
    fn come_back(&mut self, now: Moment) -> Vec<Effect> {
        self.notices.clear();
        (self.deadline, self.leave_by, self.ended) = (None, None, None);
        self.terminate = HookStep::Idle;
        (self.failure, self.abandoned, self.launch_by) = (None, false, None);
        if self.launch == HookStep::Settled(Settled::NothingOwed) {
            // The drain stopped the answering: whether one is owed is asked again.
            self.launch = HookStep::Idle;
        }
        self.reopen_launch();
        // The checks rested during the drain.
        self.healthy = false;
        self.started = now;
        self.enter(if self.booted { Phase::Warming } else { Phase::Bootstrapping }, now);
        self.watch_launch().into_iter().collect()
    }

    /// Read as absent where it was known, it is only missing: that changes nothing.
    pub(super) fn groupless(&mut self) -> Vec<Effect> {
        if self.placed || self.place.is_some() {
            return Vec::new();
        }
        self.placed = true;
        self.rejoin().into_iter().collect()
    }

    /// What was deregistered comes back once the instance serves: before that a load balancer would find it unhealthy,
    /// and its group might replace it for that. Before the launch is answered the group has registered nothing yet. And
    /// this process has to have read the place: it may be another than before a kill or a reboot.
    pub(super) fn rejoin(&self) -> Option<Effect> {
        let wanted = self.bound() == Place::Service && self.placed;
        let launched = matches!(self.launch, HookStep::Settled(_));
        (self.left && launched && self.ready() && wanted).then_some(Effect::Rejoin)
    }
}
