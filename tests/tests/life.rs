//! One life, end to end: a repository becomes an image, boots under systemd, serves, and leaves without a dropped request.

use kiln_tests::programs::{kiln_command, run};
use kiln_tests::rehearsal::{Rehearsed, at, parameter, rehearse};
use kiln_tests::starter::baked;
use serde_json::Value;

#[test]
fn an_instance_joins_serves_and_leaves_without_a_dropped_request() {
    let baked = baked();
    let life = rehearse(&baked, None);
    assert_eq!(life.ended.code, Some(0), "{}", life.story());
    assert_eq!(life.report["verdict"], "kept", "{}", life.story());

    the_launch_hook_is_completed_once_and_only_when_ready(&life);
    cpu_arrives_under_the_right_dimensions(&life);
    targets_are_told_to_leave_before_the_terminate_hook_is_completed(&life);
    users_notice_nothing(&life);
    assert!(baked.image.join("rehearsal.html").exists());

    the_image_is_not_built_twice(&baked.receipt["digest"]);
}

fn the_launch_hook_is_completed_once_and_only_when_ready(life: &Rehearsed) {
    let launched = life.completions("Pending:Wait");
    assert_eq!(launched.len(), 1, "{}", life.story());
    assert_eq!(launched[0].1, "CONTINUE");
    let completed = life.requests("CompleteLifecycleAction");
    assert_eq!(completed[0]["notes"]["healthz"], 200, "the stage asked /healthz when the hook was completed");
    assert_eq!(life.snapshot("serving")["readyz"], 200);
}

fn cpu_arrives_under_the_right_dimensions(life: &Rehearsed) {
    let mut names = std::collections::BTreeSet::new();
    for call in life.requests("PutMetricData") {
        assert_eq!(call["status"], 200);
        assert_eq!(call["parameters"]["Namespace"], "Kiln");
        let data = call["parameters"]["MetricData"].as_array().expect("a list of data");
        for datum in data.iter().filter(|datum| datum["MetricName"] == "CPUUtilization") {
            assert_eq!(datum["Unit"], "Percent");
            let percent = datum["Value"].as_f64().expect("a number");
            assert!((0.0..=100.0).contains(&percent), "{percent} %");
            let dimensions = datum["Dimensions"].as_array().expect("a list of dimensions");
            assert_eq!(dimensions.len(), 1, "{dimensions:?}");
            names.insert(dimensions[0]["Name"].as_str().expect("a name").to_owned());
        }
    }
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(names, ["AutoScalingGroupName", "InstanceId"], "{}", life.story());
}

fn targets_are_told_to_leave_before_the_terminate_hook_is_completed(life: &Rehearsed) {
    let completions = life.completions("Terminating:Wait");
    assert_eq!(completions.len(), 1, "{}", life.story());
    assert_eq!(completions[0].1, "CONTINUE");
    let every_accepted =
        life.requests("CompleteLifecycleAction").iter().filter(|r| r["status"] == 200).count();
    assert_eq!(every_accepted, 2, "the launch and the terminate hook, nothing else");

    let told = life.requests("DeregisterTargets");
    assert!(!told.is_empty(), "{}", life.story());
    for call in told {
        assert!(parameter(call, "Targets.member.1.Id").starts_with("i-"), "{call:#}");
        assert_eq!(parameter(call, "Targets.member.1.Port"), "80", "{call:#}");
        assert!(at(call) < completions[0].0, "deregistered after the hook was completed");
    }
}

fn users_notice_nothing(life: &Rehearsed) {
    let load = &life.report["load"];
    let count = |name: &str| load[name].as_u64().unwrap_or_else(|| panic!("no count `{name}` in {load:#}"));
    assert_eq!(count("failed"), 0, "{load:#}");
    assert!(count("by_instance") > 100, "the instance hardly served: {load:#}");
    assert!(count("streams") >= 1, "{load:#}");
    assert_eq!(count("streams"), count("streams_whole"), "{load:#}");
}

fn the_image_is_not_built_twice(digest: &Value) {
    let again = baked();
    assert_eq!(&again.receipt["digest"], digest);
    let ended = run(kiln_command(["bake"]).current_dir(&again.app)).expect_code(0);
    assert!(ended.stdout.contains(digest.as_str().expect("a digest")), "{}", ended.stdout);
    assert!(ended.stderr.contains("already"), "{}", ended.stderr);
}
