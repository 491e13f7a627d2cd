//! What happens to the instance from outside, as far as it is judged by it.

use std::time::Duration;

use kiln_agent::lifecycle::{Hook, Notice};
use kiln_stage::lifecycle::State;

use super::{Witness, index};

impl Witness {
    pub(crate) fn moved(&mut self, from: State, to: State, at: Duration) {
        self.tell(at, &format!("group: {} → {}", from.name(), to.name()));
        (self.state, self.waits_since) = (to, at);
        self.from_standby = from == State::Standby || self.from_standby && to != State::InService;
        match to {
            State::WarmedPending(_) if from == State::InService => {
                (self.returning, self.pool) = (true, true);
            }
            State::Warmed(_) => (self.returning, self.seen_service) = (false, false),
            State::PendingWait => self.action(Hook::Launch),
            State::WarmedPendingWait(_) if !self.returning => self.action(Hook::Launch),
            State::WarmedPendingWait(_) | State::TerminatingWait | State::WarmedTerminatingWait => {
                self.action(Hook::Terminate);
            }
            // A launch of its own, whose wait lies ahead.
            State::ReplacingRootVolumeProceed => self.waited[index(Hook::Launch)] = false,
            State::InService if self.renewed => {
                self.renewed = false;
                self.see("launched from a new root", at, "");
            }
            State::RootVolumeReplaced => self.renewed = true,
            _ => {}
        }
        if to.going() && self.flipped.is_none() {
            (self.flipped, self.told) = (Some(at), true);
        }
    }

    /// A hook waits for an answer of its own.
    fn action(&mut self, hook: Hook) {
        let at = index(hook);
        (self.accepted[at], self.asked[at], self.answered[at], self.waited[at]) = (None, None, false, true);
        if hook == Hook::Launch {
            (self.launch_asked, self.held) = (None, false);
        }
    }

    pub(crate) fn noticed(&mut self, notice: Notice, at: Duration) {
        self.tell(at, &format!("notice: {}", notice.name()));
        match notice {
            Notice::Operator => (self.operator, self.ready) = (true, false),
            Notice::Rebalance => self.told |= self.rebalance_drains,
            _ => self.told = true,
        }
        if notice == Notice::Shutdown {
            self.sigterm.get_or_insert(at);
        }
    }

    pub(crate) fn taken_back(&mut self, at: Duration) {
        self.tell(at, "operator: ready");
        self.ready = true;
    }

    pub(crate) fn woke(&mut self, at: Duration) {
        self.see("machine woke", at, "");
        self.held = false;
        self.woke = true;
    }

    pub(crate) fn machine_is_back(&mut self, at: Duration) {
        self.tell(at, "the machine is back");
        self.going_off = false;
    }

    pub(crate) fn machine_goes_off(&mut self, at: Duration) {
        self.tell(at, "the machine goes off");
        self.going_off = true;
    }

    pub(crate) fn trouble(&mut self, from: Duration, to: Duration) {
        self.troubles.push((from, to));
    }

    pub(crate) fn rebooted(&mut self, at: Duration) {
        self.see("machine rebooted", at, "");
        // Judged anew; what it asks again is refused.
        self.asked = [None; 2];
        (self.rebooted, self.held) = (true, false);
    }

    /// The agent knows how long the launch hook waits for it.
    pub(crate) fn held(&mut self) {
        self.held = true;
    }

    pub(crate) fn lost(&mut self) {
        self.lost = true;
    }
}
