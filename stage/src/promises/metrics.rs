//! Promises about CPU datums.

use serde_json::Value;

use super::{Facts, promise, reached};
use crate::cloud::GROUP;
use crate::rehearsal::Promise;
use crate::stage::LAUNCH_HOOK;

/// A datum stands for ten seconds and may carry either end of them.
const SLOT: f64 = 10.0;

/// CPU datums of one dimension, by their times in seconds since the play began.
fn datums(facts: &Facts, dimension: &str, value: &str) -> Vec<f64> {
    let calls = facts
        .of("PutMetricData")
        .filter(|call| call.succeeded() && call.parameter("Namespace") == Some(&facts.namespace));
    let all = calls
        .flat_map(|call| call.parameters.get("MetricData").and_then(Value::as_array).into_iter().flatten());
    let ours = all.filter(|datum| {
        let text = |name: &str| datum.get(name).and_then(Value::as_str);
        let dimensions = datum.get("Dimensions").and_then(Value::as_array);
        let Some([one]) = dimensions.map(Vec::as_slice) else {
            return false;
        };
        text("MetricName") == Some("CPUUtilization")
            && text("Unit") == Some("Percent")
            && one.get("Name").and_then(Value::as_str) == Some(dimension)
            && one.get("Value").and_then(Value::as_str) == Some(value)
    });
    ours.filter_map(|datum| Some(datum.get("Timestamp")?.as_f64()? - facts.epoch)).collect()
}

const SERVING_ONLY: &str = "the group's CPU datums are only from while it served";

pub(super) fn cpu_arrived(facts: &Facts) -> Promise {
    let (instance, group) =
        (datums(facts, "InstanceId", &facts.id).len(), datums(facts, "AutoScalingGroupName", GROUP).len());
    let text = format!(
        "namespace {}: {instance} CPUUtilization datums by InstanceId, {group} by AutoScalingGroupName",
        facts.namespace
    );
    let arrived = instance > 0 && group > 0;
    // The group's come only from an instance in service.
    let seen = reached(facts.in_service).and(if arrived { Ok(text) } else { Err(text) });
    promise("CPU datums arrived, by instance and by group", seen)
}

pub(super) fn group_only_while_serving(facts: &Facts) -> Promise {
    if facts.in_service.is_none() {
        return promise(SERVING_ONLY, reached(None));
    }
    let times = datums(facts, "AutoScalingGroupName", GROUP);
    let from = facts.completed(LAUNCH_HOOK).or(facts.in_service).unwrap_or(f64::INFINITY);
    let to = facts.notice.unwrap_or(f64::INFINITY);
    let outside = times.iter().filter(|at| **at < from - SLOT || **at > to + SLOT).count();
    let seen = match (times.iter().copied().reduce(f64::min), times.iter().copied().reduce(f64::max)) {
        (Some(first), Some(last)) if outside == 0 => Ok(format!(
            "{} datums of ten seconds, stamped {first:.0} s to {last:.0} s; it served from {from:.1} s to {to:.1} s",
            times.len()
        )),
        (Some(_), _) => Err(format!(
            "{outside} of {} datums are from before or after {from:.1} s to {to:.1} s",
            times.len()
        )),
        (None, _) => Err("no datum by group arrived".to_owned()),
    };
    promise(SERVING_ONLY, seen)
}
