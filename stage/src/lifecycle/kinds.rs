//! What happens to an instance, and what has to be done about it.

use super::{ActionResult, Pool, State};

/// What happens to an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Time passed.
    Tick,
    /// `CompleteLifecycleAction` for a hook.
    Completed(String, ActionResult),
    /// `RecordLifecycleActionHeartbeat` for a hook.
    Heartbeat(String),
    /// All target groups have it.
    Registered,
    /// The group wants to be smaller.
    ScaledIn,
    /// The same, in a group whose warm pool takes its instances back.
    Returned(Pool),
    /// The group wants to be larger, and takes it out of the warm pool.
    Called,
    /// `EnterStandby`
    StandbyEntered,
    /// `ExitStandby`
    StandbyLeft,
    /// `DetachInstances`
    Detached,
    /// An instance refresh with the strategy `ReplaceRootVolume` has come to it.
    RootReplacement,
    /// EC2 has replaced the root. The new one may have booted before that is known.
    RootReplaced,
    /// No target group has it any more by the group's doing, deregistration delays included.
    TargetsGone,
    /// It was stopped or hibernated for the warm pool.
    Stopped,
    /// It is off.
    PoweredOff,
}

/// What has to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The state changed; for the timeline.
    Moved(State, State),
    /// A hook ran out of time and got its default result; for the timeline.
    TimedOut(String, ActionResult),
    /// Register with the target groups, then send [`Event::Registered`].
    Register,
    /// Deregister from the target groups, then send [`Event::TargetsGone`] when that is done.
    Deregister,
    /// Do this with the machine.
    Machine(Order),
}

/// What EC2 is told to do with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Power it off for good, then send [`Event::PoweredOff`].
    PowerOff,
    /// Stop it, then send [`Event::Stopped`].
    Stop,
    /// Hibernate it, then send [`Event::Stopped`].
    Hibernate,
    /// Start it again from where it was stopped, or resume it.
    Start,
    /// Give it a fresh root and boot from that; [`Event::RootReplaced`] follows when EC2 says so.
    ReplaceRoot,
}

/// AWS's answer to a completion or heartbeat outside of `Wait`: `ValidationError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no active lifecycle action")]
pub struct NoActiveAction;
