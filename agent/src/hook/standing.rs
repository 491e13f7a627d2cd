//! Where an instance stands to a hook: judged by its lifecycle state and by where the group wants it.

use crate::lifecycle::{Hook, Place};

/// Where an instance stands to a hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The hook's wait state lies ahead.
    Before,
    /// The hook waits for its answer.
    Wait,
    /// The wait state lies behind, or is not on this instance's way.
    Past,
}

/// Judges a lifecycle state on the way to `target`, the target lifecycle state as last read. Unknown states are
/// `Before`: harmless, since every wait is bounded.
pub fn standing(hook: Hook, state: &str, target: Option<&str>) -> Standing {
    let place = target.and_then(Place::parse);
    match (hook, state) {
        (Hook::Launch, "Pending" | "Warmed:Pending") => Standing::Before,
        (Hook::Launch, "Pending:Wait" | "Warmed:Pending:Wait") => Standing::Wait,
        // The launch hook is asked again once the root is another: an agent may run from it before the group knows.
        (Hook::Launch, state) if is_new_root(state) => Standing::Before,
        // Called into service from the pool: the second action lies ahead.
        (Hook::Launch, _) if place == Some(Place::Service) && is_pooled(state) => Standing::Before,
        (Hook::Launch, known) if is_known(known) => Standing::Past,
        (Hook::Terminate, "Terminating:Wait" | "Warmed:Terminating:Wait") => Standing::Wait,
        (Hook::Terminate, gone) if is_past_terminate(gone) => Standing::Past,
        // Back to the pool the terminate hook waits in this state, which is the launch hook's on the way in.
        (Hook::Terminate, "Warmed:Pending:Wait") if place == Some(Place::Pool) => Standing::Wait,
        (Hook::Terminate, _) if place == Some(Place::Pool) && is_pooled(state) => Standing::Past,
        (_, _) => Standing::Before,
    }
}

/// Whether the pool's own action of a hook lies behind an instance in `state`, and what waits there is the next one: the
/// launch into service, or the termination of what was on its way back.
pub fn is_next(hook: Hook, state: &str) -> bool {
    match hook {
        Hook::Launch => state.starts_with("Pending"),
        Hook::Terminate => matches!(state, "Terminating:Wait" | "Warmed:Terminating:Wait"),
    }
}

/// In the pool, or let into it.
fn is_pooled(state: &str) -> bool {
    matches!(state, "Warmed:Pending:Proceed" | "Warmed:Stopped" | "Warmed:Running" | "Warmed:Hibernated")
}

/// An instance refresh replaces the root volume, or has.
fn is_new_root(state: &str) -> bool {
    state.starts_with("ReplacingRootVolume") || state == "RootVolumeReplaced"
}

fn is_past_terminate(state: &str) -> bool {
    let state = state.strip_prefix("Warmed:").unwrap_or(state);
    matches!(state, "Terminating:Proceed" | "Terminating:Retained" | "Terminated" | "Detached")
}

/// Whether it is one of the documented states, by its family.
pub(crate) fn is_documented(state: &str) -> bool {
    is_known(state) || is_new_root(state)
}

fn is_known(state: &str) -> bool {
    const FAMILIES: [&str; 8] = [
        "Pending",
        "InService",
        "Terminating",
        "Terminated",
        "Detach",
        "EnteringStandby",
        "Standby",
        "Warmed",
    ];
    FAMILIES.iter().any(|family| state.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Before, Past, Wait};

    #[test]
    fn every_documented_state_has_a_standing() {
        let cases = [
            ("Pending", Before, Before),
            ("Pending:Wait", Wait, Before),
            ("Pending:Proceed", Past, Before),
            ("Warmed:Pending:Wait", Wait, Before),
            ("Warmed:Pending:Proceed", Past, Before),
            ("Warmed:Pending", Before, Before),
            ("Warmed:Stopped", Past, Before),
            ("Warmed:Running", Past, Before),
            ("Warmed:Hibernated", Past, Before),
            ("Warmed:Terminating", Past, Before),
            ("InService", Past, Before),
            ("Standby", Past, Before),
            ("EnteringStandby", Past, Before),
            ("Detaching", Past, Before),
            ("Detached", Past, Past),
            ("Terminating", Past, Before),
            ("Terminating:Wait", Past, Wait),
            ("Terminating:Proceed", Past, Past),
            ("Terminating:Retained", Past, Past),
            ("Terminated", Past, Past),
            ("Warmed:Terminating:Wait", Past, Wait),
            ("Warmed:Terminating:Proceed", Past, Past),
            ("Warmed:Terminating:Retained", Past, Past),
            ("Warmed:Terminated", Past, Past),
            ("ReplacingRootVolume", Before, Before),
            ("ReplacingRootVolume:Wait", Before, Before),
            ("ReplacingRootVolume:Proceed", Before, Before),
            ("RootVolumeReplaced", Before, Before),
            ("SomethingNew", Before, Before),
            ("", Before, Before),
        ];
        for (state, launch, terminate) in cases {
            let judged = [Hook::Launch, Hook::Terminate].map(|hook| standing(hook, state, None));
            assert_eq!(judged, [launch, terminate], "{state}");
        }
    }

    #[test]
    fn a_warm_pool_is_a_matter_of_direction() {
        let cases = [
            // Out of the pool: the launch hook's second action.
            (Hook::Launch, "Warmed:Stopped", "InService", Before),
            (Hook::Launch, "Warmed:Running", "InService", Before),
            (Hook::Launch, "Warmed:Hibernated", "InService", Before),
            (Hook::Launch, "Pending:Wait", "InService", Wait),
            (Hook::Launch, "InService", "InService", Past),
            // Into it: the first.
            (Hook::Launch, "Warmed:Pending:Wait", "Warmed:Running", Wait),
            (Hook::Launch, "Warmed:Running", "Warmed:Running", Past),
            // Back to it from service: the terminate hook, in the launch hook's wait state.
            (Hook::Terminate, "InService", "Warmed:Stopped", Before),
            (Hook::Terminate, "Warmed:Pending", "Warmed:Stopped", Before),
            (Hook::Terminate, "Warmed:Pending:Wait", "Warmed:Stopped", Wait),
            (Hook::Terminate, "Warmed:Pending:Proceed", "Warmed:Stopped", Past),
            (Hook::Terminate, "Warmed:Stopped", "Warmed:Stopped", Past),
            // Out of the pool for good.
            (Hook::Terminate, "Warmed:Running", "Terminated", Before),
            (Hook::Terminate, "Warmed:Terminating:Wait", "Terminated", Wait),
        ];
        for (hook, state, target, expected) in cases {
            assert_eq!(standing(hook, state, Some(target)), expected, "{hook:?} in {state} to {target}");
        }
    }
}
