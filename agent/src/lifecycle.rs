//! DECIDES: (phase, event, now) → effects. Pure: it knows no runtime, no SDK and no clock.
//!
//! ```text
//!  bootstrapping ──▶ warming ──▶ serving ──▶ draining ──▶ drained ──▶ (exit at shutdown)
//!        │              │  ▲  ◀──▶ standby     ▲             │
//!        │              │  └──────▶ warmed ◀────┼─────────────┘ back to the warm pool
//!        │  failed: launch hook                 │
//!        └──────┴── ABANDON once                │     ready: launch hook CONTINUE, once
//!        └──────────────┴──── a notice, from any phase, wins      for service and once for the pool
//!        ▲              ▲                                      │
//!        └──────────────┴── `ready` takes an operator's ───────┘ draining or drained, and nobody else's
//! ```
//!
//! The terminate hook runs beside the phases: a group's notice starts the watch for `Terminating:Wait`; once that was
//! seen *and* the instance is drained, it is completed.

mod kinds;
mod events;
mod hooks;
mod launch;
mod leaving;
mod returning;
mod view;
#[cfg(test)]
mod orders;
#[cfg(test)]
mod bounds_tests;
#[cfg(test)]
mod operator_tests;
#[cfg(test)]
mod pool_tests;
#[cfg(test)]
mod return_tests;
#[cfg(test)]
mod tests;

pub use events::{Effect, Event};
pub use hooks::{Hook, HookStep, Settled, Verdict};
pub use kinds::{Ended, Failure, Notice, OnFailure, Phase, Place, Policy, Refusal};
pub use leaving::HOOK_GRACE;

use crate::clock::Moment;
use serde::{Deserialize, Serialize};

/// The life of one instance, as far as it has come. What it holds is what a restarted agent needs to go on.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none implies another")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lifecycle {
    phase: Phase,
    since: Moment,
    started: Moment,
    /// User data has run to its end, whatever the phase was by then.
    booted: bool,
    healthy: bool,
    failure: Option<Failure>,
    /// As last read; `None` outside a group, and until it was read.
    place: Option<Place>,
    /// Whether this process has read it, or that there is none, and not an earlier one.
    #[serde(skip)]
    placed: bool,
    /// The group has wanted it in service since it was last in the pool, were it before this boot: in the wait state that is
    /// both of a launch into the pool and of a return, it returns.
    served: bool,
    launch: HookStep,
    /// When the launch hook has to be answered at the latest, once a heartbeat of it was taken.
    launch_by: Option<Moment>,
    /// Where the instance was bound when the launch hook was answered: a warm pool's instance has two actions.
    launch_for: Place,
    /// CONTINUE was asked for, and no drain has begun since: once it is taken, it is the group that registers.
    fresh: bool,
    /// ABANDON was asked for, and somebody may have heeded it.
    abandoned: bool,
    terminate: HookStep,
    /// Whose action of the terminate hook it is: the group's, or that of a return to the pool.
    terminate_for: Notice,
    notices: Vec<Notice>,
    deadline: Option<Moment>,
    /// How the drain ended.
    ended: Option<Ended>,
    /// A drain may have deregistered targets that are still wanted.
    left: bool,
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
            booted: false,
            healthy: false,
            failure: None,
            place: None,
            placed: false,
            served: false,
            launch: HookStep::Idle,
            launch_by: None,
            launch_for: Place::Service,
            fresh: false,
            abandoned: false,
            terminate: HookStep::Idle,
            terminate_for: Notice::Group,
            notices: Vec::new(),
            deadline: None,
            ended: None,
            left: false,
            leave_by: None,
            exited: false,
            policy,
        }
    }

    /// A life that begins at `now`, and what is to be done from its start; `left` says that a life before it, ended by a
    /// reboot, may have deregistered targets.
    pub fn begin(policy: Policy, now: Moment, left: bool) -> (Self, Vec<Effect>) {
        let life = Self { left, ..Self::new(policy, now) };
        let open = life.watch_launch();
        (life, open.into_iter().collect())
    }

    /// Goes on with a life read from the state file: what was begun and not finished is asked for again.
    pub fn resume(mut self, policy: Policy, now: Moment) -> (Self, Vec<Effect>) {
        self.policy = policy;
        (self.exited, self.placed) = (false, false);
        self.leave_by = None;
        self.notices.retain(|notice| *notice != Notice::Shutdown);
        if self.phase.is_leaving() && self.notices.is_empty() {
            // The agent alone was stopped and started: the machine stays up, and so does the instance.
            let Self { launch, launch_for, abandoned, place, served, left, .. } = self;
            // It is judged again from the start: an answer that is still owed, or was stopped by the notice, is asked for
            // when its turn comes.
            let owed = matches!(launch, HookStep::Asked(_) | HookStep::Settled(Settled::NothingOwed));
            let (launch, abandoned) = if owed { (HookStep::Idle, false) } else { (launch, abandoned) };
            self = Self { place, served, launch, launch_for, abandoned, left, ..Self::new(self.policy, now) };
        }
        if self.phase.is_leaving() && self.launch == HookStep::Asked(Verdict::Continue) {
            // Its process has gone, and a notice wins: whether it was taken is asked when the drain is taken back.
            self.launch = HookStep::Settled(Settled::NothingOwed);
        }
        // A stop of the agent alone was all that kept it out of the pool.
        self.return_if_due(now);
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
        effects.extend(self.watch_launch());
        effects.extend(self.rejoin());
        (self, effects)
    }

    /// Takes in what happened and says what is to be done about it, side by side and at once.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        if self.exited {
            return Vec::new();
        }
        let mut effects = match (self.phase, event) {
            (_, Event::Bootstrapped { ok }) => self.bootstrapped(ok, now),
            (Phase::Bootstrapping, Event::Tick) if self.is_launch_overdue(now) => {
                self.fail(Failure::Bootstrap)
            }
            (Phase::Warming, Event::Tick) if self.is_launch_overdue(now) => self.fail(Failure::Readiness),
            (_, Event::LaunchHeld { timeout }) => self.launch_held(timeout, now),
            (_, Event::Healthy) => {
                self.healthy = true;
                self.advance(now)
            }
            (_, Event::Unhealthy) => {
                self.healthy = false;
                Vec::new()
            }
            (_, Event::Target(place)) => self.bound_for(place, now),
            (_, Event::Served) => self.has_served(now),
            (_, Event::Groupless) => self.groupless(),
            (_, Event::Notice { notice, deadline }) => self.notice(notice, deadline, now),
            (Phase::Draining, Event::DrainEnded(how)) => self.drained(how, now),
            // The drain's own timer should have said so; this one cannot be held up by a hanging call.
            (Phase::Draining, Event::Tick) if self.deadline.is_some_and(|deadline| now >= deadline) => {
                self.drained(Ended::Overdue, now)
            }
            (_, Event::TerminateWaitSeen) => self.terminate_waits(),
            (_, Event::TerminateHeld { limit }) => self.terminate_held(limit, now),
            (Phase::Drained, Event::Silence) => {
                self.nobody_listens(now);
                Vec::new()
            }
            (_, Event::Ready) => self.take_back(now),
            (_, Event::Woke) => self.woke(now),
            (_, Event::Rejoined) => {
                self.left = false;
                Vec::new()
            }
            (_, Event::HookSettled { hook: Hook::Launch, settled }) if self.launch.is_open() => {
                self.launch_settled(settled, now)
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

    fn bound(&self) -> Place {
        self.place.unwrap_or(Place::Service)
    }

    /// The group wants the instance at `place`; while it leaves, that is remembered.
    fn bound_for(&mut self, place: Place, now: Moment) -> Vec<Effect> {
        let before = self.place.replace(place).or(self.served.then_some(Place::Service));
        self.placed = true;
        self.served |= place == Place::Service;
        if before == Some(place) {
            // A life that was resumed has waited for this word.
            return self.rejoin().into_iter().collect();
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
                let mut effects = self.advance(now);
                effects.extend(self.watch_launch());
                effects
            }
            (Phase::Warming, Place::Service) if before == Some(Place::Pool) && !self.abandoned => {
                self.reopen_launch();
                self.begin_second_action(now)
            }
            // Called before user data has run again, by an agent that was stopped and started in the pool, say.
            (Phase::Bootstrapping, Place::Service) if before == Some(Place::Pool) && !self.abandoned => {
                self.reopen_launch();
                let answer = self.advance(now);
                answer.into_iter().chain(self.watch_launch()).collect()
            }
            // Called into service while another's notice holds it: that it went to the pool is over and answered.
            (_, Place::Service) if before == Some(Place::Pool) => {
                self.leave_pool();
                Vec::new()
            }
            // Not ready yet, or drained by an operator, say, and scaled in: the group's hook waits for its answer all the same.
            (_, Place::Pool) if before == Some(Place::Service) && !self.notices.contains(&Notice::Group) => {
                self.notice(Notice::Pool, None, now)
            }
            // After a reboot this is the word that was waited for.
            (_, _) => self.rejoin().into_iter().collect(),
        }
    }
}
