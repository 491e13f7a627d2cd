//! The way out: notices merge into one drain, the terminate hook is answered after it, and the process ends last.

use super::{Effect, Hook, HookStep, Lifecycle, Notice, Phase, Place, Settled, Verdict};
use crate::clock::Moment;
use std::time::Duration;

/// At shutdown a hook still owed is given this long beyond the drain: a completion takes two calls, each retried.
/// It protects the group from waiting out its hook timeout, and systemd's stop timeout from being overrun.
pub const HOOK_GRACE: Duration = Duration::from_secs(20);

impl Lifecycle {
    pub(super) fn notice(&mut self, notice: Notice, deadline: Option<Moment>, now: Moment) -> Vec<Effect> {
        let own = now + self.policy.drain_max;
        let limit = deadline.map_or(own, |at| own.min(at.before(self.policy.margin)));
        if self.phase.is_leaving() {
            return self.merge(notice, limit, now);
        }
        if (self.phase, notice) == (Phase::Warmed, Notice::Shutdown) {
            // The pool stops its instances: none of them is in a target group, and nothing is in flight.
            self.deadline = Some(now);
            self.enter(Phase::Drained, now);
            return self.heed(notice, now);
        }
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
            Notice::Group | Notice::Pool => {
                if self.terminate.is_open() {
                    Vec::new()
                } else {
                    self.watch_terminate(notice)
                }
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

    fn watch_terminate(&mut self, notice: Notice) -> Vec<Effect> {
        self.terminate_for = notice;
        self.terminate = HookStep::Watched;
        vec![Effect::WatchTerminate]
    }

    pub(super) fn drained(&mut self, now: Moment) -> Vec<Effect> {
        self.enter(Phase::Drained, now);
        let effects = self.complete_terminate_if_due();
        self.return_if_due(now);
        effects
    }

    pub(super) fn terminate_waits(&mut self) -> Vec<Effect> {
        if self.terminate != HookStep::Watched {
            return Vec::new();
        }
        self.terminate = HookStep::Waiting;
        self.complete_terminate_if_due()
    }

    pub(super) fn terminate_settled(&mut self, settled: Settled, now: Moment) -> Vec<Effect> {
        self.terminate = HookStep::Settled(settled);
        if self.terminate_for == Notice::Pool && self.notices.contains(&Notice::Group) {
            // Terminated on its way to the pool: that is another action of the hook.
            return self.watch_terminate(Notice::Group);
        }
        self.return_if_due(now);
        Vec::new()
    }

    fn complete_terminate_if_due(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Drained || self.terminate != HookStep::Waiting {
            return Vec::new();
        }
        // Never ABANDON here: it stops other hooks, and may keep the instance as Terminating:Retained, billed.
        self.terminate = HookStep::Asked(Verdict::Continue);
        vec![Effect::CompleteHook(Hook::Terminate, Verdict::Continue)]
    }

    /// Drained for the pool and for nothing else, with the hook answered: the instance is warm again.
    fn return_if_due(&mut self, now: Moment) {
        if self.phase != Phase::Drained || self.terminate.is_open() || self.notices != [Notice::Pool] {
            return;
        }
        self.notices.clear();
        self.deadline = None;
        self.terminate = HookStep::Idle;
        self.terminate_for = Notice::Group;
        if !self.launch.is_open() {
            self.launch = HookStep::Settled(Settled::NothingOwed);
        }
        self.launch_for = Place::Pool;
        self.reopen_launch();
        // The checks rested during the drain.
        self.healthy = false;
        self.enter(Phase::Warming, now);
    }

    pub(super) fn exit_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(leave_by) = self.leave_by else { return };
        if self.phase == Phase::Drained && (!self.terminate.is_open() || now >= leave_by) {
            self.exited = true;
            effects.push(Effect::Exit);
        }
    }
}
