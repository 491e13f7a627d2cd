//! DECIDES: (phase, event, now) → effects. Pure: it knows no runtime, no SDK and no clock.
//!
//! ```text
//!  bootstrapping ──▶ warming ──▶ serving ──▶ draining ──▶ drained ──▶ (exit at shutdown)
//!        │              │  ▲  ◀──▶ standby     ▲             │
//!        │              │  └──────▶ warmed ◀────┼─────────────┘ back to the warm pool
//!        │  failed: launch hook                 │
//!        └──────┴── ABANDON once                │     ready: launch hook CONTINUE, once
//!        └──────────────┴──── a notice, from any phase, wins      for service and once for the pool
//! ```
//!
//! The terminate hook runs beside the phases: a group's notice starts the watch for `Terminating:Wait`; once that was
//! seen *and* the instance is drained, it is completed.

mod kinds;
mod leaving;
mod view;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod tests;

pub use kinds::{
    Effect, Event, Failure, Hook, HookStep, Notice, OnFailure, Phase, Place, Policy, Settled, Verdict,
};
pub use leaving::HOOK_GRACE;

use crate::clock::Moment;
use serde::{Deserialize, Serialize};

/// The life of one instance, as far as it has come. What it holds is what a restarted agent needs to go on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lifecycle {
    phase: Phase,
    since: Moment,
    started: Moment,
    healthy: bool,
    failure: Option<Failure>,
    /// As last read; `None` outside a group, and until it was read.
    place: Option<Place>,
    launch: HookStep,
    /// Where the instance was bound when the launch hook was answered: a warm pool's instance has two actions.
    launch_for: Place,
    /// ABANDON was asked for, and somebody may have heeded it.
    abandoned: bool,
    terminate: HookStep,
    /// Whose action of the terminate hook it is: the group's, or that of a return to the pool.
    terminate_for: Notice,
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
            place: None,
            launch: HookStep::Idle,
            launch_for: Place::Service,
            abandoned: false,
            terminate: HookStep::Idle,
            terminate_for: Notice::Group,
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
            let Self { launch, launch_for, abandoned, place, .. } = self;
            // It is judged again from the start: an answer that is still owed is asked for when its turn comes.
            let owed = matches!(launch, HookStep::Asked(_));
            let (launch, abandoned) = if owed { (HookStep::Idle, false) } else { (launch, abandoned) };
            self = Self { place, launch, launch_for, abandoned, ..Self::new(self.policy, now) };
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
                self.advance(now)
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
                self.advance(now)
            }
            (_, Event::Unhealthy) => {
                self.healthy = false;
                Vec::new()
            }
            (_, Event::Target(place)) => self.bound_for(place, now),
            (_, Event::Notice { notice, deadline }) => self.notice(notice, deadline, now),
            (Phase::Draining, Event::DrainEnded) => self.drained(now),
            // The drain's own timer should have said so; this one cannot be held up by a hanging call.
            (Phase::Draining, Event::Tick) if self.deadline.is_some_and(|deadline| now >= deadline) => {
                self.drained(now)
            }
            (_, Event::TerminateWaitSeen) => self.terminate_waits(),
            (_, Event::HookSettled { hook: Hook::Launch, settled }) if self.launch.is_open() => {
                self.launch = HookStep::Settled(settled);
                // Nobody took the ABANDON: a late recovery is as good as any.
                self.abandoned &= settled == Settled::Completed;
                self.reopen_launch();
                self.advance(now)
            }
            (_, Event::HookSettled { hook: Hook::Terminate, settled }) if self.terminate.is_open() => {
                self.terminate_settled(settled, now)
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

    /// Once ABANDON was taken, the group is replacing the instance: there is no way back.
    fn may_recover(&self) -> bool {
        self.failure.is_none() || !self.abandoned
    }

    fn bound(&self) -> Place {
        self.place.unwrap_or(Place::Service)
    }

    /// The group wants the instance at `place`; while it leaves, that is only remembered.
    fn bound_for(&mut self, place: Place, now: Moment) -> Vec<Effect> {
        let before = self.place.replace(place);
        if before == Some(place) {
            return Vec::new();
        }
        match (self.phase, place) {
            (Phase::Serving, Place::Pool) if before.is_some() => self.notice(Notice::Pool, None, now),
            // Read late: the instance was bound for the pool all along, and is not in any target group.
            (Phase::Serving, Place::Pool) => {
                self.launch_for = Place::Pool;
                self.enter(Phase::Warmed, now);
                Vec::new()
            }
            (Phase::Serving, Place::Standby) => {
                self.enter(Phase::Standby, now);
                Vec::new()
            }
            (Phase::Warmed | Phase::Standby, _) => {
                self.enter(Phase::Warming, now);
                self.reopen_launch();
                self.advance(now)
            }
            (_, _) => Vec::new(),
        }
    }

    /// Into service from the pool the launch hook has a second action, which is owed an answer of its own.
    fn reopen_launch(&mut self) {
        let second = self.launch_for == Place::Pool && self.bound() == Place::Service;
        if second && matches!(self.launch, HookStep::Settled(_)) && !self.abandoned {
            self.launch = HookStep::Idle;
        }
    }

    fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.failure = Some(failure);
        if self.policy.on_failure != OnFailure::Abandon {
            return Vec::new();
        }
        self.answer_launch(Verdict::Abandon)
    }

    /// Goes as far as health, failure and the open hook allow.
    fn advance(&mut self, now: Moment) -> Vec<Effect> {
        if let (false, Some(failure)) = (self.phase.is_leaving(), self.failure)
            && !(self.phase == Phase::Warming && self.healthy && self.may_recover())
        {
            return self.fail(failure);
        }
        match self.phase {
            Phase::Warming if self.healthy => {
                self.failure = None;
                self.enter(self.bound().phase(), now);
                // Hooks do not apply to standby.
                if self.phase == Phase::Standby { Vec::new() } else { self.answer_launch(Verdict::Continue) }
            }
            // A second action that had to wait for the first one's answer.
            Phase::Serving | Phase::Warmed if self.healthy => self.answer_launch(Verdict::Continue),
            _ => Vec::new(),
        }
    }

    fn answer_launch(&mut self, verdict: Verdict) -> Vec<Effect> {
        if self.launch != HookStep::Idle {
            return Vec::new();
        }
        self.launch = HookStep::Asked(verdict);
        self.launch_for = self.bound();
        self.abandoned = verdict == Verdict::Abandon;
        vec![Effect::CompleteHook(Hook::Launch, verdict)]
    }
}
