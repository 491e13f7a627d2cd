//! What the agent asks of AWS, judged call by call.

use std::time::Duration;

use kiln_agent::lifecycle::{Hook, Phase, Verdict};
use kiln_stage::lifecycle::State;

use super::{HEED, Invariant, Witness, index};

impl Witness {
    pub(crate) fn completing(&mut self, hook: Hook, verdict: Verdict, state: State, at: Duration) {
        self.tell(
            at,
            &format!("agent calls: complete {} with {} in {}", hook.name(), verdict.name(), state.name()),
        );
        if self.is_early(hook, state) || (hook == Hook::Terminate && verdict != Verdict::Continue) {
            self.broke(Invariant::NotBeforeWait, at, &format!("{} in {}", verdict.name(), state.name()));
        }
        if self.answered[index(hook)] {
            self.broke(
                Invariant::CompletedOnce,
                at,
                &format!("{} asked again after its answer", hook.name()),
            );
        }
        if self.asked[index(hook)].replace(verdict).is_some_and(|before| before != verdict) {
            self.broke(Invariant::CompletedOnce, at, &format!("{} asked with two verdicts", hook.name()));
        }
    }

    pub(crate) fn completed(&mut self, hook: Hook, verdict: Verdict, at: Duration) {
        let what = match (hook, verdict) {
            (Hook::Launch, Verdict::Continue) => "launch hook completed with CONTINUE",
            (Hook::Launch, Verdict::Abandon) => "launch hook completed with ABANDON",
            (Hook::Terminate, _) => "terminate hook completed with CONTINUE",
        };
        self.see(what, at, "");
        if self.accepted[index(hook)].replace(verdict).is_some() {
            self.broke(Invariant::CompletedOnce, at, &format!("{} completed twice", hook.name()));
        }
    }

    /// The agent has read that its completion was taken.
    pub(crate) fn answered(&mut self, hook: Hook) {
        self.answered[index(hook)] = true;
    }

    pub(crate) fn deregistering(&mut self, at: Duration) {
        self.tell(at, "agent calls: DeregisterTargets");
        if !(self.told || self.operator || self.pool) {
            self.broke(Invariant::NoticeFirst, at, "targets deregistered, and nobody has said go");
        }
    }

    pub(crate) fn registering(&mut self, at: Duration) {
        self.tell(at, "agent calls: RegisterTargets");
        self.see("registered again", at, "");
        // A group that has just changed its mind is heard a poll later; before the launch it has registered nothing.
        let late = self.calm(at) > HEED && at > self.waits_since + HEED;
        let early = match self.state {
            State::Pending | State::PendingWait => !self.from_standby,
            State::Standby | State::Detached | State::Warmed(_) => late,
            _ => false,
        };
        if early || self.life.as_ref().is_none_or(|life| life.phase() != Phase::Serving) {
            self.broke(Invariant::RejoinWanted, at, self.state.name());
        }
    }

    /// The hook's wait lies ahead; a stale read of an earlier one is excused.
    pub(super) fn is_early(&self, hook: Hook, state: State) -> bool {
        let ahead = match (hook, state) {
            (Hook::Launch, state) => matches!(
                state,
                State::Pending
                    | State::WarmedPending(_)
                    | State::ReplacingRootVolumeProceed
                    | State::RootVolumeReplaced
            ),
            (_, State::WarmedPendingWait(_) | State::WarmedPendingProceed(_)) => !self.returning,
            (_, State::TerminatingWait | State::TerminatingProceed | State::WarmedTerminatingWait) => false,
            (_, State::WarmedTerminatingProceed) => false,
            (_, state) => !state.gone(),
        };
        ahead && !self.waited[index(hook)]
    }
}
