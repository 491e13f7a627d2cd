//! What comes in and what goes out: events and effects.

use super::{Ended, Hook, Notice, Place, Settled, Verdict};
use crate::clock::Moment;
use std::time::Duration;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// `kiln-agent bootstrap` has ended.
    Bootstrapped {
        /// Whether it succeeded.
        ok: bool,
    },
    /// Every check passes, by `health.ready_after`.
    Healthy,
    /// Some check fails, by `health.unready_after`.
    Unhealthy,
    /// The group wants the instance somewhere, perhaps where it is.
    Target(Place),
    /// The group wanted the instance in service before this boot, and it has not been in the pool since.
    Served,
    /// The metadata service answers, and knows of no place: the instance is in no group.
    Groupless,
    /// Someone says "go".
    Notice {
        /// Who.
        notice: Notice,
        /// When the instance is gone, where the notice says so.
        deadline: Option<Moment>,
    },
    /// The instance's state is `Terminating:Wait`, or the one that stands for it on the way back to a warm pool.
    TerminateWaitSeen,
    /// A hook needs no more calls.
    HookSettled {
        /// Which.
        hook: Hook,
        /// How.
        settled: Settled,
    },
    /// A heartbeat of the launch hook was taken: from now on it waits for so long.
    LaunchHeld {
        /// Its heartbeat timeout.
        timeout: Duration,
    },
    /// The terminate hook holds the instance from about now, and no longer than this whatever the heartbeats.
    TerminateHeld {
        /// Its global timeout.
        limit: Duration,
    },
    /// The drain has ended by its own evidence, or at its deadline.
    DrainEnded(Ended),
    /// `kiln-agent ready`: the operator takes the drain back.
    Ready,
    /// What this agent had deregistered is registered again.
    Rejoined,
    /// The machine goes down, and AWS has not answered for so long that nobody waits for it any more.
    Silence,
    /// The machine has slept (hibernation): what was announced before may be void.
    Woke,
    /// Time has passed.
    Tick,
}

/// Something to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Complete a lifecycle hook.
    CompleteHook(Hook, Verdict),
    /// Leave the target groups and wait for work in flight.
    StartDrain {
        /// When the wait ends at the latest.
        deadline: Moment,
    },
    /// Bring the running drain's deadline forward.
    ShortenDrain {
        /// The new one, always earlier.
        deadline: Moment,
    },
    /// Keep the launch hook alive while bootstrap and checks advance.
    WatchLaunch,
    /// Register again what this agent deregistered; void as soon as the instance does not serve.
    Rejoin,
    /// Watch for `Terminating:Wait`, and keep the hook alive from then on while the drain lasts.
    WatchTerminate,
    /// Send what metrics are buffered.
    FlushMetrics,
    /// End the process.
    Exit,
}
