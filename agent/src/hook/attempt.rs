//! What a completion remembers from one look at the state to the next, and what it has come to when no call follows.

use crate::lifecycle::{Settled, Verdict};
use std::time::Duration;

/// One answer under way.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) limit: Option<Duration>,
    pub(super) reads: u32,
    pub(super) absent: u32,
    pub(super) refusals: u32,
    pub(super) called: bool,
    pub(super) settled: Option<Settled>,
}

impl Attempt {
    /// Past the wait, in `state` where it is known.
    pub(super) fn past(&self, verdict: Verdict, state: Option<&str>) -> Settled {
        past(self.called, verdict, state)
    }
}

/// What an answer has come to, with the wait over and no word of its having been taken: `called`, it may have been, since
/// a call whose reply was lost took effect all the same, and the next attempt was refused for it. `state` is where the
/// instance is by now, `None` where it is not listed, or was not asked for.
///
/// An ABANDON that was taken ends the launch. Whoever goes on into the group or its pool was let in by another answer, such
/// as the hook's own default, and lives on.
pub fn past(called: bool, verdict: Verdict, state: Option<&str>) -> Settled {
    let refuted = verdict == Verdict::Abandon && state.is_some_and(|state| !is_going(state));
    if called && !refuted { Settled::Completed } else { Settled::NothingOwed }
}

fn is_going(state: &str) -> bool {
    state.strip_prefix("Warmed:").unwrap_or(state).starts_with("Terminat")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_abandon_was_taken_only_where_the_launch_has_ended() {
        let going =
            ["Terminating", "Terminating:Wait", "Terminated", "Warmed:Terminating:Wait", "Warmed:Terminated"];
        let living = [
            "Pending",
            "Pending:Wait",
            "Pending:Proceed",
            "InService",
            "Warmed:Pending:Wait",
            "Warmed:Pending:Proceed",
            "Warmed:Stopped",
            "Warmed:Running",
            "Warmed:Hibernated",
            "Standby",
        ];
        for (states, taken) in [(&going[..], Settled::Completed), (&living, Settled::NothingOwed)] {
            for state in states {
                assert_eq!(past(true, Verdict::Abandon, Some(state)), taken, "{state}");
                assert_eq!(past(true, Verdict::Continue, Some(state)), Settled::Completed, "{state}");
                assert_eq!(past(false, Verdict::Abandon, Some(state)), Settled::NothingOwed, "{state}");
            }
        }
        assert_eq!(
            past(true, Verdict::Abandon, None),
            Settled::Completed,
            "it may have been, and it is gone"
        );
    }
}
