//! Time as the agent counts it: milliseconds since the machine's boot, so that a deadline survives both a restart of
//! the agent and a jump of the wall clock. Time that the machine slept through (hibernation) counts: AWS's clocks went
//! on meanwhile.

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use std::ops::Add;
use std::time::Duration;

/// A point on `CLOCK_BOOTTIME`; comparable between processes of one boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// The point `millis` after boot.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since boot.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, zero when that lies ahead.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This point moved towards boot by `by`, no further than boot.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads [`Moment`]s; follows tokio's clock, so a test with paused time moves it, and adds what that one sleeps through.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Moment,
    at: tokio::time::Instant,
    /// Slept through by the machine before the anchor; `None` for a clock that is not the machine's.
    asleep: Option<Duration>,
}

impl Clock {
    /// A clock in step with the machine's. Must be called inside a runtime.
    pub fn system() -> Self {
        let (anchor, asleep) = (Moment(millis(read(ClockId::CLOCK_BOOTTIME))), Some(asleep()));
        Self { anchor, at: tokio::time::Instant::now(), asleep }
    }

    /// A clock that reads `anchor` at this instant.
    pub fn anchored(anchor: Moment) -> Self {
        Self { anchor, at: tokio::time::Instant::now(), asleep: None }
    }

    /// The present.
    pub fn now(&self) -> Moment {
        self.anchor + self.at.elapsed() + self.slept()
    }

    /// How long the machine has slept since the clock was made.
    pub fn slept(&self) -> Duration {
        self.asleep.map_or(Duration::ZERO, |before| asleep().saturating_sub(before))
    }

    /// The next whole multiple of `period` since this clock was made. What waits for these is woken together: a process
    /// that wakes once a second for three reasons costs a third of one that wakes three times.
    pub fn beat(&self, period: Duration) -> tokio::time::Instant {
        let period = period.as_nanos().max(1);
        let next = (self.at.elapsed().as_nanos() / period + 1) * period;
        // 2^64 nanoseconds are five centuries.
        self.at + Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
    }

    /// Ticks at once and then at each [`Clock::beat`]; a tick that comes late moves none of the later ones.
    pub fn every(&self, period: Duration) -> tokio::time::Interval {
        let mut interval = tokio::time::interval_at(self.at, period);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        interval
    }

    /// The runtime's instant for `moment`, to sleep until.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::now() + moment.since(self.now())
    }
}

/// `CLOCK_MONOTONIC`, which is the runtime's, stands still while the machine sleeps; `CLOCK_BOOTTIME` does not.
fn asleep() -> Duration {
    // In this order the difference is never below zero; in whole milliseconds it does not wander.
    let awake = read(ClockId::CLOCK_MONOTONIC);
    let all = read(ClockId::CLOCK_BOOTTIME);
    Duration::from_millis(millis(all.saturating_sub(awake)))
}

fn read(clock: ClockId) -> Duration {
    // Both exist on every Linux; zero would only make deadlines of an earlier process unusable.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// The kernel's id of this boot; moments of different boots cannot be compared.
///
/// On a machine it is the same in every mount namespace. systemd-nspawn mounts one of the container's own over the
/// file, which a unit with `ProtectProc=` loses with its private `/proc` (systemd issue 28059): there the sandboxed
/// agent reads the host's, root's shell and the bootstrap the container's. So on a stage `kiln-agent status` by root
/// takes the state file of a stopped agent for another boot's; the agent itself is not misled, since that file lies on a
/// tmpfs that a reboot empties, and nothing else is compared between the two.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The wall clock as RFC 3339 in UTC, for people only: nothing is decided by it.
pub fn wall_time() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_waits_for_the_same_beat_is_woken_at_the_same_instant() {
        let clock = Clock::anchored(Moment::default());
        let started = tokio::time::Instant::now();
        tokio::time::advance(Duration::from_millis(2300)).await;
        let second = Duration::from_secs(1);
        assert_eq!(clock.beat(second) - started, Duration::from_secs(3));
        assert_eq!(clock.beat(Duration::from_secs(5)) - started, Duration::from_secs(5));
        let mut interval = clock.every(second);
        interval.tick().await;
        assert_eq!(started.elapsed(), Duration::from_millis(2300), "the first tick comes at once");
        interval.tick().await;
        assert_eq!(started.elapsed(), Duration::from_secs(3));
        // Exactly on a beat the next one is meant, or a loop would turn twice.
        assert_eq!(clock.beat(second) - started, Duration::from_secs(4));
        tokio::time::advance(Duration::from_millis(1700)).await;
        interval.tick().await;
        interval.tick().await;
        assert_eq!(started.elapsed(), Duration::from_secs(5), "a late tick moves none of the later ones");
    }
}
