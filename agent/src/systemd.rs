//! What systemd is told: that the agent is up, what it waits for, that its loop turns, and when it must not be hurried.

use crate::lifecycle::Lifecycle;
use sd_notify::NotifyState;
use std::time::Duration;

/// How long a drain may hold up a stop. The unit's `TimeoutStopSec=` does not bind it, since [`stopping`] renews it; the
/// jobs of `poweroff.target` and `reboot.target` do: they are forced after `JobTimeoutSec=30min`. A minute of it is the
/// hook's grace, the last effects and the rest of the machine's.
pub const STOP_BOUND: Duration = Duration::from_mins(29);

/// Tells the service manager; off systemd there is no socket, and nothing happens.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(reason = %error, "systemd not notified");
    }
}

/// The agent is up.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

/// The loop turns.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be said, with room for two to be late; `None` without a watchdog.
pub fn alive_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 3)
}

/// While the agent leaves at shutdown: it is stopping, and needs until its deadline. systemd's own limit, the unit's
/// `TimeoutStopSec=`, holds when this is not renewed.
pub fn stopping(life: &Lifecycle, left: Duration) {
    if life.phase().is_leaving() {
        let micros = u32::try_from(left.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
    }
}
