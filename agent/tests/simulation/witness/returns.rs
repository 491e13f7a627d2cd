//! Whether an instance comes back from a drain only when it may, and with all of its targets when it does.

use std::time::Duration;

use kiln_agent::lifecycle::{Lifecycle, Notice};
use kiln_stage::lifecycle::State;

use super::{HEED, Invariant, Witness};

impl Witness {
    /// A life that was leaving does not any more.
    pub(super) fn came_back(&mut self, at: Duration) {
        let notices = self.life.as_ref().map(|life| life.notices().to_vec()).unwrap_or_default();
        let only = |notice| notices == [notice];
        let what = if only(Notice::Operator) && std::mem::take(&mut self.ready) {
            self.operator = false;
            "came back: taken back by an operator"
        } else if only(Notice::Pool) {
            self.pool = false;
            "came back: warm again"
        } else if self.woke && !notices.iter().any(|n| matches!(n, Notice::Group | Notice::Operator)) {
            "came back: woke up"
        } else {
            return self.broke(Invariant::NotReadyWhileLeaving, at, &format!("came back from {notices:?}"));
        };
        self.see(what, at, "");
        (self.leaving, self.deadline, self.held) = (false, None, false);
    }

    /// What a look at the target groups shows while the life goes on.
    pub(crate) fn counted(&mut self, life: &Lifecycle, missed: bool, at: Duration) {
        let calm = self.calm(at) > HEED && at > self.waits_since + HEED;
        let elsewhere = matches!(self.state, State::Standby | State::Detached | State::Warmed(_));
        if elsewhere && calm && life.ready() {
            let state = self.state.name();
            self.broke(Invariant::ReadyWhereWanted, at, &format!("ready in {state}"));
        }
        self.lost &= missed;
        let awaited = self.state == State::InService && life.ready() && !self.lost;
        if !(missed && awaited) {
            self.missed = None;
            return;
        }
        let since = *self.missed.get_or_insert(at);
        if calm && at > since + HEED {
            self.broke(Invariant::ComesBack, at, "it serves, and its targets are not registered");
        }
    }
}
