//! What no life may break, what excuses an unanswered hook, and what came of a life.

use std::collections::BTreeMap;

/// What no life may break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// Each hook is completed at most once per action, with one verdict, and not asked again after the answer.
    CompletedOnce,
    /// The terminate hook is not completed before `Terminating:Wait`, nor with anything but CONTINUE.
    NotBeforeWait,
    /// No target is deregistered unless somebody said "go": missing data is no notice.
    NoticeFirst,
    /// Never ready from the first notice on, across kills, too.
    NotReadyWhileLeaving,
    /// CONTINUE is answered to a launch hook by a ready instance only, ABANDON by a failed one only.
    LaunchVerdict,
    /// The deadline of a drain never grows, across kills and further notices, too.
    DeadlineNeverGrows,
    /// A drain ends at its deadline at the latest.
    DrainBounded,
    /// An effect is in the record before it is performed.
    RecordedFirst,
    /// In good weather a notice is heeded within a bound.
    NoticeHeeded,
    /// After SIGTERM the process ends within the drain's deadline and the hook's grace.
    ExitBounded,
    /// A hook is answered, or its timeout has one of the reasons of [`Reason`].
    HookAnswered,
    /// What was deregistered comes back only to an instance that serves and that its group wants in service.
    RejoinWanted,
    /// An instance that was taken back, or whose agent was stopped and started, serves with its targets registered.
    ComesBack,
    /// In good weather it is not ready on standby, out of its group or in the pool.
    ReadyWhereWanted,
    /// Every life ends.
    LifeEnds,
}

/// Why a hook may run out of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The instance was told to leave before the launch was answered.
    NoticeWon,
    /// The launch failed, and the policy is to let the hook wait.
    PolicyWaits,
    /// The hook is shorter than the policy's deadlines, and nothing has failed yet.
    NotDecidedYet,
    /// AWS or the agent was out of reach for most of the wait.
    Outage,
    /// No agent ran, or could read the target state, between the call into service and the return: both hooks wait in one
    /// state, and there was nobody to make a mark of where it was.
    NotSeen,
    /// The machine went off, or the agent was stopped with it.
    GoingOff,
    /// The root is replaced, of which the metadata service says nothing.
    NotShown,
}

/// What came of a life.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) seed: u64,
    pub(crate) broken: Vec<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) timeline: Vec<String>,
}
