//! DECIDES: (phase, event, now) → effects. Pure: it knows no runtime, no SDK and no clock.
//!
//! ```text
//!  bootstrapping ──▶ warming ──▶ serving ──▶ draining ──▶ drained ──▶ (exit at shutdown)
//!        │              │           ▲            ▲
//!        │  failed: launch hook     │            │
//!        └──────┴── ABANDON once    └── launch hook CONTINUE when locally ready
//!        └──────────────┴──── a notice, from any phase, wins ─┘
//! ```
//!
//! The terminate hook runs beside the phases: a group's notice starts the watch for `Terminating:Wait`; once that was
//! seen *and* the instance is drained, it is completed.

mod kinds;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod tests;

pub use kinds::{Effect, Event, Failure, Hook, HookStep, Notice, OnFailure, Phase, Policy, Settled, Verdict};

use crate::clock::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// At shutdown a hook still owed is given this long beyond the drain: a completion takes two calls, each retried.
/// It protects the group from waiting out its hook timeout, and systemd's stop timeout from being overrun.
pub const HOOK_GRACE: Duration = Duration::from_secs(20);

/// The life of one instance, as far as it has come. What it holds is what a restarted agent needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    phase: Phase,
    since: Moment,
    started: Moment,
    healthy: bool,
    failure: Option<Failure>,
    launch: HookStep,
    terminate: HookStep,
    notices: Vec<Notice>,
    deadline: Option<Moment>,
    leave_by: Option<Moment>,
    exited: bool,
    #[serde(skip)]
    policy: Policy,
}

impl Lifecycle {
    /// A life that begins at `now`.
    pub fn new(policy: Policy, now: Moment) -> Self {
        Self {
            phase: Phase::Bootstrapping,
            since: now,
            started: now,
            healthy: false,
            failure: None,
            launch: HookStep::Idle,
            terminate: HookStep::Idle,
            notices: Vec::new(),
            deadline: None,
            leave_by: None,
            exited: false,
            policy,
        }
    }

    /// Goes on with a life read from the state file: what was begun and not finished is asked for again.
    pub fn resume(mut self, policy: Policy, now: Moment) -> (Self, Vec<Effect>) {
        self.policy = policy;
        self.exited = false;
        self.leave_by = None;
        self.notices.retain(|notice| *notice != Notice::Shutdown);
        if self.phase.is_leaving() && self.notices.is_empty() {
            // The agent alone was stopped and started: the machine stays up, and so does the instance.
            let launch = self.launch;
            self = Self { launch, ..Self::new(self.policy, now) };
        }
        let mut effects = Vec::new();
        if let (HookStep::Asked(verdict), false) = (self.launch, self.phase.is_leaving()) {
            effects.push(Effect::CompleteHook(Hook::Launch, verdict));
        }
        if let (Phase::Draining, Some(deadline)) = (self.phase, self.deadline) {
            effects.push(Effect::StartDrain { deadline });
        }
        match self.terminate {
            HookStep::Watched | HookStep::Waiting => {
                self.terminate = HookStep::Watched;
                effects.push(Effect::WatchTerminate);
            }
            HookStep::Asked(verdict) => effects.push(Effect::CompleteHook(Hook::Terminate, verdict)),
            HookStep::Idle | HookStep::Settled(_) => {}
        }
        (self, effects)
    }

    /// Takes in what happened and says what is to be done about it, side by side and at once.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        if self.exited {
            return Vec::new();
        }
        let mut effects = match (self.phase, event) {
            (Phase::Bootstrapping, Event::Bootstrapped { ok: true }) if self.may_recover() => {
                self.failure = None;
                self.enter(Phase::Warming, now);
                self.serve_if_ready(now)
            }
            (Phase::Bootstrapping, Event::Bootstrapped { ok: false }) => self.fail(Failure::Bootstrap),
            (Phase::Bootstrapping, Event::Tick)
                if now.since(self.started) >= self.policy.bootstrap_deadline =>
            {
                self.fail(Failure::Bootstrap)
            }
            (Phase::Warming, Event::Tick) if now.since(self.since) >= self.policy.ready_deadline => {
                self.fail(Failure::Readiness)
            }
            (_, Event::Healthy) => {
                self.healthy = true;
                self.serve_if_ready(now)
            }
            (_, Event::Unhealthy) => {
                self.healthy = false;
                Vec::new()
            }
            (phase, Event::Notice { notice, deadline }) => {
                let limit = self.limit(deadline, now);
                if phase.is_leaving() {
                    self.merge(notice, limit, now)
                } else {
                    self.leave(notice, limit, now)
                }
            }
            (Phase::Draining, Event::DrainEnded) => self.drained(now),
            // The drain's own timer should have said so; this one cannot be held up by a hanging call.
            (Phase::Draining, Event::Tick) if self.deadline.is_some_and(|deadline| now >= deadline) => {
                self.drained(now)
            }
            (_, Event::TerminateWaitSeen) if self.terminate == HookStep::Watched => {
                self.terminate = HookStep::Waiting;
                self.complete_terminate_if_due()
            }
            (_, Event::HookSettled { hook: Hook::Launch, settled }) if self.launch.is_open() => {
                self.launch = HookStep::Settled(settled);
                self.serve_if_ready(now)
            }
            (_, Event::HookSettled { hook: Hook::Terminate, settled }) if self.terminate.is_open() => {
                self.terminate = HookStep::Settled(settled);
                Vec::new()
            }
            // Late answers, such as a check that was in flight when the notice came.
            (_, _) => Vec::new(),
        };
        self.exit_if_due(now, &mut effects);
        effects
    }

    fn enter(&mut self, phase: Phase, now: Moment) {
        self.phase = phase;
        self.since = now;
    }

    /// Once ABANDON was asked for, the group is replacing the instance: there is no way back. Where no hook waited
    /// for the answer (no group, or in service before the agent started), a late recovery is as good as any.
    fn may_recover(&self) -> bool {
        self.failure.is_none()
            || matches!(
                self.launch,
                HookStep::Idle | HookStep::Settled(Settled::NothingOwed | Settled::GaveUp)
            )
    }

    fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.failure = Some(failure);
        if self.launch != HookStep::Idle || self.policy.on_failure != OnFailure::Abandon {
            return Vec::new();
        }
        self.launch = HookStep::Asked(Verdict::Abandon);
        vec![Effect::CompleteHook(Hook::Launch, Verdict::Abandon)]
    }

    fn serve_if_ready(&mut self, now: Moment) -> Vec<Effect> {
        if self.phase != Phase::Warming || !self.healthy || !self.may_recover() {
            return Vec::new();
        }
        self.failure = None;
        self.enter(Phase::Serving, now);
        if self.launch != HookStep::Idle {
            return Vec::new();
        }
        self.launch = HookStep::Asked(Verdict::Continue);
        vec![Effect::CompleteHook(Hook::Launch, Verdict::Continue)]
    }

    fn limit(&self, notice_deadline: Option<Moment>, now: Moment) -> Moment {
        let own = now + self.policy.drain_max;
        notice_deadline.map_or(own, |at| own.min(at.before(self.policy.margin)))
    }

    fn leave(&mut self, notice: Notice, limit: Moment, now: Moment) -> Vec<Effect> {
        self.enter(Phase::Draining, now);
        self.deadline = Some(limit);
        let mut effects = vec![Effect::StartDrain { deadline: limit }, Effect::FlushMetrics];
        effects.extend(self.heed(notice, now));
        effects
    }

    fn merge(&mut self, notice: Notice, limit: Moment, now: Moment) -> Vec<Effect> {
        let mut effects = self.heed(notice, now);
        if self.deadline.is_some_and(|deadline| limit < deadline) {
            self.deadline = Some(limit);
            if self.phase == Phase::Draining {
                effects.push(Effect::ShortenDrain { deadline: limit });
            }
        }
        effects
    }

    fn heed(&mut self, notice: Notice, now: Moment) -> Vec<Effect> {
        if self.notices.contains(&notice) {
            return Vec::new();
        }
        self.notices.push(notice);
        match notice {
            // Only the group holds a hook; it says so by the target state, whatever else was heard before.
            Notice::Group => {
                self.terminate = HookStep::Watched;
                vec![Effect::WatchTerminate]
            }
            Notice::Shutdown => {
                let grace = now + HOOK_GRACE;
                self.leave_by =
                    Some(self.deadline.map_or(grace, |deadline| grace.max(deadline + HOOK_GRACE)));
                Vec::new()
            }
            Notice::Spot | Notice::Rebalance => Vec::new(),
        }
    }

    fn drained(&mut self, now: Moment) -> Vec<Effect> {
        self.enter(Phase::Drained, now);
        self.complete_terminate_if_due()
    }

    fn complete_terminate_if_due(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Drained || self.terminate != HookStep::Waiting {
            return Vec::new();
        }
        // Never ABANDON here: it stops other hooks, and may keep the instance as Terminating:Retained, billed.
        self.terminate = HookStep::Asked(Verdict::Continue);
        vec![Effect::CompleteHook(Hook::Terminate, Verdict::Continue)]
    }

    fn exit_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(leave_by) = self.leave_by else { return };
        if self.phase == Phase::Drained && (!self.terminate.is_open() || now >= leave_by) {
            self.exited = true;
            effects.push(Effect::Exit);
        }
    }
}

/// What others may know of a life.
impl Lifecycle {
    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the phase was entered.
    pub fn since(&self) -> Moment {
        self.since
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
