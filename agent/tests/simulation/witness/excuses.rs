//! Whether a hook that ran out of time had a reason to.

use std::time::Duration;

use kiln_agent::lifecycle::{Lifecycle, OnFailure, Phase};
use kiln_stage::lifecycle::State;

use super::{Invariant, Reason, Witness};
use crate::script::{LAUNCH, OTHERS, TERMINATE};

/// The longest that the agent may pause after trouble has passed, with the call that follows.
const RECOVERY: Duration = Duration::from_secs(35);
/// A launch hook answered later than this before its timeout may come too late.
const LAUNCH_CALLS: Duration = Duration::from_secs(5);

impl Witness {
    /// A hook of the group got its default: there has to be a reason.
    pub(crate) fn timed_out(&mut self, hook: &str, at: Duration) {
        if hook == OTHERS {
            return self.see("somebody else's hook timed out", at, "");
        }
        let what = match self.reason(hook, at) {
            Some(Reason::NoticeWon) => "unanswered: notice won",
            Some(Reason::PolicyWaits) => "unanswered: policy waits",
            Some(Reason::NotDecidedYet) => "unanswered: not decided yet",
            Some(Reason::Outage) => "unanswered: outage",
            Some(Reason::NotSeen) => "unanswered: service not seen",
            Some(Reason::GoingOff) => "unanswered: going off",
            Some(Reason::NotShown) => "unanswered: root replacement not shown",
            None => {
                let life = format!("{:?}", self.life);
                return self.broke(
                    Invariant::HookAnswered,
                    at,
                    &format!("{hook} timed out for no reason: {life}"),
                );
            }
        };
        self.see(what, at, hook);
    }

    fn reason(&self, hook: &str, at: Duration) -> Option<Reason> {
        let life = self.life.as_ref();
        let phase = life.map_or(Phase::Bootstrapping, Lifecycle::phase);
        let failed = life.is_some_and(|life| life.failure().is_some());
        let (waited, heartbeat) = (at.saturating_sub(self.waits_since), self.heartbeat[hook]);
        // A heartbeat falls due in any third of a timeout, and the rest of it was calm.
        let recovery =
            if hook == TERMINATE && phase == Phase::Draining { heartbeat / 3 } else { Duration::ZERO };
        let reach = self.calm(at);
        if self.going_off {
            return Some(Reason::GoingOff);
        }
        if self.state == State::ReplacingRootVolumeWait {
            return Some(Reason::NotShown);
        }
        if hook == LAUNCH {
            if phase.is_leaving() {
                return Some(Reason::NoticeWon);
            }
            if failed && self.policy == OnFailure::Wait {
                return Some(Reason::PolicyWaits);
            }
            // Whoever knows how long the hook waits gives up before it does.
            if !failed && !self.held && matches!(phase, Phase::Bootstrapping | Phase::Warming) {
                return Some(Reason::NotDecidedYet);
            }
            if self.launch_asked.is_some_and(|asked| at < asked + LAUNCH_CALLS) {
                return Some(Reason::NotDecidedYet);
            }
        }
        if hook == TERMINATE && self.returning && !self.seen_service {
            return Some(Reason::NotSeen);
        }
        // Trouble just before the wait still shows in the agent's pauses.
        (reach < waited + RECOVERY && reach < RECOVERY + recovery).then_some(Reason::Outage)
    }

    /// How long nothing has been in the way, as far as is known at `at`.
    pub(super) fn calm(&self, at: Duration) -> Duration {
        if self.down_since.is_some() {
            return Duration::ZERO;
        }
        let last = self.troubles.iter().filter(|(from, _)| *from <= at).map(|(_, to)| *to).max();
        at.saturating_sub(last.unwrap_or_default())
    }
}
