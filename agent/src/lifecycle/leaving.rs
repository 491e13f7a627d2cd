//! The way out: notices merge into one drain, the terminate hook is answered after it, and the process ends last.

use super::{Effect, Ended, Hook, HookStep, Lifecycle, Notice, Phase, Place, Settled, Verdict};
use crate::clock::Moment;
use std::time::Duration;

/// At shutdown a hook still owed is given this long beyond the drain: a completion takes two calls, each retried.
/// It protects the group from waiting out its hook timeout, and systemd's stop timeout from being overrun.
pub const HOOK_GRACE: Duration = Duration::from_secs(20);

impl Lifecycle {
    pub(super) fn notice(&mut self, notice: Notice, deadline: Option<Moment>, now: Moment) -> Vec<Effect> {
        let own = now + self.policy.drain_max;
        let limit = match (notice, deadline) {
            (_, None) => own,
            // The moment at which EC2 takes the instance; the others name the end of the drain itself.
            (Notice::Spot, Some(at)) => own.min(at.before(self.policy.margin)),
            (_, Some(at)) => own.min(at),
        };
        if self.phase.is_leaving() {
            let shorter = self.shorten(limit, now);
            return self.heed(notice, now).into_iter().chain(shorter).collect();
        }
        self.ended = None;
        if (self.phase, notice) == (Phase::Warmed, Notice::Shutdown) {
            // The pool stops its instances: none of them is in a target group, and nothing is in flight.
            self.deadline = Some(now);
            self.enter(Phase::Drained, now);
            return self.heed(notice, now);
        }
        self.enter(Phase::Draining, now);
        (self.deadline, self.left, self.fresh) = (Some(limit), true, false);
        let mut effects = vec![Effect::StartDrain { deadline: limit }, Effect::FlushMetrics];
        effects.extend(self.heed(notice, now));
        effects
    }

    /// Brings the deadline forward to `limit`; it is never put off.
    fn shorten(&mut self, limit: Moment, now: Moment) -> Option<Effect> {
        if self.deadline.is_none_or(|deadline| limit >= deadline) {
            return None;
        }
        self.deadline = Some(limit);
        self.leave_by = self.leave_by.map(|by| by.min(limit.max(now) + HOOK_GRACE));
        (self.phase == Phase::Draining).then_some(Effect::ShortenDrain { deadline: limit })
    }

    /// Heartbeats cannot hold the hook beyond its global timeout.
    pub(super) fn terminate_held(&mut self, limit: Duration, now: Moment) -> Vec<Effect> {
        if !self.phase.is_leaving() {
            return Vec::new();
        }
        self.shorten((now + limit).before(self.policy.margin), now).into_iter().collect()
    }

    /// At shutdown the hook's answer is not waited for any more: nobody would hear it.
    pub(super) fn nobody_listens(&mut self, now: Moment) {
        self.leave_by = self.leave_by.map(|by| by.min(now));
    }

    fn heed(&mut self, notice: Notice, now: Moment) -> Vec<Effect> {
        if self.notices.contains(&notice) {
            return Vec::new();
        }
        self.notices.push(notice);
        // What is sent back to the pool was let into service: nobody has heeded an ABANDON.
        self.abandoned &= notice != Notice::Pool;
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
            Notice::Spot | Notice::Rebalance | Notice::Operator => Vec::new(),
        }
    }

    fn watch_terminate(&mut self, notice: Notice) -> Vec<Effect> {
        self.terminate_for = notice;
        self.terminate = HookStep::Watched;
        vec![Effect::WatchTerminate]
    }

    pub(super) fn drained(&mut self, how: Ended, now: Moment) -> Vec<Effect> {
        self.enter(Phase::Drained, now);
        self.ended = Some(how);
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
        if settled == Settled::Superseded && !self.notices.contains(&Notice::Group) {
            // The state says it before the metadata service does.
            return self.heed(Notice::Group, now);
        }
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
        if self.notices.contains(&Notice::Group) {
            // On its way to the pool it was terminated: what waits by then is that action, and has one answer.
            self.terminate_for = Notice::Group;
        }
        // Never ABANDON here: it stops other hooks, and may keep the instance as Terminating:Retained, billed.
        self.terminate = HookStep::Asked(Verdict::Continue);
        vec![Effect::CompleteHook(Hook::Terminate, Verdict::Continue)]
    }

    /// Drained for the pool, with the hook answered: the instance is warm again, unless an operator holds it.
    pub(super) fn return_if_due(&mut self, now: Moment) {
        let pooled = self.notices.contains(&Notice::Pool)
            && self.notices.iter().all(|notice| matches!(notice, Notice::Pool | Notice::Operator));
        if self.phase != Phase::Drained || self.terminate.is_open() || !pooled {
            return;
        }
        self.notices.retain(|notice| *notice == Notice::Operator);
        self.terminate = HookStep::Idle;
        self.terminate_for = Notice::Group;
        // From the pool into service it is the group that registers, when every hook of its has been answered.
        (self.left, self.served) = (false, false);
        if !self.launch.is_open() {
            self.launch = HookStep::Settled(Settled::NothingOwed);
        }
        self.launch_for = Place::Pool;
        if !self.notices.is_empty() {
            return;
        }
        (self.deadline, self.ended) = (None, None);
        self.reopen_launch();
        // The checks rested during the drain.
        self.healthy = false;
        self.enter(if self.booted { Phase::Warming } else { Phase::Bootstrapping }, now);
    }

    /// What a life before the boot left word of. Where the group's wish was read before it, that is a return to the pool; a
    /// launch into the pool that was taken proves the word out of date.
    pub(super) fn has_served(&mut self, now: Moment) -> Vec<Effect> {
        if self.launch == HookStep::Settled(Settled::Completed) {
            return Vec::new();
        }
        self.served = true;
        if self.place != Some(Place::Pool) || self.notices.contains(&Notice::Group) {
            return Vec::new();
        }
        self.notice(Notice::Pool, None, now)
    }

    /// The next way back to the pool is another action of the hook.
    pub(super) fn leave_pool(&mut self) {
        let held = self.notices.iter().any(|notice| *notice != Notice::Pool);
        if held && !self.terminate.is_open() && self.terminate_for == Notice::Pool {
            self.notices.retain(|notice| *notice != Notice::Pool);
            (self.terminate, self.terminate_for) = (HookStep::Idle, Notice::Group);
        }
    }

    pub(super) fn exit_if_due(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        let Some(leave_by) = self.leave_by else { return };
        if self.phase == Phase::Drained && (!self.terminate.is_open() || now >= leave_by) {
            self.exited = true;
            effects.push(Effect::Exit);
        }
    }
}
