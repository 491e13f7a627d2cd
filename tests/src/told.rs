//! What a story's record of calls and its users must say.

use kiln_stage::{Request, Scene};
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// Every AWS call that an instance's role allows.
const ALLOWED: [&str; 10] = [
    "DescribeAutoScalingInstances",
    "DescribeAutoScalingGroups",
    "DescribeTrafficSources",
    "DescribeLifecycleHooks",
    "CompleteLifecycleAction",
    "RecordLifecycleActionHeartbeat",
    "DescribeTargetHealth",
    "DeregisterTargets",
    "RegisterTargets",
    "PutMetricData",
];

/// What an instance asked of the AWS APIs.
pub fn calls(scene: &Scene, id: &str) -> Vec<Request> {
    let all = scene.requests().into_iter();
    all.filter(|call| call.service != "imds" && call.instance.as_deref() == Some(id)).collect()
}

/// Its calls of one action.
pub fn of(scene: &Scene, id: &str, action: &str) -> Vec<Request> {
    calls(scene, id).into_iter().filter(|call| call.action == action).collect()
}

/// The completions of a hook that were taken in `state`.
pub fn completed(scene: &Scene, id: &str, hook: &str, state: &str) -> Vec<Request> {
    let all = of(scene, id, "CompleteLifecycleAction").into_iter();
    let own = all.filter(|call| call.parameter("LifecycleHookName") == Some(hook));
    own.filter(|call| call.succeeded() && call.state.as_deref() == Some(state)).collect()
}

/// Fails unless one hook was completed with CONTINUE and taken exactly once, in `state`; returns when.
pub fn completed_once(scene: &Scene, id: &str, hook: &str, state: &str) -> f64 {
    let taken = completed(scene, id, hook, state);
    let [once] = taken.as_slice() else {
        let all = of(scene, id, "CompleteLifecycleAction");
        panic!("{hook} was taken {} times in {state}: {all:#?}", taken.len());
    };
    assert_eq!(once.parameter("LifecycleActionResult"), Some("CONTINUE"), "{once:?}");
    once.at
}

/// Fails unless every call was one that the role allows, and none came between `from` and `to` but metrics: an
/// instance in service costs nothing else.
pub fn nothing_but_metrics(scene: &Scene, id: &str, from: f64, to: f64) {
    for call in calls(scene, id) {
        assert!(ALLOWED.contains(&call.action.as_str()), "{} is not allowed", call.action);
        let steady = call.at > from && call.at < to;
        assert!(
            !steady || call.action == "PutMetricData",
            "{} at {} while it only serves",
            call.action,
            call.at
        );
    }
}

/// The ports that were deregistered for an instance, with the time of each call, in order.
pub fn deregistered(scene: &Scene, id: &str) -> Vec<(f64, String, u16)> {
    let mut all = Vec::new();
    for call in of(scene, id, "DeregisterTargets").iter().filter(|call| call.succeeded()) {
        for n in 1.. {
            let member =
                |field: &str| call.parameter(&format!("Targets.member.{n}.{field}")).map(str::to_owned);
            let Some(target) = member("Id") else { break };
            assert_eq!(target, id, "another's target");
            let port = member("Port").expect("a port").parse().expect("a number");
            all.push((call.at, call.parameter("TargetGroupArn").expect("a group").to_owned(), port));
        }
    }
    all
}

/// How long an instance's drain took, by its own journal: from the notice to the phase `drained`.
pub async fn drain_took(scene: &Scene, id: &str) -> Duration {
    let journal = scene.journal(id).await;
    let text = String::from_utf8_lossy(&journal);
    let mut entries = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let drained = entries.find(|entry| entry["KILN_PHASE"] == "drained" && entry["KILN_FROM"] == "draining");
    let millis = drained.as_ref().and_then(|entry| entry["KILN_ELAPSED_MS"].as_str()?.parse().ok());
    Duration::from_millis(millis.unwrap_or_else(|| panic!("no end of a drain in the journal: {drained:?}")))
}

/// The users leave: fails unless instances served them and no request failed.
pub async fn no_request_failed(scene: &mut Scene) {
    let load = scene.users_leave().await;
    let (name, at) = (std::thread::current().name().unwrap_or_default().to_owned(), scene.at());
    let line = format!("{name}: {at:.1} s, {} requests, {} failed\n", load.sent, load.failed);
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(load.by_instance > 0, "no instance served: {load:?}");
    assert_eq!(load.failed, 0, "{:#?}", load.failures);
    assert_eq!(load.streams, load.streams_whole, "streams were cut: {load:?}");
}
