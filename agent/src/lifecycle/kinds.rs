//! The words of the lifecycle: phases, events, effects, hooks, notices and the policy they are judged by.

use crate::clock::Moment;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where the instance stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// User data has not run to its end.
    Bootstrapping,
    /// User data has run; the checks have yet to pass.
    Warming,
    /// Takes requests.
    Serving,
    /// Takes no new requests and finishes those in flight.
    Draining,
    /// Nothing is in flight any more, or the deadline has passed.
    Drained,
    /// Ready, and kept in the group's warm pool: running, to be stopped, or to be hibernated.
    Warmed,
    /// Ready, and taken out of service by an operator: standby, or detached from its group.
    Standby,
}

impl Phase {
    /// The name in the journal, in metrics and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Bootstrapping => "bootstrapping",
            Phase::Warming => "warming",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
            Phase::Drained => "drained",
            Phase::Warmed => "warmed",
            Phase::Standby => "standby",
        }
    }

    /// Whether a notice has been heeded.
    pub fn is_leaving(self) -> bool {
        matches!(self, Phase::Draining | Phase::Drained)
    }
}

/// Where the group wants the instance, by its target lifecycle state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In service.
    Service,
    /// In the warm pool.
    Pool,
    /// On standby, or out of the group.
    Standby,
}

impl Place {
    /// Reads a target lifecycle state; `None` for those that say something else, and for unknown ones.
    pub fn parse(target_state: &str) -> Option<Self> {
        match target_state {
            "InService" => Some(Self::Service),
            "Warmed:Stopped" | "Warmed:Running" | "Warmed:Hibernated" => Some(Self::Pool),
            "Standby" | "Detached" => Some(Self::Standby),
            _ => None,
        }
    }

    /// The phase of an instance that is ready there.
    pub fn phase(self) -> Phase {
        match self {
            Self::Service => Phase::Serving,
            Self::Pool => Phase::Warmed,
            Self::Standby => Phase::Standby,
        }
    }
}

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
    /// The drain has ended by its own evidence, or at its deadline.
    DrainEnded,
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
    /// Watch for `Terminating:Wait`, and keep the hook alive from then on while the drain lasts.
    WatchTerminate,
    /// Send what metrics are buffered.
    FlushMetrics,
    /// End the process.
    Exit,
}

/// A lifecycle hook's transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hook {
    /// `autoscaling:EC2_INSTANCE_LAUNCHING`.
    Launch,
    /// `autoscaling:EC2_INSTANCE_TERMINATING`.
    Terminate,
}

impl Hook {
    /// The name in the journal and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Hook::Launch => "launch",
            Hook::Terminate => "terminate",
        }
    }

    /// Auto Scaling's name of the transition.
    pub fn transition(self) -> &'static str {
        match self {
            Hook::Launch => "autoscaling:EC2_INSTANCE_LAUNCHING",
            Hook::Terminate => "autoscaling:EC2_INSTANCE_TERMINATING",
        }
    }
}

/// The answer to a hook, `LifecycleActionResult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Terminate and replace.
    Abandon,
}

impl Verdict {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Continue => "CONTINUE",
            Verdict::Abandon => "ABANDON",
        }
    }
}

/// How far a hook has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HookStep {
    /// Nothing asked of it.
    Idle,
    /// Its wait state is being watched for.
    Watched,
    /// Its wait state was seen.
    Waiting,
    /// Its completion was asked for.
    Asked(Verdict),
    /// No more calls are needed.
    Settled(Settled),
}

impl HookStep {
    /// Whether an answer is still owed.
    pub fn is_open(self) -> bool {
        matches!(self, HookStep::Watched | HookStep::Waiting | HookStep::Asked(_))
    }
}

/// How a hook came to need no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settled {
    /// Auto Scaling took the answer.
    Completed,
    /// No group, no such hook, or the instance had moved on.
    NothingOwed,
    /// The bound ran out, or the call is refused for good.
    GaveUp,
}

/// Who says "go".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Notice {
    /// The Auto Scaling group: the target lifecycle state is `Terminated`.
    Group,
    /// The Auto Scaling group: an instance in service goes back to the warm pool (its reuse policy).
    Pool,
    /// EC2 is about to interrupt the spot instance.
    Spot,
    /// EC2 recommends rebalancing, and the configuration says to heed it.
    Rebalance,
    /// SIGTERM: the machine is going down, or the agent's unit is being stopped.
    Shutdown,
}

impl Notice {
    /// The name in the journal and in `status`.
    pub fn name(self) -> &'static str {
        match self {
            Notice::Group => "group",
            Notice::Pool => "warm pool",
            Notice::Spot => "spot",
            Notice::Rebalance => "rebalance",
            Notice::Shutdown => "shutdown",
        }
    }
}

/// What kept an instance from serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Failure {
    /// User data failed, or has not ended in time.
    Bootstrap,
    /// The checks did not pass in time.
    Readiness,
}

/// What a failure does to the launch hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// ABANDON, once: the group replaces the instance.
    #[default]
    Abandon,
    /// No answer: the hook's own timeout decides, and the instance can be looked at until then.
    Wait,
}

/// The bounds that decisions go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// From the agent's start to the end of bootstrap.
    pub bootstrap_deadline: Duration,
    /// From the end of bootstrap to passing checks.
    pub ready_deadline: Duration,
    /// What a failure does to the launch hook.
    pub on_failure: OnFailure,
    /// The longest a drain may take.
    pub drain_max: Duration,
    /// Kept free between the end of a drain and the moment the instance is gone.
    pub margin: Duration,
}
