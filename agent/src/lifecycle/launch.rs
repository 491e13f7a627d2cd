//! The way in: user data, checks, and the one answer that each action of the launch hook gets.

use super::{
    Effect, Failure, HOOK_GRACE, Hook, HookStep, Lifecycle, OnFailure, Phase, Place, Settled, Verdict,
};
use crate::clock::Moment;
use std::time::Duration;

impl Lifecycle {
    pub(super) fn bootstrapped(&mut self, ok: bool, now: Moment) -> Vec<Effect> {
        self.booted |= ok;
        match (self.phase, ok) {
            (Phase::Bootstrapping, true) if self.may_recover() => {
                self.failure = None;
                self.enter(Phase::Warming, now);
                self.advance(now)
            }
            (Phase::Bootstrapping, false) => self.fail(Failure::Bootstrap),
            (_, _) => Vec::new(),
        }
    }

    /// Once ABANDON was taken, the group is replacing the instance: there is no way back.
    pub(super) fn may_recover(&self) -> bool {
        self.failure.is_none() || !self.abandoned
    }

    /// When the launch has failed by the phase's own bound, or since its hook would run out of time first.
    pub(super) fn launch_limit(&self) -> Option<Moment> {
        let own = match self.phase {
            Phase::Bootstrapping => self.started + self.policy.bootstrap_deadline,
            Phase::Warming => self.since + self.policy.ready_deadline,
            _ => return None,
        };
        Some(self.launch_by.map_or(own, |by| own.min(by)))
    }

    pub(super) fn is_launch_overdue(&self, now: Moment) -> bool {
        self.launch_limit().is_some_and(|limit| now >= limit)
    }

    /// Auto Scaling has taken a heartbeat: the hook waits for a whole timeout from now. An answer needs a while, and a
    /// third of the timeout is when the next heartbeat is due.
    pub(super) fn launch_held(&mut self, timeout: Duration, now: Moment) -> Vec<Effect> {
        let launching = matches!(self.phase, Phase::Bootstrapping | Phase::Warming);
        if launching && self.launch == HookStep::Idle && self.failure.is_none() {
            self.launch_by = Some((now + timeout).before(HOOK_GRACE.min(timeout / 3)));
        }
        Vec::new()
    }

    /// The watch over the launch hook, while it may be owed an answer that is not known yet.
    pub(super) fn watch_launch(&self) -> Option<Effect> {
        let launching = matches!(self.phase, Phase::Bootstrapping | Phase::Warming);
        (launching && self.launch == HookStep::Idle && self.failure.is_none()).then_some(Effect::WatchLaunch)
    }

    /// Into service from the pool the launch hook has a second action, which is owed an answer of its own.
    pub(super) fn reopen_launch(&mut self) {
        let second = self.launch_for == Place::Pool && self.bound() == Place::Service;
        if second && matches!(self.launch, HookStep::Settled(_)) && !self.abandoned {
            self.launch = HookStep::Idle;
        }
    }

    pub(super) fn fail(&mut self, failure: Failure) -> Vec<Effect> {
        self.failure = Some(failure);
        // What the hook allowed is used up; a late recovery is judged by the phase's own bound.
        self.launch_by = None;
        if self.policy.on_failure != OnFailure::Abandon {
            return Vec::new();
        }
        self.answer_launch(Verdict::Abandon)
    }

    /// Goes as far as health, failure and the open hook allow.
    pub(super) fn advance(&mut self, now: Moment) -> Vec<Effect> {
        if let (false, Some(failure)) = (self.phase.is_leaving(), self.failure)
            && !(self.phase == Phase::Warming && self.healthy && self.may_recover())
        {
            return self.fail(failure);
        }
        match self.phase {
            Phase::Warming if self.healthy => {
                self.failure = None;
                self.launch_by = None;
                self.enter(self.bound().phase(), now);
                // Hooks do not apply to standby.
                let answer = match self.phase {
                    Phase::Standby => Vec::new(),
                    _ => self.answer_launch(Verdict::Continue),
                };
                answer.into_iter().chain(self.rejoin()).collect()
            }
            // A second action that had to wait for the first one's answer.
            Phase::Serving | Phase::Warmed if self.healthy => {
                let answer = self.answer_launch(Verdict::Continue);
                answer.into_iter().chain(self.rejoin()).collect()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn launch_settled(&mut self, settled: Settled, now: Moment) -> Vec<Effect> {
        let launching = matches!(self.phase, Phase::Bootstrapping | Phase::Warming);
        let stopped = launching && self.left && self.launch == HookStep::Asked(Verdict::Continue);
        self.launch = match settled {
            // The drain that stopped the answer was taken back meanwhile: whether it is owed is asked again.
            Settled::NothingOwed if stopped => HookStep::Idle,
            settled => HookStep::Settled(settled),
        };
        if std::mem::take(&mut self.fresh) && settled == Settled::Completed && self.bound() == Place::Service
        {
            // The answer let it in just now: the group registers all of it, when every hook of its has been answered. What a
            // boot before had taken out is part of that.
            self.left = false;
        }
        // Nobody took the ABANDON: a late recovery is as good as any.
        let refuted = self.abandoned && settled != Settled::Completed;
        self.abandoned &= !refuted;
        self.reopen_launch();
        if refuted && self.phase == Phase::Warming && self.launch == HookStep::Idle {
            // The pool has let it in all the same, and it was called meanwhile.
            return self.begin_second_action(now);
        }
        self.advance(now)
    }

    /// Called before it was ready in the pool: the second action has its whole time.
    pub(super) fn begin_second_action(&mut self, now: Moment) -> Vec<Effect> {
        (self.failure, self.launch_by) = (None, None);
        self.enter(Phase::Warming, now);
        let mut effects = self.advance(now);
        effects.extend(self.watch_launch());
        effects
    }

    fn answer_launch(&mut self, verdict: Verdict) -> Vec<Effect> {
        if self.launch != HookStep::Idle {
            return Vec::new();
        }
        self.launch = HookStep::Asked(verdict);
        self.launch_for = self.bound();
        self.fresh = verdict == Verdict::Continue;
        self.abandoned = verdict == Verdict::Abandon;
        vec![Effect::CompleteHook(Hook::Launch, verdict)]
    }
}
