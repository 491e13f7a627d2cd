//! Each promise kept by a good life, and broken by the one thing that breaks it.

use serde_json::{Value, json};

use super::*;
use crate::cloud::GROUP;
use crate::load::Failure;

const ID: &str = "i-0123456789abcdef0";

/// Part of a promise's text, and what breaks it.
type Case = (&'static str, fn(&mut Facts));

#[test]
fn a_good_life_keeps_every_promise() {
    for promise in judge(&life()) {
        assert!(promise.kept, "{}: {}", promise.promise, promise.evidence);
    }
    let figures = life().figures();
    assert!(figures.contains(&("boot_to_ready_s".to_owned(), 9.0)), "{figures:?}");
    assert!(figures.contains(&("notice_to_drained_s".to_owned(), 17.0)), "{figures:?}");
}

#[test]
fn each_promise_is_broken_by_what_breaks_it() {
    let cases: [Case; 16] = [
        ("took traffic", |facts| facts.healthy = None),
        ("launch hook was completed exactly once", |facts| {
            let again = facts.requests[0].clone();
            facts.requests.push(again);
        }),
        ("launch hook was completed exactly once", |facts| {
            set(facts, 0, "LifecycleActionResult", "ABANDON");
        }),
        ("was ready when", |facts| {
            facts.requests[0].notes.insert("healthz".to_owned(), json!(503));
        }),
        ("was ready when", |facts| {
            facts.requests[0].notes.insert("healthz".to_owned(), Value::Null);
        }),
        ("CPU datums arrived", |facts| set(facts, 1, "Namespace", "Other")),
        ("CPU datums arrived", |facts| facts.requests[1].status = 400),
        ("only from while it served", |facts| facts.notice = Some(11.0)),
        ("by id and port", |facts| {
            set(facts, 2, "Targets.member.1.Port", "8080");
        }),
        ("by id and port", |facts| facts.requests[2].at = 50.0),
        ("went on serving", |facts| facts.served_while_draining = 0),
        ("finished whole", |facts| facts.stream = None),
        ("finished whole", |facts| {
            facts.stream = stream(35.0, Some("truncated body"));
        }),
        ("only in Terminating:Wait", |facts| {
            facts.requests[3].state = Some("Terminating".to_owned());
        }),
        ("powered off", |facts| {
            facts.power_off = Some(Err("killed".to_owned()));
        }),
        ("no request failed", |facts| {
            facts.load.failures.push(Failure {
                at: 1.0,
                path: "/".to_owned(),
                reason: "status 502".to_owned(),
            });
        }),
    ];
    for (name, break_it) in cases {
        let mut facts = life();
        break_it(&mut facts);
        let broken: Vec<_> = judge(&facts).into_iter().filter(|promise| !promise.kept).collect();
        assert!(broken.iter().any(|promise| promise.promise.contains(name)), "{name}: {broken:?}");
    }
}

#[test]
fn a_launch_that_is_abandoned_breaks_all_that_comes_after() {
    let mut facts = life();
    facts.requests.truncate(1);
    set(&mut facts, 0, "LifecycleActionResult", "ABANDON");
    (facts.in_service, facts.healthy, facts.notice, facts.draining) = (None, None, None, None);
    (facts.stream, facts.power_off) = (None, None);
    facts.words = Some("bootstrap failed: user data script exited with 3".to_owned());
    let promises = judge(&facts);
    let broken = promises.iter().filter(|promise| !promise.kept).count();
    assert_eq!(broken, promises.len() - 1, "only the users noticed nothing");
    let causes: Vec<_> = promises.iter().filter(|promise| !promise.kept && promise.reached).collect();
    assert_eq!(causes.len(), 2, "the rest is their consequence: {causes:?}");
    assert_eq!(
        causes[0].evidence,
        "never InService: the agent answered the launch hook with ABANDON at 10.0 s: \
         bootstrap failed: user data script exited with 3"
    );
    assert!(facts.figures().contains(&("abandons".to_owned(), 1.0)));
}

#[test]
fn an_app_without_streams_is_not_asked_for_one() {
    let mut facts = life();
    (facts.streams, facts.stream) = (false, None);
    assert!(judge(&facts).iter().all(|promise| promise.kept && promise.promise != STREAM));
}

fn life() -> Facts {
    let hook = |name: &str, at, state: &str| {
        let parameters = json!({"LifecycleHookName": name, "LifecycleActionResult": "CONTINUE"});
        request(at, "CompleteLifecycleAction", state, parameters)
    };
    let datum = |name: &str, value: &str| {
        json!({"MetricName": "CPUUtilization", "Unit": "Percent", "Timestamp": 1025.0, "Value": 3.0,
               "Dimensions": [{"Name": name, "Value": value}]})
    };
    let datums = json!({"Namespace": "Kiln", "MetricData": [datum("InstanceId", ID), datum("AutoScalingGroupName", GROUP)]});
    let mut launch = hook(LAUNCH_HOOK, 10.0, "Pending:Wait");
    launch.notes.insert("healthz".to_owned(), json!(200));
    let targets = json!({"Targets.member.1.Id": ID, "Targets.member.1.Port": "80"});
    Facts {
        id: ID.to_owned(),
        namespace: "Kiln".to_owned(),
        streams: true,
        delay: 15.0,
        words: None,
        epoch: 1000.0,
        launched: 1.0,
        in_service: Some(10.0),
        healthy: Some(12.0),
        notice: Some(30.0),
        draining: Some(31.0),
        served_while_draining: 7,
        stream: stream(35.0, None),
        power_off: Some(Ok(1.0)),
        load: LoadSummary { sent: 100, by_instance: 50, by_peer: 50, ..LoadSummary::default() },
        requests: vec![
            launch,
            request(20.0, "PutMetricData", "InService", datums),
            request(31.0, "DeregisterTargets", "Terminating", targets),
            hook(TERMINATE_HOOK, 47.0, "Terminating:Wait"),
        ],
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as Facts has it")]
fn stream(at: f64, cut: Option<&str>) -> Option<(f64, StreamEnd)> {
    Some((29.0, StreamEnd { at, bytes: 10, cut: cut.map(ToOwned::to_owned) }))
}

fn set(facts: &mut Facts, request: usize, parameter: &str, value: &str) {
    facts.requests[request].parameters[parameter] = Value::from(value);
}

fn request(at: f64, action: &str, state: &str, parameters: Value) -> Request {
    Request {
        at,
        service: "aws".to_owned(),
        action: action.to_owned(),
        instance: Some(ID.to_owned()),
        state: Some(state.to_owned()),
        parameters,
        status: 200,
        error: String::new(),
        notes: std::collections::BTreeMap::new(),
    }
}
