//! The words of the lifecycle: phases, places, notices, failures and the policy they are judged by.

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
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Bootstrapping,
        Self::Warming,
        Self::Serving,
        Self::Draining,
        Self::Drained,
        Self::Warmed,
        Self::Standby,
    ];

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

    /// Where that is, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Service => "in service",
            Self::Pool => "in the warm pool",
            Self::Standby => "on standby, or out of the group",
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
    /// `kiln-agent drain`: the only one that is taken back by a word, `kiln-agent ready`.
    Operator,
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
            Notice::Operator => "operator",
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

impl Failure {
    /// In words, for the journal; what exactly failed stands in `status`.
    pub fn reason(self) -> &'static str {
        match self {
            Failure::Bootstrap => "user data failed, or did not end in time",
            Failure::Readiness => "the checks did not pass in time",
        }
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// By its evidence: the targets were told and nothing is in flight.
    Quiet,
    /// Nothing is in flight, and at shutdown nobody could be told.
    Unreachable,
    /// At its deadline: work may have been in flight, targets may be untold.
    Overdue,
}

/// Why the instance does not come back into service by a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Somebody else has said "go", too.
    Noticed(Notice),
    /// The group wants it somewhere else.
    Elsewhere(Place),
    /// The launch was abandoned: the group replaces the instance.
    Abandoned,
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
