//! Promises about lifecycle hooks.

use serde_json::Value;

use super::{Facts, promise, reached};
use crate::record::Request;
use crate::rehearsal::Promise;
use crate::stage::{LAUNCH_HOOK, TERMINATE_HOOK};

pub(super) fn launch_completed_once(facts: &Facts) -> Promise {
    promise(
        "the launch hook was completed exactly once, with CONTINUE",
        once(facts, LAUNCH_HOOK, "Pending:Wait"),
    )
}

pub(super) fn ready_when_launched(facts: &Facts) -> Promise {
    let call = facts.completions(LAUNCH_HOOK).find(|call| result(call) == "CONTINUE");
    let seen = reached(call).and_then(|call| match call.notes.get("healthz").and_then(Value::as_u64) {
        Some(200) => Ok(format!("/healthz was 200 at {:.1} s", call.at)),
        Some(status) => Err(format!("/healthz was {status} at {:.1} s", call.at)),
        None => Err(format!("/healthz did not answer at {:.1} s", call.at)),
    });
    promise("the instance was ready when it completed the launch hook", seen)
}

pub(super) fn terminate_completed_once(facts: &Facts) -> Promise {
    let seen = reached(facts.notice).and_then(|_| once(facts, TERMINATE_HOOK, "Terminating:Wait"));
    promise("the terminate hook was completed exactly once, with CONTINUE and only in Terminating:Wait", seen)
}

/// One completion, CONTINUE, and no try in another state than `wait`.
fn once(facts: &Facts, hook: &str, wait: &str) -> Result<String, String> {
    let calls: Vec<&Request> = facts.completions(hook).collect();
    let told = || {
        let each = calls.iter().map(|call| {
            format!(
                "{} in {} at {:.1} s: {}",
                result(call),
                call.state.as_deref().unwrap_or("-"),
                call.at,
                call.status
            )
        });
        each.collect::<Vec<_>>().join(", ")
    };
    match calls.as_slice() {
        [] => Err(format!("{hook} was never completed: its timeout decided")),
        [call] if call.succeeded() && result(call) == "CONTINUE" && call.state.as_deref() == Some(wait) => {
            Ok(told())
        }
        _ => Err(told()),
    }
}

fn result(call: &Request) -> &str {
    call.parameter("LifecycleActionResult").unwrap_or("-")
}
