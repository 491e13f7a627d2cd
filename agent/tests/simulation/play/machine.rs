//! The machine under the agent: started, stopped, hibernated, rebooted and powered off.

use std::time::Duration;

use kiln_agent::lifecycle::Notice;
use kiln_stage::lifecycle::Order;
use rand::RngExt;

use super::{POWER_OFF, Play};

/// From the order to the last moment that the memory on disk knows of.
const HIBERNATE: Duration = Duration::from_secs(5);
/// A reboot, up to the agent's start.
const REBOOT: Duration = Duration::from_secs(8);

impl Play {
    /// EC2 does with the machine what Auto Scaling says.
    pub(super) async fn order(&mut self, order: Order) {
        let now = self.cloud.now();
        self.cloud.lock().witness.tell(now, &format!("EC2: {order:?}"));
        match order {
            Order::PowerOff => self.go_off(POWER_OFF),
            Order::Stop => {
                (self.stops, self.starts) = (Some((order, now + POWER_OFF)), None);
                self.cloud.lock().witness.machine_goes_off(now);
                self.terminate();
            }
            Order::Hibernate => {
                self.stops = Some((order, now + HIBERNATE));
                self.cloud.lock().witness.machine_goes_off(now);
            }
            Order::Start => {
                if self.asleep == Some(Order::Stop) {
                    self.booted = now;
                    self.cloud.lock().witness.rebooted(now);
                }
                self.starts = Some(now + REBOOT);
                self.cloud.lock().witness.machine_is_back(now);
            }
            Order::ReplaceRoot => {
                self.reboot().await;
                let mut inner = self.cloud.lock();
                inner.new_disk();
                let later = inner.script.rng.random_range(0..2 * REBOOT.as_secs());
                self.new_root = Some(now + Duration::from_secs(later));
            }
        }
    }

    /// Nothing of the process is left.
    pub(super) async fn cut(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
            let now = self.cloud.now();
            self.cloud.lock().witness.stopped("agent killed", now);
        }
        self.leaves = None;
    }

    /// What lies in `/run` is lost.
    pub(super) fn forget(&self) {
        *self.saved.lock().expect("a panic ends the simulation") = None;
    }

    pub(super) async fn reboot(&mut self) {
        self.cut().await;
        self.boot_again();
    }

    /// The machine has gone down, and comes up again.
    pub(super) fn boot_again(&mut self) {
        let now = self.cloud.now();
        self.forget();
        self.cloud.lock().witness.rebooted(now);
        (self.booted, self.starts) = (now, Some(now + REBOOT));
    }

    pub(super) fn go_off(&mut self, patience: Duration) {
        if self.off.is_some() {
            return;
        }
        let now = self.cloud.now();
        (self.off, self.starts) = (Some(now + patience), None);
        self.cloud.lock().witness.machine_goes_off(now);
        self.terminate();
    }

    pub(super) fn terminate(&mut self) {
        if let Some(process) = &self.process {
            self.cloud.lock().witness.noticed(Notice::Shutdown, self.cloud.now());
            process.terminate();
        }
    }
}
