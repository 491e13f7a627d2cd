//! Time as the agent counts it: milliseconds of the machine's monotonic clock, so that a deadline survives both a
//! restart of the agent and a jump of the wall clock.

use serde::{Deserialize, Serialize};
use std::ops::Add;
use std::time::Duration;

/// A point on `CLOCK_MONOTONIC`; comparable between processes of one boot.
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

/// Reads [`Moment`]s; follows tokio's clock, so a test with paused time moves it.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    anchor: Moment,
    at: tokio::time::Instant,
}

impl Clock {
    /// A clock in step with the machine's. Must be called inside a runtime.
    pub fn system() -> Self {
        Self::anchored(machine_now())
    }

    /// A clock that reads `anchor` at this instant.
    pub fn anchored(anchor: Moment) -> Self {
        Self { anchor, at: tokio::time::Instant::now() }
    }

    /// The present.
    pub fn now(&self) -> Moment {
        self.anchor + self.at.elapsed()
    }

    /// The runtime's instant for `moment`, to sleep until.
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::now() + moment.since(self.now())
    }
}

fn machine_now() -> Moment {
    use nix::time::{ClockId, clock_gettime};
    // The clock exists on every Linux; zero would only make deadlines of an earlier process unusable.
    let spec = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default();
    Moment(millis(spec))
}

/// The kernel's id of this boot; moments of different boots cannot be compared.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// The wall clock as RFC 3339 in UTC, for people only: nothing is decided by it.
pub fn wall_time() -> String {
    humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string()
}
